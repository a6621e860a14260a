"""The coordinator: routes a question to supporting agents, who work side by side, and lets one agent answer."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from .agent import Agent
from .decision import Decision, Unfit
from .events import AgentComplete, Event, Interaction
from .exchange import Message
from .lanes import Lane, together
from .retrieval import NAME as LIBRARIAN
from .retrieval import Retrieval
from .team import Steps, Task, answering, counted

PATIENCE = 120.0  # seconds for a supporting agent, which is left out after that
MOST_SEARCHES = 3

COORDINATOR = Agent(
    name="Coordinator",
    role="routes the question",
    instructions=(
        "You coordinate a team. You do not answer yourself: you decide which of your supporting agents can help with "
        "the last message, and give each a task in one or two sentences that it understands without the conversation. "
        "Ask nobody for small talk or for what one agent can answer at once."
    ),
)
ABOUT_DOCUMENTS = (
    "The project has documents. Unless the message is small talk, name in `searches` one to three queries of a few "
    "words each whose passages would help to answer."
)
SUPPORTERS = (
    Agent(
        name="Researcher",
        role="gathers facts",
        instructions=(
            "You gather what is known about a task: facts, definitions, figures, with how sure you are of each. "
            "Short points in Markdown. No advice and no conclusion."
        ),
    ),
    Agent(
        name="Analyst",
        role="reasons and calculates",
        instructions=(
            "You take a task apart, compare the ways to go, calculate where there is something to calculate, and say "
            "what follows. Short points in Markdown."
        ),
    ),
    Agent(
        name="Critic",
        role="looks for what may be wrong",
        instructions=(
            "You look for wrong assumptions, missing cases, risks and contradictions in a task, the gravest first. "
            "Short points in Markdown."
        ),
    ),
)
WRITER = Agent(
    name="Writer",
    role="answers",
    instructions=(
        "You answer the person, in Markdown. Your colleagues have prepared notes for you. Use what is right and "
        "relevant in them, settle where they disagree, and do not speak of them or of the team. Passages of documents "
        "that you use are cited with the link that they come with."
    ),
)


class Ask(Struct, frozen=True):
    agent: str
    task: str


class Routing(Struct, frozen=True):
    reason: Annotated[str, Meta(description="One sentence")]
    asks: list[Ask]
    searches: Annotated[list[str], Meta(description="What to look for in the project's documents")] = []


class Coordinator:
    name = "coordinator"
    title = "Coordinator"
    description = "Asks several agents side by side and makes one answer of what they find."

    def __init__(
        self, supporters: Sequence[Agent] = SUPPORTERS, writer: Agent = WRITER, patience: float = PATIENCE
    ) -> None:
        self._supporters: Mapping[str, Agent] = {agent.name: agent for agent in supporters}
        self._writer = writer
        self._patience = patience

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        """Progress counts turns: the routing, the look into documents, each agent that was asked, the answer."""
        steps = Steps(2)
        yield steps.begin("routing", "Deciding whom to ask")
        routing = Decision(Routing, told, self._check)
        first = next(task.turns)
        async with aclosing(routing.by(self._router(task), task.model, task.messages, turn=first)) as events:
            async for event in events:
                yield event
        asks = routing.value.asks if routing.value else []
        searches = searches_of(routing.value, task) if task.context.knowledge else []
        steps.total += len(asks) + bool(searches)
        yield steps.end("routing", plan_of(asks, searches))
        retrieval = None
        if searches and task.context.knowledge:
            retrieval = Retrieval(task.context.knowledge)
            yield steps.begin("retrieval", "Looking in the documents")
            for search in searches:
                yield message(first, search, LIBRARIAN)
            async with aclosing(retrieval.by(searches, task)) as events:
                async for event in events:
                    yield event
            yield steps.end("retrieval", f"Found {counted(retrieval.passages, 'passage')}")
        notes = retrieval.notes if retrieval else ""
        lanes = [self._lane(task, ask, first, notes) for ask in asks]
        if asks:
            yield steps.begin("asking", plan_of(asks, []))
        for ask in asks:
            yield message(first, ask.task, ask.agent)
        async with aclosing(together(lanes)) as events:
            async for event in events:
                yield event
                if isinstance(event, AgentComplete):
                    lane = next(lane for lane in lanes if lane.turn == event.turn)
                    for further in handed_over(lane, self._writer, steps):
                        yield further
        async with aclosing(self._answer(task, lanes, notes, first, steps)) as events:
            async for event in events:
                yield event
        yield steps.end("done", "Done")

    def _router(self, task: Task) -> Agent:
        staff = "\n".join(f"- {agent.name}: {agent.role}" for agent in self._supporters.values())
        known = f"{COORDINATOR.instructions}\n\nYour supporting agents:\n{staff}"
        if task.context.knowledge:
            known += f"\n\n{ABOUT_DOCUMENTS}"
        return task.brief(replace(COORDINATOR, instructions=known))

    def _check(self, routing: Routing) -> None:
        if unknown := [ask.agent for ask in routing.asks if ask.agent not in self._supporters]:
            raise Unfit(f"there is no agent {unknown[0]!r}; there are: {', '.join(self._supporters)}")
        if len({ask.agent for ask in routing.asks}) < len(routing.asks):
            raise Unfit("ask each agent once")

    def _lane(self, task: Task, ask: Ask, parent: int, notes: str) -> Lane:
        agent, turn = self._supporters[ask.agent], next(task.turns)
        sources = f"\n\nPassages of the project's documents:\n\n{notes}" if notes else ""
        asked = Message(role="user", content=f"{ask.task}{sources}\n\nWhat the person wrote:\n{task.question}")
        events = task.brief(agent).respond(task.model, [asked], turn=turn, task=ask.task, lane="support", parent=parent)
        return Lane(agent.name, turn, events, self._patience)

    async def _answer(
        self, task: Task, lanes: Sequence[Lane], passages: str, parent: int, steps: Steps
    ) -> AsyncGenerator[Event, None]:
        name = self._writer.name
        yield steps.begin("thinking", f"{name} is reading what was found" if lanes or passages else "Thinking")
        parts = [f"## Notes of {lane.agent}\n\n{lane.content}" for lane in lanes if not lane.failure]
        if passages:
            parts.append(f"## Passages of the project's documents\n\n{passages}")
        writer = task.brief(self._writer)
        writer = replace(writer, instructions="\n\n".join([writer.instructions, *parts]))
        answer = writer.respond(task.model, task.messages, turn=next(task.turns), parent=parent)
        async with aclosing(answering(answer, lambda: steps.begin("writing", "Writing the answer"))) as events:
            async for event in events:
                yield event


def searches_of(routing: Routing | None, task: Task) -> list[str]:
    """As decided; without a decision that can be used, the question itself."""
    if routing is None:
        return [task.question]
    return [search for search in routing.searches if search.strip()][:MOST_SEARCHES]


def message(turn: int, content: str, to: str) -> Interaction:
    return Interaction(agent=COORDINATOR.name, turn=turn, kind="message", content=content, to_agent=to)


def plan_of(asks: Sequence[Ask], searches: Sequence[str]) -> str:
    names = [*([LIBRARIAN] if searches else []), *(ask.agent for ask in asks)]
    return f"Asking {' and '.join(names)}" if names else "Nobody else is needed"


def handed_over(lane: Lane, writer: Agent, steps: Steps) -> Iterator[Event]:
    if lane.failure:
        yield steps.end("asking", f"{lane.agent} was left out", details=lane.failure)
        return
    notes = f"My notes, {counted(lane.content.split(), 'word')}."
    yield Interaction(agent=lane.agent, turn=lane.turn, kind="message", content=notes, to_agent=writer.name)
    yield steps.end("asking", f"{lane.agent} is done")


def told(routing: Routing) -> str:
    asked = "".join(f"\n- **{LIBRARIAN}**: {search}" for search in routing.searches)
    asked += "".join(f"\n- **{ask.agent}**: {ask.task}" for ask in routing.asks)
    return f"{routing.reason}\n{asked}" if asked else routing.reason
