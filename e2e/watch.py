"""What a page complains of while a test runs: scripts that fail, policies broken, requests that go astray."""

import re

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Request, WebError

# What a browser says of a server that is killed, whatever it was loading just then.
DEAD_SERVER = (
    "ERR_CONNECTION_REFUSED",
    "ERR_CONNECTION_RESET",
    "ERR_CONTENT_LENGTH_MISMATCH",
    "ERR_EMPTY_RESPONSE",
    "ERR_INCOMPLETE_CHUNKED",
    "Failed to fetch",
    "network error",
)
OWN = ("data:", "blob:", "about:")


class Watch:
    """Follows contexts; `check` fails on every complaint that the test did not expect."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.expected: list[str] = []
        self.resting = False

    def expect(self, *patterns: str) -> None:
        """Complaints that belong to the test: a server that is down is told in the console too."""
        self.expected += patterns

    def follow(self, context: BrowserContext, home: str) -> None:
        def hear(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complain(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

        def fail(error: WebError) -> None:
            self.complain(f"page error: {error.error}")

        def dismiss(dialog: Dialog) -> None:
            self.complain(f"dialog: {dialog.message}")
            dialog.dismiss()

        def leave(request: Request) -> None:
            if not request.url.startswith((home, *OWN)):
                self.complain(f"request to somebody else: {request.url}")

        def break_off(request: Request) -> None:
            # A stream that is left, or a page that is, aborts its requests: nothing to complain of.
            if request.failure != "net::ERR_ABORTED":
                self.complain(f"request failed: {request.url} {request.failure}")

        context.on("console", hear)
        context.on("weberror", fail)
        context.on("dialog", dismiss)
        context.on("request", leave)
        context.on("requestfailed", break_off)

    def rest(self) -> None:
        """From now on nothing counts: the test is over, and its server goes before its pages do."""
        self.resting = True

    def complain(self, complaint: str) -> None:
        if not self.resting:
            self.complaints.append(complaint)

    def check(self) -> None:
        unexpected = [told for told in self.complaints if not any(re.search(known, told) for known in self.expected)]
        assert not unexpected, "\n".join(["The browser complained:", *unexpected])
