"""What people add while a run is at work: each agent takes it in before it next asks the model."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from msgspec import Struct

from .events import Interaction
from .exchange import Message


class Said(Struct):
    """`turn` is the one that took it in first, None as long as it is pending."""

    message_id: UUID
    content: str
    turn: int | None = None


class Inbox:
    """One run's, oldest first."""

    def __init__(self, said: Sequence[Said] = ()) -> None:
        self.said = list(said)

    def put(self, said: Said) -> None:
        """The same message may come twice: as it is sent, and as it is found in the database."""
        if all(said.message_id != known.message_id for known in self.said):
            self.said.append(said)

    def withdraw(self, message_id: UUID) -> bool:
        """False when an agent has taken it in."""
        self.said = [said for said in self.said if said.message_id != message_id or said.turn is not None]
        return all(said.message_id != message_id for said in self.said)

    @property
    def pending(self) -> set[UUID]:
        return {said.message_id for said in self.said if said.turn is None}


class Hearing:
    """One turn's ear. `prompt` is what its model is given."""

    def __init__(self, inbox: Inbox, turn: int, agent: str, prompt: list[Message]) -> None:
        self._inbox = inbox
        self._turn = turn
        self._agent = agent
        self._prompt = prompt
        # What this turn itself had taken in before an interruption stands in its past.
        self._heard = {said.message_id for said in inbox.said if said.turn == turn}
        self._listen(said for said in inbox.said if said.turn is not None)

    def take(self) -> Iterator[Interaction]:
        """What came since; the turn that takes it in first tells of it."""
        for said in list(self._inbox.said):
            pending = said.turn is None
            if pending:
                said.turn = self._turn
            self._listen([said])
            if pending:
                yield Interaction(
                    turn=self._turn,
                    kind="message",
                    content=said.content,
                    to_agent=self._agent,
                    message_id=said.message_id,
                )

    def _listen(self, came: Iterator[Said] | Sequence[Said]) -> None:
        for said in came:
            if said.message_id not in self._heard:
                self._heard.add(said.message_id)
                add(self._prompt, said.content)


def add(prompt: list[Message], content: str) -> None:
    """One message a turn, as many models insist."""
    if prompt and prompt[-1].role == "user":
        content = f"{prompt.pop().content}\n\n{content}"
    prompt.append(Message(role="user", content=content))
