"""Projects, memories and tool servers, in the page and for programs."""

import asyncio
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from riverrun.agents.teams import registry
from tests.controllers.api_kit import Program
from tests.controllers.page_kit import Browser, the, with_class
from tests.model_server import ModelServer
from tests.rendering.dom import Element, parse, swap
from tests.server import Server, free_port

TOOL_SERVER = Path(__file__).parents[1] / "agents" / "mcp_server.py"
DEFAULT = "/p/00000000-0000-7000-8000-000000000001"


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield Browser(client)


async def new_project(browser: Browser, name: str = "Harbour") -> str:
    """Gives back its path."""
    made = await browser.submit("/projects", name=name)
    assert made.status_code == 303, made.text
    return made.headers["location"]


async def say(browser: Browser, project: str, content: str) -> str:
    """As the composer of a new conversation does; gives back the conversation's path."""
    answer = await browser.submit("/messages", content=content, project=project.removeprefix("/p/"))
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"]).partition("#")[0].partition("?")[0]


def value(page: Element, selector: str) -> str:
    field = the(page, selector)
    return field.text.strip() if field.tag == "textarea" else str(field.attributes.get("value") or "")


def chosen_team(select: Element) -> str:
    (chosen,) = (option for option in select.elements if "selected" in option.attributes)
    return str(chosen.attributes["value"])


def tags(page: Element, tag: str) -> list[Element]:
    return [element for element in page if element.tag == tag]


def listed(page: Element) -> list[str]:
    return [title.text for title in with_class(page, "entry__title")]


def problems(page: Element) -> list[str]:
    return [problem.text for problem in with_class(page, "field__problem")]


def memories(page: Element) -> list[str]:
    return [memory.text for memory in with_class(page, "card__text")]


# Projects


async def test_a_project_is_made_and_has_conversations_of_its_own(browser: Browser) -> None:
    elsewhere = await say(browser, DEFAULT, "said outside the harbour")
    project = await new_project(browser, "  The   harbour  ")
    conversation = await say(browser, project, "said in the harbour")
    page = await browser.open(conversation)
    above = with_class(page, "page__project")[0]
    assert (above.text.strip(), tags(above, "a")[0].attributes["href"]) == ("The harbour", project)
    assert listed(page) == ["said in the harbour"]
    outside = await browser.open(elsewhere)
    assert "said outside the harbour" in listed(outside)
    assert "said in the harbour" not in listed(outside)


async def test_the_list_leads_to_other_projects_and_stays_in_its_own(browser: Browser) -> None:
    project = await new_project(browser, "Stays here")
    here = project.removeprefix("/p/")
    page = await browser.open(f"/?project={here}")
    assert with_class(page, "switcher__current")[0].text == "Stays here"
    others = with_class(page, "switcher__list")[0]
    assert DEFAULT.removeprefix("/p/") in str(tags(others, "a")[0].attributes["href"])
    assert "Stays here" not in others.text
    project_field = next(field for field in the(page, "#composer") if field.attributes.get("name") == "project")
    assert project_field.attributes["value"] == here
    for link in [*with_class(page, "sidebar__new"), *tags(with_class(page, "welcome")[0], "a")]:
        assert here in str(link.attributes["href"])


async def test_older_conversations_are_those_of_the_project(browser: Browser, program: Program) -> None:
    project = await new_project(browser, "Full")
    project_id = project.removeprefix("/p/")
    for n in range(52):
        await program.new_conversation(title=f"number {n}", project_id=project_id)
    page = await browser.open(f"/?project={project_id}")
    assert len(listed(page)) == 50
    older = await browser.open(str(tags(with_class(page, "entries__older")[0], "a")[0].attributes["href"]))
    assert listed(older) == ["number 1", "number 0"]
    assert with_class(older, "switcher__current")[0].text == "Full"


async def test_a_project_is_described(browser: Browser) -> None:
    project = await new_project(browser)
    saved = await browser.submit(project, name="Port", instructions="Say\r\n<b>ahoy</b>.", team="planning")
    assert saved.status_code == 303
    page = await browser.open(saved.headers["location"])
    assert "Saved." in page.text
    assert value(page, "#name") == "Port"
    assert value(page, "#instructions") == "Say\n<b>ahoy</b>."
    assert chosen_team(the(page, "#team")) == "planning"
    new = await browser.open(f"/?project={project.removeprefix('/p/')}")
    assert chosen_team(tags(the(new, "#composer"), "select")[0]) == "planning"


@pytest.mark.parametrize(
    ("wrong", "field", "sentence"),
    [
        ({"name": " \n "}, "name", "A project needs a name."),
        ({"name": "n" * 201}, "name", "This has 201 characters; 200 fit."),
        ({"instructions": "i" * 20_001}, "instructions", "This has 20,001 characters; 20,000 fit."),
        ({"team": "nobody"}, "team", "There is no team 'nobody'"),
    ],
)
async def test_what_is_wrong_is_told_beside_the_field_and_what_was_written_is_kept(
    browser: Browser, wrong: dict[str, str], field: str, sentence: str
) -> None:
    project = await new_project(browser, "Before")
    written = {"name": "Changed", "instructions": "Kept.", "team": "assistant"} | wrong
    answer = await browser.submit(project, **written)
    assert answer.status_code == 400
    page = parse(answer.text)
    assert problems(page)[0].startswith(sentence)
    assert f"wrong-{field}" in str(the(page, f"#{field}").attributes["aria-describedby"])
    assert value(page, "#instructions") == written["instructions"]
    assert value(await browser.open(project), "#name") == "Before"


async def test_a_project_without_a_name_is_not_made(browser: Browser) -> None:
    answer = await browser.submit("/projects", name=" ")
    assert answer.status_code == 400
    assert problems(parse(answer.text)) == ["A project needs a name."]


async def test_a_project_tells_what_is_in_it(browser: Browser) -> None:
    project = await new_project(browser)
    await say(browser, project, "one")
    await say(browser, project, "two")
    await browser.submit(f"{project}/memories", content="something")
    await browser.submit(f"{project}/tools", name="weather", address="http://127.0.0.1:9/mcp")
    holdings = with_class(await browser.open(project), "holdings")[0]
    told = [item.text.strip() for item in holdings.elements]
    assert told == ["2 conversations", "0 files", "0 documents", "1 memory", "1 tool server"]


async def test_a_deleted_project_goes_with_its_conversations_and_comes_back_with_them(browser: Browser) -> None:
    project = await new_project(browser, "Regretted")
    conversation = await say(browser, project, "still here")
    gone_before = await say(browser, project, "gone before")
    await browser.submit(f"{gone_before}/deletions")
    deleted = await browser.submit(f"{project}/deletions")
    assert deleted.status_code == 303
    for path in (project, conversation, f"{project}/memories", f"{project}/tools"):
        await browser.open(path, status=404)
    page = await browser.open(deleted.headers["location"])
    undo = with_class(page, "undo__form")[0]
    assert "Regretted" in undo.text
    assert "Regretted" not in with_class(page, "switcher__list")[0].text
    restored = await browser.submit(str(undo.attributes["action"]))
    assert restored.status_code == 303
    assert listed(await browser.open(restored.headers["location"])) == ["still here"]
    await browser.open(gone_before, status=404)
    # reloading the page that offered the undo offers it no more
    assert with_class(await browser.open(deleted.headers["location"]), "undo__form") == []


async def test_deleting_a_project_stops_what_works_there(browser: Browser, model: ModelServer) -> None:
    question = "never ends in the harbour"
    model.script([{"gate": "harbour"}], match=question)
    project = await new_project(browser)
    await browser.send(question, project=project.removeprefix("/p/"))
    await asyncio.to_thread(model.wait_gate, "harbour")
    (request,) = (n for n, asked in enumerate(model.requests()) if question in str(asked))
    await browser.submit(f"{project}/deletions")
    await asyncio.to_thread(model.wait_closed, request)


async def test_nothing_begins_in_a_deleted_project(browser: Browser, program: Program) -> None:
    project = await new_project(browser)
    project_id = project.removeprefix("/p/")
    conversation = await program.new_conversation(project_id=project_id)
    await browser.submit(f"{project}/deletions")
    answer = await browser.submit("/messages", content="a thought worth keeping", project=project_id)
    assert answer.status_code == 404
    assert value(parse(answer.text), "#content") == "a thought worth keeping"
    again = await program.client.post(f"/api/conversations/{conversation}/runs", json={"content": "hello"})
    assert again.status_code == 404


async def test_the_default_project_stays(browser: Browser) -> None:
    assert "Delete this project" not in (await browser.open(DEFAULT)).text
    assert (await browser.submit(f"{DEFAULT}/deletions")).status_code == 400
    await browser.open(DEFAULT)


@pytest.mark.parametrize("path", ["", "/memories", "/tools"])
async def test_a_project_that_is_not_there(browser: Browser, path: str) -> None:
    await browser.open(f"/p/{uuid4()}{path}", status=404)


# Memories


async def test_memories_are_added_changed_and_deleted_without_scripts(browser: Browser) -> None:
    project = await new_project(browser)
    for content in ("The first <b>thing</b>", "The second"):
        assert (await browser.submit(f"{project}/memories", content=content)).status_code == 303
    page = await browser.open(f"{project}/memories")
    assert memories(page) == ["The second", "The first <b>thing</b>"]
    first = with_class(page, "card")[1]
    edit, delete = tags(first, "form")
    changed = await browser.submit(str(edit.attributes["action"]), content="Another thing")
    assert str(changed.headers["location"]).endswith(f"/memories#{first.attributes['id']}")
    assert memories(await browser.open(f"{project}/memories")) == ["The second", "Another thing"]
    assert (await browser.submit(str(delete.attributes["action"]))).status_code == 303
    assert memories(await browser.open(f"{project}/memories")) == ["The second"]


async def test_with_scripts_the_open_page_is_what_a_reload_would_be(browser: Browser) -> None:
    project = await new_project(browser)
    path = f"{project}/memories"
    page = await browser.open(path)

    async def act(action: str, **data: str) -> None:
        answer = await browser.post(action, shown=path, **data)
        assert answer.status_code == 200, answer.text
        swap(page, answer.text)
        assert the(page, "#memories").html() == the(await browser.open(path), "#memories").html()

    await act(path, content="one")
    await act(path, content="two")
    edit, delete = tags(with_class(page, "card")[0], "form")
    await act(str(edit.attributes["hx-post"]), content="two and a half")
    assert memories(page) == ["two and a half", "one"]
    await act(str(delete.attributes["hx-post"]))
    assert memories(page) == ["one"]


@pytest.mark.parametrize("scripted", [True, False])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [(" ", "Write what is to be remembered."), ("m" * 2_001, "This has 2,001 characters; 2,000 fit.")],
)
async def test_a_memory_that_does_not_fit_is_refused_and_kept(
    browser: Browser, content: str, sentence: str, scripted: bool
) -> None:
    project = await new_project(browser)
    path = f"{project}/memories"
    await browser.submit(path, content="as it was")
    page = await browser.open(path)
    edit = tags(with_class(page, "card")[0], "form")[0]
    for action in (path, str(edit.attributes["action"])):
        if scripted:
            swap(page, (await browser.post(action, shown=path, content=content)).text)
        else:
            answer = await browser.submit(action, content=content)
            assert answer.status_code == 400
            page = parse(answer.text)
        assert problems(page) == [sentence]
        wrong = next(field for field in page if field.attributes.get("aria-invalid"))
        assert wrong.text.strip() == content.strip()
    assert memories(await browser.open(path)) == ["as it was"]


async def test_a_project_is_full_with_500_memories(browser: Browser, program: Program) -> None:
    project = await new_project(browser)
    for n in range(500):
        added = await program.client.post(f"/api/projects/{project[3:]}/memories", json={"content": f"memory {n}"})
        assert added.status_code == 201
    answer = await browser.submit(f"{project}/memories", content="one too many")
    assert answer.status_code == 409
    assert "500 memories" in problems(parse(answer.text))[0]


async def test_a_memory_of_another_project_cannot_be_reached(browser: Browser) -> None:
    one, other = await new_project(browser), await new_project(browser)
    await browser.submit(f"{one}/memories", content="private")
    card = with_class(await browser.open(f"{one}/memories"), "card")[0]
    memory = str(card.attributes["id"]).removeprefix("memory-")
    for path in (f"{other}/memories/{memory}", f"{other}/memories/{memory}/deletions"):
        assert (await browser.submit(path, content="mine now")).status_code == 404
    assert memories(await browser.open(f"{one}/memories")) == ["private"]


# Tools


async def test_tool_servers_are_added_and_removed(browser: Browser) -> None:
    project = await new_project(browser)
    added = await browser.submit(f"{project}/tools", name="weather-2", address="https://tools.example.org/mcp")
    assert added.status_code == 303
    page = await browser.open(f"{project}/tools")
    card = with_class(page, "card")[0]
    assert "weather-2" in card.text
    assert "https://tools.example.org/…" in card.text
    remove = tags(card, "form")[-1]
    assert (await browser.submit(str(remove.attributes["action"]))).status_code == 303
    assert with_class(await browser.open(f"{project}/tools"), "card") == []


@pytest.mark.parametrize(
    ("name", "address", "field", "sentence"),
    [
        ("", "http://a.example/mcp", "name", "A name has 1 to 30 letters"),
        ("two words", "http://a.example/mcp", "name", "A name has 1 to 30 letters"),
        ("n" * 31, "http://a.example/mcp", "name", "A name has 1 to 30 letters"),
        ("files", "http://a.example/mcp", "name", "“files” is what the project's own tools are called"),
        ("taken", "http://a.example/mcp", "name", "This project has a tool server of this name already."),
        ("fine", "", "address", "Write the server's address."),
        ("fine", "ftp://a.example/", "address", "An address begins with http:// or https://"),
        ("fine", "http://", "address", "An address begins with http:// or https://"),
        ("fine", "http://[", "address", "An address begins with http:// or https://"),
        ("fine", "http://a.example:99999/", "address", "An address begins with http:// or https://"),
        ("fine", "http://169.254.169.254/", "address", "This tool server is at a metadata address (169.254.169.254),"),
        ("fine", "touch /tmp/whatever", "address", "Command lines are off here."),
    ],
)
async def test_a_tool_server_that_cannot_be_is_refused(
    browser: Browser, name: str, address: str, field: str, sentence: str
) -> None:
    project = await new_project(browser)
    await browser.submit(f"{project}/tools", name="taken", address="http://a.example/mcp")
    answer = await browser.submit(f"{project}/tools", name=name, address=address)
    assert answer.status_code == 400
    page = parse(answer.text)
    assert sentence in problems(page)[0]
    assert the(page, f"#{field}").attributes["aria-invalid"] == "true"
    assert (value(page, "#name"), value(page, "#address")) == (name, address)
    assert len(with_class(page, "card")) == 1


@pytest.fixture(scope="module")
def with_commands(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "RIVERRUN_MODEL_URL": model.url,
        "RIVERRUN_TOOL_COMMANDS": "on",
        "RIVERRUN_FETCH_ALLOW": "tools.example:3000, 10.1.0.0/16",
    }
    with Server(tmp_path_factory.mktemp("commands"), **settings).start() as running:
        yield running


def trial(page: Element) -> list[str]:
    """What a trial told, line by line."""
    lines = (line for card in with_class(page, "trial") for line in card.text.splitlines())
    return [line for line in lines if line]


async def try_out(browser: Browser, project: str, scripted: bool) -> list[str]:
    page = await browser.open(f"{project}/tools")
    action = str(with_class(page, "card__try")[0].attributes["action"])
    if not scripted:
        return trial(parse((await browser.submit(action)).text))
    swap(page, (await browser.post(action, shown=f"{project}/tools")).text)
    return trial(page)


@pytest.mark.parametrize("scripted", [True, False])
async def test_a_tool_server_is_tried_and_its_tools_are_shown(with_commands: Server, scripted: bool) -> None:
    async with httpx.AsyncClient(base_url=with_commands.url, timeout=20) as client:
        browser = Browser(client)
        project = await new_project(browser)
        address = f"{shlex.quote(sys.executable)} {shlex.quote(str(TOOL_SERVER))}"
        added = await browser.submit(f"{project}/tools", name="rehearsal", address=address)
        assert added.status_code == 303, added.text
        told = await try_out(browser, project, scripted)
        assert told[0].startswith("It answers, and has ")
        assert "add Adds two numbers." in told


@pytest.mark.parametrize("scripted", [True, False])
async def test_a_tool_server_that_fails_tells_why(browser: Browser, scripted: bool) -> None:
    project = await new_project(browser)
    await browser.submit(f"{project}/tools", name="nowhere", address=f"http://127.0.0.1:{free_port()}/mcp")
    (why,) = await try_out(browser, project, scripted)
    assert why.startswith("The tool server nowhere cannot be used: ")


@pytest.fixture(scope="module")
def tools_over_http() -> Iterator[int]:
    """The port of a tool server on this machine."""
    with subprocess.Popen([sys.executable, TOOL_SERVER, "http"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.terminate()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_who_is_alone_uses_tool_servers_on_their_own_machine(
    browser: Browser, tools_over_http: int, host: str
) -> None:
    project = await new_project(browser)
    added = await browser.submit(f"{project}/tools", name="own", address=f"http://{host}:{tools_over_http}/mcp")
    assert added.status_code == 303, added.text
    assert (await try_out(browser, project, scripted=False))[0].startswith("It answers, and has ")


@pytest.mark.parametrize("scripted", [True, False])
async def test_tool_servers_are_only_where_the_administrator_lets_them_be(
    with_commands: Server, tools_over_http: int, scripted: bool
) -> None:
    why_not = "which this server does not fetch from; an administrator can allow it with RIVERRUN_FETCH_ALLOW."
    async with httpx.AsyncClient(base_url=with_commands.url, timeout=20) as client:
        browser = Browser(client)
        project = await new_project(browser)
        known = f"http://127.0.0.1:{tools_over_http}/mcp"
        page = parse((await browser.submit(f"{project}/tools", name="own", address=known)).text)
        assert problems(page) == [f"This tool server is at a loopback address (127.0.0.1), {why_not}"]
        assert with_class(page, "card") == []
        named = f"http://localhost:{tools_over_http}/mcp"
        assert (await browser.submit(f"{project}/tools", name="own", address=named)).status_code == 303
        told = await try_out(browser, project, scripted)
        assert told == [f"The tool server own is at a loopback address, {why_not}"]
        allowed = await browser.submit(f"{project}/tools", name="lan", address="http://10.1.2.3/mcp")
        assert allowed.status_code == 303, allowed.text


async def test_a_command_is_not_started_once_commands_are_off(with_commands: Server, tmp_path: Path) -> None:
    trace = tmp_path / "started"
    async with httpx.AsyncClient(base_url=with_commands.url, timeout=20) as client:
        browser = Browser(client)
        project = await new_project(browser)
        await browser.submit(f"{project}/tools", name="command", address=f"touch {trace}")
        await try_out(browser, project, scripted=False)
        assert trace.exists(), "otherwise what follows shows nothing"
        trace.unlink()
        with_commands.stop()
        with_commands.start(RIVERRUN_TOOL_COMMANDS="off")
        refused = "The tool server command is a command, and commands are off here."
        assert await try_out(browser, project, scripted=False) == [refused]
        assert not trace.exists()
        with_commands.stop()
        with_commands.start(RIVERRUN_TOOL_COMMANDS="on")


KEY = "0pen-sesame"
SPEAK = """import os; exit(os.environ["KEY"] + " is old")"""
TELLTALE = f"env KEY={KEY} {shlex.quote(sys.executable)} -c {shlex.quote(SPEAK)}"


async def test_a_key_in_an_address_is_nowhere_to_be_read(with_commands: Server) -> None:
    async with httpx.AsyncClient(base_url=with_commands.url, timeout=20) as client:
        browser = Browser(client)
        project = await new_project(browser)
        assert (await browser.submit(f"{project}/tools", name="telltale", address=TELLTALE)).status_code == 303
        (why,) = await try_out(browser, project, scripted=False)
        assert why.endswith("It says: … is old"), "it has been started with its key"
        conversation = await say(browser, project, "What can the telltale do?")
        told = [(await client.get(path)).text for path in (project, f"{project}/tools", conversation)]
        assert "The tool server telltale cannot be used" in told[-1]
        told += [(await client.get(f"{conversation}/export.{kind}")).text for kind in ("md", "json")]
        told += [(await client.get(f"/api/conversations/{conversation.removeprefix('/c/')}")).text]
    assert [text for text in told if KEY in text] == []
    kept = [path for path in with_commands.folder.rglob("*") if path.is_file()]
    assert with_commands.folder / "data" / "riverrun.db" in kept
    assert [path for path in kept if KEY.encode() in path.read_bytes()] == []


async def test_a_tool_server_whose_key_is_lost_is_a_sentence_until_the_key_is_back(with_commands: Server) -> None:
    async with httpx.AsyncClient(base_url=with_commands.url, timeout=20) as client:
        browser = Browser(client)
        project = await new_project(browser)
        await browser.submit(f"{project}/tools", name="closed", address="http://10.1.2.3/mcp")
        with_commands.stop()
        with_commands.start(RIVERRUN_SECRET_KEY="Tm90IGEgc2VjcmV0LCBidXQgMzIgYnl0ZXMgbG9uZyE=")
        assert "were encrypted with a key that is not here" in with_commands.log.read_text()
        card = with_class(await browser.open(f"{project}/tools"), "card")[0]
        assert "Its address was encrypted with a key that is not here any more." in card.text
        (why,) = await try_out(browser, project, scripted=False)
        assert why.startswith("The address of the tool server closed was encrypted with a key that is not here")
        with_commands.stop()
        with_commands.start(RIVERRUN_SECRET_KEY="")
        assert "http://10.1.2.3/…" in with_class(await browser.open(f"{project}/tools"), "card")[0].text


# For programs


async def test_programs_make_and_change_projects(program: Program) -> None:
    made = await program.client.post("/api/projects", json={"name": "By a program"})
    assert made.status_code == 201
    project = made.json()
    assert (project["name"], project["instructions"], project["team"]) == ("By a program", "", "assistant")
    changed = await program.client.patch(f"/api/projects/{project['id']}", json={"instructions": "Be brief."})
    assert changed.json() | {"updated_at": ""} == project | {"instructions": "Be brief.", "updated_at": ""}
    projects = (await program.client.get("/api/projects")).json()
    assert projects[0]["id"] == DEFAULT.removeprefix("/p/")
    assert changed.json() in projects


@pytest.mark.parametrize(
    ("body", "field"),
    [({"name": " "}, "name"), ({"name": "n", "team": "nobody"}, "team"), ({}, "name")],
)
async def test_a_wrong_project_gets_a_problem_that_names_the_field(
    program: Program, body: dict[str, str], field: str
) -> None:
    answer = await program.client.post("/api/projects", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_programs_add_read_and_delete_memories(program: Program) -> None:
    project = (await program.client.post("/api/projects", json={"name": "Remembers"})).json()["id"]
    path = f"/api/projects/{project}/memories"
    first = (await program.client.post(path, json={"content": "first"})).json()
    second = (await program.client.post(path, json={"content": "second"})).json()
    assert first["run_id"] is None
    assert (await program.client.get(path)).json() == [second, first]
    assert (await program.client.delete(f"{path}/{first['id']}")).status_code == 204
    assert (await program.client.delete(f"{path}/{first['id']}")).status_code == 404
    assert (await program.client.get(path)).json() == [second]
    assert (await program.client.post(path, json={"content": ""})).json()["field"] == "content"
    assert (await program.client.get(f"/api/projects/{uuid4()}/memories")).status_code == 404


async def test_programs_see_the_teams(program: Program) -> None:
    told = (await program.client.get("/api/teams")).json()
    known = [{"name": team.name, "title": team.title, "description": team.description} for team in registry().values()]
    assert [team for team in told if team in known] == known


async def test_a_token_in_an_address_is_not_shown(browser: Browser) -> None:
    project = await new_project(browser, "Tokens")
    await browser.submit(f"{project}/tools", name="own", address="https://s3cret@tools.example.org/mcp")
    page = await browser.open(f"{project}/tools")
    assert "https://…@tools.example.org/…" in page.text
    assert "s3cret" not in page.html()
