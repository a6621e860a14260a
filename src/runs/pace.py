"""How much longer a run will take, learned from the earlier ones of its team."""

import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from statistics import median

from msgspec.structs import replace

from ..agents.events import Progress, decode
from ..persistence.repositories import Events
from .journal import Sessions

REMEMBERED = 12  # runs of a team
FEWEST = 3  # runs from which something can be learned
SHORTEST = 3.0  # seconds of which it is worth telling

Course = Sequence[tuple[float, float]]  # how far a run was (0 to 1) after how many seconds; the end stands last


class Watched:
    """A run under way: its course so far."""

    def __init__(self, pace: "Pace") -> None:
        self._pace = pace
        self._began = time.monotonic()
        self._course: list[tuple[float, float]] = []

    def passed(self, progress: Progress) -> Progress:
        """The same progress with the time that is left (`seconds_left`), as far as that can be known."""
        self._course.append((progress.fraction, time.monotonic() - self._began))
        left = self._pace.left(progress.fraction)
        if left is None:
            return progress
        return replace(progress, metadata={**progress.metadata, "seconds_left": left})

    def ended(self) -> None:
        self._pace.learn([*self._course, (1.0, time.monotonic() - self._began)])


class Pace:
    """The courses of a team's latest complete runs."""

    def __init__(self, courses: Sequence[Course] = ()) -> None:
        self._courses = deque(courses, maxlen=REMEMBERED)

    def learn(self, course: Course) -> None:
        self._courses.append(course)

    def left(self, fraction: float) -> float | None:
        """Seconds from where a run is now to its end, in the middle of what earlier runs took; None: not known yet."""
        if len(self._courses) < FEWEST or not 0 < fraction < 1:
            return None
        left = median(rest_of(course, fraction) for course in self._courses)
        return round(left, 1) if left >= SHORTEST else None


def rest_of(course: Course, fraction: float) -> float:
    """What a run took from the moment at which it had come so far."""
    end = course[-1][1]
    return end - next((at for reached, at in course if reached >= fraction), end)


class Paces:
    """The pace of each team, read from the log when it is first asked for."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._known: dict[str, Pace] = {}

    async def of(self, team: str) -> Pace:
        if team not in self._known:
            async with self._sessions() as session:
                courses = await Events(session=session).courses(team, REMEMBERED)
            self._known.setdefault(team, Pace([course_of(*course) for course in courses]))
        return self._known[team]


def course_of(payloads: Sequence[str], began: datetime, ended: datetime) -> Course:
    told = [event for event in map(decode, payloads) if isinstance(event, Progress)]
    steps = [(event.fraction, (event.at - began).total_seconds()) for event in told]
    return [*steps, (1.0, (ended - began).total_seconds())]
