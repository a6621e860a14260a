"""What people do and see, in their words. Every step waits until it is so."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from playwright.sync_api import Error, Locator, Page, Request, Route, expect

# As a fresh page has it: what differs for a good reason (the cursor of the live connection, a running clock, which
# steps the reader has opened) and what htmx and white space between elements leave behind do not count.
SHOWN = """
root => {
  const tell = node => {
    if (node.nodeType === Node.TEXT_NODE) return node.parentElement.closest('pre') ? node.data : node.data.trim();
    if (node.nodeType !== Node.ELEMENT_NODE || node.matches('.meter')) return '';
    const attributes = [...node.attributes]
      .filter(({name}) => !['open', 'style', 'data-htmx-powered', 'hx-sse:connect'].includes(name))
      .map(({name, value}) => ` ${name}="${value}"`).sort().join('');
    return `<${node.localName}${attributes}>\\n${[...node.childNodes].map(tell).filter(Boolean).join('\\n')}`;
  };
  return [...root.children].map(tell).join('\\n');
}
"""


# Arriving


def open_app(page: Page, path: str = "/") -> None:
    page.goto(path)
    expect(composer(page)).to_be_visible()


def open_beside(page: Page) -> Page:
    """The same conversation in another window of the same person."""
    other = page.context.new_page()
    open_app(other, path_of(page))
    return other


def reload(page: Page) -> None:
    page.reload()
    expect(composer(page)).to_be_visible()


def set_hidden(page: Page, hidden: bool) -> None:
    """As when its tab goes to the back and comes to the front: a headless browser shows every page."""
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


def start_conversation(page: Page, message: str = "Hello", reply: str = "") -> str:
    """Opens the app, says something and waits for the reply; gives back the conversation's path."""
    open_app(page)
    send_message(page, message)
    see_reply(page, reply or message)
    see_the_end(page)
    return path_of(page)


def path_of(page: Page) -> str:
    expect(page).to_have_url(re.compile(r"/c/[0-9a-f-]{36}"))
    found = re.search(r"/c/[0-9a-f-]{36}", page.url)
    assert found
    return found[0]


# Writing


def composer(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message", exact=True)


def write(page: Page, text: str) -> None:
    composer(page).fill(text)


def send_message(page: Page, text: str) -> None:
    write(page, text)
    composer(page).press("Enter")


def see_draft(page: Page, text: str) -> None:
    expect(composer(page)).to_have_value(text)


def see_problem(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("alert")).to_contain_text(text)


def streaming(page: Page) -> Locator:
    return page.get_by_role("checkbox", name="Stream replies")


# Reading


def messages(page: Page) -> Locator:
    return page.locator("#messages")


def own_messages(page: Page) -> Locator:
    return page.locator(".message--user .message__text")


def replies(page: Page) -> Locator:
    return page.locator(".message--assistant")


def reply(page: Page) -> Locator:
    return replies(page).last


def see_own_message(page: Page, text: str | re.Pattern[str]) -> None:
    expect(own_messages(page).last).to_have_text(text)


def see_reply(page: Page, text: str | re.Pattern[str]) -> None:
    expect(reply(page).locator(".prose").last).to_contain_text(text)


def badge(page: Page) -> Locator:
    return reply(page).locator(".badge")


def see_thinking(page: Page) -> None:
    expect(badge(page)).to_contain_text("is thinking")


def see_the_end(page: Page) -> None:
    """The reply is done: it tells what it took, and can neither be stopped nor followed any longer."""
    expect(reply(page).locator(".run__facts")).to_be_visible()
    expect(stop_button(page)).to_have_count(0)
    expect(page.locator(".stream")).to_have_count(0)


def stop_button(page: Page) -> Locator:
    return reply(page).get_by_role("button", name="Stop")


def stop(page: Page) -> None:
    stop_button(page).click()


def try_again(page: Page) -> None:
    reply(page).get_by_role("button", name="Try again").click()


def shown(page: Page) -> str:
    """The conversation as this page has it, comparable to another page's."""
    text: str = messages(page).evaluate(SHOWN)
    return text


def see_the_same(page: Page, other: Page) -> None:
    """Both end up alike, whichever of them comes later."""
    for later, earlier in ((page, other), (other, page)):
        with suppress(Error):  # what differs is told below
            alike = f"same => ({SHOWN})(document.getElementById('messages')) === same"
            later.wait_for_function(alike, arg=shown(earlier), polling=100)
            break
    assert shown(page).splitlines() == shown(other).splitlines()


# Saying something while a reply is being written


def add_to_reply(page: Page, text: str) -> None:
    write(page, text)
    page.get_by_role("button", name="Add to reply").click()


def send_next(page: Page, text: str) -> None:
    write(page, text)
    page.get_by_role("button", name="Send next").click()


def waiting(page: Page) -> Locator:
    return page.get_by_role("list", name="Messages that wait").get_by_role("listitem")


def see_waiting(page: Page, *messages: str) -> None:
    """As they stand above the composer, each with what it waits for: "Pending: ..." or "Next: ..."."""
    expect(waiting(page)).to_have_count(len(messages))
    for entry, message in zip(waiting(page).all(), messages, strict=True):
        expect(entry).to_contain_text(re.compile(re.escape(message).replace(":", r"\s*")))


def remove(page: Page, text: str) -> None:
    waiting(page).filter(has_text=text).get_by_role("button", name="Remove").click()


def see_acts(page: Page, *names: str) -> None:
    """What the composer offers."""
    acts = page.locator("#composer-acts").get_by_role("button")  # none that is hidden
    expect(acts).to_have_text(list(names))


# Saying and asking again


def edit_message(page: Page, text: str, new_text: str) -> None:
    message = own_message(page, text)
    message.get_by_text("Edit", exact=True).click()
    field = message.get_by_role("textbox", name="Your message")
    expect(field).to_have_value(text)
    field.fill(new_text)
    message.get_by_role("button", name="Send again").click()


def own_message(page: Page, text: str) -> Locator:
    return page.locator(".message--user").filter(has=page.locator(".message__text", has_text=text))


def see_version(message: Locator, text: str) -> None:
    """Of a message or a reply: "2 of 3"."""
    expect(message.get_by_role("group", name="Versions")).to_contain_text(text)


def version_before(message: Locator) -> Locator:
    return message.get_by_role("button", name="Version before")


def version_after(message: Locator) -> Locator:
    return message.get_by_role("button", name="Version after")


# Moving


def place(page: Page) -> float:
    """How far the page is scrolled."""
    return float(page.evaluate("document.scrollingElement.scrollTop"))


def is_at_the_end(page: Page) -> bool:
    return bool(page.evaluate("(e => e.scrollHeight - e.scrollTop - e.clientHeight < 2)(document.scrollingElement)"))


def scroll_up(page: Page, pixels: int = 400) -> float:
    """Gives back where the page has come to rest."""
    before = place(page)
    page.mouse.move(600, 300)
    page.mouse.wheel(0, -pixels)
    eventually(page, lambda: place(page) < before)
    return place_of_rest(page)


def place_of_rest(page: Page) -> float:
    """Once a smooth scroll is over."""
    places = [place(page)]

    def is_at_rest() -> bool:
        places.append(place(page))
        return len(places) > 8 and len(set(places[-8:])) == 1

    eventually(page, is_at_rest)
    return places[-1]


def way_down(page: Page) -> Locator:
    return page.get_by_role("button", name="Jump to latest")


def eventually(page: Page, is_so: Callable[[], bool], seconds: float = 5) -> None:
    """For what no locator can see. Polls, since a strict policy forbids waiting inside the page."""
    for _ in range(int(seconds * 40)):
        if is_so():
            return
        page.wait_for_timeout(25)
    raise AssertionError("it did not come to be so")


# The list of conversations


def entries(page: Page) -> Locator:
    return page.locator("#conversations .entry")


def titles(page: Page) -> Locator:
    return page.locator("#conversations .entry__title")


def open_menu(page: Page, title: str) -> Locator:
    entry = entries(page).filter(has_text=title).first
    entry.locator("summary").click()
    return entry


def rename(page: Page, title: str, new_title: str) -> None:
    entry = open_menu(page, title)
    entry.get_by_label("Title").fill(new_title)
    entry.get_by_role("button", name="Rename").click()


def delete(page: Page, title: str) -> None:
    open_menu(page, title).get_by_role("button", name="Delete").click()


def undo(page: Page) -> None:
    page.get_by_role("button", name="Undo").click()


# The network between


def requests(page: Page, part: str) -> list[str]:
    """Fills with `began` and `ended`, as requests from now on do whose address has this part."""
    told: list[str] = []

    def tell(what: str) -> Callable[[Request], None]:
        return lambda request: told.append(what) if part in request.url else None

    page.on("request", tell("began"))
    page.on("requestfinished", tell("ended"))
    page.on("requestfailed", tell("ended"))
    return told


@contextmanager
def held(page: Page, path: str) -> Iterator[list[Route]]:
    """Requests to `path` (a glob) wait until the block is left."""
    waiting: list[Route] = []
    page.route(path, lambda route: waiting.append(route))
    try:
        yield waiting
    finally:
        for route in waiting:
            with suppress(Error):  # the page may be gone by now
                route.continue_()
        page.unroute(path)
