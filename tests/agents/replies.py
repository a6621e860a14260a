"""What a model says, as tests look at it."""

from collections.abc import AsyncIterable, Sequence

from riverrun.agents.model import Delta, Message, Model, ModelError, Text, ToolSchema


async def reply_of(model: Model, text: str = "Hello", tools: Sequence[ToolSchema] = ()) -> list[Delta]:
    return [delta async for delta in model.stream([Message("user", text)], tools)]


async def failure_of(model: Model, text: str = "Hello") -> tuple[list[Delta], ModelError]:
    """What was given, and the error after it."""
    given: list[Delta] = []
    try:
        await gather(model.stream([Message("user", text)]), given)
    except ModelError as error:
        return given, error
    raise AssertionError(f"no failure, but {given}")


async def gather(deltas: AsyncIterable[Delta], given: list[Delta]) -> None:
    async for delta in deltas:
        given.append(delta)  # noqa: PERF401 - what came before an error is what we are after


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))
