"""The team of one: an assistant that answers."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from .agent import Agent
from .events import Event, Progress
from .team import Task, answering

ASSISTANT = Agent(
    name="Assistant",
    role="answers",
    instructions=(
        "You are a helpful assistant. Answer in Markdown. Say so when you do not know something. "
        "Be brief where a short answer serves."
    ),
)


class Assistant:
    name = "assistant"
    title = "Assistant"
    description = "One agent that answers, with the project's tools."

    def run(self, task: Task) -> AsyncGenerator[Event, None]:
        return alone(task, task.brief(ASSISTANT, *task.context.offered))


async def alone(task: Task, agent: Agent) -> AsyncGenerator[Event, None]:
    """One agent answers. Progress counts the two steps that can be known: thinking, and writing."""
    yield Progress(fraction=0.0, step="thinking", message="Thinking")
    answer = agent.respond(task.model, task.messages, turn=next(task.turns))
    writing = Progress(fraction=0.5, step="writing", message="Writing")
    async with aclosing(answering(answer, lambda: writing)) as events:
        async for event in events:
            yield event
    yield Progress(fraction=1.0, step="done", message="Done")
