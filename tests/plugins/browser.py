"""Fixtures of headless Chromium: `open_page(url, ...)` gives a page that is watched: every console error and every request is kept.

Tests that use them carry the marker `browser`. A module shares one browser, not the session: while it is open, Playwright's loop stands in
the way of `asyncio.run`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

DESKTOP = (1280, 900)
PHONE = (390, 844)
Scheme = Literal["light", "dark"]
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MS = 60_000  # the machine is shared, and its processes are stopped now and then


@dataclass
class WatchedPage:
    """A page with all that it said and asked for since it was opened."""

    page: Page
    errors: list[str] = field(default_factory=list)  # console errors (violations of the CSP among them) and uncaught exceptions
    requests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # stopped by the page's own CSP: they never left the browser

    def hosts(self) -> set[str]:
        """The hosts, with ports, that anything was asked of; inline data and blobs have none, and what the CSP refused was not asked."""
        return {urlsplit(url).netloc for url in self.requests if urlsplit(url).netloc and url not in self.refused}

    def scrolls_sideways(self) -> bool:
        """Compared with the window, since a phone lays out a page that names no viewport on 980 pixels."""
        window = self.page.viewport_size
        return window is not None and int(self.page.evaluate("document.documentElement.scrollWidth")) > window["width"]


class OpenPage(Protocol):
    """`javascript=False` is a reader without scripts; `wait_until` is Playwright's."""

    def __call__(
        self,
        url: str,
        *,
        size: tuple[int, int] = DESKTOP,
        scheme: Scheme = "light",
        javascript: bool = True,
        headers: dict[str, str] | None = None,
        wait_until: Literal["load", "domcontentloaded", "networkidle"] = "load",
    ) -> WatchedPage: ...


def chromium_path() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def launch_chromium() -> Iterator[Browser]:
    """The system's Chromium, headless. Raises FileNotFoundError where there is none."""
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    if path is None:
        raise FileNotFoundError("headless Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS), timeout=_PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium; skips where there is none."""
    if chromium_path() is None:
        pytest.skip("headless Chromium is not installed")
    pytest.importorskip("playwright.sync_api", reason="browser tests need playwright (extra: dev)")
    with launch_chromium() as browser:
        yield browser


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Each page has a context of its own (no shared cookies or cache), closed after the test."""
    closing: list[Callable[[], None]] = []

    def opened(
        url: str,
        *,
        size: tuple[int, int] = DESKTOP,
        scheme: Scheme = "light",
        javascript: bool = True,
        headers: dict[str, str] | None = None,
        wait_until: Literal["load", "domcontentloaded", "networkidle"] = "load",
    ) -> WatchedPage:
        settings: dict[str, Any] = {"color_scheme": scheme, "java_script_enabled": javascript, "extra_http_headers": headers or {}}
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, is_mobile=size[0] < 600, **settings)
        closing.append(context.close)
        context.set_default_timeout(_PATIENCE_MS)
        watched = WatchedPage(context.new_page())

        def said(message: ConsoleMessage) -> None:
            if message.type == "error":
                watched.errors.append(message.text)

        watched.page.on("console", said)
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        watched.page.on("request", lambda request: watched.requests.append(request.url))
        watched.page.on("requestfailed", lambda request: watched.refused.append(request.url) if request.failure == "csp" else None)
        watched.page.goto(url, wait_until=wait_until)
        return watched

    yield opened
    for close in closing:
        close()
