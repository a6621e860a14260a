"""What goes to a model and what comes back."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal, Protocol

import msgspec

from .events import Usage


class Text(msgspec.Struct, frozen=True):
    """A piece of the reply."""

    text: str


class Reasoning(msgspec.Struct, frozen=True):
    """A piece of what the model thinks before and between what it says."""

    text: str


class ToolCall(msgspec.Struct, frozen=True):
    """Given once, when it is complete. `arguments` is JSON text as the model wrote it, valid or not."""

    call_id: str
    name: str
    arguments: str


class Notice(msgspec.Struct, frozen=True):
    """Something that a person may want to know about how the reply came about; not an error."""

    content: str


class Finished(msgspec.Struct, frozen=True):
    """The last delta of a reply that is whole. `usage` is None when the server did not count."""

    finish_reason: str
    usage: Usage | None = None


Delta = Text | Reasoning | ToolCall | Notice | Finished


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of the conversation that a model is given. `call_id` joins a tool's answer to its call."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: list[ToolCall] = []
    call_id: str | None = None

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            wire["tool_calls"] = [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.tool_calls
            ]
        if self.call_id is not None:
            wire["tool_call_id"] = self.call_id
        return wire


class ToolSchema(msgspec.Struct, frozen=True):
    """A tool as a model is told about it. `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]

    def to_wire(self) -> dict[str, Any]:
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


class ModelError(Exception):
    """`message` is a sentence that tells a person what to do, `code` a word for programs.

    `retryable` says that the same message may well succeed if it is sent again.
    """

    def __init__(self, message: str, code: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable


class Model(Protocol):
    """`name` is shown to people. `demo` is true of the built-in demo model alone."""

    @property
    def name(self) -> str: ...

    @property
    def demo(self) -> bool: ...

    def stream(self, messages: Sequence[Message], tools: Sequence[ToolSchema] = ()) -> AsyncGenerator[Delta, None]:
        """Gives the reply as it comes, `Finished` last. What was given before a `ModelError` still holds.

        Closing the generator, or cancelling who waits for it, stops the model at once.
        """
        ...

    def named(self, name: str) -> "Model":
        """Another model of the same server. It is closed with this one."""
        ...

    async def aclose(self) -> None: ...
