"""What agents do to files, as people follow it: diffs as they happen, taken back with a click, edited by hand."""

import json
from pathlib import Path
from secrets import token_hex

from playwright.sync_api import Locator, Page, expect

from e2e.conftest import OpenPage
from e2e.looks import check_looks, overflow, violations
from e2e.steps import open_app, reload, reply, see_reply, see_the_end, send_message, shown
from e2e.test_projects import go_to, make_project
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.server import Server


def write_with_the_coders(page: Page, model: ModelServer, path: str, content: str) -> None:
    """A run of the planner and the coder that writes one file."""
    work = {"satisfied": False, "judgement": "Nothing is there yet.", "work": f"Write {path}"}
    call = {"name": "write_file", "arguments": json.dumps({"path": path, "content": content})}
    for steps in (
        [{"text": json.dumps(work)}],
        [{"tool_call": call}],
        [{"text": "Written."}],
        [{"text": json.dumps({"satisfied": True, "judgement": "It is there."})}],
        [{"text": f"There is {path} now."}],
    ):
        model.script(steps, times=1)
    page.get_by_label("Team").select_option("Planner and Coder")
    send_message(page, f"Please write {path}")
    see_reply(page, f"There is {path} now.")
    see_the_end(page)


def change(page: Page, path: str) -> Locator:
    return reply(page).locator(".step--change").filter(has_text=path)


def new_conversation(page: Page) -> None:
    go_to(page, "Conversations")
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()


def test_a_diff_is_shown_stays_after_a_reload_and_is_taken_back(page: Page, model: ModelServer) -> None:
    project = make_project(page, "Diffs")
    new_conversation(page)
    write_with_the_coders(page, model, "plan.md", "# Plan\n\n1. begin\n")
    change(page, "plan.md").locator("summary").first.click()
    expect(change(page, "plan.md")).to_contain_text("Created")
    expect(change(page, "plan.md").locator(".gi").first).to_be_visible()
    before = shown(page)
    reload(page)
    assert shown(page) == before

    change(page, "plan.md").locator("summary").first.click()
    change(page, "plan.md").get_by_role("button", name="Take back").click()
    expect(change(page, "plan.md")).to_contain_text("Taken back")
    reload(page)
    change(page, "plan.md").locator("summary").first.click()
    expect(change(page, "plan.md")).to_contain_text("Taken back")
    expect(change(page, "plan.md").get_by_role("button")).to_have_count(0)
    page.goto(f"{project}/files")
    expect(page.get_by_text("There are no files yet")).to_be_visible()
    expect(page.locator(".changes__one")).to_have_count(2)


def test_what_cannot_be_taken_back_any_more_is_told(page: Page, model: ModelServer, watch: Watch) -> None:
    watch.expect("400")
    project = make_project(page, "Late")
    new_conversation(page)
    write_with_the_coders(page, model, "plan.md", "one\n")
    conversation = page.url
    page.goto(f"{project}/file?path=plan.md")
    page.get_by_text("Edit", exact=True).click()
    page.get_by_label("Content", exact=True).last.fill("two\n")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".changes__one")).to_have_count(2)
    page.goto(conversation)
    change(page, "plan.md").locator("summary").first.click()
    change(page, "plan.md").get_by_role("button", name="Take back").click()
    expect(page.get_by_role("alert")).to_contain_text("changed again since")


def test_a_person_uploads_looks_edits_and_deletes(page: Page, tmp_path: Path) -> None:
    sent = tmp_path / "words.py"
    sent.write_text("print('hello')\n")
    make_project(page, "By hand")
    go_to(page, "Files")
    page.get_by_label("Files", exact=True).set_input_files(sent)
    page.get_by_label("Into folder").fill("src")
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("link", name="src/words.py", exact=True).click()
    expect(page.locator("pre .s").first).to_be_visible()  # highlighted by its name
    page.get_by_text("Edit", exact=True).click()
    page.get_by_label("Content", exact=True).last.fill("print('goodbye')\n")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("pre").first).to_contain_text("goodbye")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").first.click()
    assert download.value.suggested_filename == "words.py"
    assert download.value.path().read_text() == "print('goodbye')\n"
    page.get_by_role("button", name="Delete this file").click()
    expect(page.get_by_text("There are no files yet")).to_be_visible()


def test_axe_finds_nothing_on_the_files_pages(each_page: Page, model: ModelServer) -> None:
    project = make_project(each_page, f"Axe {token_hex(4)}")
    new_conversation(each_page)
    write_with_the_coders(each_page, model, "notes/a-name-that-is-rather-long-for-a-small-screen.py", "x = 1\n" * 3)
    change(each_page, "notes/").locator("summary").first.click()
    check_looks(each_page)
    for path in ("/files", "/file/new", "/file?path=notes/a-name-that-is-rather-long-for-a-small-screen.py"):
        each_page.goto(f"{project}{path}")
        for summary in each_page.locator("main summary").all():
            summary.click()
        assert violations(each_page) == [], path
        assert overflow(each_page) <= 0, path


def test_without_scripts_changes_are_shown_and_taken_back(
    open_page: OpenPage, server: Server, model: ModelServer, page: Page
) -> None:
    make_project(page, "Plain")
    new_conversation(page)
    write_with_the_coders(page, model, "plan.md", "one\n")
    plain = open_page(server.url, java_script_enabled=False)
    plain.goto(page.url)
    change(plain, "plan.md").locator("summary").first.click()
    expect(change(plain, "plan.md").locator(".gi").first).to_be_visible()
    change(plain, "plan.md").get_by_role("button", name="Take back").click()
    expect(plain.get_by_text("There are no files yet")).to_be_visible()


def test_the_demo_model_drives_every_team_on_the_sample_project(open_page: OpenPage, tmp_path: Path) -> None:
    with Server(tmp_path, RIVERRUN_MODEL="demo").start() as demo:
        page = open_page(demo.url)
        open_app(page)
        page.get_by_role("button", name="Make the sample project").click()
        expect(page.get_by_role("link", name="Why do rivers bend?")).to_be_visible()
        sample = page.url
        page.get_by_role("link", name="Sample: rivers").first.click()
        go_to(page, "Documents")
        expect(page.locator("#documents .card__title a")).to_have_count(1)  # which has been read
        for idea, told in (
            ("Why do rivers bend?", "swings from side to side"),
            ("Compare where rivers begin", "A river begins where water gathers"),
            ("From now on I want metric units", "walking pace"),
            ("Write a haiku", "created haiku.txt"),
        ):
            page.goto(sample)
            page.get_by_role("link", name=idea).click()
            page.get_by_role("button", name="Send").click()
            expect(reply(page).locator(".turn--answer .prose")).to_contain_text(told, timeout=60_000)
            see_the_end(page)
        expect(change(page, "haiku.txt")).to_have_count(1)
        page.goto(sample)
        page.get_by_role("link", name="Sample: rivers").first.click()
        go_to(page, "Memories")
        expect(page.locator(".card__text")).to_contain_text("metric units")
