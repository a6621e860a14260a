"""A run in its own time, and at any of its moments."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import update

from riverrun.agents.events import AgentChunk, AgentStart, Event, encode
from riverrun.persistence.repositories import Runs
from riverrun.persistence.tables import Run
from riverrun.runs.housekeeping import tidy
from riverrun.runs.journal import Recorded, now
from riverrun.runs.replay import Moment, moment_of, paced, pause
from tests.rendering.runs import BEGAN, RUNS
from tests.runs.journal_kit import complete_event, journal_on, start_run
from tests.runs.test_housekeeping import MONTH, no_files


@pytest.mark.parametrize(
    ("gap", "speed", "seconds"),
    [(0.5, 1, 0.5), (0.5, 5, 0.1), (60.0, 1, 2.0), (60.0, 10, 0.2), (60.0, 0, 0.0), (-1.0, 1, 0.0)],
)
def test_pauses_are_shortened_and_divided_by_the_speed(gap: float, speed: int, seconds: float) -> None:
    assert pause(BEGAN, BEGAN + timedelta(seconds=gap), speed) == pytest.approx(seconds)


async def recorded(events: list[Event], page: int = 7) -> AsyncIterator[list[Recorded]]:
    for at in range(0, len(events), page):
        yield [Recorded(event, encode(event)) for event in events[at : at + page]]


@pytest.mark.parametrize("most", [1, 4, 1000])
async def test_what_is_played_is_all_there_in_order(most: int) -> None:
    events = RUNS["whole"]
    frames = [frame async for frame in paced(recorded(events), BEGAN, 0, most)]
    assert [event for frame in frames for event in frame] == events
    assert max(map(len, frames)) == min(most, len(events))


async def test_events_that_are_apart_in_time_come_apart() -> None:
    events = RUNS["stopped"]  # a quarter of a second from one to the next
    frames = [frame async for frame in paced(recorded(events), events[0].at, 5, 1000)]
    assert [len(frame) for frame in frames] == [1] * len(events)


async def test_merged_chunks_have_moments_too(database: SQLAlchemyAsyncConfig) -> None:
    """Of two attempts at a turn; what the first one wrote is void, and merging must not bring it back."""
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        for attempt, words in ((1, ("void", " text")), (2, ("The", " river", " bends"))):
            await journal.commit(run_id, [AgentStart(agent="A", turn=1, attempt=attempt)], {})
            offset = 0
            for word in words:
                await journal.commit(run_id, [AgentChunk(agent="A", turn=1, text=word, offset=offset)], {})
                offset += len(word)
        await journal.commit(run_id, [complete_event("The river bends")], {})
        async with database.get_session() as session:
            await session.execute(update(Run).values(status="complete", ended_at=now() - timedelta(days=40)))
            await session.commit()
            run = await Runs(session=session).get(run_id)
        await tidy(database.create_session_maker(), now(), MONTH, no_files)
        seen = [await moment_of(run, journal, at) for at in range(1, 11)]
        assert [place(moment) for moment in seen] == [
            (1, 1, 2),  # start
            (2, 1, 5),  # the first attempt begins; its words are gone
            (2, 1, 5),
            (2, 1, 5),
            (5, 2, 8),  # the second one
            (5, 2, 8),
            (5, 2, 8),
            (8, 5, 9),  # all of its words
            (9, 8, 9),
            (9, 8, 9),
        ]
        assert [moment.view.content for moment in seen[4:]] == [*[""] * 3, *["The river bends"] * 3]
        assert {moment.last for moment in seen} == {9}


def place(moment: Moment) -> tuple[int, int, int]:
    return moment.seq, moment.back, moment.on
