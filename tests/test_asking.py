"""`riverrun ask`, as people use it: in a terminal and in pipes."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyte
import pytest

from riverrun.agents.consent import DECLINED
from tests.model_server import ModelServer
from tests.server import Server, free_port
from tests.tool_server import tool_server

COLUMNS, ROWS = 80, 24
ESC = "\x1b"
PATIENCE = 60.0  # seconds


@pytest.fixture(scope="module")
def server(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("riverrun"), RIVERRUN_MODEL_URL=model.url).start() as running:
        yield running


def environment(**settings: str) -> dict[str, str]:
    others = ("RIVERRUN", "OPENAI", "NO_COLOR", "PYTHONUNBUFFERED")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return plain | {"TERM": "xterm-256color"} | settings


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "riverrun", "ask", *arguments]


def ask(*arguments: str, stdin: bytes = b"", **settings: str) -> "subprocess.CompletedProcess[bytes]":
    """In pipes on all sides."""
    return subprocess.run(
        command(*arguments), input=stdin, env=environment(**settings), capture_output=True, timeout=60
    )


class Terminal:
    """A program in a terminal, and what the terminal shows of it."""

    def __init__(self, arguments: tuple[str, ...], stdout: Any, settings: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            command(*arguments),
            stdin=slave,
            stdout=stdout or slave,
            stderr=slave,
            env=environment(**settings),
            preexec_fn=interruptible,
        )
        os.close(slave)
        self.screen = pyte.HistoryScreen(COLUMNS, ROWS, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self.bytes = b""

    @property
    def text(self) -> str:
        """All lines, those that have scrolled away too."""
        gone = ["".join(line[x].data for x in range(COLUMNS)) for line in self.screen.history.top]
        return "\n".join(line.rstrip() for line in [*gone, *self.screen.display]).strip("\n")

    def see(self, text: str) -> None:
        """Returns when it is shown."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text:
            assert self._read(), f"{text!r} was never shown:\n{self.text}"
            assert time.monotonic() < deadline, f"{text!r} was not shown in {PATIENCE} s:\n{self.text}"

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"it did not end in {PATIENCE} s:\n{self.text}"
        return self.process.wait(20)

    def _read(self) -> bytes:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the program has ended
            return b""
        self.bytes += data
        self._stream.feed(data)
        return data

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def interruptible() -> None:
    """As a shell leaves it for what stands in front; what it starts in the background ignores Ctrl+C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def terminal(*arguments: str, stdout: Any = None, **settings: str) -> Iterator[Terminal]:
    opened = Terminal(arguments, stdout, settings)
    try:
        yield opened
    finally:
        opened.close()


# In pipes


def test_a_pipe_gets_the_answer_and_nothing_else(server: Server, model: ModelServer) -> None:
    model.script([{"reasoning": "Hm."}, {"text": "Four **rivers** –\n- Elbe", "per": 3}], match="name them", times=1)
    asked = ask("name", "them", "--server", server.url)
    assert (asked.returncode, asked.stdout.decode(), asked.stderr) == (0, "Four **rivers** –\n- Elbe\n", b"")


def test_a_pipe_gets_the_answer_while_it_is_written(server: Server, model: ModelServer) -> None:
    model.script([{"text": "At once,"}, {"gate": "piped"}, {"text": " and later."}], match="bit by bit", times=1)
    asking = subprocess.Popen(
        command("bit by bit", "--server", server.url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert asking.stdout is not None
    with asking:
        assert os.read(asking.stdout.fileno(), 100) == b"At once,"
        model.open_gate("piped")
        assert asking.stdout.read() == b" and later.\n"


WRITTEN = f"{ESC}[31mred\r\n\x07{ESC}]52;c;Zm9v\x07\x9b2J\u202e🌊"


def test_a_file_gets_what_the_agent_wrote_to_the_byte(server: Server, model: ModelServer, tmp_path: Path) -> None:
    model.script([{"text": WRITTEN}], match="bytes", times=1)
    with (tmp_path / "answer").open("wb") as file:
        asked = command("bytes", "--server", server.url)
        subprocess.run(asked, stdin=subprocess.DEVNULL, stdout=file, env=environment(), check=True)
    assert (tmp_path / "answer").read_bytes().decode() == f"{WRITTEN}\n"


def test_a_pipe_which_may_lead_to_a_terminal_gets_nothing_that_steers_one(server: Server, model: ModelServer) -> None:
    model.script([{"text": WRITTEN, "per": 3}], match="through a pipe", times=2)
    plain = ask("through a pipe", "--server", server.url, FORCE_COLOR="1").stdout.decode()
    assert plain == "[31mred\n]52;c;Zm9v2J🌊\n"
    lines = ask("through a pipe", "--json", "--server", server.url).stdout.decode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", lines)
    events = [json.loads(line) for line in lines.splitlines()]
    assert "".join(event["text"] for event in events if event["type"] == "agent_chunk") == WRITTEN, "nothing is lost"


def test_what_comes_in_is_added_to_the_question(server: Server) -> None:
    asked = ask("review:", "--server", server.url, stdin=b"+ a line\n")
    assert "> review:\n> \n> + a line\n" in asked.stdout.decode()
    assert "> + a line\n" in ask("--server", server.url, stdin=b"+ a line\n").stdout.decode()


def test_events_come_as_json_lines(server: Server, model: ModelServer) -> None:
    model.script([{"text": "Four rivers", "per": 4}], match="as json", times=1)
    asked = ask("as json", "--json", "--server", server.url)
    events = [json.loads(line) for line in asked.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == ("start", "complete")
    assert "".join(event["text"] for event in events if event["type"] == "agent_chunk") == "Four rivers"
    with httpx.Client(base_url=server.url) as http:
        log = http.get(f"/api/runs/{events[0]['run_id']}/events").text
    assert [json.loads(line[6:]) for line in log.splitlines() if line.startswith("data: ")] == events


def test_whoever_reads_may_leave(server: Server, model: ModelServer) -> None:
    model.script(
        [{"text": "first line\n"}, {"gate": "ask-left"}, {"text": "second line\n" * 9}], match="a head", times=1
    )
    asking = subprocess.Popen(
        command("a head", "--server", server.url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert asking.stdout is not None
    assert asking.stderr is not None
    with asking:
        assert os.read(asking.stdout.fileno(), 100) == b"first line\n"
        asking.stdout.close()
        model.open_gate("ask-left")
        assert asking.stderr.read() == b""
    assert asking.returncode == 128 + signal.SIGPIPE


# Where to, and as whom


def test_a_conversation_goes_on_where_it_is_named(server: Server) -> None:
    conversation = start_of("first", server)
    assert start_of("second", server, "--conversation", conversation) == conversation
    assert start_of("third", server, RIVERRUN_CONVERSATION=conversation) == conversation
    assert start_of("fourth", server, "--new", RIVERRUN_CONVERSATION=conversation) != conversation


def start_of(question: str, server: Server, *options: str, **settings: str) -> str:
    """The conversation in which it was asked."""
    asked = ask(question, "--json", *options, stdin=b"", RIVERRUN_SERVER=server.url, **settings)
    assert asked.returncode == 0, asked.stderr
    return str(json.loads(asked.stdout.splitlines()[0])["conversation_id"])


def test_a_team_can_be_asked(server: Server) -> None:
    asked = ask("hello", "--json", "--team", "coordinator", RIVERRUN_SERVER=server.url)
    assert json.loads(asked.stdout.splitlines()[0])["team"] == "coordinator"


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        ((), b"", "no question"),
        (("x", "--server", "localhost"), b"", "http://"),
        (("x", "--conversation", "x"), b"", "UUID"),
        (("x", "--token", "ß"), b"", "token"),
        (("x",), b"\xff\xfe", "UTF-8"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_sent(
    arguments: tuple[str, ...], stdin: bytes, told: str
) -> None:
    asked = ask(*arguments, stdin=stdin)
    assert (asked.returncode, asked.stdout) == (2, b"")
    assert told in asked.stderr.decode()


def test_where_no_server_is_it_says_how_to_start_one() -> None:
    asked = ask("x", "--server", f"http://127.0.0.1:{free_port()}")
    assert (asked.returncode, asked.stdout) == (1, b"")
    assert "`riverrun run`" in asked.stderr.decode()
    assert "Traceback" not in asked.stderr.decode()


def test_what_the_server_refuses_is_told(server: Server) -> None:
    asked = ask("x", "--team", "nobody", "--server", server.url)
    assert (asked.returncode, asked.stdout) == (1, b"")
    assert "There is no team 'nobody'" in asked.stderr.decode()


def test_a_run_that_fails_leaves_what_was_written_and_says_why(server: Server, model: ModelServer) -> None:
    model.script([{"text": "Half a sen"}, {"cut": "reset"}], match="tear off")
    asked = ask("tear off", "--server", server.url)
    assert (asked.returncode, asked.stdout) == (1, b"Half a sen\n")
    assert asked.stderr.strip()


def test_asking_needs_no_settings_and_nothing_of_the_server() -> None:
    program = (
        "import sys; sys.argv = ['riverrun', 'ask', '--help']\n"
        "import riverrun.__main__\n"
        "try: riverrun.__main__.main()\n"
        "finally: print([name for name in ('litestar', 'sqlalchemy', 'openai', 'uvicorn') if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], env=environment(RIVERRUN_HEARTBEAT="soon"), capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.endswith("[]\n")


# A server that falls


def test_an_answer_goes_on_when_the_server_is_killed_and_comes_back(model: ModelServer, tmp_path: Path) -> None:
    model.script([{"text": "Before. "}, {"gate": "back"}, {"text": "After."}], match="come back")
    with Server(tmp_path, RIVERRUN_MODEL_URL=model.url).start() as server:
        asking = subprocess.Popen(
            command("come back", "--json", "--server", server.url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        assert asking.stdout is not None
        events = []
        with asking:
            for line in asking.stdout:
                events.append(json.loads(line))
                if events[-1]["type"] == "agent_chunk" and model_is_held(events):
                    server.kill()
                    model.open_gate("back")
                    server.start()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "complete"
    assert asking.returncode == (0 if events[-1]["status"] == "complete" else 1)


def model_is_held(events: list[dict[str, Any]]) -> bool:
    return [event["text"] for event in events if event["type"] == "agent_chunk"] == ["Before. "]


# In a terminal


def test_a_terminal_shows_markdown_and_who_is_at_work(server: Server, model: ModelServer) -> None:
    steps = [{"text": "# Rivers\n\nThe **Elbe** and\n"}, {"gate": "drawn"}, {"text": "the Weser.\n\n- one\n- two"}]
    model.script(steps, match="draw it", times=1)
    with terminal("draw it", "--server", server.url) as shown:
        shown.see("The Elbe and")
        assert "writing" in shown.text
        model.open_gate("drawn")
        assert shown.end() == 0
        assert "The Elbe and the Weser.\n\n • one\n • two" in shown.text
        assert shown.text.count("Elbe") == 1
        assert "writing" not in shown.text, "the work is gone when it is done"
        assert f"{server.url}/c/" in shown.text
        assert not shown.screen.cursor.hidden


def test_an_answer_longer_than_the_terminal_is_all_there(server: Server, model: ModelServer) -> None:
    lines = [f"line {number}" for number in range(100)]
    model.script([{"text": "```\n" + "\n".join(lines) + "\n```\n", "per": 40}], match="long one", times=1)
    with terminal("long one", "--server", server.url) as shown:
        assert shown.end() == 0
        assert [line.strip() for line in shown.text.splitlines() if "line" in line] == lines


def test_nothing_that_an_agent_writes_can_steer_the_terminal(server: Server, model: ModelServer) -> None:
    evil = f"{ESC}]0;owned\x07{ESC}[2J\x9b31mred\x08 `{ESC}[31m` [link](http://x/\x1b[5m) [bold]tag[/bold]"
    evil += " &#27;]0;owned&#7; &#x202e;gpj.exe &#13;over &#8;&#155;"
    model.script([{"text": evil}], match="be evil", times=1)
    with terminal("be evil", "--server", server.url) as shown:
        assert shown.end() == 0
        assert "[bold]tag[/bold]" in shown.text
        assert shown.screen.title == ""
        assert b"owned\x07" not in shown.bytes
        assert b"\x1b[2J" not in shown.bytes
        assert b"\x1b[5m" not in shown.bytes
        assert "\x9b".encode() not in shown.bytes
        assert "\u202e".encode() not in shown.bytes
        assert "gpj.exe" in shown.text


@pytest.mark.parametrize("how", [{"TERM": "dumb"}, {"arguments": "--json"}])
def test_plain_text_on_a_terminal_cannot_steer_it_either(
    server: Server, model: ModelServer, how: dict[str, str]
) -> None:
    model.script([{"text": f"{ESC}[31m\x9b31mred"}], match="plainly evil", times=1)
    arguments = [how["arguments"]] if "arguments" in how else []
    with terminal("plainly evil", *arguments, "--server", server.url, TERM=how.get("TERM", "xterm")) as shown:
        assert shown.end() == 0
        assert "red" in shown.text
        assert b"\x1b" not in shown.bytes
        assert "\x9b".encode() not in shown.bytes


def test_colours_can_be_declined(server: Server, model: ModelServer) -> None:
    model.script([{"text": "# Title\n\n[link](https://example.org) `code`"}], match="colours", times=2)
    with terminal("colours", "--server", server.url, NO_COLOR="1") as shown:
        assert shown.end() == 0
        assert not {"31", "32", "33", "34", "35", "36", "94"} & parameters(shown.bytes)
    with terminal("colours", "--server", server.url) as shown:
        assert shown.end() == 0
        assert {"33", "34", "35", "36", "94"} & parameters(shown.bytes), "otherwise the test above shows nothing"


def parameters(output: bytes) -> set[str]:
    """Of all sequences that set colours and styles."""
    sequences = (part.split("m")[0] for part in output.decode().split(f"{ESC}[")[1:] if "m" in part)
    return {parameter for sequence in sequences for parameter in sequence.split(";")}


def test_a_pipe_from_a_terminal_shows_the_work_beside_the_answer(
    server: Server, model: ModelServer, tmp_path: Path
) -> None:
    model.script([{"text": "To the file,"}, {"gate": "beside"}, {"text": " all of it."}], match="aside", times=1)
    with (tmp_path / "answer").open("wb") as file, terminal("aside", "--server", server.url, stdout=file) as shown:
        shown.see("writing")
        model.open_gate("beside")
        assert shown.end() == 0
        assert "file" not in shown.text
    assert (tmp_path / "answer").read_text() == "To the file, all of it.\n"


def test_ctrl_c_stops_the_run_and_keeps_what_was_written(server: Server, model: ModelServer) -> None:
    model.script([{"text": "So far so good"}, {"stall": True}], match="stop me", times=1)
    with terminal("stop me", "--server", server.url) as shown:
        shown.see("So far so good")
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == 130
        assert "So far so good" in shown.text
        assert "Traceback" not in shown.text
        assert status_of_last_reply(server) == "cancelled"


def test_ctrl_c_twice_leaves_at_once(model: ModelServer, tmp_path: Path) -> None:
    model.script([{"text": "Stuck"}, {"stall": True}], match="hold on", times=1)
    server = Server(tmp_path, RIVERRUN_MODEL_URL=model.url).start()
    with server, terminal("hold on", "--server", server.url) as shown:
        shown.see("Stuck")
        server.send(signal.SIGSTOP)  # so that the run cannot be stopped
        try:
            shown.process.send_signal(signal.SIGINT)
            shown.see("Stopping")
            shown.process.send_signal(signal.SIGINT)
            assert shown.end() == 130
        finally:
            server.send(signal.SIGCONT)
        assert "Traceback" not in shown.text
        assert not shown.screen.cursor.hidden


def test_a_run_that_somebody_else_stops_is_no_success(server: Server, model: ModelServer) -> None:
    model.script([{"text": "Until"}, {"stall": True}], match="others stop", times=1)
    with terminal("others stop", "--server", server.url) as shown, httpx.Client(base_url=server.url) as http:
        shown.see("Until")
        conversation = http.get("/api/conversations").json()[0]["id"]
        run = http.get(f"/api/conversations/{conversation}").json()["messages"][-1]["run_id"]
        http.post(f"/api/runs/{run}/cancel")
        assert shown.end() == 1
        assert "stopped" in shown.text


# Tools that ask


@pytest.fixture(scope="module")
def with_tools(server: Server) -> Iterator[str]:
    """The id of a project with a tool server."""
    with tool_server() as address, httpx.Client(base_url=server.url) as http:
        project = http.post("/api/projects", json={"name": "Sums"}).json()["id"]
        http.post(f"/p/{project}/tools", data={"name": "sums", "address": address})
        yield str(project)


def call_in(with_tools: str, server: Server, model: ModelServer, question: str) -> str:
    """Scripts a call, and gives the id of a conversation in which it can be made."""
    call = {"name": "sums__add", "arguments": json.dumps({"a": 2, "b": 3})}
    model.script([{"tool_call": call}], match=question, times=1)
    model.script([{"text": "That is that."}], match=question, times=1)
    with httpx.Client(base_url=server.url) as http:
        return str(http.post("/api/conversations", json={"project_id": with_tools}).json()["id"])


def decisions(server: Server, conversation: str) -> list[str]:
    """What the tool answered in a conversation."""
    with httpx.Client(base_url=server.url) as http:
        [_, reply] = http.get(f"/api/conversations/{conversation}").json()["messages"]
    return [step["content"] for step in reply["interactions"] if step["kind"] == "tool_response"]


@pytest.mark.parametrize(("typed", "answer"), [("y\n", "5"), ("\n", DECLINED), ("n\n", DECLINED)])
def test_a_terminal_asks_before_a_tool_is_used(
    server: Server, model: ModelServer, with_tools: str, typed: str, answer: str
) -> None:
    question = f"add at the terminal {len(typed)}{answer[:1]}"
    conversation = call_in(with_tools, server, model, question)
    with terminal(question, "--server", server.url, "--conversation", conversation) as shown:
        shown.see("Approve this call? [y/N]")
        assert '"a": 2' in shown.text
        assert "add of sums" in shown.text
        shown.type(typed)
        assert shown.end() == 0
        assert "That is that." in shown.text
    assert decisions(server, conversation) == [answer]


def test_a_question_at_the_terminal_ends_when_it_is_decided_elsewhere(
    server: Server, model: ModelServer, with_tools: str
) -> None:
    conversation = call_in(with_tools, server, model, "add elsewhere")
    with terminal("add elsewhere", "--server", server.url, "--conversation", conversation) as shown:
        shown.see("Approve this call? [y/N]")
        decide_elsewhere(server, conversation, "once")
        assert shown.end() == 0
        assert "That is that." in shown.text
    assert decisions(server, conversation) == ["5"]


def test_ctrl_c_leaves_a_question_at_the_terminal(server: Server, model: ModelServer, with_tools: str) -> None:
    conversation = call_in(with_tools, server, model, "add and stop")
    with terminal("add and stop", "--server", server.url, "--conversation", conversation) as shown:
        shown.see("Approve this call? [y/N]")
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == 130
        assert "Traceback" not in shown.text


def test_without_a_terminal_it_is_told_where_to_decide(server: Server, model: ModelServer, with_tools: str) -> None:
    conversation = call_in(with_tools, server, model, "add in a pipe")
    asking = command("add in a pipe", "--server", server.url, "--conversation", conversation)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(asking, env=environment(), text=True, **pipes) as process:  # type: ignore[call-overload]
        said = process.stderr.readline()
        assert said.startswith("The tool add of sums needs a person's word. Say so at ")
        assert f"{server.url}/c/{conversation}" in said
        decide_elsewhere(server, conversation, "decline")
        written, _ = process.communicate(timeout=PATIENCE)
    assert (written, process.returncode) == ("That is that.\n", 0)
    assert decisions(server, conversation) == [DECLINED]


def decide_elsewhere(server: Server, conversation: str, decision: str) -> None:
    with httpx.Client(base_url=server.url) as http:
        run = http.get(f"/api/conversations/{conversation}").json()["messages"][-1]["run_id"]
        [asked] = http.get(f"/api/runs/{run}").json()["approvals"]
        http.post(f"/api/runs/{run}/approvals/{asked['call_id']}", json={"decision": decision}).raise_for_status()


def status_of_last_reply(server: Server) -> str:
    with httpx.Client(base_url=server.url) as http:
        conversation = http.get("/api/conversations").json()[0]["id"]
        return str(http.get(f"/api/conversations/{conversation}").json()["messages"][-1]["status"])
