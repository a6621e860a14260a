"""The registry of teams: who can be asked to work."""

from collections.abc import Mapping

from .assistant import Assistant
from .coders import Coders
from .coordinator import Coordinator
from .planning import Planning
from .team import Team

DEFAULT = "assistant"


def registry() -> Mapping[str, Team]:
    return {team.name: team for team in (Assistant(), Coordinator(), Planning(), Coders())}
