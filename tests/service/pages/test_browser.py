"""The pages as Chromium shows them: nothing wrong for axe-core, no error in the console, nothing asked of another machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.plugins.browser import DESKTOP, PHONE, OpenPage, Scheme, WatchedPage
from tests.service.pages.gallery import EMPTY, EVIL, FINISHED, HOSTILE, RUNNING, Gallery

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SCHEMES: tuple[Scheme, ...] = ("light", "dark")

# What must be read on each page.
TEXTS = {
    "studies": ("Studies", FINISHED, HOSTILE, RUNNING, EMPTY),
    "study": (
        "Recommended",
        "page_aligned",
        "Effect of page alignment, cell by cell",
        "equivalent",
        "Best so far",
        "engine starts",
        "out of memory",
    ),
    "study-running": ("3 of 4 trials finished", "Verdicts come when the search ends"),
    "study-hostile": (HOSTILE, EVIL),
    "study-empty": ("No recommendation yet", "No trial here"),
    "trade-off": ("Pareto front", "ttft_p99_ms", "total_token_throughput"),
    "trial": ("Where a step's time goes", "kv_write", "Configuration", "Environment", "Open in TensorBoard", "95 % interval"),
    "trial-failed": ("Why it failed", "engine_crash", "last line of the log", "Nothing was measured"),
    "trial-hostile": ("Why it failed", EVIL, "</pre>", "differs"),
    "compare": ("Two trials compared", "Baseline", "Candidate", "Settings that differ", "Both profiles in TensorBoard"),
    "recommendations": ("Recommendations", "tiny-qwen3", "not published"),
    "recommendation": ("Use it", "vllm serve", "block-size", "args:", "Scope and caveats"),
    "recommendation-hostile": ("Stale: measure again", EVIL),
    "not-found": ("Not found",),
}


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they go: a temporary folder, or the one that TUNER_SCREENSHOTS names."""
    chosen = os.environ.get("TUNER_SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_is_seen_and_has_no_fault(name: str, open_page: OpenPage, site: str, gallery: Gallery, screenshots: Path) -> None:
    watched = open_page(site + gallery.pages()[name])
    page, faults = watched.page, []
    shown = page.inner_text("main") + "\n".join(page.locator("details").all_text_contents())
    assert [text for text in TEXTS[name] if squeezed(text) not in squeezed(shown)] == []
    for form, (width, height) in {"desktop": DESKTOP, "phone": PHONE}.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            pictures_drawn(page, scheme)
            picture = screenshots / f"{name}-{form}-{scheme}.png"
            page.screenshot(path=picture, full_page=True)
            assert is_not_blank(picture)
            faults += [f"{form} {scheme}: {line}" for line in serious_violations(watched)]
            assert not watched.scrolls_sideways(), f"{form} {scheme}"
    assert faults == []
    assert watched.hosts() == {urlsplit(site).netloc}
    expected = ["404"] if name == "not-found" else []
    assert [re.findall(r"\b404\b", error) for error in watched.errors] == [[code] for code in expected], watched.errors
    assert page.evaluate("window.hacked") is None


def serious_violations(watched: WatchedPage) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    found = Axe().run(watched.page).response["violations"]
    return [
        f"{item['id']}: {item['help']} {[node['html'][:160] for node in item['nodes'][:3]]}"
        for item in found
        if item["impact"] in {"serious", "critical"}
    ]


def pictures_drawn(page: Page, scheme: Scheme) -> None:
    """Waits until every picture is there in this scheme. Raises AssertionError where one does not come."""
    shown = "[...document.images].filter((image) => !image.closest('details:not([open])'))"
    other = f"image.closest('picture') && image.currentSrc.includes('scheme=dark') !== {str(scheme == 'dark').lower()}"
    for _ in range(200):
        if not page.evaluate(f"{shown}.filter((image) => !image.complete || !image.naturalWidth || {other}).length"):
            page.evaluate(f"Promise.all({shown}.map((image) => image.decode()))")
            return
        page.wait_for_timeout(50)
    raise AssertionError("a picture does not appear")


def is_not_blank(picture: Path) -> bool:
    from PIL import Image

    with Image.open(picture) as image:
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
        return colours is not None and len(colours) > 20 and max(count for count, _ in colours) < 0.99 * image.width * image.height


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).casefold()
