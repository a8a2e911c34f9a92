"""The pages as Chromium shows them: nothing wrong for axe-core, no error in the console, nothing asked of another machine."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from tests.plugins.browser import OpenPage
from tests.service.pages.gallery import EMPTY, EVIL, FINISHED, HOSTILE, LARGE, LONG, ONE_CELL, RUNNING, STATUSES, Gallery
from tests.service.pages.screenshots import everything_open, faults_at_every_size

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# What must be read on each page.
TEXTS = {
    "ask": ("Which flags for my model on my accelerator?", "Answered here", "tiny-qwen3", EVIL),
    "ask-answer": ("Recommended flags", "--max-num-batched-tokens", "Measured for exactly this", "The evidence"),
    "ask-nothing": ("No recommendation", "is not shown to be met", "What to do next", "tuner search"),
    "ask-default": ("vLLM's own defaults", "No measurement stands behind this", "What to do next"),
    "ask-predicted": ("Predicted flags, never measured", "no measurement stands behind this", "90 % interval of the step times"),
    "ask-wrong": ("name the model", "Further details"),
    "studies": ("Studies", FINISHED, HOSTILE, RUNNING, EMPTY, "ttft_p99_ms<=400", "nightly", "--resume", "1 archived study is not shown"),
    "studies-archived": ("put-away", "go on answering questions until they are withdrawn"),
    "studies-none": ("No study here with this filter",),
    "study": (
        "Can page-aligned scheduling be on by default?",
        "Recommended settings",
        "--max-num-batched-tokens",
        "page_aligned",
        "Effect of page alignment, cell by cell",
        "equivalent",
        "Best so far",
        "engine starts",
        "out of memory",
    ),
    "study-running": ("3 of 4 trials finished", "Verdicts come when the search ends"),
    "study-killed": ("Nobody runs this search: no sign of life since 2025-11-24 16:00:00 UTC", "--resume", "of 2 cells", "6 pairs"),
    "study-stopped": ("Effect of page alignment, cell by cell", "of 2 cells", "6 pairs"),
    "study-hostile": (HOSTILE, EVIL),
    "study-empty": ("No recommendation yet", "No trial here", "undecided: nothing was measured"),
    "study-large": (
        "In some settings: turn it on there",
        "on where page size at least 32",
        "of 24 cells",
        "mean effect by page size",
        "8192",
    ),
    "study-one-cell": ("No difference: leave it off", "of 1 cell"),
    "study-all-failed": ("Not decided", "none of 8 trials completed", "4 failed", "8 of 8", "no room for pages of 16", "out_of_memory"),
    "study-long-name": (LONG, "A-Model-A-Model"),
    "study-keep": ("Rename, tag, archive or delete", "Token with the scope manage", "none -> ", "tag by anna"),
    "study-keep-running": ("Its search runs",),
    "audit": ("Audit trail", "archive", "put-away", "measured again"),
    "queue": ("Nothing waits or runs", "Hosts in quarantine", "6.2 % less than 4 peers", EVIL),
    "hosts": ("Now in quarantine", "Token with the scope manage", "by bob: new fan", EVIL),
    "trade-off": ("Pareto front", "ttft_p99_ms", "total_token_throughput"),
    "trial": ("Where a step's time goes", "kv_write", "Configuration", "Environment", "Open in TensorBoard", "95 % interval"),
    "trial-failed": ("Why it failed", "engine_crash", "last line of the log", "Nothing was measured"),
    "trial-hostile": ("Why it failed", EVIL, "</pre>", "differs"),
    "compare-studies": (
        "Did the answer change?",
        "Both say the same: In some settings",
        "What was different",
        "fake engine",
        "not measured",
    ),
    "compare": (
        "Two trials compared",
        "A step takes",
        "kv_write \N{MINUS SIGN}",
        "Baseline",
        "Candidate",
        "Settings that differ",
        "Both profiles in TensorBoard",
        "The same cell in the search",
    ),
    "recommendations": ("Recommendations", "tiny-qwen3", "not published"),
    "recommendation": (
        "Publish or withdraw it",
        "Token with the scope publish",
        "Use it",
        "vllm serve",
        "block-size",
        "args:",
        "Scope and caveats",
    ),
    "recommendation-hostile": ("Stale: measure again", EVIL),
    "capacities": ("Capacity", "4 requests/s [3.5, 4.5] with ttft_p99_ms<=500", EVIL),
    "capacity": ("Goodput by rate", "12 chips", "per million tokens", "1 of 1", "Reckon"),
    "capacity-hostile": (EVIL, "Goodput by rate"),
    "reference": ("/v1/recommendations", "Parameters", "curl"),
    "not-found": ("Not found",),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_is_seen_and_has_no_fault(name: str, open_page: OpenPage, site: str, gallery: Gallery) -> None:
    watched = open_page(site + gallery.pages()[name])
    page = watched.page
    shown = page.inner_text("main") + "\n".join(page.locator("details").all_text_contents())
    assert [text for text in TEXTS[name] if squeezed(text) not in squeezed(shown)] == []
    everything_open(page)
    assert faults_at_every_size(watched, name, fits_a_phone=name in LISTS) == []
    assert watched.hosts() == {urlsplit(site).netloc}
    expected = [str(STATUSES[name])] if name in STATUSES else []
    assert [re.findall(r"\b4\d\d\b", error) for error in watched.errors] == [[code] for code in expected], watched.errors
    assert page.evaluate("window.hacked") is None


LISTS = ("ask", "studies", "studies-archived", "recommendations", "audit", "capacities")
CHARTS = ("heat-map", "forest", "history", "trade-off", "cost", "effects")


@pytest.mark.parametrize("study", [FINISHED, LARGE, ONE_CELL, RUNNING])
@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_the_words_in_a_picture_do_not_cover_each_other(open_page: OpenPage, site: str, study: str, size: str) -> None:
    page = open_page("about:blank").page
    for chart in (chart for chart in CHARTS if chart != "forest" or study != RUNNING):
        page.goto(f"{site}/studies/{study}/charts/{chart}.svg?size={size}")
        assert page.locator("text").count() > 0
        covered, outside = page.evaluate(COVERED)
        assert (covered, outside) == ([], []), f"{chart} of {study}"


# Pairs of texts that cover each other, and texts beyond the picture's edge, by more than two pixels.
COVERED = """() => {
  const edge = document.documentElement.getBoundingClientRect();
  const drawn = [...document.querySelectorAll('text')].filter((each) => each.textContent.trim() && each.getAttribute('opacity') !== '0');
  const boxes = drawn.map((each) => [each.textContent, each.getBoundingClientRect()]);
  const shared = (a, b, low, high) => Math.min(a[high], b[high]) - Math.max(a[low], b[low]);
  const over = (a, b) => shared(a, b, 'left', 'right') > 2 && shared(a, b, 'top', 'bottom') > 2;
  const pairs = boxes.flatMap(([one, a], at) => boxes.slice(at + 1).filter(([, b]) => over(a, b)).map(([other]) => `${one} | ${other}`));
  const past = (a) => Math.max(edge.left - a.left, a.right - edge.right, edge.top - a.top, a.bottom - edge.bottom) > 2;
  const beyond = boxes.filter(([, a]) => past(a));
  return [pairs, beyond.map(([text]) => text)];
}"""


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).casefold()
