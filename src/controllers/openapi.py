"""How the JSON surface describes itself: what OpenAPI tells beyond what the handlers' types say.

An operation is called as its handler is, and the first sentence of the handler's docstring is its summary. What it may
be refused for is declared with `errors`; what every operation of its kind may be refused for is added by `complete`. An
example of every type on the wire stands in `examples`.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from inspect import cleandoc
from typing import Any, TypeGuard, get_args
from uuid import UUID

from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import (
    Components,
    Discriminator,
    Example,
    OpenAPI,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    Schema,
    SecurityScheme,
    Tag,
)
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import fields

from .. import __version__
from ..agents import events
from ..errors import (
    Forbidden,
    Internal,
    Invalid,
    Misdirected,
    NotFound,
    RiverrunError,
    RunFailed,
    StorageUnavailable,
    TooLarge,
    TooManyRequests,
    TooSlow,
    Unauthorized,
    UnsupportedMedia,
)
from ..rendering import sse
from .problems import MEDIA_TYPE, PROGRAMS, FailedRun, Problem, title

WITH_TOKEN = SecurityScheme(
    "http", scheme="bearer", description="An API token, made in the page; needed where `RIVERRUN_API_TOKENS` says so."
)
UNSAFE = ("post", "put", "patch", "delete")
METHODS = ("get", *UNSAFE)
OPERATION = "operation"  # open to whoever watches over the server
TAGS = [
    Tag("conversations", "What people and agents said. A message that is sent starts a run, which writes the reply."),
    Tag(
        "runs",
        "A run is the work on one reply, told as events: the same on every wire, in the order of `seq`, each sent only "
        "after it is saved. It belongs to nobody's request: whoever waits or follows may leave, and come back with a "
        "cursor.\n\nA Server-Sent Event has an event's `type` as `event`, its `seq` as `id` and all of it as `data`; a "
        "comment fills silence. A WebSocket at [/api/ws](/api/ws), for which OpenAPI has no words, carries the same "
        "events of several runs over one connection.",
    ),
    Tag("projects", "What conversations have in common: instructions, memories, files and documents."),
    Tag("teams", "Who can be asked to work."),
    Tag(OPERATION, "For those who keep it running."),
]

# Of a text of which something must be left when it is cleaned. Told, not checked here: `body` answers with a sentence.
SOMETHING: dict[str, Any] = {"extra": {"min_length": 1, "pattern": r"[^\s\u0000-\u001f\u007f-\u009f]"}}


class Body(Struct, forbid_unknown_fields=True):
    """What a program sends. A field that there is not is refused, since it may be a misspelt one that matters."""


class Event(Struct):
    """One of a run's events; its `type` tells which."""

    any: events.Event  # which has no name of its own to be in the document by: `complete` puts it in this one's place


class ServerSentEvent(Struct):
    """An event on a stream. `event` is its `type`, `id` its `seq`.

    An `error` without `id` is not one of the run's: the database is away, and the cursor stays where it was.
    """

    data: Event  # as text, which `complete` tells
    event: str
    id: str | UnsetType = UNSET


STREAM = ResponseSpec(
    ServerSentEvent,
    generate_examples=False,
    description="The run's events, as they happen. The stream ends after `complete`.",
    media_type=sse.MEDIA_TYPE,
)
ENDED = ResponseSpec(
    None,
    generate_examples=False,
    description="The run has ended and there is nothing after the cursor, so that an EventSource stays away.",
)
FAILED_RUN = FailedRun(
    status=RunFailed.status,
    title=title(RunFailed.status),
    detail="The model server refused the key. Check RIVERRUN_MODEL_KEY.",
    code=RunFailed.code,
    run_id=UUID("01928c3e-6d2a-7c41-9a51-2f0b6a1d4e03"),
    error="model_key",
    retryable=False,
    message=events.FinalMessage(
        id=UUID("01928c3e-6d2a-7c41-9a51-2f0b6a1d4e05"),
        role="assistant",
        content="",
        agent_name=None,
        created_at=datetime(2026, 11, 20, 9, 30, tzinfo=UTC),
    ),
)


def errors(*kinds: type[RiverrunError]) -> dict[int, ResponseSpec]:
    """What an operation may be refused for, to be given to its handler as `responses`."""
    return {status: refusal([kind for kind in kinds if kind.status == status]) for status in {k.status for k in kinds}}


def refusal(kinds: list[type[RiverrunError]]) -> ResponseSpec:
    """An answer that several errors share because they have the same status."""
    return ResponseSpec(
        FailedRun if RunFailed in kinds else Problem,
        generate_examples=False,
        description=" ".join(map(sentence, kinds)),
        media_type=MEDIA_TYPE,
        examples=list(map(example_of, kinds)),
    )


def example_of(kind: type[RiverrunError]) -> Example:
    problem = Problem(status=kind.status, title=title(kind.status), detail=sentence(kind), code=kind.code)
    return Example(kind.code, summary=sentence(kind), value=FAILED_RUN if kind is RunFailed else problem)


def sentence(kind: type[RiverrunError]) -> str:
    return cleandoc(kind.__doc__ or "").split("\n")[0]


def config() -> OpenAPIConfig:
    # The pages that render OpenAPI load their scripts from elsewhere, which ours may not.
    return OpenAPIConfig(
        title="riverrun",
        version=__version__,
        description="Talk with an assistant or a team of agents, and follow their work as it happens. OpenAI's clients "
        "find the teams as models below `/v1`, AG-UI's as agents below `/agui`.",
        path="/schema",
        tags=TAGS,
        components=Components(security_schemes={"token": WITH_TOKEN}),
        security=[{}, {"token": []}],
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()],
    )


def complete(document: OpenAPI, examples: Iterable[Struct]) -> None:
    """Adds what Litestar does not tell: of types, and of what operations have in common."""
    for operation, method in operations(document):
        finish_operation(operation, method)
    shapes = document.components.schemas
    for example in examples:
        finish_shape(shapes[type(example).__name__], example)
    name_the_union(shapes[Event.__name__])
    put_into_text(shapes[ServerSentEvent.__name__])


def operations(document: OpenAPI) -> Iterator[tuple[Operation, str]]:
    """Those whose errors are problem documents, with their methods."""
    for path, item in (document.paths or {}).items():
        for method in METHODS if path.startswith(PROGRAMS) else ():
            if operation := getattr(item, method):
                yield operation, method


def finish_operation(operation: Operation, method: str) -> None:
    text = operation.description or ""
    operation.summary = text.split("\n")[0].split(". ")[0].removesuffix(".")
    responses = operation.responses or {}
    if not is_ours(responses.get("400")):
        responses.pop("400", None)
    for kind in common_errors(operation, method):
        add_error(responses.setdefault(str(kind.status), empty_problem()), kind)
    operation.responses = dict(sorted(responses.items()))


def is_ours(response: OpenAPIResponse | Reference | None) -> bool:
    """Whether an error is told in our form, and not in the one that Litestar puts in for validation."""
    return isinstance(response, OpenAPIResponse) and MEDIA_TYPE in (response.content or {})


def common_errors(operation: Operation, method: str) -> Iterator[type[RiverrunError]]:
    """What any operation of this kind may be refused for."""
    parameters = [parameter for parameter in operation.parameters or () if isinstance(parameter, Parameter)]
    if parameters or operation.request_body:
        yield Invalid
    if operation.tags != [OPERATION]:
        yield Unauthorized
        yield Forbidden
        yield TooManyRequests
    yield Misdirected
    if any(parameter.param_in == "path" for parameter in parameters):
        yield NotFound
    if operation.request_body:
        yield TooSlow
        yield TooLarge
        yield UnsupportedMedia
    yield Internal
    yield StorageUnavailable


def empty_problem() -> OpenAPIResponse:
    shape = Reference("#/components/schemas/Problem")
    return OpenAPIResponse("", content={MEDIA_TYPE: OpenAPIMediaType(shape, examples={})})


def add_error(response: OpenAPIResponse | Reference, kind: type[RiverrunError]) -> None:
    assert isinstance(response, OpenAPIResponse)
    told = (response.content or {})[MEDIA_TYPE].examples
    assert told is not None
    if kind.code not in told:
        response.description = f"{response.description} {sentence(kind)}".strip()
        told[kind.code] = example_of(kind)


def finish_shape(shape: Schema, example: Struct) -> None:
    kind = type(example)
    shape.description = cleandoc(kind.__doc__ or "") or None
    shape.examples = [example]
    properties = shape.properties or {}
    for value in filter(is_schema, properties.values()):
        simplify(value)
    if kind.__struct_config__.forbid_unknown_fields:
        shape.additional_properties = False
        return
    # What riverrun sends has all its fields, whether they have a default or not.
    shape.required = [name for name in properties if name not in optional(kind)]
    for value in filter(is_schema, properties.values()):
        value.default = None


def is_schema(value: Schema | Reference) -> TypeGuard[Schema]:
    return isinstance(value, Schema)


def simplify(value: Schema) -> None:
    """What is a type or left out is of that type where it is."""
    match value.one_of:
        case [Schema() as only]:
            value.one_of, value.type, value.format, value.items = None, only.type, only.format, only.items


def optional(kind: type[Struct]) -> set[str]:
    return {field.encode_name for field in fields(kind) if field.default is UNSET}


def name_the_union(shape: Schema) -> None:
    union = (shape.properties or {})["any"]
    assert isinstance(union, Schema)
    names = {str(kind.__struct_config__.tag): kind.__name__ for kind in get_args(events.Event)}
    shape.discriminator = Discriminator("type", {tag: f"#/components/schemas/{name}" for tag, name in names.items()})
    shape.type, shape.properties, shape.required, shape.one_of = None, None, None, union.one_of
    shape.examples = [example.any for example in shape.examples or ()]


def put_into_text(shape: Schema) -> None:
    """SSE carries text, which is JSON; its shape stays told."""
    assert shape.properties
    event = shape.properties["data"]
    text = Schema(type=OpenAPIType.STRING, content_media_type="application/json", content_schema=event)
    shape.properties = {**shape.properties, "data": text}
    shape.examples = [
        {"id": example.id, "event": example.event, "data": events.encode(example.data.any).decode()}
        for example in shape.examples or ()
    ]
