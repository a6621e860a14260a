"""What people allow the agents of one run: asked for, waited for, and remembered."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from ..agents.consent import Verdict
from ..agents.events import Asked, Decided, Event, Progress, approval_in
from ..agents.tools import Origin
from ..persistence.repositories import Approvals, ToolServers
from ..tasks import to_the_end
from .journal import Sessions, now


class RunConsent:
    """Satisfies `agents.consent.Consent`. `patience`: seconds which a person has to answer."""

    def __init__(
        self, sessions: Sessions, run_id: UUID, project_id: UUID, patience: float, *, attended: bool = True
    ) -> None:
        self.attended = attended
        self._sessions = sessions
        self._run_id = run_id
        self._project_id = project_id
        self._patience = patience
        self._verdicts: dict[str, asyncio.Future[Verdict]] = {}
        self._asked: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)  # set when it is in the log
        self._decided: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._for_this_run: set[Origin] = set()

    @property
    def until(self) -> datetime:
        return now() + timedelta(seconds=self._patience)

    async def given(self, origin: Origin) -> bool:
        """Looked up for each call, so that what a person takes back on the project's page holds at once."""
        if origin in self._for_this_run:
            return True
        return await to_the_end(self._is_permitted(origin))

    async def _is_permitted(self, origin: Origin) -> bool:
        async with self._sessions() as session:
            return not await ToolServers(session=session).asks(self._project_id, origin.server, origin.tool)

    async def verdict(self, asked: Asked) -> Verdict:
        await self._asked[asked.call_id].wait()
        waiting = self._verdicts.setdefault(asked.call_id, asyncio.get_running_loop().create_future())
        left = (asked.until - now()).total_seconds()
        await asyncio.wait([waiting], timeout=max(0.0, left))
        return waiting.result() if waiting.done() else await to_the_end(self._give_up(asked))

    async def _give_up(self, asked: Asked) -> Verdict:
        """The database knows who was first: a person may have answered just now, through another process."""
        async with self._sessions() as session:
            approvals = Approvals(session=session)
            expired = await approvals.decide(self._run_id, asked.call_id, "expired")
            known = None if expired else await approvals.find(self._run_id, asked.call_id)
            verdict = verdict_of(known.decision, known.reason) if known else Verdict("expired")
            await session.commit()
        return verdict

    def put(self, call_ids: Sequence[str], verdict: Verdict) -> None:
        """The same may come twice: as it is said, and as it is found in the database."""
        for call_id in call_ids:
            waiting = self._verdicts.setdefault(call_id, asyncio.get_running_loop().create_future())
            if not waiting.done():
                waiting.set_result(verdict)

    @property
    def awaited(self) -> bool:
        return any(not waiting.done() for waiting in self._verdicts.values())

    async def recorded(self, asked: Asked) -> None:
        await self._decided[asked.call_id].wait()

    def note(self, event: Event) -> None:
        """What is in the run's log."""
        if not isinstance(event, Progress):
            return
        match approval_in(event):
            case Asked(call_id=call_id):
                self._asked[call_id].set()
            case Decided(call_id=call_id, server=server, tool=tool, decision=decision):
                self._decided[call_id].set()
                if decision in ("run", "always"):
                    self._for_this_run.add(Origin(server, tool))


def verdict_of(decision: str, reason: str) -> Verdict:
    return msgspec.convert({"decision": decision, "reason": reason}, Verdict)
