"""The built-in demo model: rules, no language model, and honest about it. The first minute needs no key."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence

from .demo_parts import Said, Scene, from_project, play
from .events import Usage
from .exchange import Delta, Finished, Message, Reasoning, Text, ToolCall, ToolSchema

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
        said = reply_to(messages, {tool.name for tool in tools})
        for kind, text in ((Reasoning, said.thought), (Text, said.text)):
            for token in TOKEN.findall(text):
                await asyncio.sleep(self._delay)
                yield kind(token)
        for number, (name, arguments) in enumerate(said.calls):
            yield ToolCall(f"call_{len(messages)}_{number}", name, json.dumps(arguments))
        read = sum(len(TOKEN.findall(message.content)) for message in messages)
        written = sum(len(TOKEN.findall(text)) for text in (said.text, *(json.dumps(call) for call in said.calls)))
        yield Finished("tool_calls" if said.calls else "stop", Usage(read, written))

    def named(self, name: str) -> "DemoModel":
        """There is no other."""
        return self

    async def aclose(self) -> None:
        pass


def reply_to(messages: Sequence[Message], tools: Collection[str]) -> Said:
    """What the one who has these instructions thinks and says, in a team or alone."""
    asked = [message.content.strip() for message in messages if message.role == "user"]
    scene = Scene(messages[0].content if messages else "", asked[-1] if asked else "", messages, tools)
    if said := play(scene):
        return said
    samples = any(samples_for(scene.question))
    return (None if samples else from_project(scene)) or Said(*answer(asked))


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
