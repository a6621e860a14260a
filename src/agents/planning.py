"""Planning first: a request is understood, planned, checked, carried out step by step and then answered."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from graphlib import CycleError, TopologicalSorter
from typing import Annotated

from msgspec import Meta, Struct

from .agent import Agent
from .decision import Decision, Unfit
from .events import AgentChunk, AgentComplete, Event
from .exchange import Message
from .team import Steps, Task

MOST_STEPS = 8
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
        "short id, a purpose that can be understood without the other steps, and the ids of the steps it builds on. "
        "Writing the answer is not a step: that comes by itself at the end."
    ),
)
WORKER = Agent(
    name="Worker",
    role="carries out a step",
    instructions="You carry out one step of a plan and give its result alone, as short as it can be, in Markdown.",
)
WRITER = Agent(
    name="Writer",
    role="answers",
    instructions=(
        "You answer the person, in Markdown, from the results of the plan's steps below. Do not speak of the plan or "
        "of its steps unless they help to understand the answer."
    ),
)


class Intent(Struct, frozen=True):
    goal: Annotated[str, Meta(description="One sentence")]
    criteria: list[str]


class PlanStep(Struct, frozen=True):
    id: str
    purpose: str
    after: list[str] = []


class Plan(Struct, frozen=True):
    steps: list[PlanStep]


class Planning:
    name = "planning"
    title = "Planning first"
    description = "Makes a plan, checks it, follows it step by step, then answers."

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        """Progress counts the eight steps, and within the execution the steps of the plan."""
        steps = Steps(len(STEPS))
        yield steps.begin("start", "Starting")
        yield steps.end("context", "Reading the conversation")
        said = len(task.messages)
        yield steps.end("analyzing", "Understanding the request", details=f"{said} message{'' if said == 1 else 's'}")

        intent = Decision(Intent, goal_of)
        async with aclosing(intent.by(ANALYST, task.model, task.messages, turn=next(task.turns))) as events:
            async for event in events:
                yield event
        goal = goal_of(intent.value) if intent.value else task.question
        yield steps.end("planning", "Making a plan", details=goal)

        plan = Decision(Plan, plan_of, check)
        asked = Message(role="user", content=f"The request:\n{task.question}\n\nWhat it is about:\n{goal}")
        async with aclosing(plan.by(PLANNER, task.model, [asked], turn=next(task.turns))) as events:
            async for event in events:
                yield event
        planned = in_order(plan.value.steps) if plan.value else []
        yield steps.end("validation", "Checking the plan")
        verdict = (
            f"The plan can be followed: {counted(planned)}" if planned else "There is no plan that can be followed"
        )
        yield steps.begin("validation", verdict)

        yield steps.end("execution", "Following the plan" if planned else "Answering without a plan")
        results: dict[str, str] = {}
        for number, step in enumerate(planned, 1):
            place = f"Step {number} of {len(planned)}"
            yield steps.begin("execution", f"{place}: {step.purpose}", part=(number - 1) / len(planned))
            async with aclosing(self._follow(task, step, results)) as events:
                async for event in events:
                    yield event
                    if isinstance(event, AgentComplete):
                        results[step.id] = event.content
            if number < len(planned):
                yield steps.begin("execution", f"{place} is done", part=number / len(planned))

        yield steps.end("memory", "Gathering what was found", details=counted(planned))
        yield steps.end("completion", "Thinking about the answer")
        async with aclosing(self._answer(task, planned, results)) as events:
            writing = False
            async for event in events:
                if not writing and isinstance(event, AgentChunk):
                    writing = True
                    yield steps.begin("completion", "Writing the answer")
                yield event
        yield steps.end("completion", "Done")

    def _follow(self, task: Task, step: PlanStep, results: dict[str, str]) -> AsyncGenerator[Event, None]:
        before = "".join(f"\n\nResult of {name}:\n{results[name]}" for name in step.after)
        asked = Message(role="user", content=f"The step: {step.purpose}{before}\n\nThe request:\n{task.question}")
        return WORKER.respond(task.model, [asked], turn=next(task.turns), task=step.purpose, lane="support")

    def _answer(self, task: Task, planned: Sequence[PlanStep], results: dict[str, str]) -> AsyncGenerator[Event, None]:
        found = "".join(f"\n\n## {step.purpose}\n\n{results[step.id]}" for step in planned)
        writer = Agent(WRITER.name, WRITER.role, WRITER.instructions + found)
        return writer.respond(task.model, task.messages, turn=next(task.turns))


def check(plan: Plan) -> None:
    """Raises Unfit for a plan that cannot be followed."""
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


def goal_of(intent: Intent) -> str:
    return intent.goal + "".join(f"\n- {criterion}" for criterion in intent.criteria)


def plan_of(plan: Plan) -> str:
    return "\n".join(f"{number}. {step.purpose}" for number, step in enumerate(in_order(plan.steps), 1))


def counted(steps: Sequence[PlanStep]) -> str:
    return f"{len(steps)} step{'' if len(steps) == 1 else 's'}"
