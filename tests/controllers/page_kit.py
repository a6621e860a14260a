"""A person's browser without the pixels: it asks as the page's own script does, or as a browser without scripts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse

from tests.rendering.dom import Element, parse, swap


@dataclass
class Sent:
    """What a page knows after its script has sent a message."""

    path: str  # of the conversation
    page: Element  # with the exchange in it
    user_message: Element
    reply: Element
    run: str  # the path of the run that writes the reply


@dataclass
class Frames:
    """What came over a stream, in order."""

    messages: list[ServerSentEvent] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [message.event for message in self.messages if message.event != "message"]

    @property
    def partials(self) -> list[str]:
        return [message.data for message in self.messages if message.event == "message"]


class Browser:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def open(self, path: str, status: int = 200) -> Element:
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        return parse(answer.text)

    async def post(self, path: str, shown: str = "/", **data: str) -> httpx.Response:
        """As the page's script does, on the page `shown`."""
        headers = {"HX-Request": "true", "HX-Current-URL": str(self.client.base_url.join(shown))}
        return await self.client.post(path, data=data, headers=headers)

    async def submit(self, path: str, /, **data: str) -> httpx.Response:
        """As a browser without scripts does. Gives the answer itself, not where it leads."""
        return await self.client.post(path, data=data)

    async def send(self, content: str, conversation: str = "", **data: str) -> Sent:
        fields = {"content": content, "conversation": conversation.removeprefix("/c/"), "stream": "on", **data}
        page = await self.open(conversation or "/")
        answer = await self.post("/messages", shown=conversation or "/", **fields)
        assert answer.status_code == 200, answer.text
        swap(page, answer.text)
        messages = page.find("#messages")
        assert messages is not None
        user_message, reply = messages.elements[-2:]
        return Sent(answer.headers.get("HX-Push-Url", conversation), page, user_message, reply, run_of(reply))

    @asynccontextmanager
    async def follow(
        self, run: str, after: int = 0, headers: dict[str, str] | None = None
    ) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
        path = f"{run}/stream?after={after}"
        async with aconnect_sse(self.client, "GET", path, headers=headers or {}) as source:
            assert source.response.status_code == 200, await source.response.aread()
            yield source.aiter_sse()

    async def frames(self, run: str, after: int = 0, headers: dict[str, str] | None = None) -> Frames:
        """All of a stream until it ends."""
        async with self.follow(run, after, headers) as stream:
            return Frames([message async for message in stream])

    async def send_and_wait(self, content: str, conversation: str = "") -> Sent:
        sent = await self.send(content, conversation)
        await self.frames(sent.run)
        return sent


def classes(element: Element) -> set[str]:
    return set((element.attributes.get("class") or "").split())


def with_class(page: Element, name: str) -> list[Element]:
    return [element for element in page if name in classes(element)]


def the(page: Element, selector: str) -> Element:
    found = page.find(selector)
    assert found is not None, f"{selector} is not in the page"
    return found


def form_for(page: Element, action: str) -> str:
    """Where the first form leads whose address has this in it."""
    addresses = [str(element.attributes["action"]) for element in page if element.tag == "form"]
    return next(address for address in addresses if action in address)


def run_of(reply: Element) -> str:
    """The path of the run that writes a reply."""
    buttons = with_class(reply, "stop") or with_class(reply, "retry__same")
    return str(buttons[0].attributes["action"]).rpartition("/")[0]
