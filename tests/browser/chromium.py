"""Chromium without a screen, and what a page complained of and asked for while it was looked at."""

from __future__ import annotations

import importlib.util
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Playwright adds a new empty profile, no sandbox, and no screen."""
NO_ASSISTANT = "try { localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true') } catch {}"
"""Keeps MLflow's assistant from opening over a third of the page, as it does where it has never been seen."""
PATIENCE_MS = 60_000.0


def executable() -> str | None:
    """Return where a Chromium is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def why_not() -> str:
    """Return what this machine lacks for a browser; empty where nothing is missing."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed (pip install 'bptt[dev]')"
    return "" if executable() else "no Chromium is installed (Debian and Ubuntu: the package chromium)"


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser; see why_not() first."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page, with all that it complained of and asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        """Errors on the console, exceptions that nobody caught, and answers such as 404."""
        self.requests: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _answered(self, answer: Response) -> None:
        if answer.status >= 400:
            self.complaints.append(f"answer {answer.status}: {answer.url}")


def ink(drawn: Locator) -> float:
    """Return the part of what is seen of an element that is not its commonest colour: 0.0 where it is blank."""
    from PIL import Image

    with Image.open(io.BytesIO(drawn.screenshot())) as picture:
        pixels = picture.convert("RGB")
    colors = pixels.getcolors(pixels.width * pixels.height) or []
    return 1 - max(count for count, _ in colors) / (pixels.width * pixels.height)
