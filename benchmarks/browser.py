"""What a long formatted reply costs a browser: 10,000 tokens at 500 a second, from Enter to the last word.

python -m benchmarks.browser [--tokens 10000] [--rate 500] [--url http://...]
"""

import argparse
import json
import shutil
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright

from . import servers

# Runs in the page before its own scripts and watches the exchange that the last Enter began: `entered`,
# `inserted` and `painted` tell of the person's own message, `ended` is when the model sent the last word and
# `shown` when the page had it. Milliseconds of the page's clock.
WATCH = """
window.watched = {};
addEventListener('keydown', event => {
  if (event.key === 'Enter') watched = {entered: performance.now(), tasks: []};
}, true);
new MutationObserver(records => {
  watched.changed = performance.now();
  for (const record of records) {
    const text = record.target.nodeType === Node.TEXT_NODE ? record.target.data
      : Array.from(record.addedNodes, node => node.textContent).join('');
    if (watched.entered && !watched.inserted && text.includes('-markdown-')) {
      const exchange = watched;
      exchange.inserted = exchange.changed;
      requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => exchange.painted = performance.now();
        channel.port2.postMessage(0);
      });
    }
    for (const [, clock] of text.matchAll(/ended (\\d{13})/g)) {
      const ended = Number(clock) - performance.timeOrigin;
      if (!watched.shown && ended > watched.entered) Object.assign(watched, {ended, shown: watched.changed});
    }
  }
}).observe(document, {childList: true, characterData: true, subtree: true});
new PerformanceObserver(list => {
  for (const task of list.getEntries()) watched.tasks?.push(task.duration);
}).observe({type: 'longtask'});
"""
METRICS = ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
QUIET = 1000  # milliseconds without a change after which the page is done


@dataclass
class Traffic:
    """Bytes of the bodies as they came over the network (compressed), by kind of resource."""

    kinds: dict[str, str] = field(default_factory=dict)
    sizes: Counter[str] = field(default_factory=Counter)

    def watch(self, session: CDPSession) -> None:
        session.on("Network.responseReceived", self.received)
        session.on("Network.dataReceived", self.data)
        session.on("Network.loadingFinished", self.finished)
        session.send("Network.enable")

    def received(self, event: dict[str, Any]) -> None:
        self.kinds[event["requestId"]] = event["type"]

    def data(self, event: dict[str, Any]) -> None:
        self.sizes[event["requestId"]] += int(event["encodedDataLength"])

    def finished(self, event: dict[str, Any]) -> None:
        """A document's bytes are told here only, and then with its headers."""
        if not self.sizes[event["requestId"]]:
            self.sizes[event["requestId"]] = int(event["encodedDataLength"])

    def by_kind(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for request, size in self.sizes.items():
            total[self.kinds.get(request, "Other")] += size
        return dict(total)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.browser", description="A long reply in Chromium.")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=500, help="tokens a second")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.model() as model,
        servers.riverrun(model, Path(folder) / "data") as server,
    ):
        figures = measure(server.url, options.rate, options.tokens)
    print(json.dumps(figures, indent=2) if options.json else table(figures))


def measure(url: str, rate: float, tokens: int) -> dict[str, Any]:
    """One reply in a fresh browser; the figures are milliseconds, counts and bytes."""
    with sync_playwright() as playwright:
        system = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=system, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            session = page.context.new_cdp_session(page)
            traffic = Traffic()
            traffic.watch(session)
            page.add_init_script(WATCH)
            page.goto(f"{url}/c/{conversation(url)}", wait_until="load")
            loaded = traffic.by_kind()
            session.send("Performance.enable")
            cold = exchange(page, 50, 10)
            before = metrics(session)
            watched = exchange(page, rate, tokens)
            spent = {name: 1000 * (after - before[name]) for name, after in metrics(session).items()}
        finally:
            browser.close()
    long = watched["tasks"]
    return {
        "first_message_inserted": cold["inserted"] - cold["entered"],
        "own_message_inserted": watched["inserted"] - watched["entered"],
        "own_message_painted": watched["painted"] - watched["entered"],
        "last_word_after_model": watched["shown"] - watched["ended"],
        "done_after_model": watched["changed"] - watched["ended"],
        "long_tasks": len(long),
        "longest_task": max(long, default=0),
        "reply_seconds": (watched["ended"] - watched["entered"]) / 1000,
        "main_thread": spent["TaskDuration"],
        "script": spent["ScriptDuration"],
        "layout": spent["LayoutDuration"],
        "style": spent["RecalcStyleDuration"],
        "bytes_loaded": loaded,
        "bytes_in_all": traffic.by_kind(),
    }


def conversation(url: str) -> str:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/conversations", b"{}", headers, method="POST")
    with urllib.request.urlopen(request) as response:
        return str(json.load(response)["id"])


def exchange(page: Page, rate: float, tokens: int) -> dict[str, Any]:
    """Sends as a person does and waits for the end. Asks seldom, so as not to be part of what is measured."""
    composer = page.locator("textarea[name=content]")
    composer.fill(f"rate-{rate}-markdown-{tokens}")
    composer.press("Enter")
    deadline = time.monotonic() + 3 * tokens / rate + 30
    while time.monotonic() < deadline:
        page.wait_for_timeout(500)
        if page.evaluate(f"watched.shown && performance.now() - watched.changed > {QUIET}"):
            return dict(page.evaluate("watched"))
    raise SystemExit(f"the reply is not done: {page.evaluate('watched')}")


def metrics(session: CDPSession) -> dict[str, float]:
    found = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    return {name: found[name] for name in METRICS}


def table(figures: dict[str, Any]) -> str:
    rows = [
        ("first message of a page, ms after Enter", "first_message_inserted", None),
        ("own message in the page, ms after Enter", "own_message_inserted", 10),
        ("own message painted, ms after Enter", "own_message_painted", None),
        ("last word shown, ms after the model's end", "last_word_after_model", None),
        ("page done, ms after the model's end", "done_after_model", 1000),
        ("tasks over 50 ms", "long_tasks", 0),
        ("longest of them, ms", "longest_task", 50),
        ("reply, s", "reply_seconds", None),
        ("main thread, ms", "main_thread", None),
        ("  script", "script", None),
        ("  layout", "layout", None),
        ("  style", "style", None),
    ]
    lines = [f"{'a long reply in Chromium':<48}{'':>12}   aim"]
    for label, name, most in rows:
        verdict = "" if most is None else f"≤ {most}  {'met' if figures[name] <= most else 'MISSED'}"
        lines.append(f"  {label:<46}{figures[name]:>12,.1f}   {verdict}".rstrip())
    for name, when in (("bytes_loaded", "loaded"), ("bytes_in_all", "in all")):
        for kind, count in sorted(figures[name].items()):
            aim = f"≤ 26,000  {'met' if count <= 26_000 else 'MISSED'}" if kind == "Script" else ""
            lines.append(f"  {f'bytes {when}: {kind.lower()}':<46}{count:>12,}   {aim}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main()
