"""Every page over what the real engine measured, at 390, 1280 and 1920 px, dark at 1280. The pictures stay: see docs/testing.md."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.plugins.browser import PHONE, OpenPage
from tests.service.pages.real_study import RealStudy, restored
from tests.service.pages.screenshots import (
    LOOKS,
    everything_open,
    faults_at_every_size,
    folder,
    pictures_drawn,
    serious_violations,
    words_hard_to_read,
)
from tests.service.pages.serving import serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# What must be read on each page.
TEXTS = {
    "real-studies": ("demo-running", "demo-interrupted"),
    "real-study": ("undecided: ", "inside the slo", "ttft_p99_ms<=80", "point at a mark"),
    "real-running": ("8 of 27 trials finished", "time left, an estimate", "last sign of life", "not yet"),
    "real-interrupted": ("no recommendation yet", "the search was interrupted and can go on"),
    "real-trade-off": ("misses", "ttft_p99_ms<=80"),
    "real-trial": ("where a step's time goes", "kv_write", "google charts"),
    "real-compare": ("two trials compared", "a step takes"),
    "real-compare-studies": ("did the answer change?",),
    "real-recommendation": ("page_aligned against default", "vllm serve"),
    "real-recommendations": ("tiny-qwen3",),
    "real-queue": ("1 waiting, 1 running", "tpu-host-0", "8 of "),
    "real-submission": ("queued by nightly", "cancel it"),
    "real-submit": ("show the plan", "make the file from a few fields"),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> RealStudy:
    return restored(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def real_site(real: RealStudy) -> Iterator[str]:
    with serving(real.url, real.logdir) as address:
        yield address


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_of_a_real_study_is_whole_at_every_size(name: str, open_page: OpenPage, real: RealStudy, real_site: str) -> None:
    watched = open_page(real_site + real.pages[name])
    everything_open(watched.page)
    shown = " ".join(watched.page.inner_text("main").split()).casefold()
    assert [text for text in TEXTS[name] if text not in shown] == []
    assert faults_at_every_size(watched, name) == []
    assert watched.errors == []
    assert {f"{name}-{width}-{scheme}.png" for (width, _), scheme in LOOKS} <= {path.name for path in folder().iterdir()}


def test_a_phone_in_the_dark_is_given_dark_narrow_pictures(open_page: OpenPage, real: RealStudy, real_site: str) -> None:
    page = open_page(real_site + real.pages["real-trade-off"], size=PHONE, scheme="dark").page
    everything_open(page)
    pictures_drawn(page, "dark")
    given = page.evaluate("[...document.images].filter((image) => image.closest('picture')).map((image) => image.currentSrc)")
    assert given
    assert [address for address in given if not ("scheme=dark" in address and "size=narrow" in address)] == []


def test_every_page_is_looked_at(real: RealStudy) -> None:
    assert real.pages.keys() == TEXTS.keys()


PALE = {
    "its own colour": '<p style="color: #ccc">pale</p>',
    "one word inside another": '<p>black and <b style="color: #ccc">pale</b></p>',
    "what is around it": '<div style="background: #222"><p>dark on dark</p></div>',
    "what is far around it": '<section style="background: #222"><div><p>dark on dark</p><p>and here</p></div></section>',
    "faded": '<div style="opacity: 0.3"><p>faded</p></div>',
    "smaller than large": '<h2 style="color: #888; font-size: 30px">large</h2><p style="color: #888">small</p>',
    "a long text among signs": '<p style="color: #ccc">▲</p>' * 5 + '<p style="color: #ccc">pale</p>',
    "a field": '<label>name <input style="color: #ccc" value="pale"></label>',
}


@pytest.mark.parametrize("what", PALE)
def test_words_that_are_hard_to_read_are_found_among_many(what: str, open_page: OpenPage) -> None:
    plain = "<p>black on white</p>" * 50
    page = open_page("data:text/html," + quote(f"<!doctype html><html lang=en><title>t</title><body>{plain}{PALE[what]}{plain}")).page
    (found,) = words_hard_to_read(page)
    assert found.startswith("color-contrast: ")
    page.evaluate("document.body.lastElementChild.remove()")
    assert words_hard_to_read(page) == [found], "nothing stays behind"


def test_what_is_not_contrast_is_found_and_contrast_is_not(open_page: OpenPage) -> None:
    body = '<img src="data:,"><p style="color: #ccc">pale</p>'
    page = open_page("data:text/html," + quote(f"<!doctype html><html lang=en><title>t</title><body>{body}")).page
    assert [line.partition(":")[0] for line in serious_violations(page)] == ["image-alt"]
