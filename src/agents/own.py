"""Agents and teams that people make in the page: the same agents, described by data instead of code."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from msgspec import Struct
from msgspec.structs import replace

from .agent import Agent
from .coordinator import WRITER, Coordinator
from .events import AgentChunk, Event
from .exchange import Model
from .team import Steps, Task


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
        return self._alone(task, members[0] if members else WRITER)

    async def _alone(self, task: Task, member: Agent) -> AsyncGenerator[Event, None]:
        steps = Steps(2)
        yield steps.begin("thinking", "Thinking")
        writing = False
        answer = task.brief(member).respond(task.model, task.messages, turn=next(task.turns))
        async with aclosing(answer) as events:
            async for event in events:
                if not writing and isinstance(event, AgentChunk):
                    writing = True
                    yield steps.end("writing", "Writing")
                yield event
        yield replace(steps.end("done", "Done"), fraction=1.0)
