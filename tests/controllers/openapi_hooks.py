"""What schemathesis cannot know of the surface: loaded by it as its hooks."""

from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext

EVENTS = 1  # that every run has from its beginning


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """A valid request keeps to the teams that there are, and to events that a run has: no schema tells those."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if isinstance(case.body, dict) and isinstance(case.body.get("team"), str):
        case.body["team"] = "assistant"
    for parameters, name in ((case.query, "after"), (case.headers, "Last-Event-ID")):
        if name in parameters:
            parameters[name] = str(min(int(parameters[name]), EVENTS))
