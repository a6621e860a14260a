"""Without JavaScript everything works all the same: the page is made on the server, and grows while a reply comes."""

import re

from playwright.sync_api import Page, expect

from e2e.conftest import LIMIT, OpenPage
from e2e.steps import (
    composer,
    delete,
    eventually,
    own_message,
    own_messages,
    path_of,
    place,
    rename,
    replies,
    reply,
    see_acts,
    see_draft,
    see_own_message,
    see_problem,
    see_version,
    see_waiting,
    streaming,
    titles,
    undo,
    version_after,
    version_before,
    waiting,
    write,
)
from e2e.watch import DEAD_SERVER, Watch
from tests.model_server import ModelServer
from tests.server import Server


def arrive(page: Page, path: str = "/") -> None:
    page.goto(path, wait_until="commit")
    expect(composer(page)).to_be_visible()


def send(page: Page, text: str) -> None:
    """Without waiting for the page to end, which grows as long as the reply does."""
    write(page, text)
    page.get_by_role("button", name="Send").click(no_wait_after=True)


def see_reply(page: Page, text: str) -> None:
    expect(reply(page)).to_contain_text(text)


def see_the_end(page: Page) -> None:
    expect(reply(page).locator(".run__facts")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_a_message_is_sent_and_the_reply_can_be_read(plain_page: Page) -> None:
    arrive(plain_page)
    send(plain_page, "No scripts here")
    see_own_message(plain_page, "No scripts here")
    see_reply(plain_page, "No scripts here")
    expect(reply(plain_page).locator("strong")).to_have_text("two")
    expect(reply(plain_page).locator("pre code .b")).to_have_text("print")
    see_the_end(plain_page)
    expect(plain_page).to_have_title("No scripts here · riverrun")
    see_draft(plain_page, "")


def test_a_reply_grows_while_it_is_written(plain_page: Page, model: ModelServer) -> None:
    model.script(
        [
            {"text": "The **first** paragraph.\n\nThe"},
            {"gate": "word"},
            {"text": " second"},
            {"gate": "second"},
            {"text": " is whole.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"},
            {"gate": "end"},
            {"text": "The end."},
        ]
    )
    arrive(plain_page)
    send(plain_page, "grow")
    expect(reply(plain_page).locator("strong")).to_have_text("first")
    expect(reply(plain_page)).not_to_contain_text("second")
    model.open_gate("word")
    see_reply(plain_page, "The second")
    expect(reply(plain_page)).not_to_contain_text("is whole")
    expect(plain_page.get_by_role("button", name="Stop")).to_be_visible()
    expect(composer(plain_page)).to_be_visible()
    model.open_gate("second")
    see_reply(plain_page, "The second is whole.")
    expect(reply(plain_page).get_by_role("cell")).to_have_text(["1", "2"])
    model.open_gate("end")
    see_reply(plain_page, "The end.")
    see_the_end(plain_page)


def test_what_has_grown_reads_as_what_is_loaded_later(plain_page: Page, model: ModelServer) -> None:
    model.script(
        [
            {"reasoning": "A thought."},
            {"text": "# Title\n\nSome *text*.\n\n1. one\n2. two\n\n```python\nx = 1\n```\n\nThe end", "per": 3},
            {"gate": "end"},
        ]
    )
    arrive(plain_page)
    send(plain_page, "the same")
    see_reply(plain_page, "The end")
    model.open_gate("end")
    see_the_end(plain_page)
    grown = seen(plain_page)
    plain_page.goto(path_of(plain_page))
    assert seen(plain_page) == grown


def seen(page: Page) -> list[str]:
    """The lines of what a person sees of the conversation."""
    return [line for line in map(str.strip, page.locator("#messages").inner_text().splitlines()) if line]


def test_stop_keeps_what_had_come(plain_page: Page, model: ModelServer) -> None:
    model.script([{"text": "Kept.\n\nAnd"}, {"stall": True}])
    arrive(plain_page)
    send(plain_page, "stop me")
    see_reply(plain_page, "And")
    plain_page.get_by_role("button", name="Stop").click(no_wait_after=True)
    see_the_end(plain_page)
    see_reply(plain_page, "Kept.")
    expect(reply(plain_page).locator(".run__facts")).to_contain_text("Stopped")


def test_leaving_and_coming_back_in_the_middle(plain_page: Page, model: ModelServer) -> None:
    model.script([{"text": "Half.\n\n"}, {"gate": "more"}, {"text": "Whole."}])
    arrive(plain_page)
    send(plain_page, "come back")
    see_reply(plain_page, "Half.")
    path = path_of(plain_page)
    arrive(plain_page)
    arrive(plain_page, path)
    see_reply(plain_page, "Half.")
    model.open_gate("more")
    see_reply(plain_page, "Whole.")
    see_the_end(plain_page)


def test_an_error_is_told_and_can_be_tried_again(plain_page: Page, model: ModelServer) -> None:
    model.script([{"text": "half a "}, {"cut": "reset"}], times=1)
    model.script([{"text": "who"}, {"gate": "more"}, {"text": "le"}])
    arrive(plain_page)
    send(plain_page, "break")
    expect(reply(plain_page).locator(".notice")).to_contain_text("broke in the middle")
    reply(plain_page).get_by_role("button", name="Try again").click(no_wait_after=True)
    see_reply(plain_page, "who")
    model.open_gate("more")
    see_reply(plain_page, "whole")
    see_the_end(plain_page)
    see_version(reply(plain_page), "2 of 2")
    version_before(reply(plain_page)).click()
    see_version(reply(plain_page), "1 of 2")
    see_reply(plain_page, "half a")


def test_streaming_off_waits_for_the_whole_reply(plain_page: Page, model: ModelServer) -> None:
    model.script([{"text": "all "}, {"gate": "more"}, {"text": "at once"}])
    arrive(plain_page)
    streaming(plain_page).uncheck()
    send(plain_page, "wait for it")
    model.wait_gate("more")
    model.open_gate("more")
    see_reply(plain_page, "all at once")
    see_the_end(plain_page)
    assert "live" not in plain_page.url


def test_thoughts_can_be_opened(plain_page: Page, model: ModelServer) -> None:
    model.script([{"reasoning": "Let me think."}, {"text": "Done."}])
    arrive(plain_page)
    send(plain_page, "think")
    see_the_end(plain_page)
    thought = reply(plain_page).locator(".step")
    thought.locator("summary").click()
    expect(thought.locator(".step__content")).to_have_text("Let me think.")


def test_rename_delete_and_undo(plain_page: Page) -> None:
    arrive(plain_page)
    send(plain_page, "without a script")
    see_the_end(plain_page)
    rename(plain_page, "without a script", "a plain name")
    expect(titles(plain_page).first).to_have_text("a plain name")
    expect(plain_page.get_by_role("heading", level=1)).to_have_text("a plain name")
    delete(plain_page, "a plain name")
    expect(plain_page.get_by_text("Deleted “a plain name”")).to_be_visible()
    expect(titles(plain_page).filter(has_text="a plain name")).to_have_count(0)
    undo(plain_page)
    expect(titles(plain_page).first).to_have_text("a plain name")
    see_own_message(plain_page, "without a script")


def test_a_message_that_is_too_long_is_kept(plain_page: Page, watch: Watch) -> None:
    watch.expect("413")
    text = "long " * (int(LIMIT) // 4)
    arrive(plain_page)
    send(plain_page, text)
    see_problem(plain_page, re.compile(r"characters long"))
    see_draft(plain_page, text)


def test_a_message_that_is_too_long_stays_in_its_conversation(plain_page: Page, watch: Watch) -> None:
    watch.expect("413")
    arrive(plain_page)
    send(plain_page, "short")
    see_the_end(plain_page)
    path = path_of(plain_page)
    send(plain_page, "long " * (int(LIMIT) // 4))
    see_problem(plain_page, re.compile(r"characters long"))
    see_own_message(plain_page, "short")
    send(plain_page, "short again")
    see_reply(plain_page, "short again")
    assert path_of(plain_page) == path


def press(page: Page, name: str) -> None:
    """Without waiting for the page to end."""
    page.get_by_role("button", name=name, exact=True).click(no_wait_after=True)


def test_what_is_said_during_a_reply_waits_and_is_heard(plain_page: Page, model: ModelServer) -> None:
    model.script([{"text": "So far"}, {"gate": "more"}, {"text": " and on."}], match="first", times=1)
    model.script([{"text": "In French"}, {"gate": "french"}, {"text": ", voilà."}], match="in French", times=1)
    arrive(plain_page)
    send(plain_page, "first")
    see_reply(plain_page, "So far")
    write(plain_page, "in French")
    press(plain_page, "Add to reply")
    see_waiting(plain_page, "Pending: in French")
    see_reply(plain_page, "So far")
    write(plain_page, "not this")
    press(plain_page, "Send next")
    see_waiting(plain_page, "Pending: in French", "Next: not this")
    waiting(plain_page).last.get_by_role("button").click(no_wait_after=True)
    see_waiting(plain_page, "Pending: in French")
    write(plain_page, "and next?")
    press(plain_page, "Send next")
    see_waiting(plain_page, "Pending: in French", "Next: and next?")
    model.open_gate("more")
    see_reply(plain_page, "You added")
    see_reply(plain_page, "In French")
    assert seen(plain_page).count("So far and on.") == 1
    model.open_gate("french")
    expect(own_messages(plain_page)).to_have_text(["first", "in French", "and next?"])
    expect(replies(plain_page).first).to_contain_text("In French, voilà.")
    see_reply(plain_page, "and next?")
    see_the_end(plain_page)
    see_waiting(plain_page)
    grown = seen(plain_page)
    arrive(plain_page, path_of(plain_page))
    assert seen(plain_page) == grown


def test_the_composer_sends_again_when_the_reply_has_ended(plain_page: Page, model: ModelServer) -> None:
    model.script([{"text": "Half"}, {"gate": "more"}, {"text": " and whole."}], times=1)
    arrive(plain_page)
    send(plain_page, "first")
    see_reply(plain_page, "Half")
    see_acts(plain_page, "Send next", "Add to reply")
    model.open_gate("more")
    see_the_end(plain_page)
    see_acts(plain_page, "Send")
    send(plain_page, "second")
    see_reply(plain_page, "second")
    expect(own_messages(plain_page)).to_have_text(["first", "second"])


def test_editing_and_asking_another_team(plain_page: Page, model: ModelServer) -> None:
    arrive(plain_page)
    send(plain_page, "one")
    see_the_end(plain_page)
    message = own_message(plain_page, "one")
    message.get_by_text("Edit", exact=True).click()
    message.get_by_role("textbox").fill("two")
    press(plain_page, "Send again")
    see_reply(plain_page, "two")
    see_the_end(plain_page)
    see_version(own_message(plain_page, "two"), "2 of 2")
    version_before(own_message(plain_page, "two")).click()
    expect(own_messages(plain_page)).to_have_text(["one"])
    version_after(own_message(plain_page, "one")).click()
    expect(own_messages(plain_page)).to_have_text(["two"])
    reply(plain_page).get_by_role("link", name="with …").click()
    plain_page.get_by_label("Team").select_option(label="Coordinator")
    plain_page.get_by_label("Model").fill("another-model")
    press(plain_page, "Try again")
    see_version(reply(plain_page), "2 of 2")
    see_the_end(plain_page)
    expect(reply(plain_page).locator(".run__model")).to_have_text("another-model")


def test_a_server_that_is_killed_goes_on_where_it_was(
    open_page: OpenPage, own_server: Server, model: ModelServer, watch: Watch
) -> None:
    watch.expect(*DEAD_SERVER)
    model.script([{"text": "Void and gone"}, {"stall": True}], times=1)
    page = open_page(own_server.url, java_script_enabled=False)
    arrive(page)
    send(page, "crash")
    see_reply(page, "Void and gone")
    path = path_of(page)
    own_server.kill()
    model.script([{"text": "Written"}, {"gate": "more"}, {"text": " anew."}])
    own_server.start()
    arrive(page, path)
    see_reply(page, "Written")
    expect(reply(page)).not_to_contain_text("Void")
    model.open_gate("more")
    see_reply(page, "Written anew.")
    see_the_end(page)


def test_the_page_opens_where_the_new_message_is(plain_page: Page, model: ModelServer) -> None:
    model.script([{"text": "\n\n".join(f"Paragraph {n}." for n in range(60))}])
    arrive(plain_page)
    send(plain_page, "long")
    see_the_end(plain_page)
    send(plain_page, "and now?")
    see_the_end(plain_page)
    expect(replies(plain_page)).to_have_count(2)
    expect(own_messages(plain_page).last).to_be_in_viewport()
    eventually(plain_page, lambda: place(plain_page) > 500)


def test_nothing_is_offered_that_needs_a_script(plain_page: Page) -> None:
    arrive(plain_page)
    send(plain_page, "copy?")
    see_the_end(plain_page)
    expect(plain_page.get_by_role("button", name="Copy")).to_have_count(0)
    expect(plain_page.get_by_role("button", name="Jump to latest")).to_have_count(0)
