"""A conversation can be taken away as a file, and brought into another project or another riverrun."""

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from e2e.looks import PHONE, check_looks
from e2e.steps import open_app, open_menu, path_of, reply, see_own_message, see_reply, start_conversation, titles
from e2e.watch import Watch


def take_away(page: Page, title: str, kind: str, folder: Path) -> Path:
    entry = open_menu(page, title)
    with page.expect_download() as download:
        entry.get_by_role("link", name=kind).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def bring_in(page: Page, file: Path) -> None:
    page.get_by_role("link", name="Import", exact=True).click()
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Import").click()


def test_a_conversation_is_taken_away_and_brought_in(page: Page, tmp_path: Path) -> None:
    path = start_conversation(page, "to take along")
    file = take_away(page, "to take along", "JSON", tmp_path)
    assert file.name == "to take along.json"
    assert json.loads(file.read_text())["riverrun"] == 1
    bring_in(page, file)
    see_own_message(page, "to take along")
    see_reply(page, "to take along")
    assert path_of(page) != path
    expect(titles(page).first).to_have_attribute("aria-current", "page")
    reply(page).get_by_role("link", name="Replay").click()
    expect(page.locator("#moment")).to_contain_text("Event")


def test_without_scripts_too(plain_page: Page, page: Page, tmp_path: Path) -> None:
    plain_page.goto(start_conversation(page, "taken plainly"))
    file = take_away(plain_page, "taken plainly", "Markdown", tmp_path)
    assert file.read_text().startswith("# taken plainly\n\n## You")
    file = take_away(page, "taken plainly", "JSON", tmp_path)
    bring_in(plain_page, file)
    see_own_message(plain_page, "taken plainly")


def test_a_file_that_is_none_is_refused_with_a_reason(each_page: Page, watch: Watch, tmp_path: Path) -> None:
    watch.expect("400")
    open_app(each_page)
    if each_page.viewport_size == PHONE:
        each_page.get_by_role("button", name="Conversations").click()
    (tmp_path / "a.json").write_text('{"riverrun": 7}')
    bring_in(each_page, tmp_path / "a.json")
    expect(each_page.get_by_role("alert")).to_contain_text("version 7")
    check_looks(each_page)
