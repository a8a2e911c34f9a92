"""What a change costs in other metrics, to be said in the same breath. Pure.

A gain in one metric alone is half of the truth: page alignment may win 4 % of throughput and lose 28 % of TTFT.
"""

from __future__ import annotations

from collections.abc import Iterable

from tuner.metrics.names import said
from tuner.stats.intervals import Verdict
from tuner.verdict.answer import Grounds
from tuner.verdict.answer_words import change

type JudgedChange = tuple[str, float | None, str]  # metric, ratio page_aligned / default, verdict


def price_text(verdict: str, others: Iterable[JudgedChange]) -> str:
    """What goes behind a change with this verdict: "at +28 % TTFT (p99)" behind a gain, else "worse: +28 % TTFT (p99)". Only what is judged
    better or worse is named; a gain without a price says in what none is shown. "" where nothing is to be said."""
    judged = [item for item in others if item[1] is not None]
    worse, better = (_named(judged, wanted) for wanted in (Verdict.WORSE, Verdict.BETTER))
    if verdict == Verdict.BETTER:
        if worse:
            return f"at {worse}"
        return f"no loss is shown in {_and(said(metric) for metric, _, _ in judged)}" if judged else ""
    return "; ".join(filter(None, [f"worse: {worse}" if worse else "", f"better: {better}" if better else ""]))


def cell_price(grounds: Grounds) -> str:
    """Of page_aligned against default in the recommended cell, as stored with a recommendation."""
    arms = grounds.get("arms")
    if not arms:
        return ""
    found = [(item.get("metric", ""), item.get("ratio"), item.get("verdict", "")) for item in grounds.get("comparisons", [])]
    return price_text(arms.get("verdict", ""), [item for item in found if item[0] != arms.get("metric")])


def _named(judged: Iterable[JudgedChange], wanted: Verdict) -> str:
    return _and(f"{change(ratio)} {said(metric)}" for metric, ratio, verdict in judged if verdict == wanted and ratio is not None)


def _and(parts: Iterable[str]) -> str:
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last
