"""Documents as people use them: added, read while one watches, asked about, cited, opened at the passage, removed."""

import json
from secrets import token_hex

from playwright.sync_api import FilePayload, Page, expect

from e2e.looks import check_looks, violations
from e2e.steps import reply, see_reply, see_the_end, send_message
from e2e.test_files import new_conversation
from e2e.test_projects import go_to, make_project
from tests.model_server import ModelServer

RIVERS = "# Rivers\n\n## Bends\n\nA meander is a bend.\n\n## Ends\n\nIn the sea.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"


def add(page: Page, name: str, content: str | bytes) -> None:
    go_to(page, "Documents")
    data = content if isinstance(content, bytes) else content.encode()
    page.get_by_label("Documents", exact=True).set_input_files(FilePayload(name=name, mimeType="", buffer=data))
    page.get_by_role("button", name="Add").click()


def test_a_document_is_read_asked_about_and_cited_and_the_citation_opens_the_passage(
    page: Page, model: ModelServer
) -> None:
    make_project(page, "Knowledge")
    add(page, "rivers.md", RIVERS)
    expect(page.get_by_text("2 passages")).to_be_visible()  # without a reload
    new_conversation(page)
    call = {"name": "search_documents", "arguments": json.dumps({"query": "meander"})}
    model.script([{"tool_call": call}, {"gate": "found"}], times=1)
    send_message(page, "What is a meander?")
    model.open_gate("found")
    finding = reply(page).locator(".step--retrieval")
    expect(finding).to_contain_text("meander")
    see_the_end(page)
    finding.locator("summary").first.click()
    address = finding.get_by_role("link").first.get_attribute("href")
    assert address

    model.script([{"text": f"It is a bend [rivers.md]({address})."}], times=1)
    send_message(page, "So what is it?")
    see_reply(page, "It is a bend")
    see_the_end(page)
    reply(page).get_by_role("link", name="rivers.md").click()
    expect(page.get_by_role("region", name="The cited passage")).to_contain_text("A meander is a bend.")
    page.get_by_role("link", name="The whole document").click()
    expect(page.get_by_role("heading", name="rivers.md")).to_be_visible()
    expect(page.locator(".passage")).to_have_count(2)


def test_a_bad_file_gets_its_reason_and_is_removed(page: Page) -> None:
    make_project(page, "Bad")
    add(page, "dot.png", b"\x89PNG\0\0")
    expect(page.get_by_text("cannot be read")).to_be_visible()
    page.get_by_role("button", name="Remove dot.png").click()
    expect(page.get_by_text("There are no documents yet")).to_be_visible()


def test_axe_finds_nothing_on_the_documents_pages(each_page: Page) -> None:
    make_project(each_page, f"Documents {token_hex(4)}")
    add(each_page, "rivers.md", RIVERS)
    expect(each_page.get_by_text("2 passages")).to_be_visible()
    add(each_page, "dot.png", b"\x89PNG\0\0")
    expect(each_page.get_by_text("cannot be read")).to_be_visible()
    check_looks(each_page)
    each_page.get_by_role("link", name="rivers.md").click()
    expect(each_page.locator(".passage")).to_have_count(2)
    check_looks(each_page)
    each_page.get_by_role("link", name="Passage 1").click()
    expect(each_page.get_by_role("region", name="The cited passage")).to_be_visible()
    assert violations(each_page) == []
