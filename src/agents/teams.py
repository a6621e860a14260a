"""The registry of teams: who can be asked to work. Installed packages add theirs through entry points."""

import logging
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from .assistant import Assistant
from .coders import Coders
from .coordinator import Coordinator
from .planning import Planning
from .team import Team

DEFAULT = "assistant"
GROUP = "riverrun.teams"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")

log = logging.getLogger(__name__)


def registry() -> Mapping[str, Team]:
    """A package's team that cannot be used is left out: the others must not suffer for it."""
    teams: dict[str, Team] = {team.name: team for team in (Assistant(), Coordinator(), Planning(), Coders())}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (package_of(point), point.name)):
        try:
            team = loaded(point)
            if team.name in teams:
                raise ValueError(f"there is a team named {team.name!r} already")
            teams[team.name] = team
        except Exception as failure:
            log.warning(
                "The team %s of the package %s is left out: %s",
                point.name,
                package_of(point),
                failure,
                exc_info=failure,
            )
    return teams


def loaded(point: EntryPoint) -> Team:
    """A team, or what makes one: a class, or a function without arguments. Raises whatever is wrong with it."""
    team = point.load()
    if isinstance(team, type) or not hasattr(team, "run"):
        team = team()
    for attribute in ("name", "title", "description"):
        if not isinstance(getattr(team, attribute, None), str):
            raise TypeError(f"its {attribute} is not a text")
    if not callable(getattr(team, "run", None)):
        raise TypeError("it has no method run")
    if not NAME.fullmatch(team.name):
        raise ValueError(f"the name {team.name!r} is not of 1 to 60 small letters, digits, hyphens and underscores")
    checked: Team = team
    return checked


def package_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "?"
