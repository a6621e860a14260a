"""What the protocols of others have in common: messages that a client brings, and runs told in words not our own."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from litestar import Response
from litestar.exceptions import InternalServerException
from msgspec import Struct

from ..accounts.person import Person
from ..agents.events import Event
from ..agents.exchange import Message
from ..agents.team import Team
from ..errors import Invalid, NotFound, RiverrunError
from ..rendering import sse
from ..runs.journal import Journal
from ..runs.runner import Runner
from .access import Admission, while_admitted
from .body import clean, printable, words
from .problems import AnyRequest, answer_riverrun_error

Json = dict[str, Any]

BODY_LIMIT = 32 * 2**20  # bytes: every request brings the whole conversation
HISTORY_LIMIT = 1000  # messages of it that count


def answer_wrong_messages(request: AnyRequest, _error: InternalServerException) -> Response[Any]:
    return answer_riverrun_error(request, Invalid("The messages have to be a list.", field="messages"))


# Litestar takes the body's `messages` for the dependency of that name, and its being wrong for our own mistake.
WRONG_MESSAGES: dict[int | type[Exception], Callable[[AnyRequest, Any], Response[Any]]] = {
    InternalServerException: answer_wrong_messages
}


class Part(Struct):
    type: str
    text: str | None = None


Content = str | list[Part] | Json | None


class Heard(NamedTuple):
    """What a person says now, and what came before it: messages of both sides, and the client's instructions."""

    content: str
    history: list[Message]

    @property
    def instructions(self) -> list[Message]:
        return [message for message in self.history if message.role == "system"]


def heard(said: Sequence[tuple[str, Content]], limit: int) -> Heard:
    """Tells the person's last message from what came before. `said`: role and content, oldest first.

    Raises Invalid, or TooLarge when the message has more than `limit` characters.
    """
    instructions, dialogue = [], []
    for role, content in said:
        match role:
            case "system" | "developer":
                instructions.append(Message(role="system", content=clean(text_of(content))))
            case "user":
                dialogue.append(Message(role="user", content=clean(text_of(content))))
            case "assistant":
                dialogue.append(Message(role="assistant", content=printable(text_of(content))))
    if not dialogue or dialogue[-1].role != "user":
        raise Invalid("The last message has to be the person's: there is nothing to answer.", field="messages")
    content = words(dialogue.pop().content, limit, "messages")
    return Heard(content, [message for message in (*instructions, *dialogue[-HISTORY_LIMIT:]) if message.content])


def text_of(content: Content) -> str:
    """Raises Invalid for what is not text."""
    match content:
        case str():
            return content
        case list():
            for part in content:
                if part.type not in ("text", "refusal"):
                    raise Invalid(f"Teams read text alone: leave out the part of type {part.type!r}.", field="messages")
            return "".join(part.text or "" for part in content)
        case _:
            return ""


async def found_team(runner: Runner, name: str, person: Person, *, field: str, code: str) -> Team:
    try:
        return await runner.teams.find(name, person.id)
    except Invalid as unknown:
        raise NotFound(unknown.message, field=field, extra={"code": code}) from unknown


class Sent:
    """The text of one turn as a client got it, where nothing that was sent can be taken back."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._again: str | None = None  # what a further attempt has written, as long as it says the same

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def begin_again(self) -> None:
        if self._pieces:
            self._again = ""

    def add(self, text: str) -> tuple[str, bool]:
        """What to send now, and whether it begins anew because a further attempt came out differently."""
        if self._again is None:
            self._pieces.append(text)
            return text, False
        self._again += text
        if self._text.startswith(self._again):
            return "", False
        return self._settle(self._again)

    def end(self) -> tuple[str, bool]:
        """The same, once the turn has ended: a further attempt may have said less."""
        if self._again is None or self._again == self._text:
            return "", False
        return self._settle(self._again)

    @property
    def _text(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def _settle(self, again: str) -> tuple[str, bool]:
        sent, self._pieces, self._again = self._text, [again], None
        return (again[len(sent) :], False) if again.startswith(sent) else (again, True)


async def translated(
    journal: Journal,
    run_id: UUID,
    tell: Callable[[Event], Iterable[Json]],
    lost: Callable[[RiverrunError], Json],
    admission: Admission | None,
) -> AsyncGenerator[bytes, None]:
    """A run as Server-Sent Events of another protocol. Comments fill the time for which it has no words."""
    clock = asyncio.get_running_loop().time
    heard_at = clock()
    try:
        async for batch in while_admitted(journal.follow(run_id), admission, journal.heartbeat):
            frames = b"".join(frame(told) for record in batch for told in tell(record.event))
            if frames or not batch or clock() - heard_at >= journal.heartbeat:
                yield frames or sse.HEARTBEAT
                heard_at = clock()
    except RiverrunError as failure:
        yield frame(lost(failure))


def frame(told: Json) -> bytes:
    return sse.message(msgspec.json.encode(told))
