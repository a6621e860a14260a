"""How a page has to look on every screen: axe finds nothing, and nothing is too wide."""

from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Page

Scheme = Literal["light", "dark"]

AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
IS_DARK = "matchMedia('(prefers-color-scheme: dark)').matches"
LIGHT_FIRST: tuple[Scheme, Scheme] = ("light", "dark")
DARK_FIRST: tuple[Scheme, Scheme] = ("dark", "light")
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
WIDE, PHONE = {"width": 1100, "height": 700}, {"width": 360, "height": 640}


def violations(page: Page) -> list[str]:
    """What axe finds, in words: rule, then where. In the colours that the page does not have, what is about colours."""
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(path=AXE)
    found = run_axe(page)
    own, other = DARK_FIRST if page.evaluate(IS_DARK) else LIGHT_FIRST
    page.emulate_media(color_scheme=other)
    found += [f"{other} {violation}" for violation in run_axe(page, runOnly=COLOUR_RULES)]
    page.emulate_media(color_scheme=own)
    return found


def run_axe(page: Page, **options: Any) -> list[str]:
    found: dict[str, Any] = page.evaluate(
        "options => axe.run(document, options)", {"resultTypes": ["violations"], **options}
    )
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:150]} {node.get('failureSummary', '')}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def check_looks(page: Page) -> None:
    assert violations(page) == []
    assert overflow(page) == 0
