"""A page in which nothing that was said may come to life: what would run, load, leave or change the page is a fault.

The policy of the pages stops most of that, too; here what only the policy has stopped counts as much as what ran.
"""

import re
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Frame, Page, Request, Route

# In every page before its own scripts. What is loaded or run says so by itself; this adds what the policy forbids.
SNARE = """
window.trap = (...told) => caught(`a script ran: ${told}`);
addEventListener('securitypolicyviolation', ({effectiveDirective, blockedURI, sample}) =>
  caught(`stopped by the policy alone: ${effectiveDirective} ${blockedURI} ${sample}`));
"""
# Elements that run or load something, and attributes that do; the page's own are its scripts, styles and icon.
LIVING = """
() => {
  const faults = [];
  const own = ({src, href}) => new URL(src || href).pathname.startsWith('/static/');
  const look = (root) => {
    for (const element of root.querySelectorAll('*')) {
      const {localName} = element;
      const told = element.outerHTML.slice(0, 120);
      if (/^(iframe|frame|object|embed|applet|base|svg|math|style|img|image|picture|video|audio)$/.test(localName))
        faults.push(told);
      if (localName === 'script' && !(element.src && own(element) && !element.textContent)) faults.push(told);
      if (localName === 'link' && !own(element)) faults.push(told);
      if (localName === 'meta' && element.httpEquiv && !element.closest('noscript')) faults.push(told);
      for (const {name, value} of element.attributes) {
        if (/^(on|hx-(on|live|init|vals|headers|swap-oob)|data-hx|srcdoc|(style|ping|formaction)$)/.test(name))
          faults.push(`${name}: ${told}`);
        if (/^(href|src|action|hx-(get|post|put|patch|delete|sse:connect))$/.test(name)) {
          const {protocol, host, pathname} = new URL(value, location.href);
          const leads = ['http:', 'https:', 'mailto:'].includes(protocol);
          const away = protocol !== 'mailto:' && host !== location.host;
          const apart = localName === 'a' && /noopener noreferrer/.test(element.rel) && element.target === '_blank';
          if (!leads || (away && !apart) || pathname.startsWith('/trap')) faults.push(`${name}: ${told}`);
        }
      }
      if (localName === 'template') look(element.content);
      if (element.shadowRoot) faults.push(told);
    }
  };
  look(document);
  const ids = [...document.querySelectorAll('[id]')].map(({id}) => id);
  faults.push(...ids.filter((id, at) => ids.indexOf(id) !== at || /trap/.test(id)).map(id => `id ${id}`));
  return faults;
}
"""


class Trap:
    """`own`: the address of the riverrun that is visited. All that leads elsewhere is told, and stopped here."""

    def __init__(self, context: BrowserContext, own: str) -> None:
        self.faults: list[str] = []
        self.expected = ""  # in what a page says to its console
        self._own = own
        self._scratch: dict[str, dict[str, Any]] = {}
        context.expose_function("caught", self.complain)
        context.add_init_script(SNARE)
        context.route(re.compile(""), self._let_through)
        context.on("console", self._hear)
        context.on("dialog", self._dismiss)
        context.on("weberror", lambda error: self.faults.append(f"a script failed: {error.error}"))
        context.on("page", lambda page: self.faults.append(f"a window opened: {page.url}"))
        for page in context.pages:
            page.on("download", lambda download: self.faults.append(f"a download: {download.url}"))
            page.on("framenavigated", self._arrive)
            page.on("request", self._ask)

    def complain(self, fault: str) -> None:
        self.faults.append(fault)

    def _let_through(self, route: Route) -> None:
        url = route.request.url
        if answer := self._scratch.get(url):
            route.fulfill(**answer)
        elif not url.startswith(f"{self._own}/"):
            self.faults.append(f"a request left: {url}")
            route.fulfill(status=204)  # which ends it, and leaves the page where it is
        else:
            if url.startswith(f"{self._own}/trap"):
                self.faults.append(f"a request that nobody made: {url}")
            route.continue_()

    def _hear(self, message: ConsoleMessage) -> None:
        is_expected = self.expected and self.expected in message.text
        if not is_expected and (message.type in ("error", "warning") or "trap" in message.text):
            self.faults.append(f"console: {message.text}")

    def _dismiss(self, dialog: Dialog) -> None:
        self.faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _arrive(self, frame: Frame) -> None:
        if frame.parent_frame is not None or not frame.url.startswith((f"{self._own}/", "about:blank")):
            self.faults.append(f"a page that nobody opened: {frame.url}")

    def _ask(self, request: Request) -> None:
        if request.url.startswith(("javascript:", "data:", "blob:")):
            self.faults.append(f"a request: {request.url[:80]}")

    def scratch(self, path: str, html: str, **headers: str) -> str:
        """A page of its own at our address, for the trap to be seen at work. Gives back where it is."""
        url = f"{self._own}{path}"
        self._scratch[url] = {"body": html, "content_type": "text/html", "headers": headers}
        return url

    def look(self, page: Page) -> None:
        """At what has not come to life yet, but would: handlers, addresses, elements. What waits has its turn first."""
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
        self.faults += [f"in the page {page.url}: {fault}" for fault in page.evaluate(LIVING)]

    def check(self) -> None:
        assert not self.faults, "\n".join(["The trap closed:", *dict.fromkeys(self.faults)])
