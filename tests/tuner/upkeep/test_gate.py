"""Gates: how they are read, and when one holds, fails or stays undecided."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.core.errors import BadInput
from tuner.upkeep.gate import Gate, Standing, judge_gate, parse_gates

NOISE = np.exp(0.01 * np.random.default_rng(3).standard_normal(12))


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("throughput>=0.97*published", Gate("total_token_throughput", ">=", 0.97, of_published=True)),
        (" output_throughput >= 1.02 * published ", Gate("output_token_throughput", ">=", 1.02, of_published=True)),
        ("tpot_p99_ms<=1.05*published", Gate("tpot_p99_ms", "<=", 1.05, of_published=True)),
        ("throughput>=published", Gate("total_token_throughput", ">=", 1.0, of_published=True)),
        ("ttft_p99_ms<=500", Gate("ttft_p99_ms", "<=", 500.0, of_published=False)),
        ("preemptions<=0", Gate("preemptions", "<=", 0.0, of_published=False)),
    ],
)
def test_a_gate_is_read(text: str, gate: Gate) -> None:
    assert parse_gates([text]) == (gate,)
    assert parse_gates([str(gate)]) == (gate,), "as it is printed"


@pytest.mark.parametrize(
    "texts",
    [
        *[[text] for text in ("", " ", ">=", "throughput", "throughput>=", "throughput>0.97*published", "throughput==1*published")],
        *[
            [f"throughput>={limit}*published"]
            for limit in ("nan", "inf", "-1", "+1", "1e9", "0x1", "1_000", "0", "0.0", "\u0661", "9" * 400)
        ],
        *[
            [f"throughput>=0.97{rest}"]
            for rest in ("*published*2", "*publish", "/published", "*published;id", "*published\n0", "**published")
        ],
        *[[text] for text in ("__import__('os')>=1", "throughput>=published*0.97", "0.97*published<=throughput", "$(id)>=1", "x" * 5000)],
        *[[text] for text in ("nobodys_metric>=1", "throughput<=0.97*published", "ttft_p99_ms>=1*published", "throughput>=0")],
        ["throughput>=0.97*published", "total_token_throughput>=0.9*published"],
        ["throughput>=1"] * 17,
    ],
    ids=lambda texts: f"{len(texts)} {texts[0][:30]!r}",
)
def test_what_is_no_gate_is_refused_in_one_line(texts: list[str]) -> None:
    with pytest.raises(BadInput) as refused:
        parse_gates(texts)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000 and "gate" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "ratio", "standing"),
    [
        ("throughput>=0.97*published", 1.0, Standing.HOLDS),
        ("throughput>=0.97*published", 1.2, Standing.HOLDS),
        ("throughput>=0.97*published", 0.96, Standing.UNDECIDED),  # two starts of one engine may differ by as much
        ("throughput>=0.97*published", 0.975, Standing.UNDECIDED),
        ("throughput>=0.97*published", 0.9, Standing.FAILS),
        ("tpot_p99_ms<=1.05*published", 1.0, Standing.HOLDS),
        ("tpot_p99_ms<=1.05*published", 1.07, Standing.UNDECIDED),
        ("tpot_p99_ms<=1.05*published", 1.2, Standing.FAILS),
    ],
)
def test_intervals_decide_against_what_is_published(text: str, ratio: float, standing: Standing) -> None:
    [gate] = parse_gates([text])
    assert judge_gate(gate, list(1000 * ratio * NOISE), list(1000 * NOISE[::-1])).standing is standing


@pytest.mark.parametrize(
    ("text", "values", "standing"),
    [
        ("ttft_p99_ms<=500", 400 * NOISE, Standing.HOLDS),
        ("ttft_p99_ms<=500", 505 * NOISE, Standing.UNDECIDED),
        ("ttft_p99_ms<=500", 600 * NOISE, Standing.FAILS),
        ("throughput>=100", 120 * NOISE, Standing.HOLDS),
        ("preemptions<=0", 0 * NOISE, Standing.HOLDS),
        ("preemptions<=0", np.array([0.0, 3.0]), Standing.UNDECIDED),
        ("throughput>=100", np.array([99.0]), Standing.UNDECIDED),
        ("throughput>=100", np.array([]), Standing.UNDECIDED),
    ],
)
def test_and_against_a_number(text: str, values: np.ndarray, standing: Standing) -> None:
    [gate] = parse_gates([text])
    assert judge_gate(gate, list(values), None).standing is standing


def test_nothing_published_decides_nothing() -> None:
    [gate] = parse_gates(["throughput>=0.97*published"])
    found = judge_gate(gate, list(NOISE), None)
    assert (found.standing, "is not published" in found.told) == (Standing.UNDECIDED, True)


def test_several_gates_share_the_error() -> None:
    [gate] = parse_gates(["throughput>=0.97*published"])
    ours, theirs = list(0.985 * NOISE), list(NOISE[::-1])
    assert judge_gate(gate, ours, theirs).standing is Standing.HOLDS
    assert judge_gate(gate, ours, theirs, gates=1000).standing is Standing.UNDECIDED
