"""Models: any OpenAI-compatible server, one found on this machine, or the built-in demo.

The only importer of openai. The client's own parsing costs more than the rest of a token's way, so replies
are read as bytes; and it is asked to `post`, for `create` takes 5 ms to look at a history of 20 messages.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Collection, Sequence
from contextlib import aclosing, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import aiohttp
import httpx2
import msgspec
import openai

from .demo import DemoModel
from .discovery import LOCAL_SERVERS, choose, find_local, read_models
from .events import UNREADABLE
from .exchange import (
    Delta,
    Finished,
    Message,
    Model,
    ModelError,
    Notice,
    Reasoning,
    Text,
    ToolCall,
    ToolSchema,
)
from .failures import Failure, Server
from .reply import Reply
from .simulated import Pace, simulate
from .transport import AiohttpTransport, Reading

__all__ = [
    "Delta",
    "DemoModel",
    "Finished",
    "Message",
    "Model",
    "ModelError",
    "ModelOptions",
    "Notice",
    "OpenAIModel",
    "Reasoning",
    "Text",
    "ToolCall",
    "ToolSchema",
    "connect",
]

OPENAI_URL = "https://api.openai.com/v1"
LONGEST_DELAY = 8.0
"""Seconds between two tries, when the server names no time."""
TELL_WAITS_FROM = 1.0

AnyStream = openai.AsyncStream[Any]

log = logging.getLogger(__name__)
# Both write a line for every request at INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpx2").setLevel(logging.WARNING)

Way = Literal["stream and count", "stream", "whole"]
"""How a server may be asked: some do not know the option that asks for a count of tokens, some do not stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """Where the model is and how to deal with it. Times are in seconds."""

    url: str = ""
    """Up to and with `/v1`. Empty: OpenAI's if there is a key, else a server found on this machine."""
    key: str = field(default="", repr=False)
    model: str = ""
    """As its server calls it; empty: the first on offer for chat; `demo` without a URL: the built-in one."""
    streaming: Literal["auto", "off"] = "auto"
    """`off` asks for whole replies; `auto` does so for servers that do not stream."""

    connect_timeout: float = 5.0
    first_byte_timeout: float = 300.0
    """How long a server may take to begin its answer: some load the model first."""
    stall_timeout: float = 120.0
    """How long it may be silent once it has begun."""
    retries: int = 2
    """How often a request is sent again that failed before anything was said."""
    retry_delay: float = 0.5
    """Before the first retry; it doubles with each."""
    longest_wait: float = 30.0
    """A server that asks to wait for longer (`retry-after`) is not waited for."""

    simulate_words: int = 3
    """Words a piece for replies that come all at once."""
    simulate_delay: float = 0.1
    simulate_thought_delay: float = 0.05
    simulate_code_delay: float = 0.05
    """After each line of a code block."""

    skip_ports: Collection[int] = ()
    """Ports of this machine on which not to look for a server: our own."""


async def connect(options: ModelOptions, local_ports: Collection[int] = tuple(LOCAL_SERVERS.values())) -> Model:
    """The configured server, even when it is down; else one on this machine; else the demo model."""
    if options.url or options.key:
        model = OpenAIModel(replace(options, url=options.url or OPENAI_URL))
        with suppress(ModelError, TimeoutError):
            async with asyncio.timeout(options.connect_timeout):
                await model.settle()
        return model
    if options.model == "demo":
        return DemoModel()
    for server in await find_local(local_ports, options.skip_ports):
        if name := choose(server.models, options.model):
            return OpenAIModel(replace(options, url=server.url, model=name))
    if options.model:
        log.warning("No server for the model %s was found: the demo model serves.", options.model)
    return DemoModel()


class Embedding(msgspec.Struct):
    index: int
    embedding: list[float]


class Embeddings(msgspec.Struct):
    """The answer to `/v1/embeddings`."""

    data: list[Embedding]


class Client(openai.AsyncOpenAI):
    """Sends what the options say, and nothing of the environment: no organisation, no further headers."""

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        return {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "riverrun"}


class OpenAIModel:
    """A model behind an OpenAI-compatible server."""

    demo = False

    def __init__(self, options: ModelOptions) -> None:
        self._options = options
        self._server = Server(options.url, options.key)
        self._model = options.model
        self._ways: Sequence[Way] = ("whole",) if options.streaming == "off" else get_args(Way)
        self._without_tools: set[str] = set()  # names of models
        self._pace = Pace(
            options.simulate_words,
            options.simulate_delay,
            options.simulate_thought_delay,
            options.simulate_code_delay,
        )
        # Complete, because to complete it costs the client as much as to send the request.
        self._completions = f"{options.url.rstrip('/')}/chat/completions"
        self._owns_client = True
        self._client = Client(
            api_key=options.key or "none",  # the client insists on one
            base_url=options.url,
            max_retries=0,
            http_client=httpx2.AsyncClient(
                transport=AiohttpTransport(options.url, options.connect_timeout),
                headers={"accept-encoding": "identity"},  # compression holds back the pieces of a stream
            ),
        )

    @property
    def name(self) -> str:
        return self._model or self._server.address

    def named(self, name: str) -> "OpenAIModel":
        other = copy(self)
        other._model = name
        other._owns_client = False
        return other

    async def aclose(self) -> None:
        if self._owns_client:
            await self._client.close()

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[Delta, None]:
        """Tries again, and then in another way, for as long as nothing has been said."""
        plan = Plan(self._ways, () if self._model in self._without_tools else tools, self._options)
        while True:
            way, offered, said = plan.way, plan.tools, False
            try:
                async with aclosing(self._ask(way, messages, offered)) as deltas:
                    async for delta in deltas:
                        if not said:
                            said, self._ways = True, plan.ways
                            if tools and not offered:
                                self._without_tools.add(self._model)
                        yield delta
                return
            except Failure as failure:
                if said:
                    raise
                wait = plan.after(failure)
                reason = failure.message
            if offered and not plan.tools:
                yield Notice("The model takes no tools, so it was asked again without them.")
            elif way != plan.way == "whole":
                yield Notice("Streaming failed, so the whole reply was requested at once.")
            elif wait >= TELL_WAITS_FROM:
                yield Notice(f"{reason} (Trying again by itself in {wait:.0f} s.)")
            await asyncio.sleep(wait)

    async def _ask(
        self, way: Way, messages: Sequence[Message], tools: Sequence[ToolSchema]
    ) -> AsyncGenerator[Delta, None]:
        await self.settle()
        reply = Reply(self._server)
        async with await self._open(self._body(way, messages, tools)) as reading:
            data = await reading.opening()
            if data.startswith(b"{"):
                deltas = reply.whole(data + await reading.rest(), reading.failure)
            else:
                for said in reply.feed(data):
                    yield said
                while not reply.ended:
                    for said in reply.feed(await reading.read(closing=reply.closing)):
                        yield said
                deltas = reply.finish(reading.failure)
                await reading.end()
        async for delta in simulate(deltas, self._pace):
            yield delta

    def _body(self, way: Way, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._model, "messages": [message.to_wire() for message in messages]}
        if tools:
            body["tools"] = [tool.to_wire() for tool in tools]
        if way != "whole":
            body["stream"] = True
        if way == "stream and count":
            body["stream_options"] = {"include_usage": True}
        return body

    async def _open(self, body: dict[str, Any]) -> Reading:
        options = self._options
        request: Any = self._client.post(  # typed as the stream that the client would make of the response
            self._completions,
            content=msgspec.json.encode(body),
            cast_to=httpx2.Response,
            stream=True,
            stream_cls=AnyStream,
        )
        try:
            response = await self._send(request, options.first_byte_timeout)
        except Failure as failure:
            raise await self._explain(failure) from None
        return Reading(response, self._server, options.first_byte_timeout, options.stall_timeout)

    async def _explain(self, failure: Failure) -> Failure:
        """What a server says to a wrong name rarely helps; what it offers does."""
        if failure.code in ("unknown_model", "wrong_url"):
            with suppress(ModelError):
                offered = await self._offered()
                if offered and self._model not in offered:
                    return self._server.unknown_model(self._model, offered)
        return failure

    async def embedding_model(self, wanted: str = "") -> str | None:
        """The wanted one, or the first on offer that embeds. Raises ModelError when the server cannot be asked."""
        return wanted or next((name for name in await self._offered() if "embed" in name.casefold()), None)

    async def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        """One embedding for each text. Tries again as for a reply; raises ModelError."""
        if not texts:
            return []
        plan = Plan(("whole",), (), self._options)
        while True:
            try:
                return await self._embed(texts, model)
            except Failure as failure:
                await asyncio.sleep(plan.after(failure))

    async def _embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        body = msgspec.json.encode({"model": model, "input": texts, "encoding_format": "float"})
        request = self._client.post("/embeddings", content=body, cast_to=httpx2.Response)
        try:
            content = (await self._send(request, self._options.first_byte_timeout)).content
        except Failure as failure:
            lacking = failure.code in ("unknown_model", "wrong_url")
            raise self._server.no_embeddings(model, failure) if lacking else failure from None
        try:
            told = sorted(msgspec.json.decode(content, type=Embeddings).data, key=lambda one: one.index)
        except UNREADABLE:
            raise self._server.malformed(content) from None
        if [one.index for one in told] != list(range(len(texts))):
            raise self._server.malformed(content)
        return [one.embedding for one in told]

    async def settle(self) -> None:
        """Finds a model to use, where none is configured."""
        if not self._model:
            offered = await self._offered()
            name = choose(offered)
            if name is None:
                raise self._server.no_model(offered)
            self._model = name

    async def _offered(self) -> list[str]:
        request = self._client.get("/models", cast_to=httpx2.Response)
        response = await self._send(request, self._options.connect_timeout)
        return read_models(response.content)

    async def _send(self, request: Awaitable[httpx2.Response], patience: float) -> httpx2.Response:
        try:
            async with asyncio.timeout(patience):
                return await request
        except openai.APIStatusError as error:
            answer = error.response
            raise self._server.status(answer.status_code, answer.headers, answer.content) from None
        except openai.APIConnectionError as error:  # the client wraps what goes wrong with TLS
            raise self._server.unreachable(error.__cause__) from error
        except aiohttp.ClientError as error:
            raise self._server.unreachable(error) from error
        except TimeoutError:
            raise self._server.silent(patience) from None
        except OSError as error:
            raise self._server.unreachable(error) from error


class Plan:
    """How to go on after a failure."""

    def __init__(self, ways: Sequence[Way], tools: Sequence[ToolSchema], options: ModelOptions) -> None:
        self.ways = ways
        """Those that the server has not refused, best first."""
        self.tools = tools
        """None once the model has refused them."""
        self._options = options
        self._retries = 0
        self._streaming_failed = False

    @property
    def way(self) -> Way:
        return "whole" if self._streaming_failed else self.ways[0]

    def after(self, failure: Failure) -> float:
        """Seconds until the next request; raises the failure when there is nothing left to try."""
        if failure.after is not None and failure.after > self._options.longest_wait:
            raise failure
        if failure.again and self._retries < self._options.retries:
            self._retries += 1
            return self._wait(failure)
        if failure.tools and self.tools:
            self.tools = ()
            return 0
        if failure.refused and self.way != "whole":
            self.ways = self.ways[1:]
            return 0
        if failure.whole and self.way != "whole":
            self._streaming_failed = True
            return 0
        raise failure

    def _wait(self, failure: Failure) -> float:
        if failure.after is not None:
            return failure.after
        delay = min(LONGEST_DELAY, self._options.retry_delay * 2.0 ** (self._retries - 1))
        return delay * random.uniform(0.75, 1)  # noqa: S311 - so that many runs do not come back at once
