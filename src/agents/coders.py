"""Planner and Coder: one says what to do next and looks at what came of it, the other works on the project's files."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from .agent import Agent
from .decision import Decision, Unfit
from .events import AgentComplete, CodeChange, Event, Interaction
from .exchange import Message
from .kits import FILES
from .team import Steps, Task, answering, counted
from .tools import shortened

ROUNDS = 5  # of planning and coding; after the last the planner says what is left undone
MOST_LISTED = 200  # files
DIFF_SHOWN = 6_000  # characters of the changes of a round that the planner sees

PLANNER = Agent(
    name="Planner",
    role="plans and reviews",
    instructions=(
        "You lead a coder who works on the files of a project. You see the request, the files, and after each round "
        "what the coder reports and changed. Judge whether the request is met by what was really changed. If it is, "
        "or if nothing in the files has to change, say so. Otherwise give the coder the next piece of work: which "
        "files, what shall be in them, how to see that it is right. The coder can read, search, write, edit, move "
        "and delete files and cannot run anything."
    ),
)
CODER = Agent(
    name="Coder",
    role="works on the files",
    instructions=(
        "You do the work that your planner gives you, with the tools for the project's files. Read a file before you "
        "change it, and change no more than the work needs. When a tool refuses, do what its answer says. At the end "
        "report in a few sentences what you changed and what is left open."
    ),
    kits=(FILES,),
)
SPEAKER = Agent(
    name="Planner",
    role="answers",
    instructions=(
        "You tell the person, in Markdown, what was done for the request: which files were changed and how, what was "
        "decided, what is left open. Briefly, and only what is true of the changes below."
    ),
)


class Review(Struct, frozen=True):
    satisfied: Annotated[bool, Meta(description="Whether nothing more has to be done")]
    judgement: Annotated[str, Meta(description="One or two sentences")]
    work: Annotated[str, Meta(description="What the coder shall do next; empty when satisfied")] = ""


class Round(Struct):
    """`changes` and `report` are what came of `work`."""

    work: str
    report: str = ""
    changes: list[CodeChange] = field(default_factory=list)


class Coders:
    name = "coders"
    title = "Planner and Coder"
    description = "A planner and a coder work on the project's files, until the planner is satisfied."

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        """Progress counts the rounds that there may be at most; when fewer are needed, what is left is the answer."""
        steps = Steps(2 * ROUNDS + 1)
        rounds: list[Round] = []
        judgement = ""
        for number in range(1, ROUNDS + 1):
            place = f"Round {number} of {ROUNDS} at most"
            yield steps.begin("planning", "Planning" if number == 1 else "Reviewing", details=place)
            review, turn = Decision(Review, told, check), next(task.turns)
            asked = [*task.messages[:-1], Message(role="user", content=await self._situation(task, rounds))]
            async with aclosing(review.by(task.brief(PLANNER), task.model, asked, turn=turn)) as events:
                async for event in events:
                    yield event
            if review.value is None or review.value.satisfied:
                judgement = review.value.judgement if review.value else "The planner could not decide what to do next."
                break
            rounds.append(Round(review.value.work))
            yield steps.end("coding", "The coder is at work", details=place)
            yield message(PLANNER, turn, review.value.work, CODER)
            async with aclosing(self._code(task, rounds)) as events:
                async for event in events:
                    yield event
            yield steps.end("coding", f"{counted(rounds[-1].changes, 'change')} in this round", details=place)
        else:
            judgement = f"The {ROUNDS} rounds are used up; say what may be left undone."
        steps.finish_after_this()
        async with aclosing(self._answer(task, rounds, judgement, steps)) as events:
            async for event in events:
                yield event
        yield steps.end("done", "Done")

    async def _situation(self, task: Task, rounds: Sequence[Round]) -> str:
        files = await task.context.workspace.files() if task.context.workspace else []
        listed = "\n".join(f"- {file.path} ({file.size:,} bytes)" for file in files[:MOST_LISTED]) or "(none)"
        if len(files) > MOST_LISTED:
            listed += f"\n- and {len(files) - MOST_LISTED} more"
        return f"The request:\n{task.question}\n\nThe project's files:\n{listed}{history(rounds)}"

    async def _code(self, task: Task, rounds: Sequence[Round]) -> AsyncGenerator[Event, None]:
        current, turn = rounds[-1], next(task.turns)
        before = f"\n\nWhat you did before:{history(rounds[:-1])}" if len(rounds) > 1 else ""
        asked = Message(role="user", content=f"{current.work}\n\nThe request behind it:\n{task.question}{before}")
        coder = task.brief(CODER, *task.context.offered)
        events = coder.respond(task.model, [asked], turn=turn, task=current.work, lane="support")
        async with aclosing(events):
            async for event in events:
                yield event
                match event:
                    case CodeChange():
                        current.changes.append(event)
                    case AgentComplete():
                        current.report = event.content
        yield message(CODER, turn, f"{counted(current.changes, 'change')}. {current.report}".strip(), PLANNER)

    async def _answer(
        self, task: Task, rounds: Sequence[Round], judgement: str, steps: Steps
    ) -> AsyncGenerator[Event, None]:
        yield steps.begin("thinking", "Thinking about the answer")
        done = history(rounds) or "\n\nNothing was changed."
        known = f"{SPEAKER.instructions}\n\nThe planner's judgement: {judgement}{done}"
        speaker = task.brief(replace(SPEAKER, instructions=known))
        answer = speaker.respond(task.model, task.messages, turn=next(task.turns))
        async with aclosing(answering(answer, lambda: steps.begin("writing", "Writing the answer"))) as events:
            async for event in events:
                yield event


def message(by: Agent, turn: int, content: str, to: Agent) -> Interaction:
    return Interaction(agent=by.name, turn=turn, kind="message", content=content, to_agent=to.name)


def history(rounds: Sequence[Round]) -> str:
    return "".join(
        f"\n\n## Round {number}\n\nThe work: {done.work}\n\nThe coder's report: {done.report or '(none)'}\n\n"
        f"The changes:\n{differences(done.changes) or '(none)'}"
        for number, done in enumerate(rounds, 1)
    )


def differences(changes: Sequence[CodeChange]) -> str:
    """What the planner sees of a round's changes."""
    return shortened("\n".join(f"{change.change} {change.path}\n{change.diff}" for change in changes), DIFF_SHOWN)


def told(review: Review) -> str:
    return review.judgement if review.satisfied else f"{review.judgement}\n\n**Next:** {review.work}"


def check(review: Review) -> None:
    if not review.satisfied and not review.work.strip():
        raise Unfit("the coder has to be told what to do next")
