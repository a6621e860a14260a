"""The team of one: an assistant that answers."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from .agent import Agent
from .events import AgentChunk, Event, Progress
from .team import Task

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

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        """Progress counts the two steps that can be known: thinking, and writing."""
        yield Progress(fraction=0.0, step="thinking", message="Thinking")
        assistant = task.brief(ASSISTANT, *task.context.offered)
        writing = False
        async with aclosing(assistant.respond(task.model, task.messages, turn=next(task.turns))) as events:
            async for event in events:
                if not writing and isinstance(event, AgentChunk):
                    writing = True
                    yield Progress(fraction=0.5, step="writing", message="Writing")
                yield event
        yield Progress(fraction=1.0, step="done", message="Done")
