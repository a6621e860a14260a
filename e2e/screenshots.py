"""Takes the README's pictures from the running application: `python -m e2e.screenshots`."""

from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, ViewportSize, expect

from e2e.chromium import chromium
from e2e.steps import open_app, path_of, reply, see_reply, see_the_end, send_message
from tests.model_server import ModelServer, Step
from tests.server import Server

FOLDER = Path(__file__).parents[1] / "docs" / "screenshots"
LARGEST = 250_000  # bytes of a picture
WIDE: ViewportSize = {"width": 1180, "height": 960}
PHONE: ViewportSize = {"width": 390, "height": 800}

QUESTION = "How does a river find its way to the sea?"
EARLIER = ["Names for a small sailing boat", "Translate the invitation into Danish", "What changed in the tax rules?"]
THOUGHT = "They want the idea, not a lecture: slope first, then erosion, and a table to compare the three courses."
BEGINNING = """\
A river never looks for the sea. At every point water simply runs **down the steepest slope** it can reach, and \
over time it *makes* that slope: it cuts where it is fast and fills where it is slow.

| Course | Slope | What the water does |
|:--|--:|:--|
| Upper | steep | cuts downwards, carries stones |
| Middle | gentle | swings sideways, carries sand |
| Lower | almost none | lays down silt, splits into arms |

If you like it as a program, this is the whole idea:

```python
def flow(terrain, place):
    while not terrain.is_sea(place):
        lowest = min(terrain.neighbours(place), key=terrain.height)
        terrain.erode(lowest)  # the way that is taken gets deeper
"""
END = """\
        place = lowest
```

1. Rain gathers in the dip that is already there.
2. The dip becomes deeper, so more water comes.
3. After some thousand years we call it a valley.
"""


def main() -> None:
    with (
        ModelServer.start("--models", "llama3.3") as model,
        TemporaryDirectory() as folder,
        Server(Path(folder), RIVERRUN_MODEL_URL=model.url).start() as server,
        chromium() as browser,
    ):
        model.script(answer(), match=QUESTION)
        page = browser.new_page(base_url=server.url, viewport=WIDE, device_scale_factor=1.5, color_scheme="light")
        tell_earlier(page)
        open_app(page)
        send_message(page, QUESTION)
        see_reply(page, "the way that is taken gets deeper")
        expect(reply(page).locator(".meter")).to_contain_text("tokens/s")
        take(page, "streaming")
        model.open_gate("end")
        see_the_end(page)
        take(page, "wide-light")
        page.emulate_media(color_scheme="dark")
        take(page, "wide-dark")
        take_on_a_phone(browser, server, path_of(page))
        take_a_team(browser)


def answer() -> list[Step]:
    """At the pace of a model, so that what the page tells of speed is believable."""
    pace = {"per": 5, "pause": 0.012}
    return [
        {"reasoning": THOUGHT, **pace},
        {"text": BEGINNING, **pace},
        {"gate": "end"},
        {"text": END, **pace},
        {"finish": "stop", "usage": {"prompt_tokens": 41, "completion_tokens": 297}},
    ]


def tell_earlier(page: Page) -> None:
    """Something to stand in the list."""
    for message in EARLIER:
        conversation = page.request.post("/api/conversations", data={}).json()["id"]
        page.request.post(f"/api/conversations/{conversation}/messages", data={"content": message})


def take_on_a_phone(browser: Browser, server: Server, path: str) -> None:
    page = browser.new_page(base_url=server.url, viewport=PHONE, device_scale_factor=2, color_scheme="light")
    open_app(page, path)
    take(page, "phone")


def take_a_team(browser: Browser) -> None:
    """The coordinator's team on the sample project, when all of its supporting agents write."""
    with TemporaryDirectory() as folder, Server(Path(folder), RIVERRUN_MODEL="demo").start() as server:
        page = browser.new_page(base_url=server.url, viewport=WIDE, device_scale_factor=1.5, color_scheme="light")
        open_app(page)
        page.get_by_role("button", name="Make the sample project").click()
        page.get_by_role("link", name="Compare where rivers begin").click()
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".turn__state--writing")).to_have_count(3)
        expect(page.locator(".turn--support .prose").last).to_contain_text("Nothing here")
        take(page, "team")


def take(page: Page, name: str) -> None:
    file = FOLDER / f"{name}.png"
    page.screenshot(path=file, animations="disabled", caret="hide")
    size = file.stat().st_size
    assert size < LARGEST, f"{file} has {size:,} bytes"
    print(f"{file.relative_to(FOLDER.parents[1])}: {size:,} bytes")


if __name__ == "__main__":
    main()
