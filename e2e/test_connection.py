"""Networks as they are: streams refused, cut or held back, no network, a server that is killed and comes back."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from e2e.conftest import OpenPage
from e2e.proxy import Proxy
from e2e.steps import (
    composer,
    eventually,
    held,
    open_app,
    own_messages,
    path_of,
    reply,
    requests,
    see_own_message,
    see_reply,
    see_the_end,
    see_the_same,
    send_message,
    set_hidden,
    shown,
    start_conversation,
    stop,
)
from e2e.watch import DEAD_SERVER, Watch
from tests.model_server import ModelServer
from tests.server import Server

STREAMS = "**/runs/*/stream?*"
QUIET_WORD = "Live updates are off"


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port).running() as proxy:
        yield proxy


def see_polling(page: Page) -> None:
    expect(reply(page).get_by_text(QUIET_WORD)).to_be_visible()


def see_streaming(page: Page) -> None:
    expect(page.get_by_text(QUIET_WORD)).to_have_count(0)
    expect(page.locator(".stream")).to_have_count(1)


def refuse(page: Page, how: str) -> None:
    def answer(route: Route) -> None:
        if how == "abort":
            route.abort("connectionrefused")
        else:
            route.fulfill(status=int(how), body="Bad gateway")

    page.route(STREAMS, answer)


def two_parts(model: ModelServer) -> None:
    model.script([{"text": "The first part"}, {"gate": "more"}, {"text": " and the **second**.", "per": 4}], times=1)


def test_a_stream_is_opened_though_the_script_for_it_comes_late(page: Page, model: ModelServer) -> None:
    """htmx has looked through the page by then."""
    two_parts(model)
    open_app(page)
    send_message(page, "slow scripts")
    see_reply(page, "The first part")
    held: list[Route] = []
    page.route("**/hx-sse*", lambda route: held.append(route))
    page.reload(wait_until="commit")
    page.wait_for_function("() => Boolean(window.htmx)")
    with page.expect_request(STREAMS):
        held[0].continue_()
    see_streaming(page)
    model.open_gate("more")
    see_reply(page, "The first part and the second.")
    see_the_end(page)


@pytest.mark.parametrize("how", ["abort", "502", "404"])
def test_a_refused_stream_is_polled(page: Page, model: ModelServer, watch: Watch, how: str) -> None:
    watch.expect(*DEAD_SERVER, "502", "404")
    two_parts(model)
    open_app(page)
    refuse(page, how)
    send_message(page, "no streams here")
    see_reply(page, "The first part")
    see_polling(page)
    model.open_gate("more")
    see_reply(page, "The first part and the second.")
    see_the_end(page)
    expect(page.get_by_text(QUIET_WORD)).to_have_count(0)
    live = shown(page)
    page.reload()
    assert shown(page) == live


def test_polling_can_stop_a_run(page: Page, model: ModelServer, watch: Watch) -> None:
    watch.expect("502")
    model.script([{"text": "until stopped"}, {"stall": True}])
    open_app(page)
    refuse(page, "502")
    send_message(page, "no streams here")
    see_reply(page, "until stopped")
    see_polling(page)
    stop(page)
    see_the_end(page)
    expect(reply(page).locator(".run__facts")).to_contain_text("Stopped")


def test_what_the_reader_has_opened_stays_open_while_polling(page: Page, model: ModelServer, watch: Watch) -> None:
    watch.expect("502")
    model.script([{"reasoning": "A thought."}, {"text": "One"}, {"gate": "more"}, {"text": ", two."}])
    open_app(page)
    refuse(page, "502")
    send_message(page, "no streams here")
    see_reply(page, "One")
    thought = reply(page).locator("details.step")
    thought.locator("summary").click()
    expect(thought).to_have_attribute("open", "")
    model.open_gate("more")
    see_reply(page, "One, two.")
    see_the_end(page)
    expect(thought).to_have_attribute("open", "")


def test_polling_returns_to_the_stream(page: Page, model: ModelServer, watch: Watch) -> None:
    """When it is time to try again, and at once when the browser says that there is a network again."""
    watch.expect("502")
    two_parts(model)
    open_app(page)
    refuse(page, "502")
    send_message(page, "no streams for now")
    see_reply(page, "The first part")
    see_polling(page)
    page.unroute(STREAMS)
    page.evaluate("dispatchEvent(new Event('online'))")
    see_streaming(page)
    snapshots = requests(page, "/snapshot")
    model.open_gate("more")
    see_reply(page, "The first part and the second.")
    see_the_end(page)
    assert snapshots == []


def test_polling_returns_to_the_stream_by_itself(page: Page, model: ModelServer, watch: Watch) -> None:
    watch.expect("502")
    page.clock.install()
    two_parts(model)
    open_app(page)
    refuse(page, "502")
    send_message(page, "no streams for now")
    see_polling(page)
    page.unroute(STREAMS)
    page.clock.fast_forward(20_000)
    see_streaming(page)
    model.open_gate("more")
    see_reply(page, "The first part and the second.")
    see_the_end(page)


def test_a_stream_that_is_held_back_is_polled(proxy: Proxy, open_page: OpenPage, model: ModelServer) -> None:
    page = open_page(proxy.url)
    two_parts(model)
    open_app(page)
    proxy.hold_streams()
    send_message(page, "behind a buffering proxy")
    see_reply(page, "The first part")
    see_polling(page)
    proxy.release_streams()
    page.evaluate("dispatchEvent(new Event('online'))")
    see_streaming(page)
    model.open_gate("more")
    see_reply(page, "The first part and the second.")
    see_the_end(page)


def test_a_stream_that_goes_silent_in_the_middle_is_noticed(
    proxy: Proxy, open_page: OpenPage, model: ModelServer
) -> None:
    """As behind a proxy that lets the start through and then buffers, or a connection that is dead but open."""
    page = open_page(proxy.url)
    page.clock.install()
    two_parts(model)
    open_app(page)
    send_message(page, "then silence")
    see_reply(page, "The first part")
    proxy.hold_streams()
    model.open_gate("more")
    page.clock.fast_forward(60_000)
    see_reply(page, "The first part and the second.")
    see_the_end(page)


def test_a_stream_that_is_cut_goes_on_without_gap_or_repeat(
    proxy: Proxy, open_page: OpenPage, model: ModelServer, server: Server, watch: Watch
) -> None:
    watch.expect(
        "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED", "network error", "ERR_EMPTY_RESPONSE", "Failed to fetch"
    )
    model.script(
        [
            *({"text": f"Part {n}.\n\n"} if m else {"gate": str(n)} for n in range(4) for m in (0, 1)),
            {"gate": "end"},
        ]
    )
    page = open_page(proxy.url)
    open_app(page)
    send_message(page, "cut me")
    for n in range(4):
        model.open_gate(str(n))
        see_reply(page, f"Part {n}.")
        proxy.cut_streams()
    model.open_gate("end")
    see_the_end(page)
    expect(reply(page).locator(".prose > p")).to_have_text([f"Part {n}." for n in range(4)])
    fresh = open_page(server.url)
    open_app(fresh, path_of(page))
    see_the_same(page, fresh)


def test_without_a_network_the_page_waits_and_goes_on(
    proxy: Proxy, open_page: OpenPage, model: ModelServer, watch: Watch
) -> None:
    watch.expect("ERR_INTERNET_DISCONNECTED", "Failed to fetch", "network error", "ERR_INCOMPLETE_CHUNKED")
    page = open_page(proxy.url)
    two_parts(model)
    open_app(page)
    send_message(page, "mind the gap")
    see_reply(page, "The first part")
    page.context.set_offline(True)
    proxy.cut_streams()
    model.open_gate("more")
    expect(reply(page).get_by_text("No connection to the server")).to_be_visible()
    expect(reply(page).locator(".prose")).not_to_contain_text("second")
    send_message(page, "kept while offline")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(composer(page)).to_have_value("kept while offline")
    page.context.set_offline(False)
    see_reply(page, "The first part and the second.")
    see_the_end(page)
    composer(page).press("Enter")
    see_own_message(page, "kept while offline")
    see_reply(page, "kept while offline")


def test_a_page_that_was_away_sees_what_was_said_meanwhile(page: Page) -> None:
    """A hidden page lets go of its connections; when it is shown again it catches up."""
    path = start_conversation(page, "from here")
    elsewhere = page.context.new_page()
    open_app(elsewhere, path)
    set_hidden(page, True)
    send_message(elsewhere, "from elsewhere")
    see_reply(elsewhere, "from elsewhere")
    see_the_end(elsewhere)
    expect(own_messages(page)).to_have_count(1)
    set_hidden(page, False)
    see_own_message(page, "from elsewhere")
    see_reply(page, "from elsewhere")
    see_the_same(page, elsewhere)


def test_a_hidden_page_lets_go_and_catches_up(page: Page, model: ModelServer) -> None:
    two_parts(model)
    open_app(page)
    streams = requests(page, "/stream")
    send_message(page, "look away")
    see_reply(page, "The first part")
    assert streams == ["began"]
    set_hidden(page, True)
    eventually(page, lambda: streams == ["began", "ended"])
    model.open_gate("more")
    eventually(page, lambda: bool(page.request.get(path_of(page)).text().count("second")))
    expect(reply(page).locator(".prose")).not_to_contain_text("second")
    set_hidden(page, False)
    see_reply(page, "The first part and the second.")
    see_the_end(page)
    assert streams == ["began", "ended", "began", "ended"]


def test_a_page_that_is_left_while_sending_loses_nothing(page: Page) -> None:
    open_app(page)
    with held(page, "**/messages"):
        send_message(page, "on its way")
        see_own_message(page, "on its way")
        open_app(page)
    expect(composer(page)).to_have_value("on its way")
