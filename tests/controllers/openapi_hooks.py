"""What schemathesis cannot know of the surface: loaded by it as its hooks."""

import os
from typing import Any
from uuid import uuid4

import httpx
import schemathesis
from schemathesis import Case, GenerationMode, HookContext

EVENTS = 1  # that every run has from its beginning
CONVERSATION: dict[str, Any] = {
    "id": str(uuid4()),
    "title": "Rivers",
    "team": "assistant",
    "created_at": "2026-11-20T09:30:00Z",
}
REFERENCES = ("parent_id", "instead_of", "message_id")  # in bodies


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """A valid request keeps to teams, events and messages that there are: no schema tells those."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if isinstance(case.body, dict) and isinstance(case.body.get("team"), str):
        case.body["team"] = "assistant"
    if case.operation.path.endswith("/import"):
        case.body = {"riverrun": 1, "conversation": CONVERSATION, "messages": [], "runs": []}
    elif isinstance(case.body, dict):
        for name in REFERENCES:
            if case.body.get(name) is not None:
                name_message(case.body, name, case)
    for parameters, name in ((case.query, "after"), (case.headers, "Last-Event-ID")):
        if name in parameters:
            parameters[name] = str(min(int(parameters[name]), EVENTS))


def name_message(body: dict[str, Any], name: str, case: Case[Any]) -> None:
    """A person's message of the conversation, which gets one if it has none."""
    path = f"{os.environ['SERVER_URL']}/api/conversations/{case.path_parameters['conversation_id']}"
    messages = httpx.get(path).json().get("messages")
    if messages == []:
        httpx.post(f"{path}/messages", json={"content": "hello"})
        messages = httpx.get(path).json()["messages"]
    if messages:
        body[name] = messages[0]["id"]
