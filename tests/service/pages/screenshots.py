"""Pages at every width, light, and dark at one of them: a picture of each is kept, and what is wrong with it is told.

The pictures lie in build/screenshots, or in the folder that TUNER_SCREENSHOTS names, as NAME-WIDTH-SCHEME.png.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tests.plugins.browser import DESKTOP, PHONE, Scheme, WatchedPage

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[3]
WIDE = (1920, 1080)
# The dark scheme differs in colours alone, and no colour depends on the width: dark is looked at once.
LOOKS: tuple[tuple[tuple[int, int], Scheme], ...] = ((PHONE, "light"), (DESKTOP, "light"), (DESKTOP, "dark"), (WIDE, "light"))
_CONTRAST = "color-contrast"
_NAMES_AT = {(PHONE[0], "light"), (DESKTOP[0], "light")}  # 1920 px differs in room alone
_CONTRAST_AT = {(DESKTOP[0], "light"), (DESKTOP[0], "dark")}  # a phone differs in all but colours
_OPENED = 40  # of the reference's operations, which are alike
_TALLEST = 16_384  # pixels of a picture: Chromium paints no larger surface, and of the reference alone there is more


def folder() -> Path:
    found = Path(os.environ.get("TUNER_SCREENSHOTS") or ROOT / "build" / "screenshots")
    found.mkdir(parents=True, exist_ok=True)
    return found


def faults_at_every_size(watched: WatchedPage, name: str, *, fits_a_phone: bool = False) -> list[str]:
    """A line each: the page scrolls sideways, something is cut off, or a violation that axe-core calls serious, contrast among them.
    `fits_a_phone`: on a phone, too, no table is wider than the page."""
    faults = []
    for (width, height), scheme in LOOKS:
        watched.page.set_viewport_size({"width": width, "height": height})
        watched.page.emulate_media(color_scheme=scheme)
        pictures_drawn(watched.page, scheme)
        picture = folder() / f"{name}-{width}-{scheme}.png"
        _photograph(watched.page, picture)
        found = [] if is_not_blank(picture) else ["the page is blank"]
        found += ["the page scrolls sideways"] if watched.scrolls_sideways() else []
        found += watched.page.evaluate(CUT_OFF, fits_a_phone or width >= DESKTOP[0])
        found += serious_violations(watched.page) if (width, scheme) in _NAMES_AT else []
        found += words_hard_to_read(watched.page) if (width, scheme) in _CONTRAST_AT else []
        faults += [f"{width} px {scheme}: {line}" for line in found]
    return faults


def _photograph(page: Page, picture: Path) -> None:
    """The whole page, as far as _TALLEST. As Playwright does it, but with the browser's quick way of packing a PNG, for which Playwright
    has no word."""
    browser = page.context.new_cdp_session(page)
    size = browser.send("Page.getLayoutMetrics")["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], _TALLEST), "scale": 1}
    options = {"format": "png", "captureBeyondViewport": True, "optimizeForSpeed": True, "clip": clip}
    picture.write_bytes(base64.b64decode(browser.send("Page.captureScreenshot", options)["data"]))
    browser.detach()


# Tables that do not fit where there is room for them, text that its box hides, and boxes beyond the edges. Words for screen readers are
# hidden on purpose, and a command and what is typed are scrolled.
CUT_OFF = """(roomy) => {
  const forEars = [...document.querySelectorAll('body *')].filter((each) => getComputedStyle(each).clipPath === 'inset(50%)');
  const shown = (each) => each.checkVisibility() && !each.closest('.skip, svg') && !forEars.some((other) => other.contains(each));
  const named = (each) => `${each.localName} ${(each.getAttribute('aria-label') ?? each.textContent).trim().slice(0, 60)}`;
  const wide = (each) => each.scrollWidth > each.clientWidth + 1;
  const all = [...document.querySelectorAll('body *')].filter(shown);
  const tables = roomy ? all.filter((each) => each.matches('.scroll') && each.querySelector('table') && wide(each)) : [];
  const hides = (each) => ['hidden', 'clip'].includes(getComputedStyle(each).overflowX) && !each.matches('input');
  const clipped = all.filter((each) => hides(each) && wide(each));
  const beyond = all.filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width > 0 && !each.closest('.scroll') && (box.right > innerWidth + 1 || box.left < -1);
  });
  return [
    ...tables.map((each) => `columns are cut off: ${named(each)}`),
    ...clipped.map((each) => `text is cut off: ${named(each)}`),
    ...beyond.map((each) => `lies beyond the edge: ${named(each)}`),
  ];
}"""


def everything_open(page: Page) -> None:
    """What is folded away is not looked at by axe-core, and would not be seen."""
    page.evaluate(f"[...document.querySelectorAll('details')].slice(0, {_OPENED}).forEach((each) => {{ each.open = true; }})")


def serious_violations(page: Page) -> list[str]:
    """All that axe-core calls serious or critical but contrast."""
    return _violations(page, {"rules": {_CONTRAST: {"enabled": False}}})


def words_hard_to_read(page: Page) -> list[str]:
    """Words with too little contrast. Of words that look alike axe-core judges two: it took half of a large page's time over all of them,
    and found the same contrast wherever the look was the same."""
    page.evaluate(MARK_LOOKS)
    found = _violations(page, {"runOnly": [_CONTRAST]}, "[data-look]")
    page.evaluate("document.querySelectorAll('[data-look]').forEach((each) => each.removeAttribute('data-look'))")
    return found


# Marks two elements of each look that have words of their own: those with the most letters, since axe-core does not judge a sign alone.
# A look is all that contrast is made of: colours, size and weight, and what the element and those around it paint, or where they lie.
MARK_LOOKS = """() => {
  const paints = ['backgroundColor', 'backgroundImage', 'opacity', 'position', 'filter', 'mixBlendMode'];
  const around = new Map();
  const painted = (each) => {
    if (each === null) return '';
    if (!around.has(each)) {
      const style = getComputedStyle(each);
      const own = paints.map((name) => style[name]).join();
      around.set(each, (own === 'rgba(0, 0, 0, 0),none,1,static,none,normal' ? '' : own + '|') + painted(each.parentElement));
    }
    return around.get(each);
  };
  const look = (each) => {
    const style = getComputedStyle(each);
    const own = ['color', 'fontSize', 'fontWeight', 'textShadow'].map((name) => style[name]);
    return [each.matches('svg *'), ...own, painted(each)].join('|');
  };
  const words = (each) => [...each.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join('').trim();
  const letters = (each) => words(each).replace(/[^a-z0-9]/gi, '').length;
  const seen = (each) => each.checkVisibility() && each.getClientRects().length && (words(each) || each.matches('input, select, textarea'));
  for (const alike of Map.groupBy([...document.querySelectorAll('body *')].filter(seen), look).values()) {
    alike.sort((one, other) => letters(other) - letters(one)).slice(0, 2).forEach((each) => each.setAttribute('data-look', ''));
  }
}"""


def _violations(page: Page, options: Mapping[str, object], within: str | None = None) -> list[str]:
    """`options`: of axe.run; `within`: a selector."""
    from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    there = page.evaluate("typeof axe === 'object'")  # half a megabyte of script is read once a page
    found = Axe("" if there else AXE_SCRIPT).run(page, within, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [
        f"{item['id']}: {item['help']} {[node['html'][:160] for node in item['nodes'][:3]]}"
        for item in found
        if item["impact"] in {"serious", "critical"}
    ]


def pictures_drawn(page: Page, scheme: Scheme) -> None:
    """Waits until every picture is there in this scheme, also those that took their image's place. Raises AssertionError where one does
    not come."""
    shown = "[...document.images].filter((image) => !image.closest('details:not([open])'))"
    other = f"image.closest('picture') && image.currentSrc.includes('scheme=dark') !== {str(scheme == 'dark').lower()}"
    linked = "image.closest('picture[data-linked]')"
    undrawn = f"{linked} && {linked}.nextElementSibling?.dataset.address !== image.currentSrc"
    for _ in range(200):
        if not page.evaluate(f"{shown}.filter((image) => !image.complete || !image.naturalWidth || {other} || {undrawn}).length"):
            page.evaluate(f"Promise.all({shown}.map((image) => image.decode()))")
            return
        page.wait_for_timeout(50)
    raise AssertionError("a picture does not appear")


def is_not_blank(picture: Path) -> bool:
    """A PNG of one colour is more than a hundred times smaller than its pixels; what is not is not looked at in full."""
    from PIL import Image

    with Image.open(picture) as image:
        if picture.stat().st_size > image.width * image.height * 3 / 50:
            return True
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
        return colours is not None and len(colours) > 20 and max(count for count, _ in colours) < 0.99 * image.width * image.height
