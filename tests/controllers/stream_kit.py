"""A run that tells everything: all nine types of event, with a pause in which a connection can be cut."""

import json
from typing import Any

from tests.model_server import ModelServer

ALL_TYPES = {
    "start",
    "agent_start",
    "agent_chunk",
    "agent_complete",
    "interaction",
    "progress",
    "code_change",
    "error",
    "complete",
}
TEAM = "coders"


def script_everything(model: ModelServer, content: str) -> None:
    """For a message with this content to TEAM. The text goes on when the gate of the same name is opened."""
    work = {"satisfied": False, "judgement": "Not yet.", "work": "Write it down."}
    satisfied = {"satisfied": True, "judgement": "Done."}
    call = {"name": "write_file", "arguments": json.dumps({"path": f"{content}.txt", "content": "a\r\nriver\n"})}
    replies: list[list[dict[str, Any]]] = [
        [{"text": json.dumps(work)}],
        [{"tool_call": call}],
        [{"text": "Written."}],
        [{"text": json.dumps(satisfied)}],
        [{"text": "One\r\n"}, {"gate": content}, {"text": "two \u2028 **three**\n\ndata: four"}, {"cut": "reset"}],
    ]
    for steps in replies:
        model.script(steps, match=content, times=1)
