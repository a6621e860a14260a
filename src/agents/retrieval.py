"""The retrieval agent: looks in the project's documents for what others need. No model is asked for that."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from itertools import zip_longest

from msgspec.structs import replace

from .context import Knowledge, Passage
from .events import AgentComplete, AgentStart, Event
from .kits import cited, found
from .team import Task

NAME = "Librarian"
MOST_PASSAGES = 8


class Retrieval:
    """One turn of it. `passages` is what was found, the best of each query first."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self.passages: Sequence[Passage] = ()

    async def by(self, queries: Sequence[str], task: Task) -> AsyncGenerator[Event, None]:
        turn, began = next(task.turns), time.monotonic()
        if (past := task.pasts.get(turn)) and past.complete:
            await self._search(queries)  # once more, which changes nothing
            for event in past.events:
                yield event
            return
        yield AgentStart(agent=NAME, turn=turn, role="looks in the documents", task=", ".join(queries), lane="support")
        results = await self._search(queries)
        for query, passages in zip(queries, results, strict=True):
            yield replace(found(query, passages), agent=NAME, turn=turn)
        yield AgentComplete(
            agent=NAME,
            turn=turn,
            content="\n".join(map(line, self.passages)) or "No passage fits.",
            duration_ms=round((time.monotonic() - began) * 1000),
            finish_reason="stop",
        )

    async def _search(self, queries: Sequence[str]) -> Sequence[Sequence[Passage]]:
        results = await asyncio.gather(*(self._knowledge.search(query) for query in queries))
        ranked = (passage for rank in zip_longest(*results) for passage in rank if passage)
        self.passages = list({passage.id: passage for passage in ranked}.values())[:MOST_PASSAGES]
        return results

    @property
    def notes(self) -> str:
        """What an agent is told of it; empty when nothing was found."""
        return "\n\n".join(map(cited, self.passages))


def line(passage: Passage) -> str:
    return f"- [{passage.document}]({passage.address})" + (f" › {passage.heading}" if passage.heading else "")
