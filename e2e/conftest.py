"""One browser, one riverrun and one scripted model for the session; a fresh context, watched, for every test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from e2e.chromium import chromium
from e2e.looks import PHONE, WIDE
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.postgres import postgres
from tests.server import Server

__all__ = ["postgres"]

pytest.register_assert_rewrite("e2e.steps")  # it tells how two pages differ

PATIENCE = 10_000  # ms until an expectation is given up; what a page does by itself takes up to 4 s
LIMIT = "5000"  # characters of a message
SETTINGS = {"RIVERRUN_MESSAGE_LIMIT": LIMIT, "RIVERRUN_SHUTDOWN_GRACE": "0.5"}

OpenPage = Callable[..., Page]

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def model_server() -> Iterator[ModelServer]:
    with ModelServer.start() as server:
        yield server


@pytest.fixture
def model(model_server: ModelServer) -> ModelServer:
    """The scripted model, as if new. Where nothing is scripted it repeats what it was told."""
    model_server.reset()
    return model_server


@pytest.fixture(scope="session")
def server(model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The riverrun that all tests share which do not stop it."""
    folder = tmp_path_factory.mktemp("riverrun")
    with Server(folder, RIVERRUN_MODEL_URL=model_server.url, **SETTINGS).start() as running:
        yield running


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.check()


@pytest.fixture
def own_server(model: ModelServer, tmp_path: Path, watch: Watch) -> Iterator[Server]:
    """A riverrun that this test may stop, kill and start again."""
    with Server(tmp_path, RIVERRUN_MODEL_URL=model.url, **SETTINGS).start() as running:
        yield running
        watch.rest()


@pytest.fixture
def open_page(browser: Browser, watch: Watch, model: ModelServer) -> Iterator[OpenPage]:
    """Opens a page in a context of its own, that is as another person or device; `options` are Playwright's."""
    contexts: list[BrowserContext] = []

    def open_page(url: str, **options: Any) -> Page:
        context = browser.new_context(base_url=url, **{"viewport": {"width": 1100, "height": 700}} | options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        watch.follow(context, url)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: OpenPage, server: Server) -> Page:
    return open_page(server.url)


@pytest.fixture(params=["wide", "phone"])
def each_page(request: pytest.FixtureRequest, open_page: OpenPage, server: Server) -> Page:
    """On each kind of screen; `e2e.looks` looks at it by light and in the dark.

    axe comes as an inline script, which the page's own policy forbids.
    """
    viewport, colours = {"wide": (WIDE, "light"), "phone": (PHONE, "dark")}[request.param]
    return open_page(server.url, color_scheme=colours, viewport=viewport, bypass_csp=True)


@pytest.fixture
def plain_page(open_page: OpenPage, server: Server) -> Page:
    """A browser without JavaScript."""
    return open_page(server.url, java_script_enabled=False)
