"""The browser: Chromium as it is found on this machine."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
QUIET = ("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update")


@contextmanager
def chromium() -> Iterator[Browser]:
    """`RIVERRUN_TEST_CHROMIUM`, or the first that is on the PATH, or the one that Playwright has installed."""
    found = os.environ.get("RIVERRUN_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*QUIET, "--disable-sync", *sandbox])
        yield browser
        browser.close()
