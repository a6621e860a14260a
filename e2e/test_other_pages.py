"""Scripts of a page of another origin, in a real browser: let in where the settings list it, and nowhere else."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Error, Page, expect

from e2e.conftest import SETTINGS, OpenPage
from e2e.steps import eventually, open_app
from e2e.test_tokens import make_token, open_tokens
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.server import Server

Json = dict[str, Any]

START = """
async ([home, content]) => {
  const headers = {'Content-Type': 'application/json', 'X-Stainless-Lang': 'js'};
  const post = async (path, body) =>
    (await fetch(home + path, {method: 'POST', headers, body: JSON.stringify(body)})).json();
  const {id} = await post('/api/conversations', {});
  return (await post(`/api/conversations/${id}/runs`, {content})).run_id;
}
"""
LISTEN = """
([home, run]) => {
  window.heard = [];
  window.source = new EventSource(`${home}/api/runs/${run}/events`);
  for (const type of ['start', 'agent_start', 'agent_chunk', 'agent_complete', 'interaction', 'progress', 'complete'])
    source.addEventListener(type, ({data, lastEventId}) => {
      heard.push({...JSON.parse(data), lastEventId});
      if (type === 'complete') source.close();
    });
}
"""
READ = """
async ([home, run, after, token]) => {
  const headers = {'Last-Event-ID': String(after), ...token && {Authorization: `Bearer ${token}`}};
  const answer = await fetch(`${home}/api/runs/${run}/events`, {headers});
  if (!answer.ok) return {...await answer.json(), challenge: answer.headers.get('WWW-Authenticate')};
  const text = await answer.text();
  return text.split('\\n').filter(line => line.startsWith('data: ')).map(line => JSON.parse(line.slice(6)));
}
"""


class Elsewhere(BaseHTTPRequestHandler):
    """Any page that is not riverrun's."""

    def do_GET(self) -> None:
        body = b'<!doctype html><link rel="icon" href="data:,"><title>Elsewhere</title>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def guest() -> Iterator[str]:
    with elsewhere() as url:
        yield url


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    with elsewhere() as url:
        yield url


@pytest.fixture(scope="module")
def sharing(model_server: ModelServer, guest: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sharing")
    settings = {**SETTINGS, "RIVERRUN_CORS_ORIGINS": guest}
    with Server(folder, RIVERRUN_MODEL_URL=model_server.url, **settings).start() as running:
        yield running


@pytest.fixture
def visit(open_page: OpenPage, watch: Watch) -> Callable[[str], Page]:
    watch.expect("request to somebody else")  # which is riverrun

    def visit(url: str) -> Page:
        page = open_page(url)
        page.goto("/")
        return page

    return visit


def heard(page: Page) -> list[Json]:
    events: list[Json] = page.evaluate("heard")
    return events


def text_of(events: list[Json]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "agent_chunk")


def test_a_listed_page_starts_a_run_and_follows_it(
    visit: Callable[[str], Page], guest: str, sharing: Server, model: ModelServer
) -> None:
    model.script([{"text": "first "}, {"gate": "rest"}, {"text": "and last"}])
    page = visit(guest)
    run = page.evaluate(START, [sharing.url, "From elsewhere"])
    page.evaluate(LISTEN, [sharing.url, run])
    eventually(page, lambda: text_of(heard(page)) == "first ")
    model.open_gate("rest")
    eventually(page, lambda: bool(heard(page)) and heard(page)[-1]["type"] == "complete")
    events = heard(page)
    assert text_of(events) == "first and last"
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["lastEventId"] for event in events] == [str(event["seq"]) for event in events]
    cursor = events[2]["seq"]
    read = page.evaluate(READ, [sharing.url, run, cursor, ""])
    assert [event["seq"] for event in read] == [event["seq"] for event in events[cursor:]]


def test_a_listed_page_hears_of_a_token_that_does_not_reach(
    visit: Callable[[str], Page], open_page: OpenPage, guest: str, sharing: Server, watch: Watch
) -> None:
    watch.expect("401")
    own = open_page(sharing.url)
    open_tokens(own)
    token = make_token(own, "Elsewhere")
    page = visit(guest)
    run = page.evaluate(START, [sharing.url, "With a token"])
    assert page.evaluate(READ, [sharing.url, run, 0, token])[-1]["type"] == "complete"
    refused = page.evaluate(READ, [sharing.url, run, 0, "rr_nobody"])
    assert (refused["code"], refused["challenge"]) == ("unauthorized", 'Bearer error="invalid_token"')


@pytest.mark.parametrize("path", ["/", "/tokens"])
def test_a_listed_page_reads_no_page_of_riverrun(
    visit: Callable[[str], Page], guest: str, sharing: Server, watch: Watch, path: str
) -> None:
    watch.expect("blocked by CORS policy", "ERR_FAILED")
    page = visit(guest)
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate("url => fetch(url)", sharing.url + path)


def test_a_listed_page_makes_no_token(
    visit: Callable[[str], Page], open_page: OpenPage, guest: str, sharing: Server, watch: Watch
) -> None:
    """A form asks nobody before it is sent."""
    watch.expect("403")
    page = visit(guest)
    page.set_content(
        f'<form method="post" action="{sharing.url}/tokens"><input name="name" value="Stolen">'
        '<input name="scope" value="admin"><button>Win a prize</button></form>'
    )
    page.get_by_role("button").click()
    expect(page.get_by_text("This came from another site")).to_be_visible()
    own = open_page(sharing.url)
    open_app(own)
    own.goto("/tokens")
    expect(own.get_by_text("Stolen")).to_have_count(0)


def test_a_page_that_is_not_listed_gets_nothing(
    visit: Callable[[str], Page], guest: str, stranger: str, sharing: Server, watch: Watch
) -> None:
    """Needs a run that the listed page can follow to mean anything."""
    watch.expect("blocked by CORS policy", "ERR_FAILED")
    listed = visit(guest)
    run = listed.evaluate(START, [sharing.url, "Not for strangers"])
    assert listed.evaluate(READ, [sharing.url, run, 0, ""])[-1]["type"] == "complete"
    page = visit(stranger)
    for script in (START, READ):
        with pytest.raises(Error, match=re.compile("Failed to fetch")):
            page.evaluate(script, [sharing.url, run, 0, ""])
    page.evaluate(LISTEN, [sharing.url, run])
    eventually(page, lambda: page.evaluate("source.readyState") == 2)
    assert heard(page) == []
