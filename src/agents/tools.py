"""Tools: typed Python functions that a model may call.

The schema comes from the signature and the docstring, arguments are checked against it before the call, and whatever
goes wrong inside becomes an answer that the model can act on.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, get_type_hints

import pydantic
from docstring_parser import parse
from msgspec import Struct

from .events import CodeChange, Interaction
from .exchange import ToolCall, ToolSchema

TIME_LIMIT = 30.0  # seconds
OUTPUT_LIMIT = 20_000  # characters


class ToolError(Exception):
    """A tool's own way to say that it could not do it: a sentence that the model, and a person, can act on."""


class Answer(Struct, frozen=True):
    """What a tool says to the model, and what it has to tell besides: the agent's name and turn are filled in later."""

    content: str
    told: Sequence[CodeChange | Interaction] = ()
    failed: bool = False


class Origin(Struct, frozen=True):
    """Of a tool that may reach outside the project: its server, and its name there."""

    server: str
    tool: str


class Tool(Struct, frozen=True):
    """`checked` makes arguments of JSON as the model wrote it; it raises ValidationError or ToolError.

    `time_limit` is in seconds, `output_limit` in characters. A tool with an `origin` needs a person's consent.
    """

    schema: ToolSchema
    function: Callable[..., Any]
    checked: Callable[[str], dict[str, Any]]
    time_limit: float = TIME_LIMIT
    output_limit: int = OUTPUT_LIMIT
    origin: Origin | None = None

    @property
    def name(self) -> str:
        return self.schema.name

    def takes(self, arguments: str) -> bool:
        """Whether a call with them is one: for others nobody needs to be asked."""
        return not isinstance(self._check(arguments), Answer)

    async def use(self, arguments: str) -> Answer:
        """Never raises but for cancellation. `arguments` is JSON as the model wrote it."""
        checked = self._check(arguments)
        if isinstance(checked, Answer):
            return checked
        try:
            async with asyncio.timeout(self.time_limit):
                answer = await self._call(checked)
        except ToolError as refusal:
            return Answer(str(refusal), failed=True)
        except TimeoutError:
            return Answer(f"{self.name} took longer than {self.time_limit:g} s and was given up.", failed=True)
        except Exception as failure:
            return Answer(f"{self.name} failed: {type(failure).__name__}: {failure}", failed=True)
        return Answer(shortened(answer.content, self.output_limit), answer.told, answer.failed)

    def _check(self, arguments: str) -> dict[str, Any] | Answer:
        try:
            return self.checked(arguments)
        except pydantic.ValidationError as refusal:
            return Answer(f"The arguments are wrong: {reasons(refusal)}", failed=True)
        except ToolError as refusal:
            return Answer(str(refusal), failed=True)

    async def _call(self, arguments: dict[str, Any]) -> Answer:
        if inspect.iscoroutinefunction(self.function):
            said = await self.function(**arguments)
        else:
            said = await asyncio.to_thread(self.function, **arguments)
        return said if isinstance(said, Answer) else Answer(str(said))


def tool(
    function: Callable[..., str | Answer] | Callable[..., Awaitable[str | Answer]],
    *,
    time_limit: float = TIME_LIMIT,
    output_limit: int = OUTPUT_LIMIT,
) -> Tool:
    """A function as a tool. Raises TypeError for a parameter without a type.

    A coroutine function runs in the event loop; any other in a thread, which goes on by itself if it takes too long.
    """
    said = parse(inspect.getdoc(function) or "")
    explained = {parameter.arg_name: parameter.description for parameter in said.params}
    types = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in types:
            raise TypeError(f"The parameter {name} of the tool {function.__name__} has no type.")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (types[name], pydantic.Field(default, description=explained.get(name)))
    arguments = pydantic.create_model(function.__name__, __config__=pydantic.ConfigDict(extra="forbid"), **fields)
    parameters = arguments.model_json_schema()
    parameters.pop("title", None)
    schema = ToolSchema(function.__name__, (said.description or "").strip(), parameters)

    def checked(text: str) -> dict[str, Any]:
        values = arguments.model_validate_json(text)
        return {name: getattr(values, name) for name in arguments.model_fields}

    return Tool(schema, function, checked, time_limit, output_limit)


async def use(tools: Sequence[Tool], call: ToolCall) -> Answer:
    """The answer to a model's call, also to one of a tool that does not exist."""
    chosen = named(tools, call.name)
    if chosen is None:
        known = ", ".join(tool.name for tool in tools) or "none"
        return Answer(f"There is no tool {call.name!r}; there are: {known}.", failed=True)
    return await chosen.use(call.arguments)


def named(tools: Sequence[Tool], name: str) -> Tool | None:
    return next((tool for tool in tools if tool.name == name), None)


def reasons(refusal: pydantic.ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, error['loc'])) or 'all of it'}: {error['msg']}"
        for error in refusal.errors(include_url=False, include_input=False)
    )


def shortened(text: str, limit: int) -> str:
    """Beginning and end, where the text is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 4, limit // 4
    return f"{text[:head]}\n… {len(text) - head - tail:,} characters left out …\n{text[-tail:]}"
