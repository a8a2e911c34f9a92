"""The sentence beside recommended settings: each way to be chosen has its own, and none denies the settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tuner.evidence_builder import CONFIRM, METRIC, StudyBuilder
from tuner.metrics.objective import parse_objectives, parse_slo
from tuner.verdict.recommend import recommend

DEFAULTS = {"block_size": 32, "max_num_batched_tokens": 2048}
Level = tuple[str, int, int, float]
AT_REST = "vLLM's own defaults are taken"


def body_of(levels: Sequence[Level], *, defaults: dict[str, int] | None = None, **stage: Any) -> dict[str, Any]:
    """Of configurations with one throughput each."""
    builder = StudyBuilder()
    for arm, page, budget, value in levels:
        builder.trial(arm, page, budget, [value], **stage)
    evidence = builder.evidence(defaults=DEFAULTS if defaults is None else defaults)
    return recommend(evidence, parse_objectives("throughput"), ()).body


def said(body: dict[str, Any]) -> str:
    """The reason without the gain."""
    return str(body["reason"]).partition("; +")[0].partition("; -")[0]


ALIGNED_BEST: Level = ("page_aligned", 64, 512, 1000.0)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([ALIGNED_BEST, ("default", 32, 2048, 900.0)], "1,000 tokens/s in the search, the best of 2 configurations measured"),
        ([ALIGNED_BEST], "1,000 tokens/s in the search, the only configuration measured"),
        ([ALIGNED_BEST, ("default", 32, 2048, 985.0)], f"1.5 % behind the best (1,000): a tie within 2 %, where {AT_REST}"),
        (
            [ALIGNED_BEST, ("default", 128, 512, 985.0)],
            "1.5 % behind the best (1,000): a tie within 2 %, where vLLM's own scheduler is taken",
        ),
        (
            [ALIGNED_BEST, ("page_aligned", 32, 2048, 985.0)],
            "1.5 % behind the best (1,000): a tie within 2 %, where vLLM's own page size and chunk budget are taken",
        ),
        (
            [("default", 64, 512, 1000.0), ("default", 32, 512, 985.0)],
            "1.5 % behind the best (1,000): a tie within 2 %, where the one with fewer changes to vLLM's defaults is taken",
        ),
        (
            [("default", 64, 512, 1000.0), ("default", 128, 512, 999.5)],
            "less than 0.1 % behind the best (1,000): a tie within 2 %, where the larger page is taken",
        ),
        (
            [("page_aligned", 64, 512, 1000.0), ("page_aligned", 64, 256, 999.0)],
            "0.1 % behind the best (1,000): a tie within 2 %, where the smaller chunk budget is taken",
        ),
        ([("default", 64, 512, 1e7), ("default", 128, 512, 9.9e6)], "9,900,000 tokens/s in the search, 1 % behind the best (10,000,000): "),
    ],
)
def test_how_it_was_chosen(levels: list[Level], expected: str) -> None:
    assert expected in said(body_of(levels))


def test_after_a_cold_start_it_speaks_of_finalists() -> None:
    text = said(body_of([ALIGNED_BEST, ("default", 32, 2048, 900.0)], **CONFIRM))
    assert text == f"{METRIC} 1,000 tokens/s after a cold start, the best of 2 finalists"


def test_without_known_defaults_nothing_is_called_one() -> None:
    text = body_of([ALIGNED_BEST, ("default", 32, 2048, 985.0)], defaults={})
    assert "vLLM's own scheduler is taken" in text["reason"] and AT_REST not in text["reason"]
    assert "vLLM's own defaults are not known for this study" in text["caveats"]


def two_objectives(*levels: tuple[str, int, float, float]) -> str:
    builder = StudyBuilder()
    for arm, page, throughput, ttft_ms in levels:
        builder.measure(builder.trial(arm, page, 2048), 0, {METRIC: throughput, "ttft_p99_ms": ttft_ms})
    return str(recommend(builder.evidence(defaults=DEFAULTS), parse_objectives("throughput,ttft_p99_ms"), ()).body["reason"])


def test_a_second_objective_that_decided_is_named_with_both_values() -> None:
    text = two_objectives(("default", 64, 1000.0, 400.0), ("page_aligned", 64, 990.0, 300.0))
    assert "1 % behind the best (1,000): a tie within 2 %, decided by ttft_p99_ms (300 against 400 ms)" in text


def test_objectives_that_all_tie_leave_it_to_the_simpler_one() -> None:
    text = two_objectives(("page_aligned", 64, 1000.0, 299.0), ("default", 32, 990.0, 300.0))
    assert f"a tie within 2 %, where {AT_REST}" in text and "decided by" not in text


def test_the_first_objective_alone_decides_where_it_can() -> None:
    assert "the best of 2 configurations measured" in two_objectives(("page_aligned", 64, 1000.0, 900.0), ("default", 32, 900.0, 300.0))


def test_slos_are_part_of_what_it_is_the_best_of() -> None:
    builder = StudyBuilder()
    for budget, ttft_ms in ((512, 100.0), (256, 90.0), (128, 900.0)):
        builder.measure(builder.trial("default", 32, budget), 0, {METRIC: 10.0 * budget, "ttft_p99_ms": ttft_ms})

    def reason_under(slo: str) -> str:
        return str(recommend(builder.evidence(), parse_objectives("throughput"), [parse_slo(slo)]).body["reason"])

    assert "the best of 2 configurations measured that meet every SLO" in reason_under("ttft_p99_ms<=500")
    assert "the only configuration measured that meets every SLO" in reason_under("ttft_p99_ms<=95")
    assert "no configuration meets ttft_p99_ms<=0.0000001" in reason_under("ttft_p99_ms<=1e-7")


def test_a_metric_may_be_zero() -> None:
    """Division by the best value."""
    builder = StudyBuilder()
    for page in (64, 32):
        builder.measure(builder.trial("default", page, 2048), 0, {METRIC: 100.0, "preemptions": 0.0})
    body = recommend(builder.evidence(defaults=DEFAULTS), parse_objectives("preemptions"), ()).body
    assert body["settings"]["block_size"] == 32
    assert body["reason"].startswith("preemptions 0 count in the search, the best of 2 configurations measured")


def test_the_tie_and_the_pairs_of_another_cell_are_both_told() -> None:
    """The best number is page 64's; page 128 ties and is larger; in its cell the pairs want the aligned arm."""
    builder = StudyBuilder()
    builder.trial("default", 64, 512, [1040.0] * 6)
    for arm, values in (("default", 1000.0), ("page_aligned", 1030.0)):
        builder.trial(arm, 128, 512, [values * wobble for wobble in (1.0, 1.001, 0.999, 1.0, 1.0005, 0.9995)])
    for arm, value in (("default", 1035.0), ("page_aligned", 1050.0)):
        builder.trial(arm, 128, 512, [value] * 6, **CONFIRM)
    builder.trial("default", 64, 512, [1055.0] * 6, **CONFIRM)
    body = recommend(builder.evidence(defaults={"block_size": 16}), parse_objectives("throughput"), ()).body
    assert body["settings"]["arm"] == "page_aligned" and body["settings"]["block_size"] == 128
    assert (
        "a tie within 2 %, where the larger page is taken; between the arms of that cell the pairs decide (page_aligned +3.0 %, better)"
        in body["reason"]
    )


LEVELS = st.lists(
    st.tuples(
        st.sampled_from(["default", "page_aligned"]),
        st.sampled_from([16, 32, 64]),
        st.sampled_from([512, 2048]),
        st.sampled_from([980.0, 990.0, 1000.0, 1500.0, 1.0e-3, 1e9]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda level: level[:3],
)


@given(LEVELS, st.sampled_from([DEFAULTS, {}]), st.sampled_from([{}, CONFIRM]))
def test_the_reason_never_denies_the_settings_and_has_no_exponents(
    levels: list[Level], defaults: dict[str, int], stage: dict[str, Any]
) -> None:
    body = body_of(levels, defaults=defaults, **stage)
    reason, settings = body["reason"], body["settings"]
    in_default_cell = bool(defaults) and all(settings[name] == value for name, value in defaults.items())
    assert (AT_REST in reason) <= (in_default_cell and settings["arm"] == "default") == (body["status"] == "default")
    assert ("vLLM's own page size" in reason) <= (in_default_cell and settings["arm"] == "page_aligned")
    assert ("vLLM's own scheduler" in reason) <= (settings["arm"] == "default")
    assert not re.search(r"\d(\.\d+)?e[+-]?\d", reason)
    assert [item["recommended"] for item in body["changes"]] == [
        settings["block_size"],
        settings["max_num_batched_tokens"],
        settings["page_aligned"],
    ]
