"""No change in one metric is told without what it costs in the others."""

from __future__ import annotations

import pytest

from tuner.verdict.answer import Grounds
from tuner.verdict.price import JudgedChange, cell_price, price_text

TTFT, TPOT = "ttft_p99_ms", "tpot_p99_ms"


@pytest.mark.parametrize(
    ("verdict", "others", "says"),
    [
        ("better", [(TTFT, 1.28, "worse")], "at +28 % TTFT (p99)"),
        ("better", [(TTFT, 1.28, "worse"), (TPOT, 1.05, "worse")], "at +28 % TTFT (p99) and +5.0 % TPOT (p99)"),
        ("better", [(TTFT, 1.28, "worse"), (TPOT, 0.9, "better")], "at +28 % TTFT (p99)"),
        ("better", [(TTFT, 0.7, "better"), (TPOT, 1.0, "inconclusive")], "no loss is shown in TTFT (p99) and TPOT (p99)"),
        ("better", [(TTFT, None, "inconclusive")], ""),
        ("better", [], ""),
        ("worse", [(TTFT, 0.9, "better")], "better: -10 % TTFT (p99)"),
        ("worse", [(TTFT, 1.1, "inconclusive")], ""),
        ("inconclusive", [(TTFT, 1.28, "worse"), (TPOT, 0.9, "better")], "worse: +28 % TTFT (p99); better: -10 % TPOT (p99)"),
        ("equivalent", [("mean_step_ms", 1.02, "worse")], "worse: +2.0 % step time (mean)"),
    ],
)
def test_four_percent_of_throughput_were_shown_without_the_ttft_they_cost(verdict: str, others: list[JudgedChange], says: str) -> None:
    assert price_text(verdict, others) == says


def test_of_a_stored_recommendation() -> None:
    metric = "total_token_throughput"
    comparisons = [{"metric": metric, "verdict": "better", "ratio": 1.04}, {"metric": TTFT, "verdict": "worse", "ratio": 1.28}]
    arms = {"metric": metric, "verdict": "better", "ratio": 1.04}
    assert cell_price(Grounds(arms=arms, comparisons=comparisons)) == "at +28 % TTFT (p99)"  # type: ignore[typeddict-item]
    assert cell_price(Grounds(arms=arms)) == ""  # type: ignore[typeddict-item]
    assert cell_price(Grounds(arms=None, comparisons=comparisons)) == "" == cell_price(Grounds())
    assert cell_price(Grounds(arms=arms, comparisons=[{}])) == "", "what an older version stored otherwise"  # type: ignore[typeddict-item]
