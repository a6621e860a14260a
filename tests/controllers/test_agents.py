"""Agents and teams that people make in the page."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from riverrun.agents.teams import registry
from tests.controllers.api_kit import Program
from tests.controllers.page_kit import Browser, the, with_class
from tests.model_server import ModelServer
from tests.rendering.dom import Element, parse
from tests.server import Server


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield Browser(client)


async def new_agent(browser: Browser, name: str, **fields: str) -> str:
    """Gives back its id."""
    made = await browser.submit("/agents", name=name, **{"instructions": f"You are {name}."} | fields)
    assert made.status_code == 303, made.text
    return str(made.headers["location"]).removeprefix("/agents#agent-")


async def new_team(browser: Browser, title: str, *members: str, description: str = "") -> str:
    made = await submit_team(browser, "/teams", title, *members, description=description)
    assert made.status_code == 303, made.text
    return str(made.headers["location"]).removeprefix("/agents#team-")


async def submit_team(browser: Browser, path: str, title: str, *members: str, description: str = "") -> httpx.Response:
    fields = {"title": title, "description": description, "members": list(members)}
    return await browser.client.post(path, data=fields)


def value(page: Element, selector: str) -> str:
    field = the(page, selector)
    return field.text.strip() if field.tag == "textarea" else str(field.attributes.get("value") or "")


def ticked(page: Element) -> list[str]:
    boxes = [field for field in page if field.attributes.get("type") == "checkbox"]
    return [str(box.attributes["value"]) for box in boxes if "checked" in box.attributes]


def problems(page: Element) -> list[str]:
    return [problem.text for problem in with_class(page, "field__problem")]


async def offered(browser: Browser) -> dict[str, str]:
    """The teams that the composer offers: name and title."""
    page = await browser.open("/")
    (select,) = (field for field in the(page, "#composer") if field.tag == "select")
    return {str(option.attributes["value"]): option.text for option in select.elements}


# Agents


async def test_an_agent_is_made_shown_and_changed(browser: Browser) -> None:
    agent = await new_agent(
        browser,
        "Harbour master",
        role="knows the tides",
        instructions="Answer\r\nbriefly.",
        model="m1",
        tools="files",
        servers="weather, ships weather",
    )
    listed = the(await browser.open("/agents"), f"#agent-{agent}").text
    for told in ("Harbour master", "knows the tides", "m1", "files, weather, ships"):
        assert told in listed
    page = await browser.open(f"/agents/{agent}")
    assert value(page, "#name") == "Harbour master"
    assert value(page, "#instructions") == "Answer\nbriefly."
    assert value(page, "#servers") == "weather, ships"
    assert ticked(page) == ["files"]
    changed = await browser.client.post(
        f"/agents/{agent}",
        data={"name": "Pilot", "instructions": "Steer.", "tools": ["files", "documents", "anything"]},
    )
    assert changed.status_code == 303
    page = await browser.open(f"/agents/{agent}")
    assert (value(page, "#name"), value(page, "#role"), value(page, "#model")) == ("Pilot", "", "")
    assert ticked(page) == ["files", "documents"]


@pytest.mark.parametrize(
    ("wrong", "field", "sentence"),
    [
        ({"name": " "}, "name", "An agent needs a name."),
        ({"name": "n" * 61}, "name", "This has 61 characters; 60 fit."),
        ({"name": "Taken"}, "name", "There is an agent of this name already."),
        ({"instructions": ""}, "instructions", "Write what this agent has to know and to do."),
        ({"instructions": "i" * 20_001}, "instructions", "This has 20,001 characters; 20,000 fit."),
        ({"servers": "fine, not/fine"}, "servers", "“not/fine” cannot be a tool server's name."),
    ],
)
async def test_an_agent_that_cannot_be_is_refused_and_kept_in_the_form(
    browser: Browser, wrong: dict[str, str], field: str, sentence: str
) -> None:
    await browser.submit("/agents", name="Taken", instructions="First come.")
    other = await new_agent(browser, f"Other {uuid4()}")
    written = {"name": "Fine", "role": "a role", "instructions": "Do.", "tools": "documents", "servers": ""} | wrong
    for path in ("/agents", f"/agents/{other}"):
        answer = await browser.submit(path, **written)
        assert answer.status_code == 400
        page = parse(answer.text)
        assert problems(page) == [sentence]
        assert the(page, f"#{field}").attributes["aria-invalid"] == "true"
        for name in ("name", "role", "instructions", "servers"):
            assert value(page, f"#{name}") == written[name]
        assert ticked(page) == ["documents"]
    assert value(await browser.open(f"/agents/{other}"), "#name").startswith("Other")


async def test_a_deleted_agent_leaves_its_teams(browser: Browser) -> None:
    leaver, stayer = await new_agent(browser, "Leaver"), await new_agent(browser, "Stayer")
    team = await new_team(browser, "Small crew", leaver, stayer)
    assert "Leaver, Stayer" in the(await browser.open("/agents"), f"#team-{team}").text
    assert (await browser.submit(f"/agents/{leaver}/deletions")).status_code == 303
    await browser.open(f"/agents/{leaver}", status=404)
    assert "Stayer" in the(await browser.open("/agents"), f"#team-{team}").text
    assert ticked(await browser.open(f"/teams/{team}")) == [stayer]
    await browser.submit(f"/agents/{stayer}/deletions")
    assert "no members" in the(await browser.open("/agents"), f"#team-{team}").text


# Teams


async def test_the_built_in_teams_are_described(browser: Browser) -> None:
    page = await browser.open("/agents")
    for team in registry().values():
        assert team.title in page.text
        assert team.description in page.text


async def test_a_team_is_offered_at_once_and_works(browser: Browser, program: Program, model: ModelServer) -> None:
    agent = await new_agent(browser, "Captain", instructions="You command the Étoile.")
    await new_team(browser, "Étoile & crew", agent, description="Sails.")
    assert (await offered(browser))["etoile-crew"] == "Étoile & crew"
    teams = (await program.client.get("/api/teams")).json()
    assert {"name": "etoile-crew", "title": "Étoile & crew", "description": "Sails."} in teams
    sent = await browser.send("Where does the Étoile go?", team="etoile-crew")
    await browser.frames(sent.run)
    asked = next(asked for asked in model.requests() if "Where does the Étoile go?" in str(asked))
    assert "You command the Étoile." in asked["body"]["messages"][0]["content"]


async def test_the_members_of_a_team_keep_their_order(browser: Browser) -> None:
    first, second, third = [await new_agent(browser, f"{name} of the order") for name in ("Zoe", "Max", "Ann")]
    team = await new_team(browser, "In order", first, second)
    page = await browser.open(f"/teams/{team}")
    assert ticked(page) == [first, second]
    await submit_team(browser, f"/teams/{team}", "In order", second, third, str(uuid4()), second)
    assert ticked(await browser.open(f"/teams/{team}")) == [second, third]


async def test_a_team_keeps_its_name_when_it_gets_another_title(browser: Browser) -> None:
    agent = await new_agent(browser, "Namesake")
    team = await new_team(browser, "First title", agent)
    assert (await submit_team(browser, f"/teams/{team}", "Second title", agent)).status_code == 303
    assert (await offered(browser))["first-title"] == "Second title"


async def test_names_of_teams_never_collide(browser: Browser) -> None:
    agent = await new_agent(browser, "Everywhere")
    for title in ("Coders", "Hull+Mast", "Hull, Mast", "Команда", "Экипаж"):
        await new_team(browser, title, agent)
    names = {title: name for name, title in (await offered(browser)).items()}
    assert names["Planner and Coder"] == "coders"
    assert names["Coders"] == "coders-2"
    assert (names["Hull+Mast"], names["Hull, Mast"]) == ("hull-mast", "hull-mast-2")
    assert (names["Команда"], names["Экипаж"]) == ("team", "team-2")


@pytest.mark.parametrize(
    ("title", "has_member", "field", "sentence"),
    [
        ("", True, "title", "A team needs a title."),
        ("t" * 61, True, "title", "This has 61 characters; 60 fit."),
        ("COORDINATOR", True, "title", "There is a team of this title already."),
        ("Nobody in it", False, "members", "Choose at least one agent."),
    ],
)
async def test_a_team_that_cannot_be_is_refused_and_kept_in_the_form(
    browser: Browser, title: str, has_member: bool, field: str, sentence: str
) -> None:
    agent = await new_agent(browser, f"Sailor {uuid4()}")
    team = await new_team(browser, f"Team {uuid4()}", agent)
    members = [agent] if has_member else []
    for path in ("/teams", f"/teams/{team}"):
        answer = await submit_team(browser, path, title, *members, description="kept")
        assert answer.status_code == 400
        page = parse(answer.text)
        assert problems(page) == [sentence]
        assert f"wrong-{field}" in answer.text
        assert (value(page, "#title"), value(page, "#description"), ticked(page)) == (title, "kept", members)


async def test_a_deleted_team_is_offered_no_more(browser: Browser) -> None:
    agent = await new_agent(browser, "Survivor")
    team = await new_team(browser, "Sinking", agent)
    sent = await browser.send("Is the water rising?", team="sinking")
    await browser.frames(sent.run)
    assert (await browser.submit(f"/teams/{team}/deletions")).status_code == 303
    assert "sinking" not in await offered(browser)
    await browser.open(f"/teams/{team}", status=404)
    await browser.open(f"/agents/{agent}")
    await browser.open(sent.path)


@pytest.mark.parametrize("path", ["/agents", "/teams"])
async def test_what_is_not_there_is_not_found(browser: Browser, path: str) -> None:
    await browser.open(f"{path}/{uuid4()}", status=404)
    for action in ("", "/deletions"):
        assert (await browser.submit(f"{path}/{uuid4()}{action}", name="x", title="x")).status_code == 404
