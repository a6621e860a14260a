"""The OpenAPI document: complete, true to itself, and true to the server, which schemathesis finds out."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import jsonschema_rs
import pytest

from riverrun.agents.events import Event
from riverrun.errors import RiverrunError
from tests.controllers.api_kit import Json, Program
from tests.model_server import ModelServer
from tests.server import Server

EXAMPLES = os.environ.get("RIVERRUN_FUZZ", "12")  # of requests to each operation; any number by command
ROOT = Path(__file__).parents[2]
PROBLEM = "application/problem+json"
TEXT = {"content-type": "text/plain"}


@pytest.fixture(scope="module")
def own_server(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another than the one that tests share, since what comes in here is strange and much."""
    folder = tmp_path_factory.mktemp("riverrun")
    with Server(folder, RIVERRUN_MODEL_URL=model.url, RIVERRUN_MESSAGE_LIMIT="5000").start() as running:
        yield running


@pytest.fixture(scope="module")
def document(own_server: Server) -> Json:
    document: Json = httpx.get(f"{own_server.url}/schema/openapi.json").json()
    return document


@pytest.fixture(scope="module")
def operations(document: Json) -> dict[str, Json]:
    return {operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()}


def resolved(document: Json, schema: Json) -> Json:
    if "$ref" not in schema:
        return schema
    found: Any = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return resolved(document, found)


def has_example(document: Json, schema: Json) -> bool:
    shape = resolved(document, schema)
    return bool(shape.get("examples")) or ("items" in shape and has_example(document, shape["items"]))


def test_every_operation_is_described(document: Json, operations: dict[str, Json]) -> None:
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for name, operation in operations.items():
        assert name.islower(), f"{name}: generators make method names of it"
        assert operation["summary"], name
        assert operation["description"].endswith("."), name
        assert set(operation["tags"]) <= tags, name


def test_every_parameter_is_described_with_its_range(operations: dict[str, Json]) -> None:
    for name, operation in operations.items():
        for parameter in operation.get("parameters", ()):
            told, schema = f"{name}: {parameter['name']}", parameter["schema"]
            schema = next((kind for kind in schema.get("oneOf", ()) if kind["type"] != "null"), schema)
            assert parameter.get("description"), told
            assert schema["type"] in ("string", "integer"), told
            assert schema["type"] != "integer" or {"minimum", "maximum"} <= set(schema), told


def test_every_body_has_an_example_and_takes_nothing_else(document: Json, operations: dict[str, Json]) -> None:
    bodies = {name: operation["requestBody"] for name, operation in operations.items() if "requestBody" in operation}
    assert bodies
    for name, body in bodies.items():
        schema = body["content"]["application/json"]["schema"]
        assert has_example(document, schema), name
        assert resolved(document, schema)["additionalProperties"] is False, name


def test_every_answer_has_a_shape_and_an_example(document: Json, operations: dict[str, Json]) -> None:
    for name, operation in operations.items():
        successes = {status: answer for status, answer in operation["responses"].items() if status < "300"}
        assert successes, name
        for status, answer in successes.items():
            assert answer["description"], name
            assert ("content" in answer) is (status != "204"), name
            assert all(
                has_example(document, kind["schema"]) or kind.get("examples")
                for kind in answer.get("content", {}).values()
            ), name


def test_every_refusal_is_a_problem_with_an_example(document: Json, operations: dict[str, Json]) -> None:
    for name, operation in operations.items():
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"500", "503"} <= set(refusals), name
        assert "400" in refusals or not operation.get("parameters"), name
        assert {"400", "403", "413", "415"} <= set(refusals) or "requestBody" not in operation, name
        for status, answer in refusals.items():
            assert answer["description"].endswith("."), name
            (media_type, content), *others = answer["content"].items()
            assert (media_type, others) == (PROBLEM, []), name
            assert {example["value"]["status"] for example in content["examples"].values()} == {int(status)}, name


def test_every_example_is_as_its_schema_says(document: Json, operations: dict[str, Json]) -> None:
    def check(example: Any, schema: Json) -> None:
        jsonschema_rs.validate({**schema, "components": document["components"]}, example, validate_formats=True)

    for name, shape in document["components"]["schemas"].items():
        assert shape.get("examples"), f"{name} has no example in controllers/examples.py"
        assert shape.get("description"), f"{name} has no docstring"
        for example in shape["examples"]:
            check(example, shape)
    for operation in operations.values():
        for answer in operation["responses"].values():
            for content in answer.get("content", {}).values():
                for example in content.get("examples", {}).values():
                    check(example["value"], content["schema"])


def test_every_reference_leads_somewhere(document: Json) -> None:
    def references(value: Any) -> Iterator[Json]:
        if isinstance(value, dict):
            if "$ref" in value:
                yield value
            value = list(value.values())
        if isinstance(value, list):
            for inner in value:
                yield from references(inner)

    assert all(resolved(document, reference) for reference in references(document))


def test_the_union_of_events_names_all_of_them(document: Json, operations: dict[str, Json]) -> None:
    union = document["components"]["schemas"]["Event"]
    tags = {kind.__struct_config__.tag for kind in get_args(Event)}
    assert set(union["discriminator"]["mapping"]) == tags
    assert [shape["$ref"] for shape in union["oneOf"]] == list(union["discriminator"]["mapping"].values())
    for tag, path in union["discriminator"]["mapping"].items():
        shape = resolved(document, {"$ref": path})
        assert shape["properties"]["type"]["const"] == tag
        assert set(shape["required"]) == set(shape["properties"]), "an event on the wire has all its fields"
    for name in ("follow_run", "stream_message"):
        schema = operations[name]["responses"]["200"]["content"]["text/event-stream"]["schema"]
        assert resolved(document, schema)["properties"]["data"]["contentSchema"] == {
            "$ref": "#/components/schemas/Event"
        }


def test_every_error_has_a_sentence() -> None:
    def kinds(kind: type[RiverrunError]) -> Iterator[type[RiverrunError]]:
        for inner in kind.__subclasses__():
            yield inner
            yield from kinds(inner)

    assert [kind.__name__ for kind in kinds(RiverrunError) if not kind.__doc__] == []


def test_the_document_is_there_as_yaml_too(own_server: Server) -> None:
    answer = httpx.get(f"{own_server.url}/schema/openapi.yaml")
    assert answer.status_code == 200
    assert "operationId: send_message" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/api", {}, 404, "not_found"),
        ("GET", "/api/%ff", {}, 404, "not_found"),
        ("GET", "/api/conversations/%00", {}, 404, "not_found"),
        ("GET", "/schema/nothing.json", {}, 404, "not_found"),
        ("DELETE", "/api/conversations", {}, 405, "method_not_allowed"),
        ("TRACE", "/api/teams", {}, 405, "method_not_allowed"),
        ("POST", "/health", {}, 405, "method_not_allowed"),
        ("POST", "/api/conversations", {"data": {"title": "a form"}}, 415, "unsupported_media_type"),
        ("POST", "/api/conversations", {"content": b"{}", "headers": TEXT}, 415, "unsupported_media_type"),
        ("POST", "/api/conversations", {}, 400, "invalid"),
        ("POST", "/api/conversations", {"content": b"{"}, 400, "invalid"),
        ("POST", "/api/conversations", {"json": {"titel": "misspelt"}}, 400, "invalid"),
        ("POST", "/api/conversations", {"json": {"title": "x" * 201}}, 400, "invalid"),
        ("POST", "/api/conversations", {"json": {"project_id": "none"}}, 400, "invalid"),
        ("GET", "/api/conversations?limit=0", {}, 400, "invalid"),
        ("GET", "/api/conversations?limit=" + "9" * 40, {}, 400, "invalid"),
        ("GET", "/api/conversations?before=2026", {}, 400, "invalid"),
        ("GET", "/api/conversations?before=yesterday", {}, 400, "invalid"),
    ],
)  # fmt: skip
async def test_what_no_operation_answers_is_a_problem_too(
    program: Program, method: str, path: str, options: Any, status: int, code: str
) -> None:
    answer = await program.client.request(method, path, **options)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["cache-control"] == "no-store"
    assert problem["title"]
    assert problem["detail"].endswith(".")
    assert ("allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize("before", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
async def test_a_time_beyond_the_calendar_is_one(program: Program, before: str) -> None:
    assert (await program.client.get("/api/conversations", params={"before": before})).status_code == 200


def test_schemathesis_finds_no_failure_and_no_undocumented_answer(
    own_server: Server, operations: dict[str, Json], tmp_path: Path
) -> None:
    """Needs things that there are, or most of what it sends would find nothing."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(known_things(own_server))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    command += [f"{own_server.url}/schema/openapi.json", "--checks", "all", "--no-color", "--continue-on-failure"]
    # Litestar answers OPTIONS for the handler of a path that was registered first.
    command += ["--exclude-checks", "allow_header_conformance"]
    command += ["--max-examples", EXAMPLES, "--generation-deterministic"]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.controllers.openapi_hooks", "PYTHONPATH": str(ROOT)}
    hooks["SERVER_URL"] = own_server.url
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **hooks}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Tested: {len(operations)}" in done.stdout
    assert "ERROR" not in own_server.log.read_text()


def known_things(server: Server) -> str:
    """A configuration by which every second id is that of something."""
    with httpx.Client(base_url=server.url, timeout=20) as client:

        def made(path: str, **body: str) -> Json:
            answer = client.post(path, json=body)
            assert answer.is_success, answer.text
            made: Json = answer.json()
            return made

        conversations = [made("/api/conversations")["id"] for _ in range(3)]
        replies = [made(f"/api/conversations/{it}/messages", content="hello") for it in conversations]
        projects = [made("/api/projects", name=name)["id"] for name in ("one", "two", "three")]
        memories = [made(f"/api/projects/{it}/memories", content="something")["id"] for it in projects]
    ids = {
        "path.conversation_id": conversations,
        "path.run_id": [reply["run_id"] for reply in replies],
        "path.project_id": projects,
        "path.memory_id": memories,
        "body.project_id": projects,
    }
    tables = [f"[dictionaries.{name.replace('.', '_')}]\nvalues = {json.dumps(ids[name])}" for name in ids]
    bound = [f'"{name}" = {{ dictionary = "{name.replace(".", "_")}", probability = 0.5 }}' for name in ids]
    return "\n".join([*tables, "[parameters]", *bound])
