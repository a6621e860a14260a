"""What the scripted model says in a storm: the same to the same question, however often a step has to be repeated.

Each message carries a mark, every agent is known by its instructions, and a step by the tools that have answered. So
all four teams take all of their steps: decisions, tools that change files, agents side by side, answers in many pieces.
"""

import json
from random import Random

from tests.model_server import ModelServer, Step

TEAMS = ("assistant", "coordinator", "planning", "coders")
WORDS = (
    "the river",
    "runs",
    "past a mill,",
    "où l’eau",
    "est",
    "claire,",
    "and 川",
    "is *water*;",
    "then bends",
    "north,",
)

WORKERS = ("You are a helpful assistant", "You do the work that your planner gives you")  # who use tools
SPEAKERS = (
    *WORKERS,
    "You gather what is known",
    "You look for wrong",
    "You carry out one step",
    "Your colleagues have prepared",
    "from the results of the plan's steps",
    "You tell the person",
)
ROUTING = {
    "reason": "They know.",
    "asks": [{"agent": "Researcher", "task": "Gather facts"}, {"agent": "Critic", "task": "Find faults"}],
}
PLAN = {"steps": [{"id": "look", "purpose": "Look"}, {"id": "tell", "purpose": "Tell", "after": ["look"]}]}
REVIEW = {"satisfied": False, "judgement": "Not yet.", "work": "Write a note."}
DECISIONS = (  # by an agent's instructions and a part of what it is asked
    ("You coordinate a team", "", ROUTING),
    ("You say in one sentence", "", {"goal": "Know it.", "criteria": ["short"]}),
    ("You plan how to meet", "", PLAN),
    ("You decide what of this work", "", {"memories": ["Rivers run north."]}),
    ("You lead a coder", "## Round 1", {"satisfied": True, "judgement": "It is done."}),
    ("You lead a coder", "", REVIEW),
)


def mark(number: int) -> str:
    return f"[mark {number}]"


def path_of(number: int) -> str:
    return f"notes/{number}.md"


def teach(model: ModelServer, random: Random, marks: int) -> None:
    """Scripts for messages that carry one of so many marks."""
    for system, match, decision in DECISIONS:
        model.script([spoken(random, json.dumps(decision))], match=match, system=system)
    for number in range(marks):
        for answers, calls in rounds(number):
            for system in WORKERS:
                steps: list[Step] = [spoken(random, "Let me see.") for _ in range(random.randrange(2))]
                steps += [{"tool_call": call | {"index": index}, "pieces": 3} for index, call in enumerate(calls)]
                model.script(steps, match=mark(number), system=system, answers=answers)
        for system in SPEAKERS:
            thought: Step = {"reasoning": "How does it run?\n\nNorth.", "pieces": 3}
            model.script([thought, spoken(random, prose(random))], match=mark(number), system=system)


def rounds(number: int) -> list[tuple[int, list[dict[str, str]]]]:
    """The calls of each round, and how many tools have answered before it."""
    path = path_of(number)
    return [
        (0, [call("list_files"), call("write_file", path=path, content=f"# Note {number}\nThe river is old.\n")]),
        (2, [call("read_file", path=path)]),
        (3, [call("edit_file", path=path, old="The river is old.", new="The river is new.")]),
    ]


def call(name: str, **arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": json.dumps(arguments)}


def prose(random: Random) -> str:
    return " ".join(random.choices(WORDS, k=random.randint(5, 120)))


def spoken(random: Random, text: str) -> Step:
    """In pieces of a few characters, some of them fast and some slow."""
    return {"text": text, "per": random.randint(3, 12), "pause": random.choice([0, 0.002, 0.01, 0.02])}
