from __future__ import annotations

import json
from dataclasses import replace

import pytest

from storage.records import Recommendation, Stage
from tests.tuner.evidence_builder import CONFIRM, ENVIRONMENT, METRIC, STUDY, StudyBuilder, comparison, poison, profile
from tuner.metrics.objective import parse_objectives, parse_slo
from tuner.stats.sequential import InterimPlan
from tuner.verdict.compare import compare_study
from tuner.verdict.evidence import Evidence
from tuner.verdict.recommend import recommend

DEFAULTS = {"block_size": 32, "max_num_batched_tokens": 256}


def result(evidence: Evidence, objective: str = "throughput", *slos: str) -> Recommendation:
    return recommend(evidence, parse_objectives(objective), [parse_slo(text) for text in slos])


def searched() -> StudyBuilder:
    """Page size 64 with the aligned arm is 10 % better than everything else."""
    builder = StudyBuilder()
    builder.cell(32, 256, 1000.0, 1.0)
    builder.cell(64, 256, 1000.0, 1.10)
    return builder


def test_the_whole_answer() -> None:
    builder = searched()
    evidence = builder.evidence(
        defaults=DEFAULTS, comparisons=[comparison(64, 256), comparison(32, 256, "equivalent")], profiles=[profile(4, 77), profile(1, 78)]
    )
    found = result(evidence)
    body = found.body
    assert (found.study_id, found.status, found.model, found.accelerator, found.workload_hash) == (
        7,
        "recommended",
        "tiny-qwen3",
        "TPU v6e-1",
        "wl",
    )
    assert body["status"] == "recommended"
    assert body["settings"] == {"arm": "page_aligned", "block_size": 64, "max_num_batched_tokens": 256, "page_aligned": True}
    assert body["config"]["block_size"] == 64 and body["config"]["max_num_batched_tokens"] == 256
    assert body["vllm_args"][:2] == ["--block-size", "64"]
    assert "tuner.vllm_plugin.scheduler.PageAlignedScheduler" in body["vllm_args"]
    expected = body["expected"][METRIC]
    assert expected["low"] < expected["value"] < expected["high"] and expected["unit"] == "tokens/s" and expected["measurements"] == 6
    assert body["evidence"]["trial_ids"] == [3, 4] and body["evidence"]["profile_ids"] == [77]
    assert body["evidence"]["arms"]["verdict"] == "better"
    assert [item["verdict"] for item in body["evidence"]["comparisons"]] == ["better"]
    assert body["scope"]["model"] == "tiny-qwen3" and body["scope"]["versions"]["vllm_tpu"] == "0.32.0"
    assert body["scope"]["workload"]["content_hash"] == "wl"
    assert body["match"] == {"kind": "exact", "distance": 0.0} and body["stale"] == {"stale": False, "reasons": []}
    assert json.loads(json.dumps(body)) == body


def test_vllms_own_defaults_within_the_tie_band_are_status_default() -> None:
    builder = StudyBuilder()
    builder.trial("default", 32, 256, values=[985.0, 986.0])
    builder.trial("page_aligned", 64, 512, values=[1000.0, 1001.0])
    assert result(builder.evidence(defaults=DEFAULTS)).status == "default"
    assert result(builder.evidence(defaults={"block_size": 16})).status == "recommended"
    assert result(builder.evidence()).status == "recommended"  # without known defaults nothing is called one


@pytest.mark.parametrize("plant", ["failed", "poison", "other environment"])
def test_bad_evidence_never_has_any_influence(plant: str) -> None:
    clean, planted = searched(), searched()
    for trial in list(planted.trials):
        if plant == "poison":
            poison(planted, trial, 1e9, drifted=False)
        elif plant == "failed":
            planted.failed(trial.arm, trial.block_size, trial.max_num_batched_tokens, great_values=[1e9] * 6)
            planted.failed(trial.arm, 128, 1024, great_values=[1e9] * 6)
        else:
            planted.trial(trial.arm, 128, 1024, [1e9] * 6, environment="another machine")
    plain, with_planted = result(clean.evidence()).body, result(planted.evidence()).body
    assert with_planted == plain


def test_a_failed_trial_scored_zero_never_wins_a_latency() -> None:
    """The bug of a peer: out of memory scored 0.0, and minimising latency took it for the best."""
    builder = StudyBuilder()
    good = builder.trial("default")
    builder.measure(good, 0, {"ttft_p99_ms": 100.0})
    bad = builder.failed("default", 64)
    builder.measure(bad, 0, {"ttft_p99_ms": 0.0})
    assert result(builder.evidence(), "ttft_p99_ms").body["settings"]["block_size"] == 32


def test_nothing_valid_is_none_with_the_reason() -> None:
    assert "no trial yet" in result(Evidence(STUDY, (), ())).body["reason"]
    builder = StudyBuilder()
    builder.failed("default", great_values=[1e9])
    found = result(builder.evidence())
    assert found.status == "none" and found.body["config"] == {} and found.body["vllm_args"] == []
    assert "none of 1 trials completed (out_of_memory)" in found.body["reason"]
    builder.measure(builder.trial(), 0, {METRIC: 1.0}, valid=False, invalid_reason="drifted")
    assert "none with a valid measurement" in result(builder.evidence()).body["reason"]


def test_no_feasible_configuration_names_the_slo() -> None:
    builder = StudyBuilder()
    builder.measure(builder.trial(), 0, {METRIC: 100.0, "ttft_p99_ms": 900.0, "tpot_p99_ms": 10.0})
    found = result(builder.evidence(), "throughput", "ttft_p99_ms<=500", "tpot_p99_ms<=20")
    assert found.status == "none" and "meets ttft_p99_ms<=500 (1 measured)" in found.body["reason"]
    builder.measure(builder.trial(), 0, {METRIC: 100.0, "ttft_p99_ms": 90.0, "tpot_p99_ms": 99.0})
    assert "at once" in result(builder.evidence(), "throughput", "ttft_p99_ms<=500", "tpot_p99_ms<=20").body["reason"]


def test_an_slo_excludes_the_fastest() -> None:
    builder = StudyBuilder()
    for budget, throughput, ttft_ms in ((512, 200.0, 900.0), (128, 100.0, 100.0)):
        builder.measure(builder.trial("default", 32, budget), 0, {METRIC: throughput, "ttft_p99_ms": ttft_ms})
    found = result(builder.evidence(), "throughput", "ttft_p99_ms<=500").body
    assert found["settings"]["max_num_batched_tokens"] == 128 and "ttft_p99_ms" in found["expected"]


def confirmed(search_best: float, confirm_best: float, confirm_other: float) -> StudyBuilder:
    builder = StudyBuilder()
    builder.trial("default", 32, 256, [1000.0] * 3)
    builder.trial("page_aligned", 32, 256, [search_best] * 3)
    builder.trial("default", 32, 256, [confirm_other, confirm_other * 1.001], **CONFIRM)
    builder.trial("page_aligned", 32, 256, [confirm_best, confirm_best * 1.001], **CONFIRM)
    return builder


def test_the_confirmation_decides_and_says_how_much_the_search_overestimated() -> None:
    body = result(confirmed(1200.0, 1100.0, 1000.0).evidence(defaults=DEFAULTS)).body
    assert body["settings"]["arm"] == "page_aligned" and body["evidence"]["stage"] == "confirm"
    assert body["evidence"]["trial_ids"] == [3, 4]
    (over,) = body["evidence"]["search_overestimate"]
    assert over["search_value"] == 1200.0 and over["confirmed_value"] == pytest.approx(1100.55)
    assert over["overestimate"] == pytest.approx(1200 / 1100.55 - 1)
    assert body["expected"][METRIC]["value"] == pytest.approx(1100.55)
    assert not any("not confirmed" in caveat for caveat in body["caveats"])


def test_a_winner_of_the_search_that_does_not_hold_is_not_recommended() -> None:
    body = result(confirmed(1200.0, 1001.0, 1000.0).evidence(defaults=DEFAULTS)).body
    assert body["settings"]["arm"] == "default" and body["status"] == "default"


def test_when_every_confirmation_fails_there_is_no_recommendation() -> None:
    builder = searched()
    builder.failed("page_aligned", 64, 256, great_values=[1e9], stage=Stage.CONFIRM)
    found = result(builder.evidence())
    assert found.status == "none" and "confirmation" in found.body["reason"]


def test_a_latency_overestimate_is_positive_when_the_search_was_too_optimistic() -> None:
    builder = StudyBuilder()
    builder.measure(builder.trial(), 0, {"ttft_p99_ms": 90.0})
    builder.measure(builder.trial(stage=Stage.CONFIRM), 0, {"ttft_p99_ms": 100.0})
    (over,) = result(builder.evidence(), "ttft_p99_ms").body["evidence"]["search_overestimate"]
    assert over["overestimate"] == pytest.approx(0.1)


def test_caveats_say_what_is_not_known() -> None:
    builder = StudyBuilder()
    builder.trial("page_aligned", values=[100.0])
    caveats = " | ".join(result(builder.evidence()).body["caveats"])
    assert "not confirmed" in caveats and "one valid measurement" in caveats and "default arm was not measured" in caveats
    on_cpu = builder.evidence(environment=replace(ENVIRONMENT, platform="cpu"))
    assert any("not on a TPU" in caveat for caveat in result(on_cpu).body["caveats"])
    assert any("environment is unknown" in caveat for caveat in result(builder.evidence(environment=None)).body["caveats"])


def test_an_aligned_winner_without_an_established_advantage_says_so() -> None:
    builder = StudyBuilder()
    builder.trial("default", values=[80.0, 125.0, 90.0])
    builder.trial("page_aligned", values=[100.0, 101.0, 99.0])
    assert any("not established (verdict: inconclusive)" in caveat for caveat in result(builder.evidence()).body["caveats"])
    assert not any("not established" in caveat for caveat in result(searched().evidence()).body["caveats"])


def test_the_effect_beside_the_recommendation_is_the_comparison_s_own() -> None:
    """Corrected for repeated analyses and for all cells: three pairs of up to 24 that look fine alone do not establish anything."""
    builder = StudyBuilder()
    for block_size, levels in ((32, (1.02, 1.03, 1.04)), (64, (0.99, 1.0, 1.01))):
        builder.trial("default", block_size, values=[100.0] * 3)
        builder.trial("page_aligned", block_size, values=[100.0 * level for level in levels])
    once = result(builder.evidence(study=replace(STUDY, config={"rounds": {"min": 3, "max": 3}}))).body["evidence"]["arms"]
    looked = builder.evidence(study=replace(STUDY, config={"rounds": {"min": 3, "max": 24}}))
    body = result(looked).body
    arms = body["evidence"]["arms"]
    (cell,) = [
        item
        for item in compare_study(STUDY.id, looked.trials, looked.measurements, [METRIC], plan=InterimPlan(3, 24)).comparisons
        if item.block_size == 32
    ]
    assert (arms["low"], arms["high"], arms["verdict"]) == (cell.low, cell.high, "inconclusive") and arms["low"] < once["low"]
    assert any("not established" in caveat for caveat in body["caveats"])


def test_several_objectives_come_with_their_pareto_front() -> None:
    builder = StudyBuilder()
    for budget, throughput, ttft_ms in ((512, 200.0, 900.0), (128, 100.0, 100.0), (256, 90.0, 200.0)):
        builder.measure(builder.trial("default", 32, budget), 0, {METRIC: throughput, "ttft_p99_ms": ttft_ms})
    body = result(builder.evidence(), "throughput,ttft_p99_ms").body
    assert [point["max_num_batched_tokens"] for point in body["pareto_front"]] == [512, 128]
    assert body["pareto_front"][0]["values"] == {"throughput": 200.0, "ttft_p99_ms": 900.0}
    confirmed = builder.trial("default", 32, 512, **CONFIRM)
    builder.measure(confirmed, 0, {METRIC: 190.0, "ttft_p99_ms": 950.0})
    front = result(builder.evidence(), "throughput,ttft_p99_ms").body["pareto_front"]
    assert [point["max_num_batched_tokens"] for point in front] == [512, 128], "finalists are but a part of it"
    assert [point["confirmed"] for point in front] == [{"throughput": 190.0, "ttft_p99_ms": 950.0}, None]


def test_the_order_of_stored_rows_does_not_matter() -> None:
    builder = searched()
    turned = replace(builder.evidence(), trials=tuple(reversed(builder.trials)), measurements=tuple(reversed(builder.measurements)))
    assert result(turned) == result(builder.evidence())


def test_values_out_of_a_table_get_flags_for_a_tpu_and_say_so() -> None:
    """A table is no platform that vLLM could be told of."""
    builder = StudyBuilder()
    builder.trial(values=[1000.0] * 3)
    body = result(builder.evidence(environment=replace(ENVIRONMENT, platform="table", accelerator="table moot.csv"))).body
    assert body["env"] == {} and "table" not in " ".join(body["vllm_args"])
    assert body["scope"]["accelerator"] == "table moot.csv"
    assert any("values come from table moot.csv" in caveat and "flags are written for a TPU" in caveat for caveat in body["caveats"])
