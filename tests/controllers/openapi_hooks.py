"""What schemathesis cannot know of the surface: loaded by it as its hooks."""

from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext

EVENTS = 3  # that every run has


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Which teams there are and how far a run is changes, so no schema tells it: a valid request keeps to what there is."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if isinstance(case.body, dict) and isinstance(case.body.get("team"), str):
        case.body["team"] = "assistant"
    for parameters, name in ((case.query, "after"), (case.headers, "Last-Event-ID")):
        if name in parameters:
            parameters[name] = str(min(int(parameters[name]), EVENTS))
