"""People who sign in: set up, invited, sharing while a reply is written, and out again."""

import re
from collections.abc import Iterator
from secrets import token_hex

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import SETTINGS, OpenPage
from e2e.looks import PHONE, WIDE, check_looks
from e2e.steps import (
    composer,
    messages,
    open_app,
    path_of,
    reply,
    see_draft,
    see_reply,
    see_the_end,
    see_the_same,
    see_version,
    send_message,
    stop_button,
    write,
)
from e2e.watch import Watch
from tests.controllers.accounts_kit import PASSWORD, code_of
from tests.model_server import ModelServer
from tests.server import Server

OTHER_PASSWORD = "staple of the battery"
ADA = "ada"


@pytest.fixture(scope="module")
def house(model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {**SETTINGS, "RIVERRUN_AUTH": "accounts", "RIVERRUN_HEARTBEAT": "0.5"}
    folder = tmp_path_factory.mktemp("house")
    with Server(folder, RIVERRUN_MODEL_URL=model_server.url, **settings).start() as running:
        yield running


@pytest.fixture
def ada(house: Server, open_page: OpenPage) -> Page:
    """Who administers, in a browser of hers."""
    page = open_page(house.url)
    page.goto("/sign-in")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_be_visible()
    if heading.inner_text() == "Set up riverrun":
        set_up(page, house)
    else:
        sign_in(page, ADA)
    return page


def set_up(page: Page, house: Server) -> None:
    page.get_by_label("Code").fill(code_of(house))
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(composer(page)).to_be_visible()


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def invite(admin: Page) -> str:
    admin.goto("/people")
    admin.get_by_role("button", name="Make a link").click()
    expect(admin.get_by_role("heading", name="An invitation")).to_be_visible()
    return admin.locator(".made__token code").inner_text()


def arrive(page: Page, link: str, name: str = "") -> str:
    """By an invitation; gives back the name."""
    name = name or f"bob-{token_hex(3)}"
    page.goto(link)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(composer(page)).to_be_visible()
    return name


def make_project(page: Page) -> str:
    """Gives back its path."""
    page.goto("/projects")
    page.get_by_label("Name").fill(f"Harbour {token_hex(3)}")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    return page.url.removeprefix(page.url.split("/p/")[0]).partition("?")[0]


def share(page: Page, project: str, name: str, *, may_write: bool = False) -> None:
    page.goto(f"{project}/people")
    page.get_by_label("Name").fill(name)
    page.get_by_label("They may work in it").set_checked(may_write)
    page.get_by_role("button", name="Share").click()
    told = "Reads and works in it" if may_write else "Reads it"
    expect(page.get_by_role("listitem").filter(has_text=name)).to_contain_text(told)


def begin(page: Page, project: str) -> None:
    """A new conversation."""
    open_app(page, project.replace("/p/", "/?project="))


def test_what_comes_first_can_be_done_without_scripts_and_on_a_phone(
    model: ModelServer, tmp_path_factory: pytest.TempPathFactory, open_page: OpenPage, watch: Watch
) -> None:
    watch.expect("400")
    folder = tmp_path_factory.mktemp("new")
    with Server(folder, RIVERRUN_MODEL_URL=model.url, RIVERRUN_AUTH="accounts", **SETTINGS).start() as server:
        page = open_page(server.url, java_script_enabled=False, viewport=PHONE)
        page.goto("/")
        expect(page.get_by_role("heading", name="Set up riverrun")).to_be_visible()
        page.get_by_label("Code").fill("guessed")
        page.get_by_label("Name").fill("Ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Make the account").click()
        code = page.get_by_label("Code")
        expect(code).to_be_focused()
        expect(code).to_have_accessible_description(re.compile("This is not the code in the server's log."))
        set_up(page, server)
        other = open_page(server.url, java_script_enabled=False)
        name = arrive(other, invite(page))
        project = make_project(page)
        share(page, project, name)
        other.goto(project)
        expect(other.get_by_text("This project is shared with you for reading.")).to_be_visible()
        page.goto("/people")
        page.get_by_role("button", name=f"Close the account: {name}").click()
        expect(page.locator("#main")).to_contain_text("Member · closed")
        other.goto(project)
        sign_in(other, name)
        expect(other.get_by_text("The name or the password is not right.")).to_be_visible()
        page.goto("/account")
        sign_out(page)
        page.goto("/account")
        sign_in(page, "ADA")
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()


def test_a_reader_sees_a_reply_as_it_is_written_and_is_offered_nothing_else(
    ada: Page, house: Server, open_page: OpenPage, model: ModelServer
) -> None:
    bob = open_page(house.url)
    name = arrive(bob, invite(ada))
    project = make_project(ada)
    share(ada, project, name)
    model.script([{"text": "The harbour is"}, {"gate": "harbour"}, {"text": " deep."}], match="How deep?")
    begin(ada, project)
    send_message(ada, "How deep?")
    see_reply(ada, "The harbour is")
    bob.goto(path_of(ada))
    see_reply(bob, "The harbour is")
    expect(stop_button(ada)).to_be_visible()
    expect(stop_button(bob)).to_be_hidden()
    model.open_gate("harbour")
    see_reply(bob, "The harbour is deep.")
    expect(bob.get_by_text("Replay")).to_be_visible()
    see_the_end(ada)
    see_the_same(ada, bob)
    expect(bob.get_by_text("This project is shared with you for reading.")).to_be_visible()
    expect(bob.locator(".page__project")).to_contain_text(ADA)
    for offered in ("Edit", "Try again", "Send", "Rename", "Delete", "New conversation"):
        expect(bob.get_by_role("button", name=offered, exact=True)).to_have_count(0)
        expect(bob.locator("summary:visible", has_text=offered)).to_have_count(0)
    bob.locator(".entry__menu summary").first.click()
    expect(bob.get_by_role("link", name="Markdown")).to_be_visible()
    expect(bob.get_by_label("Title")).to_be_hidden()
    expect(bob.locator("form[method=post]:visible:not(.me, .switcher__new)")).to_have_count(0)
    for part in ("", "/files", "/documents", "/memories", "/tools", "/people"):
        bob.goto(project + part)
        expect(bob.get_by_role("heading", level=1)).to_be_visible()
        expect(bob.locator("main form[method=post]:visible")).to_have_count(0)
        expect(ada.locator("main form[method=post]:visible")).not_to_have_count(0)


def test_a_reader_who_comes_back_sees_what_was_said_meanwhile(ada: Page, house: Server, open_page: OpenPage) -> None:
    bob = open_page(house.url)
    name = arrive(bob, invite(ada))
    project = make_project(ada)
    share(ada, project, name)
    begin(ada, project)
    send_message(ada, "Hello from Ada")
    see_the_end(ada)
    bob.goto(path_of(ada))
    see_reply(bob, "Hello from Ada")
    send_message(ada, "And this")
    see_reply(ada, "And this")
    see_the_end(ada)
    bob.evaluate("dispatchEvent(new Event('focus'))")
    see_reply(bob, "And this")
    see_the_same(ada, bob)


def test_who_may_work_in_it_answers_in_the_same_conversation(ada: Page, house: Server, open_page: OpenPage) -> None:
    bob = open_page(house.url)
    name = arrive(bob, invite(ada))
    project = make_project(ada)
    share(ada, project, name, may_write=True)
    begin(ada, project)
    send_message(ada, "Hello from Ada")
    see_the_end(ada)
    bob.goto("/")
    bob.get_by_text("Projects", exact=True).click()
    bob.get_by_role("link", name=re.compile(f"Harbour .* {ADA}")).click()
    bob.get_by_role("link", name="Hello from Ada").click()
    send_message(bob, "Hello from Bob")
    see_reply(bob, "Hello from Bob")
    see_the_end(bob)
    reply(bob).get_by_role("button", name="Try again").click()
    see_version(reply(bob), "2 of 2")
    see_the_end(bob)
    ada.reload()
    see_reply(ada, "Hello from Bob")
    see_version(reply(ada), "2 of 2")


def test_after_signing_out_back_shows_nothing(ada: Page) -> None:
    open_app(ada)
    send_message(ada, "Only for me")
    see_the_end(ada)
    sign_out(ada)
    ada.go_back()
    expect(ada.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(ada.locator("body")).not_to_contain_text("Only for me")


def signed_out_elsewhere(page: Page) -> None:
    """As when the browser was not used for long: its cookie is not good any more."""
    page.context.clear_cookies()


def test_a_message_that_is_sent_when_one_is_signed_out_is_not_lost(ada: Page, watch: Watch) -> None:
    watch.expect("401")
    open_app(ada)
    send_message(ada, "Hello")
    see_the_end(ada)
    conversation = path_of(ada)
    signed_out_elsewhere(ada)
    send_message(ada, "A long message")
    expect(ada.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(ada, ADA)
    expect(composer(ada)).to_be_visible()
    assert path_of(ada) == conversation
    see_draft(ada, "A long message")


def test_without_scripts_it_can_be_copied(house: Server, ada: Page, open_page: OpenPage, watch: Watch) -> None:
    watch.expect("401")
    page = open_page(house.url, java_script_enabled=False)
    page.goto("/")
    sign_in(page, ADA)
    expect(composer(page)).to_be_visible()
    signed_out_elsewhere(page)
    write(page, "A long message")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    expect(page.get_by_label("What you wrote")).to_have_value("A long message")
    page.get_by_role("link", name="Sign in").click()
    sign_in(page, ADA)
    expect(composer(page)).to_be_visible()


@pytest.mark.parametrize("streams", [True, False], ids=["streaming", "polling"])
def test_whoever_is_signed_out_while_a_reply_comes_sees_no_more_of_it(
    ada: Page, house: Server, open_page: OpenPage, model: ModelServer, watch: Watch, streams: bool
) -> None:
    watch.expect("401", "ERR_FAILED", "Failed to fetch", "network error")
    gate = f"signed-out-{streams}"
    model.script([{"text": "So far."}, {"gate": gate}, {"text": " The secret end."}], match=gate)
    page = open_page(house.url)
    page.goto("/")
    sign_in(page, ADA)
    if not streams:
        page.route("**/stream*", lambda route: route.abort())
    send_message(page, gate)
    see_reply(page, "So far.")
    if not streams:
        expect(page.get_by_text("Live updates are off")).to_be_visible()
    ada.goto("/account")
    ada.get_by_role("button", name="Sign out everywhere else").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    model.open_gate(gate)
    sign_in(page, ADA)
    see_reply(page, "The secret end.")


def test_a_password_is_changed_and_other_browsers_are_listed(
    ada: Page, house: Server, open_page: OpenPage, watch: Watch
) -> None:
    watch.expect("400")
    bob = open_page(house.url)
    name = arrive(bob, invite(ada))
    phone = open_page(house.url, user_agent="Mozilla/5.0 (Android 15; Mobile) Gecko/140.0 Firefox/140.0")
    phone.goto("/")
    sign_in(phone, name)
    expect(composer(phone)).to_be_visible()
    bob.get_by_role("link", name=name).click()
    expect(bob.get_by_role("listitem").filter(has_text="this one")).to_contain_text("Chrome on")
    bob.get_by_role("button", name="Sign out there: Firefox on Android").click()
    expect(bob.get_by_role("listitem").filter(has_text="Firefox")).to_have_count(0)
    phone.goto("/account")
    expect(phone.get_by_role("heading", name="Sign in")).to_be_visible()
    old, new = bob.get_by_label("Old password"), bob.get_by_label("New password")
    old.fill("mistaken for it")
    new.fill(OTHER_PASSWORD)
    bob.get_by_role("button", name="Change it").click()
    expect(old).to_be_focused()
    expect(old).to_have_accessible_description("That is not your password.")
    old.fill(PASSWORD)
    new.fill(OTHER_PASSWORD)
    bob.get_by_role("button", name="Change it").click()
    expect(bob.get_by_role("status").filter(has_text="The password is changed.")).to_be_visible()


def test_a_link_for_a_new_password(ada: Page, house: Server, open_page: OpenPage) -> None:
    bob = open_page(house.url)
    name = arrive(bob, invite(ada))
    ada.goto("/people")
    ada.get_by_role("button", name=f"New password: {name}").click()
    bob.goto(ada.locator(".made__token code").inner_text())
    expect(bob.locator("#main")).to_contain_text(f"For {name}.")
    bob.get_by_label("New password").fill(OTHER_PASSWORD)
    bob.get_by_role("button", name="Set the password").click()
    expect(composer(bob)).to_be_visible()
    ada.goto("/people/audit")
    expect(ada.get_by_role("list", name="Entries").get_by_role("listitem").first).to_contain_text(
        f"{name} used a link for a new password"
    )


def test_signing_in_by_keyboard(house: Server, ada: Page, open_page: OpenPage) -> None:
    page = open_page(house.url)
    page.goto("/sign-in")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(ADA)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(composer(page)).to_be_focused()


@pytest.mark.parametrize(("viewport", "colours"), [(WIDE, "light"), (PHONE, "dark")], ids=["wide", "phone"])
def test_axe_finds_nothing_and_nothing_is_too_wide(
    house: Server, ada: Page, open_page: OpenPage, watch: Watch, viewport: dict[str, int], colours: str
) -> None:
    watch.expect("40[0149]")
    options = {"viewport": viewport, "color_scheme": colours, "bypass_csp": True}
    page, bob = open_page(house.url, **options), open_page(house.url, **options)
    page.goto("/people")
    check_looks(page)
    sign_in(page, ADA, "not the password")
    expect(page.get_by_text("The name or the password is not right.")).to_be_visible()
    check_looks(page)
    sign_in(page, ADA)
    link = invite(page)
    check_looks(page)
    bob.goto(link)
    check_looks(bob)
    name = arrive(bob, link, f"{token_hex(4)}{'unbreakable' * 4}@example.org"[-60:])
    check_looks(bob)
    bob.goto(link)
    check_looks(bob)
    bob.goto("/account")
    check_looks(bob)
    page.goto("/people")
    page.get_by_role("button", name=f"New password: {name}").click()
    check_looks(page)
    project = make_project(page)
    share(page, project, name)
    check_looks(page)
    page.get_by_label("Name").fill("nobody at all")
    page.get_by_role("button", name="Share").click()
    expect(page.locator("#wrong-name")).to_be_visible()
    check_looks(page)
    begin(page, project)
    send_message(page, "Hello")
    see_the_end(page)
    bob.goto(path_of(page))
    expect(messages(bob)).to_contain_text("Hello")
    check_looks(bob)
    bob.goto("/projects")
    check_looks(bob)
    bob.goto(project)
    check_looks(bob)
    page.goto("/people/audit")
    check_looks(page)
    bob.goto("/projects")
    signed_out_elsewhere(bob)
    bob.get_by_role("textbox", name="Name").fill("Mine")
    bob.get_by_role("button", name="Create").click()
    expect(bob.get_by_role("heading", name="You are signed out")).to_be_visible()
    check_looks(bob)
    page.goto("/people")
    page.get_by_role("button", name=f"Close the account: {name}").click()
    expect(page.get_by_role("button", name=f"Open again: {name}")).to_be_visible()
    check_looks(page)
