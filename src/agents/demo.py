"""The built-in demo model: rules, no language model, and honest about it. The first minute needs no key."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence

from .events import Usage
from .exchange import Delta, Finished, Message, Reasoning, Text, ToolSchema

TOKEN = re.compile(r"\s*\S{1,6}|\s+")

GREETING = """\
Hello! I am **riverrun's demo model**: a handful of rules, no real language model. I am here so that you can \
see how the page works before you connect a model of your own.

To connect one, set these and restart:

```sh
RIVERRUN_MODEL_URL=http://localhost:11434/v1   # Ollama, LM Studio, vLLM, OpenAI, LiteLLM …
RIVERRUN_MODEL_KEY=...                         # if the server asks for one
RIVERRUN_MODEL=...                             # empty: the first that it offers
```

Until then, ask me for a **table**, a **list**, a **task list**, some **code**, a **quote** or **headings**.
"""

SAMPLES = {
    "table": """\
| Part of a reply | Arrives | Shown as |
|:--|--:|:--|
| prose | word by word | paragraphs |
| code | line by line | a highlighted block |
| a table | row by row | what you see here |
""",
    "task list": """\
- [x] Open the page
- [x] Ask the demo model for a task list
- [ ] Connect a model of your own
- [ ] Ask it something that rules cannot answer
""",
    "list": """\
1. What you write is saved first.
2. The reply is saved as it comes:
   - a piece of text,
   - then the next.
3. Only what is saved is shown, so a reload loses nothing.
""",
    "code": '''\
```python
def fibonacci(count: int) -> list[int]:
    """The first numbers of the sequence."""
    numbers = [0, 1]
    while len(numbers) < count:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[:count]


print(fibonacci(10))  # [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]
```
''',
    "quote": """\
> riverrun, past Eve and Adam's, from swerve of shore to bend of bay …
>
> — James Joyce, *Finnegans Wake*
""",
    "headings": """\
## A heading

With a paragraph, a [link](https://spec.commonmark.org) and some `inline code`.

### A smaller heading

And ~~no more~~ a little more.
""",
}

STAFF = re.compile(r"^- (\w[^:\n]*):", re.MULTILINE)

# By words of the instructions, what a supporting agent notes.
NOTES = {
    "You gather what is known": (
        "- The question is: *{about}*\n- The demo model **knows no facts**; a real model would put them here, "
        "each with how sure it is."
    ),
    "You carry out one step": "Looked at *{about}*: the demo model finds what its rules know.",
    "You take a task apart": (
        "1. What is asked: *{about}*\n2. What a rule can say of it: how long it is, and which samples it names.\n"
        "3. What follows: an answer made of samples, or an honest no."
    ),
    "You look for wrong assumptions": (
        "- **Gravest:** a demo model answers. Nothing here should be relied on.\n"
        "- *{about}* may need what only the person knows."
    ),
}

PLAN = [
    {"id": "look", "purpose": "See what the request names"},
    {"id": "choose", "purpose": "Choose the samples that fit", "after": ["look"]},
    {"id": "judge", "purpose": "Judge what rules cannot answer", "after": ["look"]},
]

ASKED_FOR = {
    "table": r"\btables?\b",
    "task list": r"\b(task ?lists?|to-?dos?|checklists?|check ?box(es)?)\b",
    "list": r"(?<!task )(?<!task)\b(lists?|bullets?|steps)\b",
    "code": r"\b(code|python|function|program|script)\b",
    "quote": r"\b(quotes?|quotation|citation)\b",
    "headings": r"\b(headings?|headlines?|title|sections?)\b",
}
GREETED = re.compile(
    r"^\W*(hi|hello|hey|hallo|good (morning|evening|day)|help|who are you|what can you do)\b", re.IGNORECASE
)


class DemoModel:
    """`pace` is in tokens a second; 0 is as fast as they are taken."""

    name = "demo"
    demo = True

    def __init__(self, pace: float = 60) -> None:
        self._delay = 1 / pace if pace else 0

    async def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[Delta, None]:
        asked = [message.content.strip() for message in messages if message.role == "user"]
        thought, reply = part(messages[0].content, asked) if messages else answer(asked)
        for kind, text in ((Reasoning, thought), (Text, reply)):
            for token in TOKEN.findall(text):
                await asyncio.sleep(self._delay)
                yield kind(token)
        read = sum(len(TOKEN.findall(message.content)) for message in messages)
        yield Finished("stop", Usage(read, len(TOKEN.findall(reply))))

    async def aclose(self) -> None:
        pass


def part(instructions: str, asked: Sequence[str]) -> tuple[str, str]:
    """What the one who has these instructions thinks and says, in a team or alone."""
    question = asked[-1] if asked else ""
    if "You coordinate a team" in instructions:
        return routing(question, STAFF.findall(instructions))
    if "You say in one sentence what the person wants" in instructions:
        goal = {"goal": f"The person wants an answer to “{gist_of(question)}”.", "criteria": ["It is honest."]}
        return "I take the request as it stands.", json.dumps(goal)
    if "You plan how to meet a request" in instructions:
        return "Rules know one plan.", json.dumps({"steps": PLAN})
    for sign, note in NOTES.items():
        if sign in instructions:
            about = gist_of(re.split(r"What the person wrote:\n|The request:\n", question)[-1])
            return f"My task is about “{about}”.", note.format(about=about)
    return answer(asked)


def routing(question: str, staff: Sequence[str]) -> tuple[str, str]:
    if GREETED.match(question) or not question:
        return "Small talk needs nobody else.", json.dumps({"reason": "Small talk needs nobody else.", "asks": []})
    tasks = [{"agent": name, "task": f"Look at “{gist_of(question)}” as the {name}."} for name in staff]
    reason = "The demo model cannot tell who knows what, so it asks everybody."
    return reason, json.dumps({"reason": reason, "asks": tasks})


def gist_of(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:80].rsplit(" ", 1)[0] + " …"


def answer(asked: Sequence[str]) -> tuple[str, str]:
    """A thought and a reply to the last thing asked."""
    question = asked[-1] if asked else ""
    samples = list(samples_for(question))
    if samples:
        return f"They want {' and '.join(samples)}: I have that ready.", "\n".join(map(present, samples))
    if not question or GREETED.match(question):
        return "A greeting: I say who I am and how to connect a real model.", GREETING
    return "No rule of mine knows this, so I say so.", honest(question, len(asked))


def samples_for(question: str) -> Iterator[str]:
    return (name for name, pattern in ASKED_FOR.items() if re.search(pattern, question, re.IGNORECASE))


def present(sample: str) -> str:
    article = "" if sample in ("code", "headings") else "a "
    return f"Here {'are' if sample == 'headings' else 'is'} {article}{sample}:\n\n{SAMPLES[sample]}"


def honest(question: str, count: int) -> str:
    first = next(line for line in question.splitlines() if line.strip())
    quoted = first if len(first) <= 200 else first[:200] + " …"
    words = len(question.split())
    earlier = f" I do see that it is message {count} of our conversation." if count > 1 else ""
    return (
        f"You wrote:\n\n> {quoted}\n\n"
        f"That is {words} word{'s' if words != 1 else ''}, and more than I can answer: "
        f"I am the **demo model** and work by rules.{earlier}\n\n"
        "Connect a real model with `RIVERRUN_MODEL_URL`, or ask me for a table, a list, a task list, code, "
        "a quote or headings.\n"
    )
