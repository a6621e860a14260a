"""The parts that the demo model plays in teams, told apart by words of the instructions. Rules, but real tools."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from msgspec import Struct

from .exchange import Message

STAFF = re.compile(r"^- (\w[^:\n]*):", re.MULTILINE)
# These two begin where nothing could have begun before, so that no text makes them slow.
FILE_NAME = re.compile(r"(?<![\w/-])[\w/-]+\.(?:py|md|txt|js|html|css|json|toml|yaml|csv|sh)\b")
CITED = re.compile(
    r"(?m:^)From [^\n]{0,800}; cite it as (\[[^\]\n]{0,300}\]\([^)\n]{0,300}\)):\n(.+?)(?=\n\nFrom |\n\n## |\Z)",
    re.DOTALL,
)
CHANGED = re.compile(r"^(created|modified|deleted) (\S+)$", re.MULTILINE)
SENTENCE = re.compile(r"[^.!?]*[.!?]")
PREFERENCE = re.compile(r"\b(remember|from now on|always|never|I (?:prefer|like|want|am|work))\b", re.IGNORECASE)
SMALL_TALK = re.compile(r"^\W*(hi|hello|hey|hallo|thanks|thank you|good (morning|evening|day))\b", re.IGNORECASE)
DULL = re.compile(
    r"(an?|and|are|can|do|does|for|how|i|in|is|it|me|my|of|on|or|please|tell|the|to|what|where|which|who|why|with)",
    re.IGNORECASE,
)

HONEST = "*The demo model quotes; it does not think.*"
NEW_FILES = {
    "py": '"""{about}"""\n\n\ndef main() -> None:\n    print("Made by the demo model.")\n\n\nmain()\n',
    "md": "# {about}\n\nMade by the demo model, which only knows how to begin.\n",
    "json": '{{\n  "about": "{about}"\n}}\n',
}


class Said(Struct, frozen=True):
    thought: str
    text: str = ""
    calls: Sequence[tuple[str, dict[str, Any]]] = ()


class Scene(Struct, frozen=True):
    """What the model is given: who it is to be, what it was asked last, everything said so far, the tools' names."""

    instructions: str
    question: str
    messages: Sequence[Message]
    tools: Collection[str]

    @property
    def about(self) -> str:
        """What the person wrote, without what a team put around it."""
        asked = re.split(r"What the person wrote:\n|The request:\n|The request behind it:\n", self.question)[-1]
        return gist_of(
            re.split(r"\n\n(?:The results:|What you did before:|What it is about:|The project's files:)", asked)[0]
        )

    @property
    def done(self) -> list[tuple[str, str]]:
        """The tools that were used since the question, each with its answer."""
        calls = {call.call_id: call.name for message in self.messages for call in message.tool_calls}
        since = max((n for n, message in enumerate(self.messages) if message.role == "user"), default=0)
        return [(calls.get(m.call_id or "", ""), m.content) for m in self.messages[since:] if m.role == "tool"]


def play(scene: Scene) -> Said | None:
    """None: no part of a team."""
    return next((part(scene) for sign, part in PARTS.items() if sign in scene.instructions), None)


def coordinate(scene: Scene) -> Said:
    if SMALL_TALK.match(scene.question) or not scene.question:
        return decided("Small talk needs nobody else.", reason="Small talk needs nobody else.", asks=[])
    staff = STAFF.findall(scene.instructions.split("Your supporting agents:")[-1].split("\n\n")[0])
    reason = "The demo model cannot tell who knows what, so it asks everybody."
    tasks = [{"agent": name, "task": f"Look at “{scene.about}” as the {name}."} for name in staff]
    searches = [words_of(scene.about)] if "The project has documents" in scene.instructions else []
    return decided(reason, reason=reason, asks=tasks, searches=searches)


def understand(scene: Scene) -> Said:
    goal = f"The person wants an answer to “{scene.about}”."
    return decided("I take the request as it stands.", goal=goal, criteria=["It is honest."])


def plan(scene: Scene) -> Said:
    steps: list[dict[str, Any]] = [{"id": "look", "purpose": "See what the request names"}]
    if "- list_files:" in scene.instructions:
        steps.append({"id": "files", "purpose": "See which files there are", "tool": "list_files"})
    if "- search_documents:" in scene.instructions:
        steps.append({"id": "documents", "purpose": f"Look for {words_of(scene.about)}", "tool": "search_documents"})
    steps.append({"id": "choose", "purpose": "Choose what fits", "after": [step["id"] for step in steps]})
    steps.append({"id": "judge", "purpose": "Judge what rules cannot answer", "after": ["look"]})
    return decided("Rules know one plan.", steps=steps)


def carry_out(scene: Scene) -> Said:
    used = re.search(r"Use the tool (\w+)\.", scene.question)
    if used and used[1] in scene.tools and not scene.done:
        arguments = {"query": words_of(scene.about)} if used[1] == "search_documents" else {}
        return Said(f"This step needs {used[1]}.", calls=[(used[1], arguments)])
    if scene.done:
        return Said("That is what there is.", found_in(scene.done[-1][1]))
    note = f"Looked at *{scene.about}*: the demo model finds what its rules know."
    return Said(f"My task is about “{scene.about}”.", note)


def remember(scene: Scene) -> Said:
    keep = [f"The person said: {scene.about}"] if PREFERENCE.search(scene.about) else []
    return decided("Something to keep." if keep else "Nothing to keep.", memories=keep)


def lead(scene: Scene) -> Said:
    if "## Round" in scene.question:
        judgement = "The coder has done what rules can do."
        return decided(judgement, satisfied=True, judgement=judgement)
    target = file_in(scene.about)
    work = f"Put “{scene.about}” into {target}. Read it first if it is there."
    return decided("The files come first.", satisfied=False, judgement="Nothing was done yet.", work=work)


def code(scene: Scene) -> Said:
    target, done = file_in(scene.about), scene.done
    match [name for name, _ in done]:
        case []:
            return Said("First I look at what is there.", calls=[("list_files", {})])
        case ["list_files"] if re.search(rf"^{re.escape(target)} \(", done[0][1], re.MULTILINE):
            return Said(f"{target} is there: I read it before I change it.", calls=[("read_file", {"path": target})])
        case ["list_files"]:
            content = NEW_FILES.get(target.rsplit(".", 1)[-1], "{about}\n").format(about=scene.about)
            return Said(f"{target} is new.", calls=[("write_file", {"path": target, "content": content})])
        case ["list_files", "read_file"]:
            added = f"# {scene.about}\n" if target.endswith((".py", ".sh", ".toml", ".yaml")) else f"- {scene.about}\n"
            content = f"{done[1][1].rstrip()}\n\n{added}"
            return Said("I add a line at its end.", calls=[("write_file", {"path": target, "content": content})])
    return Said("That was it.", f"{done[-1][1]} The demo model cannot write more than that.")


def report(scene: Scene) -> Said:
    changes = "\n".join(f"- {change} `{path}`" for change, path in CHANGED.findall(scene.instructions))
    if not changes:
        return Said("Nothing was changed.", "Nothing in the files was changed.")
    honest = "This was the **demo model** at work: the files and the changes are real, the judgement is a rule."
    return Said("I tell what was changed.", f"Done:\n\n{changes}\n\n{honest}\n")


def write_up(scene: Scene) -> Said | None:
    """The answer to a plan that found something to cite."""
    points = list(dict.fromkeys(re.findall(r"^- .*\]\(/p/\S+\)$", scene.instructions, re.MULTILINE)))
    if not points:
        return None
    told = "\n".join(points[:3])
    return Said("The steps found it.", f"This is what the plan's steps found:\n\n{told}\n\n{HONEST}\n")


def noted(note: str) -> Callable[[Scene], Said]:
    return lambda scene: Said(f"My task is about “{scene.about}”.", note.format(about=scene.about))


PARTS: dict[str, Callable[[Scene], Said | None]] = {
    "from the results of the plan's steps below": write_up,
    "You coordinate a team": coordinate,
    "You say in one sentence what the person wants": understand,
    "You plan how to meet a request": plan,
    "You carry out one step": carry_out,
    "You decide what of this work is worth knowing": remember,
    "You lead a coder": lead,
    "You do the work that your planner gives you": code,
    "You tell the person, in Markdown, what was done": report,
    "You gather what is known": noted(
        "- The question is: *{about}*\n- The demo model **knows no facts**; a real model would put them here, "
        "each with how sure it is."
    ),
    "You take a task apart": noted(
        "1. What is asked: *{about}*\n2. What a rule can say of it: how long it is, and which samples it names.\n"
        "3. What follows: an answer made of samples, or an honest no."
    ),
    "You look for wrong assumptions": noted(
        "- **Gravest:** a demo model answers. Nothing here should be relied on.\n"
        "- *{about}* may need what only the person knows."
    ),
}


def from_project(scene: Scene) -> Said | None:
    """An answer from the project: from what others found in it, or from what a tool finds now."""
    if passages := CITED.findall(scene.instructions):
        return Said("The passages have it.", quoted(passages))
    for name, answer in scene.done:
        if name == "search_documents" and (passages := CITED.findall(answer)):
            return Said("The documents have it.", quoted(passages))
        if name == "list_files":
            return Said("These are the files.", f"These files are in the project:\n\n{found_in(answer)}")
    if scene.done or SMALL_TALK.match(scene.question) or not scene.question:
        return None
    if "list_files" in scene.tools and re.search(r"\bfiles?\b", scene.question, re.IGNORECASE):
        return Said("They ask about the files.", calls=[("list_files", {})])
    if "search_documents" in scene.tools and words_of(scene.question):
        return Said("The documents may know.", calls=[("search_documents", {"query": words_of(scene.question)})])
    return None


def quoted(passages: Sequence[tuple[str, str]]) -> str:
    """The first sentences of the best passages, each with its citation."""
    return f"This is what the project's documents say:\n\n{pointed(passages)}\n\n{HONEST}\n"


def pointed(passages: Sequence[tuple[str, str]]) -> str:
    """Tables are passed over: they make no sentence."""
    prose = [(link, text) for link, text in passages if not text.lstrip().startswith("|")] or passages
    return "\n".join(f"- {first_of(text)} {link}" for link, text in prose[:3])


def first_of(text: str) -> str:
    line = " ".join(text.split())
    sentence = SENTENCE.match(line)
    return gist_of(sentence[0] if sentence else line, 200)


def found_in(answer: str) -> str:
    if passages := CITED.findall(answer):
        return pointed(passages)
    return "\n".join(f"- {line}" for line in answer.splitlines()[:20])


def decided(thought: str, **decision: Any) -> Said:
    return Said(thought, json.dumps(decision))


def file_in(text: str) -> str:
    named = FILE_NAME.search(text)
    return named[0] if named else "NOTES.md"


def words_of(text: str) -> str:
    """What a search should look for."""
    return " ".join(dict.fromkeys(telling(text)))


def telling(text: str) -> Iterator[str]:
    return (word for word in re.findall(r"\w{2,}", text) if not DULL.fullmatch(word))


def gist_of(text: str, length: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + " …"
