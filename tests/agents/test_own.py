"""Agents and teams that people make, which are described by data."""

import json

from riverrun.agents.context import Context
from riverrun.agents.coordinator import WRITER
from riverrun.agents.events import AgentComplete, AgentStart, Event, Progress
from riverrun.agents.exchange import Message
from riverrun.agents.model import Model
from riverrun.agents.own import AgentSpec, Own, TeamSpec
from riverrun.agents.team import Task, Team
from riverrun.agents.tools import tool
from tests.agents.conftest import Connect
from tests.model_server import ModelServer

ADA = AgentSpec("Ada", "calculates", "You calculate.")
BEN = AgentSpec("Ben", "doubts", "You doubt.", model="doubting-model")


async def work(team: Team, model: Model, context: Context | None = None) -> list[Event]:
    asked = [Message(role="user", content="Is it so?")]
    return [event async for event in team.run(Task(asked, model, context=context or Context()))]


def own(*members: AgentSpec) -> Own:
    return Own(TeamSpec("mine", "Mine", "Of my own.", members))


def answers_of(events: list[Event]) -> list[tuple[str | None, str]]:
    return [(event.agent, event.content) for event in events if isinstance(event, AgentComplete)]


async def test_one_member_answers_by_itself(server: ModelServer, connected: Connect) -> None:
    server.script([{"text": "It is."}])
    events = await work(own(ADA), connected())

    assert answers_of(events) == [("Ada", "It is.")]
    [start] = [event for event in events if isinstance(event, AgentStart)]
    assert start.role == "calculates"
    assert server.requests()[0]["body"]["messages"][0]["content"] == "You calculate."
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


async def test_it_has_the_model_and_the_tools_that_it_was_given(server: ModelServer, connected: Connect) -> None:
    async def sky__look() -> str:
        """Looks."""
        return "blue"

    async def sea__look() -> str:
        """Looks."""
        return "grey"

    context = Context(tools=[tool(sky__look), tool(sea__look)])
    await work(own(AgentSpec("Cat", "looks", "You look.", model="seeing-model", tools=["sky"])), connected(), context)

    body = server.requests()[0]["body"]
    assert body["model"] == "seeing-model"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["sky__look"]


async def test_several_members_are_asked_by_a_coordinator(server: ModelServer, connected: Connect) -> None:
    asks = [{"agent": "Ada", "task": "Calculate it"}, {"agent": "Ben", "task": "Doubt it"}]
    server.script([{"text": json.dumps({"reason": "Both know.", "asks": asks})}], times=1)
    server.script([{"text": "It is 4."}], match="Calculate it")
    server.script([{"text": "Is it?"}], match="Doubt it")
    server.script([{"text": "It may be 4."}])
    events = await work(own(ADA, BEN), connected())

    answers = dict(answers_of(events))
    assert (answers["Ada"], answers["Ben"], answers["Writer"]) == ("It is 4.", "Is it?", "It may be 4.")
    asked = {request["body"]["model"]: request["body"]["messages"][0]["content"] for request in server.requests()}
    assert asked["doubting-model"] == "You doubt."


async def test_a_team_whose_members_are_gone_still_answers(server: ModelServer, connected: Connect) -> None:
    server.script([{"text": "Well."}])
    assert answers_of(await work(own(), connected())) == [(WRITER.name, "Well.")]
