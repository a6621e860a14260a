"""A run followed by the browser's own EventSource, as a page of somebody else's would follow it."""

import json
import urllib.request
from typing import Any

from playwright.sync_api import Page

from e2e.conftest import OpenPage
from e2e.proxy import Proxy
from e2e.steps import eventually, open_app
from e2e.watch import DEAD_SERVER, Watch
from tests.controllers.stream_kit import ALL_TYPES, TEAM, script_everything
from tests.model_server import ModelServer
from tests.server import Server

FOLLOW = """([path, types]) => {
  const source = window.source = new EventSource(path);
  window.seen = [];
  window.opened = 0;
  source.onopen = () => window.opened++;
  source.onmessage = event => window.seen.push({type: 'unnamed', data: event.data});
  for (const type of types) {
    source.addEventListener(type, event => {
      // `error` is also what EventSource calls a connection that is lost, which has no data.
      if ('data' in event) window.seen.push({type: event.type, id: event.lastEventId, data: JSON.parse(event.data)});
    });
  }
}"""
CLOSED = 2
PATIENCE = 20  # seconds: it takes three to come back


def test_an_event_source_gets_every_event_once_and_stays_away_after_the_end(
    open_page: OpenPage, server: Server, model: ModelServer, watch: Watch
) -> None:
    watch.expect(*DEAD_SERVER)
    script_everything(model, "browser")
    run = start(server, "browser")
    with Proxy(server.port).running() as proxy:
        page = open_page(proxy.url)
        open_app(page)
        page.evaluate(FOLLOW, [f"/api/runs/{run}/events", sorted(ALL_TYPES)])
        eventually(page, lambda: text_of(seen(page)).endswith("One\r\n"))
        proxy.cut_streams()
        eventually(page, lambda: page.evaluate("window.opened") == 2, PATIENCE)
        model.open_gate("browser")
        eventually(page, lambda: page.evaluate("window.source.readyState") == CLOSED, PATIENCE)
        told = seen(page)
    assert [message["id"] for message in told] == [str(number) for number in range(1, len(told) + 1)]
    assert [message["type"] for message in told] == [message["data"]["type"] for message in told]
    assert {message["type"] for message in told} == ALL_TYPES
    assert told[-1]["type"] == "complete"
    assert text_of(told).endswith(told[-1]["data"]["message"]["content"])


def seen(page: Page) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = page.evaluate("window.seen")
    return messages


def text_of(messages: list[dict[str, Any]]) -> str:
    return "".join(message["data"]["text"] for message in messages if message["type"] == "agent_chunk")


def start(server: Server, content: str) -> str:
    """As a program does."""

    def post(path: str, **body: str) -> Any:
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.url}{path}", json.dumps(body).encode(), head)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    project = post("/api/projects", name=content)["id"]
    conversation = post("/api/conversations", project_id=project, team=TEAM)["id"]
    return str(post(f"/api/conversations/{conversation}/runs", content=content)["run_id"])
