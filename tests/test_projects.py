"""What a run is given of its project, on the whole way from the files and the database to the model."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from cryptography.fernet import Fernet
from sqlalchemy import event
from uuid_utils.compat import uuid7

from riverrun.agents.events import CodeChange, Complete, Event, Interaction, Progress
from riverrun.agents.fetching import Allowance
from riverrun.agents.model import DemoModel, ModelOptions, OpenAIModel
from riverrun.agents.teams import registry
from riverrun.agents.toolboxes import Toolboxes
from riverrun.knowledge.library import Library
from riverrun.persistence.keyring import Keyring
from riverrun.persistence.repositories import Memories
from riverrun.persistence.tables import DEFAULT_PROJECT, Project, ToolServer
from riverrun.projects import ProjectContexts, embedder_of
from riverrun.runs import pace
from riverrun.runs.journal import Journal
from riverrun.runs.runner import Runner
from riverrun.runs.teams import Teams
from riverrun.workspace.files import Files
from tests.knowledge.conftest import read
from tests.model_server import ModelServer
from tests.runs.journal_kit import journal_on

KEYRING = Keyring([Fernet.generate_key().decode()])
MCP_SERVER = Path(__file__).parent / "agents" / "mcp_server.py"
RIVERS = "# Rivers\n\nA meander is a bend of a river.\n"


@pytest.fixture(scope="module")
def running_server() -> Iterator[ModelServer]:
    with ModelServer.start() as server:
        yield server


@pytest.fixture
def server(running_server: ModelServer) -> ModelServer:
    running_server.reset()
    return running_server


class House:
    """All that a run needs, and what a person does beside it."""

    def __init__(self, journal: Journal, runner: Runner, files: Files, library: Library) -> None:
        self.journal, self.runner, self.files, self.library = journal, runner, files, library

    async def run(self, content: str, team: str, project: UUID = DEFAULT_PROJECT) -> list[Event]:
        started = await self.runner.start(content, team, project_id=project)
        return await self.events(started.run_id)

    async def events(self, run_id: UUID) -> list[Event]:
        async with aclosing(self.journal.follow(run_id)) as batches:
            return [record.event async for batch in batches for record in batch]


@pytest.fixture
async def house(database: SQLAlchemyAsyncConfig, server: ModelServer, tmp_path: Path) -> AsyncIterator[House]:
    model = OpenAIModel(ModelOptions(url=server.url, model="scripted-model"))
    sessions = database.create_session_maker()
    files, library = Files(tmp_path / "projects", sessions), Library(sessions)
    async with journal_on(database) as journal, library.working():
        contexts = ProjectContexts(sessions, files, library, Toolboxes(Allowance(private=True), commands=True), KEYRING)
        runner = Runner(
            journal, sessions, Teams(registry(), sessions), contexts, model, limit=10, message_limit=1000, grace=5
        )
        async with runner.working():
            yield House(journal, runner, files, library)
    await model.aclose()


def tool_server(name: str, address: str) -> ToolServer:
    return ToolServer(project_id=DEFAULT_PROJECT, name=name, address=KEYRING.seal(address), asks=False)


def says(server: ModelServer, *replies: Any) -> None:
    """Texts, decisions, tool calls (`name`, `arguments`), or lists of steps, one a call of the model."""
    for reply in replies:
        steps: list[dict[str, Any]]
        match reply:
            case str():
                steps = [{"text": reply}]
            case (str(name), dict(arguments)):
                steps = [{"tool_call": {"name": name, "arguments": json.dumps(arguments)}}]
            case dict():
                steps = [{"text": json.dumps(reply)}]
            case _:
                steps = reply
        server.script(steps, times=1)


def systems(server: ModelServer) -> list[str]:
    return [request["body"]["messages"][0]["content"] for request in server.requests()]


def tools_of(request: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in request["body"].get("tools", [])]


def responses(events: list[Event]) -> list[str]:
    return [event.content for event in events if isinstance(event, Interaction) and event.kind == "tool_response"]


def end_of(events: list[Event]) -> Complete:
    end = events[-1]
    assert isinstance(end, Complete)
    return end


pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_who_only_talks_is_offered_no_tools(house: House, server: ModelServer) -> None:
    says(server, "Hello.")
    await house.run("Hello", "assistant")
    assert tools_of(server.requests()[0]) == []


async def test_the_projects_instructions_and_memories_are_known_to_every_agent(
    house: House, server: ModelServer
) -> None:
    async with house.library.sessions() as session:
        project = Project(id=uuid7(), name="Harbour", instructions="Speak like a sailor.")
        session.add(project)
        await session.commit()
    plan = {"steps": [{"id": "look", "purpose": "Look out"}]}
    says(server, {"goal": "Know.", "criteria": []}, plan, "Rain.", {"memories": ["It often rains."]}, "Rain, matey.")
    events = await house.run("What is the weather?", "planning", project.id)
    assert end_of(events).status == "complete"
    assert all("Speak like a sailor." in system for system in systems(server))
    kept = [event.content for event in events if isinstance(event, Interaction) and event.kind == "memory"]
    assert kept == ["It often rains."]

    server.reset()
    says(server, "Aye.")
    await house.run("And now?", "assistant", project.id)
    assert "- It often rains." in systems(server)[0]
    server.reset()
    says(server, "Elsewhere.")
    await house.run("And here?", "assistant")
    assert "It often rains." not in systems(server)[0]


async def test_what_is_remembered_already_is_not_kept_twice(house: House, server: ModelServer) -> None:
    plan = {"steps": [{"id": "look", "purpose": "Look out"}]}
    for _ in range(2):
        says(server, {"goal": "Know.", "criteria": []}, plan, "Rain.", {"memories": ["It  often rains."]}, "Rain.")
        await house.run("What is the weather?", "planning")
    async with house.library.sessions() as session:
        assert len(await Memories(session=session).of_project(DEFAULT_PROJECT, 10)) == 1


async def test_the_assistant_searches_the_documents_and_is_told_how_to_cite(house: House, server: ModelServer) -> None:
    await read(house.library.of(DEFAULT_PROJECT), "rivers.md", RIVERS)
    says(server, ("search_documents", {"query": "meander"}), "A bend.")
    events = await house.run("What is a meander?", "assistant")
    [retrieval] = [event for event in events if isinstance(event, Interaction) and event.kind == "retrieval"]
    assert (retrieval.agent, retrieval.turn, retrieval.content) == ("Assistant", 1, "meander")
    assert retrieval.tool_arguments is not None
    [passage] = retrieval.tool_arguments["passages"]
    assert f"cite it as [rivers.md]({passage['address']})" in responses(events)[0]


async def test_the_coordinator_looks_in_the_documents_before_others_work(house: House, server: ModelServer) -> None:
    await read(house.library.of(DEFAULT_PROJECT), "rivers.md", RIVERS)
    asks = [{"agent": "Critic", "task": "Find faults"}]
    says(server, {"reason": "Known.", "asks": asks, "searches": ["meander", "bend"]}, "None.", "A bend.")
    events = await house.run("What is a meander?", "coordinator")
    agents = [event.agent for event in events if event.__class__.__name__ == "AgentStart"]
    assert agents == ["Coordinator", "Librarian", "Critic", "Writer"]
    asked = [request["body"]["messages"] for request in server.requests()]
    assert "A meander is a bend" in asked[1][-1]["content"]
    assert "A meander is a bend" in asked[2][0]["content"]
    assert end_of(events).message.content == "A bend."


async def test_a_plan_with_a_tool_that_is_not_there_is_sent_back_and_one_with_a_tool_uses_it(
    house: House, server: ModelServer
) -> None:
    await house.files.of(DEFAULT_PROJECT).save("poem.txt", "a river\n")
    step = {"id": "look", "purpose": "Look", "tool": "open_window"}
    says(server, {"goal": "Know.", "criteria": []}, {"steps": [step]}, {"steps": [step | {"tool": "list_files"}]})
    says(server, ("list_files", {}), "A poem.", {"memories": []}, "There is a poem.")
    events = await house.run("What is there?", "planning")
    assert "'open_window'; there are: list_files" in server.requests()[2]["body"]["messages"][-1]["content"]
    assert "poem.txt (8 bytes)" in responses(events)[0]
    assert end_of(events).message.content == "There is a poem."


WORK = {"satisfied": False, "judgement": "Not yet.", "work": "Change the poem."}
SATISFIED = {"satisfied": True, "judgement": "Done."}


async def test_planner_and_coder_change_files_until_the_planner_is_satisfied(house: House, server: ModelServer) -> None:
    await house.files.of(DEFAULT_PROJECT).save("poem.txt", "a river\n")
    says(server, WORK, ("read_file", {"path": "poem.txt"}))
    says(server, ("edit_file", {"path": "poem.txt", "old": "a river", "new": "the river"}), "Changed.")
    says(server, WORK, ("write_file", {"path": "new.txt", "content": "new\n"}), "Made.", SATISFIED, "All done.")
    events = await house.run("Polish the poem", "coders")
    end = end_of(events)
    assert (end.status, end.message.content) == ("complete", "All done.")
    assert [(change.path, change.change, change.agent) for change in end.code_changes] == [
        ("poem.txt", "modified", "Coder"),
        ("new.txt", "created", "Coder"),
    ]
    assert [event for event in events if isinstance(event, CodeChange)] == end.code_changes
    reviewed = server.requests()[4]["body"]["messages"][-1]["content"]
    assert "-a river" in reviewed
    assert "+the river" in reviewed
    handed = [(e.agent, e.to_agent) for e in events if isinstance(e, Interaction) and e.kind == "message"]
    assert handed == [("Planner", "Coder"), ("Coder", "Planner")] * 2
    history = await house.files.of(DEFAULT_PROJECT).history(5)
    assert [row.author for row in history] == ["Coder", "Coder", ""]
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


async def test_when_the_rounds_are_used_up_the_planner_says_what_is_left(house: House, server: ModelServer) -> None:
    for _ in range(5):
        says(server, WORK, "I tried.")
    says(server, "Not finished.")
    events = await house.run("Polish the poem", "coders")
    assert end_of(events).message.content == "Not finished."
    assert "rounds are used up" in systems(server)[-1]


async def test_an_edit_whose_base_has_changed_is_refused_to_the_agent_with_the_reason(
    house: House, server: ModelServer
) -> None:
    files = house.files.of(DEFAULT_PROJECT)
    await files.save("poem.txt", "a river\n")
    edit = {"path": "poem.txt", "old": "river", "new": "stream"}
    call = {"tool_call": {"name": "edit_file", "arguments": json.dumps(edit)}}
    says(server, WORK, ("read_file", {"path": "poem.txt"}), [{"gate": "read"}, call])
    says(server, ("read_file", {"path": "poem.txt"}), ("edit_file", edit), "Changed.", SATISFIED, "Done.")
    started = await house.runner.start("Polish the poem", "coders")
    await asyncio.to_thread(server.wait_gate, "read")
    await files.save("poem.txt", "a wide river\n", (await files.show("poem.txt")).sha256)
    server.open_gate("read")
    events = await house.events(started.run_id)
    assert "changed by somebody else" in responses(events)[1]
    assert (await files.show("poem.txt")).text == "a wide stream\n"
    assert end_of(events).status == "complete"


async def test_the_time_that_is_left_is_told_once_it_can_be_known(
    house: House, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SHORTEST", 0.0)
    told = []
    for _ in range(4):
        says(server, "An answer.")
        events = await house.run("Hello", "assistant")
        told.append([event.metadata.get("seconds_left") for event in events if isinstance(event, Progress)])
    assert told[:3] == [[None] * 3] * 3
    assert told[3][0] is None  # at the start nothing is known of this run
    assert isinstance(told[3][1], float)
    # Another process learns the same from the log.
    learned = pace.Paces(house.library.sessions)
    assert (await learned.of("assistant")).left(0.5) is not None
    assert (await learned.of("planning")).left(0.5) is None


async def test_tools_of_a_server_are_used_and_what_cannot_be_had_is_told(house: House, server: ModelServer) -> None:
    async with house.library.sessions() as session:
        session.add(tool_server("own", f"{sys.executable} {MCP_SERVER}"))
        session.add(tool_server("gone", "http://127.0.0.1:9/mcp"))
        session.add(tool_server("cloud", "http://169.254.169.254/mcp"))
        await session.commit()
    says(server, ("own__add", {"a": 2, "b": 3}), "Five.")
    events = await house.run("What is 2 + 3?", "assistant")
    assert "own__add" in tools_of(server.requests()[0])
    assert responses(events) == ["5"]
    thoughts = [event.content for event in events if isinstance(event, Interaction) and event.kind == "thought"]
    assert any("The tool server gone cannot be used" in thought for thought in thoughts)
    assert any("The tool server cloud is at a metadata address (169.254.169.254)," in thought for thought in thoughts)
    assert end_of(events).message.content == "Five."


async def test_commands_are_not_started_where_they_are_not_allowed(house: House, tmp_path: Path) -> None:
    started = tmp_path / "started"
    async with house.library.sessions() as session:
        session.add(tool_server("own", f"touch {started}"))
        await session.commit()
    contexts = ProjectContexts(house.library.sessions, house.files, house.library, Toolboxes(Allowance()), KEYRING)
    async with contexts.open(DEFAULT_PROJECT, uuid7()) as context:
        assert context.tools == []
        assert context.troubles == ["The tool server own is a command, and commands are off here."]
    assert not started.exists()


async def test_a_tool_server_whose_key_is_lost_is_told_and_the_run_goes_on(house: House, server: ModelServer) -> None:
    elsewhere = Keyring([Fernet.generate_key().decode()]).seal("http://0pen-sesame@127.0.0.1:9/mcp")
    async with house.library.sessions() as session:
        session.add(ToolServer(project_id=DEFAULT_PROJECT, name="closed", address=elsewhere))
        await session.commit()
    says(server, "Without it, then.")
    events = await house.run("What is 2 + 3?", "assistant")
    thoughts = [event.content for event in events if isinstance(event, Interaction) and event.kind == "thought"]
    assert [thought for thought in thoughts if "tool server closed was encrypted with a key" in thought]
    assert end_of(events).message.content == "Without it, then."


async def test_documents_are_embedded_where_the_models_server_does_so(house: House) -> None:
    with ModelServer.start("--models", "scripted-model,small-embed", "--embeddings") as server:
        model = OpenAIModel(ModelOptions(url=server.url, model="scripted-model"))
        house.library.embedder = await embedder_of(model, "")
        shelf = house.library.of(DEFAULT_PROJECT)
        document = await read(shelf, "rivers.md", RIVERS)
        assert document.embedded_by == "small-embed"
        assert (await shelf.search("meander"))[0].document == "rivers.md"
        server.stop()
        assert (await shelf.search("meander"))[0].document == "rivers.md"  # by its words
        await model.aclose()


@pytest.mark.parametrize("options", [["--models", "a,b"], ["--models", "scripted-model,small-embed"]])
async def test_a_server_without_embeddings_is_asked_once_and_left_alone(options: list[str], database_url: str) -> None:
    with ModelServer.start(*options) as server:
        model = OpenAIModel(ModelOptions(url=server.url, model="scripted-model", retry_delay=0.001))
        assert await embedder_of(model, "") is None
        await model.aclose()
    assert await embedder_of(DemoModel(), "") is None


async def test_a_change_that_was_being_saved_at_the_stop_is_told(
    house: House, server: ModelServer, database: SQLAlchemyAsyncConfig
) -> None:
    review = {"satisfied": False, "judgement": "Not there.", "work": "Write it."}
    says(server, review, ("write_file", {"path": "a.py", "content": "x = 1\n"}), "Written.", "Done.")
    stops: list[asyncio.Task[None]] = []

    def stop(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO revision"):
            stops.append(asyncio.ensure_future(house.runner.cancel(started.run_id)))

    event.listen(database.get_engine().sync_engine, "before_cursor_execute", stop)
    started = await house.runner.start("Write a.py", "coders")
    events = await house.events(started.run_id)
    await asyncio.gather(*stops)
    assert len(stops) == 1
    assert end_of(events).status == "cancelled"
    assert [change.path for change in events if isinstance(change, CodeChange)] == ["a.py"]
    assert [change.path for change in end_of(events).code_changes] == ["a.py"]
