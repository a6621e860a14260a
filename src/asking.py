"""`riverrun ask`: a question from a terminal or a pipe, and its answer as it is written."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import IO, Any, TypeVar
from uuid import UUID

import rich_click as click

from .agents.events import Asked
from .client import LOCAL, Client, ClientError, Refused, Reply, Retry, Run, Unreachable
from .plain import clean
from .terminal import Output, output

T = TypeVar("T")

FAILED = 1
CANCELLED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
NOBODY_READS = 128 + 13  # as of a program that SIGPIPE ends


@click.command("ask", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("question", nargs=-1)
@click.option("--server", envvar="RIVERRUN_SERVER", default=LOCAL, show_default=True, help="Address of the server.")
@click.option("--token", envvar="RIVERRUN_TOKEN", help="API token; better in RIVERRUN_TOKEN, where nobody sees it.")
@click.option("--team", help="Who shall work; otherwise the conversation's team.")
@click.option(
    "--conversation", envvar="RIVERRUN_CONVERSATION", type=click.UUID, help="Go on in this conversation, by its id."
)
@click.option("--new", is_flag=True, help="Begin a new conversation even if RIVERRUN_CONVERSATION is set.")
@click.option("--json", "as_json", is_flag=True, help="Write the run's events as JSON lines.")
def ask(
    question: tuple[str, ...],
    server: str,
    token: str | None,
    team: str | None,
    conversation: UUID | None,
    new: bool,
    as_json: bool,
) -> None:
    """Ask something, and see the answer as it is written.

    What comes in through a pipe is added to the question. Ctrl+C stops the run, a second one leaves at once.
    """
    content = "\n\n".join(filter(None, (" ".join(question).strip(), piped())))
    if not content:
        raise click.UsageError('There is no question. Try: riverrun ask "Which rivers reach the North Sea?"')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # a terminal is left as it was
    shown = output(as_json)
    try:
        client = Client(server, token, on_retry=lambda retry: shown.note(told(retry)))
    except ValueError as failure:
        raise click.UsageError(f"{failure}.") from failure
    try:
        code = asyncio.run(answer(client, shown, content, team, None if new else conversation))
    except KeyboardInterrupt:
        code = CANCELLED
    except BrokenPipeError:
        # Otherwise Python would complain when it empties its buffers.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = NOBODY_READS
    except ClientError as failure:
        click.echo(clean(advice(failure, token)), err=True)
        code = FAILED
    sys.exit(code)


def piped() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    try:
        return sys.stdin.buffer.read().decode().strip("\n")
    except UnicodeDecodeError:
        raise click.UsageError("What came in is not text in UTF-8.") from None


async def answer(client: Client, shown: Output, content: str, team: str | None, conversation: UUID | None) -> int:
    interrupt = Interrupt(shown)
    async with client:
        with shown:
            await client.health()
            run = await interrupt.during(client.send(content, conversation=conversation, team=team))
            reply = run.begin()
            if interrupt.came:
                await run.cancel()
            try:
                await interrupt.during(follow(run, reply, shown, page(client, run)), run.cancel)
            except Unreachable as failure:
                raise ClientError(f"{failure} The run goes on; it can be seen at {page(client, run)}") from failure
    if reply.error and reply.status == "failed":
        click.echo(clean(reply.error.message), err=True)
    if reply.status == "cancelled" and not interrupt.came:
        click.echo("The run was stopped by somebody else.", err=True)
    shown.remark("\n".join([*changes(reply), page(client, run)]))
    stopped = CANCELLED if interrupt.came else FAILED
    return {"complete": 0, "cancelled": stopped}.get(reply.status, FAILED)


class Interrupt:
    """Ctrl+C: the first one is for the run; for the second one asyncio ends the program."""

    def __init__(self, shown: Output) -> None:
        self._shown = shown
        self.came = False

    async def during(self, work: Coroutine[Any, Any, T], stop: Callable[[], Awaitable[None]] | None = None) -> T:
        """The result of the work, which goes on when Ctrl+C comes, but is then told to `stop`."""
        task = asyncio.create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if (this := asyncio.current_task()) is not None:
                this.uncancel()
            self.came = True
            self._shown.note("Stopping ...")
            if stop:
                await stop()
            return await task


async def follow(run: Run, reply: Reply, shown: Output, where: str) -> None:
    asker = Asker(run, shown, where)
    try:
        async with aclosing(run.events()) as events:
            async for event in events:
                reply.apply(event)
                shown.show(event, reply)
                await asker.attend(reply)
    finally:
        await asker.leave()


class Asker:
    """Asks who sits at the terminal whether a tool may be used; who does not sit at one is told where to say so."""

    def __init__(self, run: Run, shown: Output, where: str) -> None:
        self._run = run
        self._shown = shown
        self._where = where
        self._told: set[str] = set()
        self._question: asyncio.Task[None] | None = None
        self._call_id = ""

    async def attend(self, reply: Reply) -> None:
        if self._question and (self._call_id not in reply.asked or self._question.done()):
            await self.leave()
        for call_id, asked in reply.asked.items():
            if self._question:
                return
            if call_id in self._told:
                continue
            self._told.add(call_id)
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                self._shown.say(f"{may(asked)} Say so at {self._where}; without an answer it is declined.")
                continue
            self._call_id = call_id
            self._shown.make_room()
            self._question = asyncio.create_task(self._ask(asked, reply))

    async def _ask(self, asked: Asked, reply: Reply) -> None:
        click.echo(clean(f"\n{may(asked)}\n{json.dumps(asked.input, indent=2)}"), err=True)
        click.echo("Approve this call? [y/N] ", nl=False, err=True)
        said = (await line_of(sys.stdin)).strip().lower()
        await self._run.approve(asked.call_id, "once" if said in ("y", "yes") else "decline")

    async def leave(self) -> None:
        """The question is answered, here or elsewhere."""
        question, self._question = self._question, None
        if question is None:
            return
        question.cancel()
        try:
            await question
        except asyncio.CancelledError:
            click.echo("", err=True)
        except Refused as refusal:
            self._shown.say(str(refusal))
        self._shown.go_on()


async def line_of(stream: IO[str]) -> str:
    """What is typed, up to Enter; a thread that waits for it could not be stopped."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        loop.remove_reader(stream)
        typed.set_result(stream.readline())

    loop.add_reader(stream, read)
    try:
        return await typed
    finally:
        loop.remove_reader(stream)


def may(asked: Asked) -> str:
    return f"The tool {asked.tool} of {asked.server} needs a person's word."


def told(retry: Retry) -> str:
    return f"{retry.reason} Attempt {retry.attempt} of {retry.attempts} ..."


def changes(reply: Reply) -> list[str]:
    return list(dict.fromkeys(f"{change.path} was {change.change}" for change in reply.code_changes))


def page(client: Client, run: Run) -> str:
    return f"{client.server}/c/{run.conversation_id}"


def advice(failure: ClientError, token: str | None) -> str:
    """What happened, and what to do about it."""
    match failure:
        case Unreachable():
            return f"{failure} `riverrun run` starts a server on this machine, --server names another."
        case Refused(status=401 | 403) if not token:
            return f"{failure} A token can be given as RIVERRUN_TOKEN."
        case _:
            return str(failure)
