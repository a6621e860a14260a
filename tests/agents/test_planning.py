"""Planning first, against a scripted model: the plan is checked, mended once, and followed in its order."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from riverrun.agents.decision import Unfit
from riverrun.agents.demo import DemoModel
from riverrun.agents.events import AgentComplete, Event, Progress
from riverrun.agents.exchange import Message, Model
from riverrun.agents.model import OpenAIModel
from riverrun.agents.planning import MOST_STEPS, STEPS, Plan, Planning, PlanStep, check
from riverrun.agents.team import Task
from tests.model_server import ModelServer

Connect = Callable[..., OpenAIModel]

INTENT = {"goal": "Know the weather.", "criteria": []}
FIRST = {"id": "look", "purpose": "Look outside"}
SECOND = {"id": "tell", "purpose": "Tell what is seen", "after": ["look"]}


async def work(model: Model) -> list[Event]:
    task = Task(messages=[Message(role="user", content="What is the weather?")], model=model)
    return [event async for event in Planning().run(task)]


def answers(server: ModelServer, *texts: Any) -> None:
    for text in texts:
        server.script([{"text": text if isinstance(text, str) else json.dumps(text)}], times=1)


def turns_of(events: list[Event]) -> list[tuple[str | None, str]]:
    return [(event.agent, event.content) for event in events if isinstance(event, AgentComplete)]


async def test_the_plan_is_followed_in_its_order(server: ModelServer, connected: Connect) -> None:
    answers(server, INTENT, {"steps": [SECOND, FIRST]}, "It rains.", "Rain.", "Take an umbrella.")
    events = await work(connected())
    assert turns_of(events) == [
        ("Analyst", "Know the weather."),
        ("Planner", "1. Look outside\n2. Tell what is seen"),
        ("Worker", "It rains."),
        ("Worker", "Rain."),
        ("Writer", "Take an umbrella."),
    ]
    asked = [request["body"]["messages"] for request in server.requests()]
    assert "It rains." in asked[3][-1]["content"]  # the second step builds on the first
    assert "Rain." in asked[4][0]["content"]


async def test_eight_steps_are_told_with_at_least_sixteen_updates_that_never_fall(
    server: ModelServer, connected: Connect
) -> None:
    plan = [{"id": str(n), "purpose": f"Step {n}"} for n in range(MOST_STEPS)]
    answers(server, INTENT, {"steps": plan})
    told = [event for event in await work(connected()) if isinstance(event, Progress)]
    assert list(dict.fromkeys(progress.step for progress in told)) == list(STEPS)
    assert len(told) >= 16
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


async def test_a_circular_plan_is_sent_back_once_to_be_mended(server: ModelServer, connected: Connect) -> None:
    answers(server, INTENT, {"steps": [FIRST | {"after": ["tell"]}, SECOND]}, {"steps": [FIRST]}, "It rains.", "Rain.")
    events = await work(connected())
    assert turns_of(events)[1:] == [("Planner", "1. Look outside"), ("Worker", "It rains."), ("Writer", "Rain.")]
    assert "wait for each other" in server.requests()[2]["body"]["messages"][-1]["content"]


async def test_without_a_plan_that_can_be_followed_the_answer_is_given_all_the_same(
    server: ModelServer, connected: Connect
) -> None:
    answers(server, INTENT, {"steps": []}, "no", "Rain.")
    events = await work(connected())
    assert turns_of(events)[-1] == ("Writer", "Rain.")
    assert any("no plan" in event.message for event in events if isinstance(event, Progress))


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([], "no steps"),
        ([PlanStep(str(n), "do") for n in range(MOST_STEPS + 1)], "at most"),
        ([PlanStep("a", "do"), PlanStep("a", "do")], "same id"),
        ([PlanStep("a", " ")], "no purpose"),
        ([PlanStep("a", "do", ["b"])], "'b', which is no step"),
        ([PlanStep("a", "do", ["a"])], "wait for each other"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused_with_the_reason(steps: list[PlanStep], reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        check(Plan(steps))


async def test_the_demo_model_drives_it() -> None:
    events = await work(DemoModel(pace=0))
    agents = [agent for agent, _ in turns_of(events)]
    assert agents == ["Analyst", "Planner", "Worker", "Worker", "Worker", "Writer"]
