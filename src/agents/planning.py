"""Planning first: a request is understood, planned, checked, carried out step by step, remembered and then answered."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from graphlib import CycleError, TopologicalSorter
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from .agent import Agent
from .decision import Decision, Unfit
from .events import AgentComplete, Event, Interaction
from .exchange import Message
from .retrieval import Retrieval
from .team import Steps, Task, answering, counted
from .tools import Tool

MOST_STEPS = 8
MOST_MEMORIES = 3  # of one run
STEPS = ("start", "context", "analyzing", "planning", "validation", "execution", "memory", "completion")

ANALYST = Agent(
    name="Analyst",
    role="understands the request",
    instructions=(
        "You say in one sentence what the person wants with the last message, and list what a good result must have. "
        "You do not solve it."
    ),
)
PLANNER = Agent(
    name="Planner",
    role="plans",
    instructions=(
        f"You plan how to meet a request, in 2 to {MOST_STEPS} steps; in one, if there is nothing to it. Each has a "
        "short id, a purpose that can be understood without the other steps, the ids of the steps it builds on, and "
        "the name of the tool that it needs, or none. Writing the answer is not a step: that comes by itself."
    ),
)
WORKER = Agent(
    name="Worker",
    role="carries out a step",
    instructions="You carry out one step of a plan and give its result alone, as short as it can be, in Markdown.",
)
ARCHIVIST = Agent(
    name="Archivist",
    role="keeps what is worth knowing later",
    instructions=(
        "You decide what of this work is worth knowing in later work on the same project: what the person prefers, "
        f"what was decided, what was found out with effort. Sentences that stand by themselves, {MOST_MEMORIES} at "
        "most and usually none. Nothing that is known already."
    ),
)
WRITER = Agent(
    name="Writer",
    role="answers",
    instructions=(
        "You answer the person, in Markdown, from the results of the plan's steps below. Do not speak of the plan or "
        "of its steps unless they help to understand the answer. Keep the links with which passages are cited."
    ),
)


class Intent(Struct, frozen=True):
    goal: Annotated[str, Meta(description="One sentence")]
    criteria: list[str]


class PlanStep(Struct, frozen=True):
    id: str
    purpose: str
    after: list[str] = []
    tool: str | None = None


class Plan(Struct, frozen=True):
    steps: list[PlanStep]


class Keeping(Struct, frozen=True):
    memories: list[str]


class Planning:
    name = "planning"
    title = "Planning first"
    description = "Makes a plan, checks it, follows it step by step, then answers."

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        """Progress counts the eight steps, each told when it begins and when it ends, and the steps of the plan."""
        steps = Steps(len(STEPS))
        work = Work(task, steps)
        for name, part in zip(STEPS, work.parts, strict=True):
            async with aclosing(part()) as events:
                async for event in events:
                    yield event
            yield steps.end(name, work.outcome, work.details)
            work.details = ""


class Work:
    """One request on its way through the eight steps. Each leaves what came of it in `outcome`."""

    def __init__(self, task: Task, steps: Steps) -> None:
        self._task = task
        self._steps = steps
        self._tools: Sequence[Tool] = task.brief(WORKER, *task.context.offered).tools
        self._sources = ""
        self._goal = task.question
        self._plan: Plan | None = None
        self._planned: Sequence[PlanStep] = ()
        self._results: dict[str, str] = {}
        self.outcome = self.details = ""
        self.parts = (
            self._start,
            self._gather,
            self._analyze,
            self._make_plan,
            self._validate,
            self._execute,
            self._remember,
            self._answer,
        )

    async def _start(self) -> AsyncGenerator[Event, None]:
        yield self._steps.begin("start", "Starting")
        self.outcome = "Started"

    async def _gather(self) -> AsyncGenerator[Event, None]:
        yield self._steps.begin("context", "Reading what is known")
        context = self._task.context
        known = [counted(self._task.messages, "message"), counted(context.memories, "memory", "memories")]
        if context.knowledge:
            retrieval = Retrieval(context.knowledge)
            async with aclosing(retrieval.by([self._task.question], self._task)) as events:
                async for event in events:
                    yield event
            self._sources = retrieval.notes
            known.append(counted(retrieval.passages, "passage"))
        self.outcome, self.details = "Read what is known", ", ".join(known)

    async def _analyze(self) -> AsyncGenerator[Event, None]:
        yield self._steps.begin("analyzing", "Understanding the request")
        intent = Decision(Intent, goal_of)
        analyst = self._task.brief(ANALYST)
        turn = intent.by(analyst, self._task.model, self._task.messages, turn=next(self._task.turns))
        async with aclosing(turn) as events:
            async for event in events:
                yield event
        if intent.value:
            self._goal = goal_of(intent.value)
        self.outcome, self.details = "Understood the request", self._goal

    async def _make_plan(self) -> AsyncGenerator[Event, None]:
        yield self._steps.begin("planning", "Making a plan")
        plan = Decision(Plan, plan_of, self._check)
        asked = f"The request:\n{self._task.question}\n\nWhat it is about:\n{self._goal}{self._known()}"
        turn = plan.by(
            self._planner(), self._task.model, [Message(role="user", content=asked)], turn=next(self._task.turns)
        )
        async with aclosing(turn) as events:
            async for event in events:
                yield event
        self._plan = plan.value
        self.outcome = "Made a plan" if plan.value else "Made no plan that can be followed"

    def _planner(self) -> Agent:
        tools = "\n".join(f"- {tool.name}: {tool.schema.description}" for tool in self._tools)
        about = f"The tools:\n{tools}" if tools else "There are no tools."
        return self._task.brief(replace(PLANNER, instructions=f"{PLANNER.instructions}\n\n{about}"))

    def _known(self) -> str:
        return f"\n\nPassages of the project's documents:\n{self._sources}" if self._sources else ""

    def _check(self, plan: Plan) -> None:
        check(plan, [tool.name for tool in self._tools])

    async def _validate(self) -> AsyncGenerator[Event, None]:
        yield self._steps.begin("validation", "Checking the plan")
        self._planned = in_order(self._plan.steps) if self._plan else []
        count = counted(self._planned, "step")
        self.outcome = f"The plan can be followed: {count}" if self._planned else "There is no plan: answering without"

    async def _execute(self) -> AsyncGenerator[Event, None]:
        yield self._steps.begin("execution", "Following the plan" if self._planned else "Nothing to carry out")
        for number, step in enumerate(self._planned):
            place = f"Step {number + 1} of {len(self._planned)}"
            yield self._steps.begin("execution", f"{place}: {step.purpose}", part=number / len(self._planned))
            async with aclosing(self._follow(step)) as events:
                async for event in events:
                    yield event
                    if isinstance(event, AgentComplete):
                        self._results[step.id] = event.content
        self.outcome, self.details = "Followed the plan", counted(self._planned, "step")

    def _follow(self, step: PlanStep) -> AsyncGenerator[Event, None]:
        before = "".join(f"\n\nResult of {name}:\n{self._results[name]}" for name in step.after)
        using = f"\n\nUse the tool {step.tool}." if step.tool else ""
        content = f"The step: {step.purpose}{using}{before}{self._known()}\n\nThe request:\n{self._task.question}"
        worker = self._task.brief(WORKER, *(self._task.context.offered if step.tool else ()))
        return worker.respond(
            self._task.model,
            [Message(role="user", content=content)],
            turn=next(self._task.turns),
            task=step.purpose,
            lane="support",
        )

    async def _remember(self) -> AsyncGenerator[Event, None]:
        yield self._steps.begin("memory", "Thinking about what to remember")
        self.outcome = "Nothing new to remember"
        if self._task.context.memory is None or not self._results:
            return
        keeping, turn = Decision(Keeping, kept), next(self._task.turns)
        content = f"The request:\n{self._task.question}\n\nThe results:{self._found()}"
        decision = keeping.by(
            self._task.brief(ARCHIVIST), self._task.model, [Message(role="user", content=content)], turn=turn
        )
        async with aclosing(decision) as events:
            async for event in events:
                yield event
        # After the turn, which is then known to be completed if the run is interrupted here.
        for memory in new(keeping.value.memories, self._task.context.memories) if keeping.value else ():
            await self._task.context.memory.keep(memory)
            yield Interaction(agent=ARCHIVIST.name, turn=turn, kind="memory", content=memory)
            self.outcome = "Remembered something for later"

    async def _answer(self) -> AsyncGenerator[Event, None]:
        yield self._steps.begin("completion", "Thinking about the answer")
        writer = self._task.brief(WRITER)
        sources = "" if self._results else self._known()
        writer = replace(writer, instructions=f"{writer.instructions}{self._found()}{sources}")
        turn = writer.respond(self._task.model, self._task.messages, turn=next(self._task.turns))
        begin = self._steps.begin
        async with aclosing(answering(turn, lambda: begin("completion", "Writing the answer"))) as events:
            async for event in events:
                yield event
        self.outcome = "Done"

    def _found(self) -> str:
        return "".join(f"\n\n## {step.purpose}\n\n{self._results[step.id]}" for step in self._planned)


def check(plan: Plan, tools: Sequence[str] = ()) -> None:
    """Raises Unfit for a plan that cannot be followed with these tools."""
    ids = [step.id for step in plan.steps]
    if not plan.steps:
        raise Unfit("it has no steps")
    if len(ids) > MOST_STEPS:
        raise Unfit(f"it has {len(ids)} steps; {MOST_STEPS} at most")
    if len(set(ids)) < len(ids):
        raise Unfit("two steps have the same id")
    for step in plan.steps:
        if not step.purpose.strip():
            raise Unfit(f"the step {step.id!r} has no purpose")
        if step.tool and step.tool not in tools:
            raise Unfit(f"the step {step.id!r} needs the tool {step.tool!r}; there are: {', '.join(tools) or 'none'}")
        if unknown := set(step.after) - set(ids):
            raise Unfit(f"the step {step.id!r} builds on {min(unknown)!r}, which is no step")
    try:
        in_order(plan.steps)
    except CycleError as circle:
        raise Unfit(f"its steps wait for each other: {', '.join(circle.args[1])}") from circle


def in_order(steps: Sequence[PlanStep]) -> list[PlanStep]:
    """Each after those that it builds on. Raises CycleError."""
    known = {step.id: step for step in steps}
    return [known[name] for name in TopologicalSorter({step.id: step.after for step in steps}).static_order()]


def new(memories: Sequence[str], known: Sequence[str]) -> list[str]:
    told = {" ".join(memory.split()) for memory in memories[:MOST_MEMORIES]}
    return sorted(told - {" ".join(memory.split()) for memory in known} - {""})


def goal_of(intent: Intent) -> str:
    return intent.goal + "".join(f"\n- {criterion}" for criterion in intent.criteria)


def plan_of(plan: Plan) -> str:
    return "\n".join(
        f"{number}. {step.purpose}" + (f" (`{step.tool}`)" if step.tool else "")
        for number, step in enumerate(in_order(plan.steps), 1)
    )


def kept(keeping: Keeping) -> str:
    return "\n".join(f"- {memory}" for memory in keeping.memories) or "Nothing that later work would need."
