"""Agents and teams that people make in the page: the same agents, described by data instead of code."""

from collections.abc import AsyncGenerator, Sequence

from msgspec import Struct

from .agent import Agent
from .assistant import alone
from .coordinator import WRITER, Coordinator
from .events import Event
from .exchange import Model
from .team import Task


class AgentSpec(Struct, frozen=True):
    """`model` empty: the default one. `tools` names kits: `files`, `documents`, tool servers."""

    name: str
    role: str
    instructions: str
    model: str = ""
    tools: Sequence[str] = ()

    def agent(self, model: Model) -> Agent:
        own = model.named(self.model) if self.model else None
        return Agent(self.name, self.role or "answers", self.instructions, model=own, kits=self.tools)


class TeamSpec(Struct, frozen=True):
    name: str
    title: str
    description: str
    members: Sequence[AgentSpec]


class Own:
    """One member answers; several are asked by a coordinator, as the built-in team's are."""

    def __init__(self, spec: TeamSpec) -> None:
        self.name, self.title, self.description = spec.name, spec.title, spec.description
        self._members = spec.members

    def run(self, task: Task) -> AsyncGenerator[Event, None]:
        members = [member.agent(task.model) for member in self._members]
        if len(members) > 1:
            return Coordinator(members).run(task)
        return alone(task, task.brief(members[0] if members else WRITER))
