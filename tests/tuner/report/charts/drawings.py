"""Comparisons to draw, and what an SVG says."""

from __future__ import annotations

from xml.etree import ElementTree

from storage.records import Comparison

TIMES = "\N{MULTIPLICATION SIGN}"
METRIC = "total_token_throughput"
_SVG = "{http://www.w3.org/2000/svg}"


def row(
    page: int, budget: int, verdict: str, ratio: float | None, *, half: float = 0.01, metric: str = METRIC, pairs: int = 6
) -> Comparison:
    ends = {"ratio": ratio} if ratio is None else {"ratio": ratio, "low": ratio - half, "high": ratio + half}
    return Comparison(1, metric, page, budget, verdict, pairs, details={"log_ratio_sd": 0.01}, **ends)


CELLS = [
    row(16, 128, "better", 1.05),
    row(16, 256, "inconclusive", 1.02, half=0.04),
    row(32, 128, "worse", 0.96),
    row(32, 256, "equivalent", 1.0, half=0.005),
    row(64, 256, "inconclusive", None),
]


def label(page: int, budget: int) -> str:
    return f"{page} {TIMES} {budget}"


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{_SVG}text")]


def links(svg: str) -> dict[str, str]:
    """Address -> what is said and shown."""
    found = {}
    for anchor in ElementTree.fromstring(svg).iter(f"{_SVG}a"):
        title = anchor.find(f"{_SVG}title")
        assert title is not None and title.text == anchor.get("aria-label") and anchor.find(f"{_SVG}path") is not None
        found[str(anchor.get("href"))] = str(title.text)
    return found
