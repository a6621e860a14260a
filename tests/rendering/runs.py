"""Runs as they could have been: every kind of event, and the ways in which a run can end."""

import typing
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from riverrun.agents.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Asked,
    CodeChange,
    Complete,
    Decided,
    Error,
    Event,
    FinalMessage,
    Interaction,
    Progress,
    Start,
    Usage,
)
from riverrun.runs.view import RunView, fold

RUN, MESSAGE, OTHER = (UUID(int=number) for number in (1, 2, 3))
BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)

PASSAGE = {"document": "a.md", "heading": "A › B", "address": f"/p/{OTHER}/passages/1", "text": "Some <words>"}
FOUND = {"passages": [PASSAGE]}
REPLY = """\
# A heading

Prose with `code`, a [link][later] and <b>no tag</b>.

1. one
2. two

| a | b |
|--:|:--|
| 1 | 2 |

```python
def f() -> None:
    return "</code>"
```

- [x] done

[later]: https://example.org

The end."""


def stamped(events: list[Event]) -> list[Event]:
    return [
        msgspec.structs.replace(event, run_id=RUN, seq=seq, at=BEGAN + timedelta(milliseconds=250 * seq))
        for seq, event in enumerate(events, 1)
    ]


def start() -> Event:
    return Start(conversation_id=OTHER, user_message_id=OTHER, message_id=MESSAGE, team="assistant", model="a-model")


def complete(status: typing.Literal["complete", "failed", "cancelled"], content: str = "") -> Event:
    message = FinalMessage(MESSAGE, "assistant", content, "Writer", BEGAN)
    return Complete(status=status, message=message, usage=Usage(10, 200))


def chunks(turn: int, text: str, size: int) -> list[Event]:
    return [
        AgentChunk(agent="Writer", turn=turn, text=text[at : at + size], offset=at) for at in range(0, len(text), size)
    ]


def ended(turn: int, content: str, reason: str = "stop") -> Event:
    return AgentComplete(agent="Writer", turn=turn, content=content, duration_ms=1500, finish_reason=reason)


def whole_run() -> list[Event]:
    """Two agents at work at once, a further attempt, tools, a change of code: every kind of event."""
    return stamped(
        [
            start(),
            Progress(fraction=0.0, step="thinking", message="Thinking"),
            AgentStart(agent="Finder", turn=1, role="finds", task="Look <there>", lane="support"),
            Interaction(agent="Finder", turn=1, kind="thought", content="First line\r\n\r\nand <more>"),
            Interaction(
                agent="Finder", turn=1, kind="tool_call", tool_name="search", tool_arguments={"q": "<x>"}, call_id="c"
            ),
            AgentStart(agent="Writer", turn=2, role="writes", parent=1),
            *chunks(2, "Void, since it is written again.\n\nAll of it.", 7),
            Interaction(
                agent="Finder", turn=1, kind="tool_response", content="3 found", tool_name="search", call_id="c"
            ),
            AgentStart(agent="Writer", turn=2, attempt=2, role="writes", parent=1),
            Interaction(agent="Finder", turn=1, kind="retrieval", content="rivers", tool_arguments=FOUND),
            Interaction(
                agent="Finder",
                turn=1,
                kind="tool_call",
                tool_name="write_file",
                tool_arguments={"path": "a.py", "content": "import os\n" * 40},
                call_id="w",
            ),
            Interaction(agent="Finder", turn=1, kind="tool_response", content='{"a": [1]}', tool_name="w", call_id="w"),
            Interaction(agent="Finder", turn=1, kind="message", content="Here you are", to_agent="Writer"),
            Interaction(agent="Finder", turn=1, kind="memory", content="They like rivers"),
            ended(1, "Found *something* that never came in chunks."),
            Progress(fraction=0.5, step="writing", message="Writing"),
            *chunks(2, REPLY, 5),
            CodeChange(agent="Writer", path="src/<a>.py", change="modified", diff="-old\n+new"),
            CodeChange(agent="Writer", path="b.py", change="created", diff="+x = 1\n" * 100, revision_id=OTHER),
            ended(2, REPLY),
            Progress(fraction=1.0, step="done"),
            complete("complete", REPLY),
        ]
    )


SENT = {"to": "<Ida>", "text": "hidden \u202e text"}


def approval(told: Asked | Decided) -> Event:
    return Progress(fraction=0.5, step="approval", message="Approval", metadata=msgspec.to_builtins(told))


def asking_run(end: typing.Literal["complete", "cancelled"]) -> list[Event]:
    """Three calls that ask, and what becomes of them: approved, declined with a reason, and never decided."""
    calls = ("1.1", "1.2", "1.3")
    return stamped(
        [
            start(),
            AgentStart(agent="Writer", turn=1),
            *(
                Interaction(agent="Writer", turn=1, kind="tool_call", tool_name="s", tool_arguments=SENT, call_id=call)
                for call in calls
            ),
            *(approval(Asked(call, 1, "post", "send", SENT, BEGAN)) for call in calls),
            approval(Decided("1.1", 1, "post", "send", "once")),
            Interaction(agent="Writer", turn=1, kind="tool_response", content="Sent.", tool_name="s", call_id="1.1"),
            AgentStart(agent="Writer", turn=1, attempt=2),
            approval(Decided("1.2", 1, "post", "send", "decline", "Not <now>")),
            Interaction(agent="Writer", turn=1, kind="tool_response", content="No.", tool_name="s", call_id="1.2"),
            ended(1, "", "stop" if end == "complete" else "cancelled"),
            complete(end),
        ]
    )


def failed_run(retryable: bool) -> list[Event]:
    begun = "It went well and **then"
    return stamped(
        [
            start(),
            AgentStart(agent="Writer", turn=1),
            *chunks(1, begun, 4),
            ended(1, begun, "error"),
            Error(message="The model's server <closed> the connection.", code="model_lost", retryable=retryable),
            complete("failed", begun),
        ]
    )


def planned_run(end: typing.Literal["complete", "failed", "cancelled"]) -> list[Event]:
    """The planning team, which tells the time that is left too."""
    steps = ("start", "context", "analyzing", "planning")
    left = {"seconds_left": 41.0}
    return stamped(
        [
            start(),
            *(Progress(fraction=n / 8, step=step, message=step, metadata=left) for n, step in enumerate(steps)),
            AgentStart(agent="Writer", turn=1),
            ended(1, "", "error" if end == "failed" else "cancelled"),
            complete(end),
        ]
    )


def stopped_run() -> list[Event]:
    return stamped([start(), AgentStart(agent="Writer", turn=1), ended(1, "", "cancelled"), complete("cancelled")])


RUNS = {
    "whole": whole_run(),
    "failed": failed_run(retryable=False),
    "failed, worth a retry": failed_run(retryable=True),
    "stopped": stopped_run(),
    "asking": asking_run("complete"),
    "asking and stopped": asking_run("cancelled"),
    "planned and stopped": planned_run("cancelled"),
    "planned and failed": planned_run("failed"),
    "failed at once": stamped([start(), Error(message="No.", code="no", retryable=True), complete("failed")]),
}


def view_of(events: Sequence[Event]) -> RunView:
    return fold(RUN, MESSAGE, events)
