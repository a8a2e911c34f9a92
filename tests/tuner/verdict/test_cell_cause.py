"""Why a cell is what it is: the sentence and its numbers, on cells whose cause is planted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from storage.records import Json, Measurement
from tests.storage.builders import a_profile
from tests.tuner.evidence_builder import METRIC, STUDY, StudyBuilder, stepped
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.verdict.cell_cause import CAUSE, NO_PAIR, UNSEEN
from tuner.verdict.compare import compare_study

SHAPES = {128: (49, 2448), 256: (45, 2864), 512: (43, 3008)}  # the demo at page size 16, arm default
WIGGLE = (1.0, 1.004, 0.997, 1.002, 0.999, 1.001)


def study(aligned: dict[int, Json], *, noise: Sequence[float] = WIGGLE, extra: Json | None = None) -> StudyBuilder:
    """A page size with three budgets; `aligned`: budget -> changes of `stepped` for the aligned arm, else as default."""
    builder = StudyBuilder()
    for budget, (steps, padded) in SHAPES.items():
        for arm in (ARM_DEFAULT, ARM_PAGE_ALIGNED):
            trial = builder.trial(arm, 16, budget)
            for number, factor in enumerate(noise):
                own = factor if arm == ARM_PAGE_ALIGNED else 1.0
                changes: dict[str, Any] = {"steps": steps, "padded": padded, **(aligned.get(budget, {}) if arm == ARM_PAGE_ALIGNED else {})}
                builder.measure(trial, number, {**stepped(**{**changes, "factor": own * changes.get("factor", 1.0)}), **(extra or {})})
    return builder


def causes(builder: StudyBuilder, metric: str = METRIC, **more: Any) -> dict[int, Json]:
    """Chunk budget -> cause."""
    found = compare_study(STUDY.id, builder.trials, builder.measurements, [metric], **more)
    return {item.max_num_batched_tokens: item.details[CAUSE] for item in found.comparisons}


def test_same_steps_and_more_padding_is_padding() -> None:
    """The demo's page size 16, budget 128: 2,448 against 2,624 padded tokens in the same 49 steps."""
    found = causes(study({128: {"padded": 2624}}))[128]
    truth = 100 * ((6 * 49 + 0.05 * 2448) / (6 * 49 + 0.05 * 2624) - 1)
    assert found["sentence"] == f"the same 49 steps and tokens, 7.2 % more padded tokens: padding ({truth:+.1f} %)"
    assert found["causes"] == ["padding"]
    assert found["default"]["padded_tokens"] == 2448 and found["page_aligned"]["padded_tokens"] == 2624
    assert found["changes"]["padded_tokens"] == pytest.approx(0.0719, abs=1e-4) and found["changes"]["steps"] == 0
    assert (found["identical"], found["steady"], found["rounds"]) == (False, True, 6)


def test_more_steps_is_the_schedule_and_what_works_against_it_is_told() -> None:
    found = causes(study({128: {"steps": 63}, 256: {"steps": 60, "padded": 2000}}))
    assert found[128]["sentence"].startswith("63 steps against 49, as many padded tokens: schedule (-16.")
    assert found[256]["causes"] == ["schedule"]
    assert found[256]["sentence"].startswith("60 steps against 45, 30 % fewer padded tokens: schedule (-18.")
    assert ", against padding (+10." in found[256]["sentence"]


def test_several_causes_that_point_the_same_way_are_all_told_with_their_sizes() -> None:
    found = causes(study({128: {"steps": 55, "padded": 4048}}))[128]
    assert found["causes"] == ["schedule", "padding"]
    assert "55 steps against 49, 65 % more padded tokens: schedule (-7." in found["sentence"] and "and padding (-15." in found["sentence"]


def test_the_parts_multiply_to_the_effect() -> None:
    slower = {"factor": 1.1}  # as a slower KV write makes it: in all budgets
    builder = study({128: {"steps": 55, "padded": 4048, **slower}, 256: slower, 512: slower})
    (item,) = [
        item
        for item in compare_study(STUDY.id, builder.trials, builder.measurements, [METRIC]).comparisons
        if item.max_num_batched_tokens == 128
    ]
    parts = item.details[CAUSE]["parts"]
    assert math.prod(part["ratio"] for part in parts.values()) == pytest.approx(item.ratio)
    assert parts["other"]["ratio"] == pytest.approx(1 / 1.1, rel=0.01)
    assert parts["other"]["low"] < parts["other"]["ratio"] < parts["other"]["high"]
    assert item.details[CAUSE]["causes"] == ["schedule", "padding", "other"]
    assert "the KV write or something else (-9." in item.details[CAUSE]["sentence"]


def test_identical_schedules_say_so_and_leave_only_the_write_or_chance() -> None:
    found = causes(study({128: {"factor": 0.9}}))
    assert found[128]["sentence"] == "identical schedules and padding (49 steps): only the KV write or chance is left"
    assert found[128]["identical"] is True and found[128]["causes"] == ["kv_write", "noise"]
    assert found[256]["sentence"] == "identical schedules and padding (45 steps): no difference beyond 1 %"


@pytest.mark.parametrize(
    ("aligned", "noise", "sentence"),
    [
        ({}, (0.8, 1.2, 1.1, 0.9), "identical schedules and padding (49 steps): noise"),
        ({128: {"padded": 2624}}, (0.8, 1.2, 1.1, 0.9), "the same 49 steps and tokens, 7.2 % more padded tokens: noise"),
        ({128: {"padded": 2624}}, (1.0,), "the same 49 steps and tokens, 7.2 % more padded tokens: too few pairs to tell"),
    ],
)
def test_an_undecided_cell_says_noise(aligned: dict[int, Json], noise: Sequence[float], sentence: str) -> None:
    found = causes(study(aligned, noise=noise))[128]
    assert found["sentence"].startswith(sentence) and found["causes"] == ["noise"]


def test_what_noise_hides_is_told_where_the_study_knows_it() -> None:
    builder = study({128: {"padded": 4896}}, noise=(1.0,) * 6)
    loud = [item for item in builder.trials if item.max_num_batched_tokens == 128 and item.arm == ARM_PAGE_ALIGNED]
    for index, item in enumerate(builder.measurements):
        if item.trial_id == loud[0].id:
            builder.measurements[index] = Measurement(
                **{**vars(item), "metrics": {**item.metrics, METRIC: item.metrics[METRIC] * (0.6 if index % 2 else 1.6)}}
            )
    assert causes(builder)[128]["sentence"].endswith("2.0 times the padded tokens: noise (alone they make about -22.6 %)")


def test_a_study_without_another_budget_gives_bounds_instead_of_sizes() -> None:
    builder = study({128: {"padded": 2624}})
    kept = {trial.id for trial in builder.trials if trial.max_num_batched_tokens == 128}
    builder.trials = [trial for trial in builder.trials if trial.id in kept]
    found = causes(builder)[128]
    assert found["sentence"] == "the same 49 steps and tokens, 7.2 % more padded tokens: padding (at most -6.7 %)"
    assert found["padded_fraction"] == {"value": None, "low": 0.0, "high": 1.0, "differences": 0}
    assert found["parts"]["padding"]["ratio"] is None and found["parts"]["padding"]["low"] == pytest.approx(2448 / 2624)


def test_steps_that_differ_between_rounds_are_no_identical_schedule() -> None:
    """The medians agree, the rounds do not."""
    builder = study({})
    for index, item in enumerate(builder.measurements):
        if item.trial_id == builder.trials[1].id and item.round == 2:
            builder.measurements[index] = Measurement(**{**vars(item), "metrics": {**item.metrics, **stepped(50, 2448)}})
    found = causes(builder)[128]
    assert (found["identical"], found["steady"]) == (False, False)
    assert found["sentence"].startswith("mostly identical schedules and padding (49 steps): no difference")


def test_a_launcher_that_sees_no_steps_says_unknown() -> None:
    builder = StudyBuilder()
    builder.cell(16, 128, 1000.0, 0.9)
    assert causes(builder)[128] == {"sentence": UNSEEN, "causes": []}


@pytest.mark.parametrize("name", ["steps", "mean_step_ms", "scheduled_tokens_per_step", "padded_tokens_per_step"])
@pytest.mark.parametrize("value", [0.0, None])
def test_a_table_with_impossible_steps_says_unknown(name: str, value: float | None) -> None:
    builder = study({128: {"padded": 2624}})
    for index, item in enumerate(builder.measurements):
        metrics = {key: found for key, found in {**item.metrics, name: value}.items() if found is not None}
        builder.measurements[index] = Measurement(**{**vars(item), "metrics": metrics})
    assert causes(builder)[128] == {"sentence": UNSEEN, "causes": []}


def test_a_cell_of_which_an_arm_failed_has_no_pair_and_says_so() -> None:
    builder = study({})
    builder.trial(ARM_DEFAULT, 64, 128, [1000.0, 1001.0])
    builder.failed(ARM_PAGE_ALIGNED, 64, 128)
    found = compare_study(STUDY.id, builder.trials, builder.measurements, [METRIC]).comparisons
    (failed,) = [item for item in found if item.block_size == 64]
    assert failed.details[CAUSE] == {"sentence": NO_PAIR, "causes": []}


@pytest.mark.parametrize(("worse", "words"), [(1.5, ": padding"), (0.5, ": schedule: when which request gets its tokens")])
def test_a_latency_gets_a_direction_but_no_sizes(worse: float, words: str) -> None:
    builder = study({128: {"padded": 2624}})
    for index, item in enumerate(builder.measurements):
        factor = worse * WIGGLE[item.round] if item.trial_id == builder.trials[1].id else 1.0
        builder.measurements[index] = Measurement(**{**vars(item), "metrics": {**item.metrics, "ttft_p99_ms": 100 * factor}})
    found = causes(builder, "ttft_p99_ms")[128]
    assert words in found["sentence"] and "(" not in found["sentence"] and found["parts"] == {}


def test_an_open_loop_has_no_parts() -> None:
    """Its throughput is that of the arrivals, whatever a step takes."""
    found = causes(study({128: {"padded": 2624}}, extra={"sender_lag_p99_ms": 1.0}))[128]
    assert found["parts"] == {} and found["sentence"].endswith(": padding")


def test_the_time_of_a_step_falls_where_there_are_more_and_smaller_steps() -> None:
    found = causes(study({128: {"steps": 98, "padded": 2448}}), "mean_step_ms")[128]
    assert found["sentence"].startswith("98 steps against 49, as many padded tokens: schedule (-")
    assert found["parts"]["padding"]["ratio"] == pytest.approx(1.0)


def with_phases(builder: StudyBuilder) -> StudyBuilder:
    builder.measurements = [Measurement(**{**vars(item), "details": {"phases": {"prefill": [40, 400.0]}}}) for item in builder.measurements]
    return builder


@pytest.mark.parametrize(
    ("shares", "ratio"),
    [
        ([{"kv_write": 0.10}, {"kv_write": 0.02}], 1.09),  # told apart
        ([{"kv_write": 0.10, "loop_control": 0.1}, {"kv_write": 0.02}], None),  # a traced loop: a bound only
        ([{"kv_write": 0.10, "attention_fused_kv": 0.4}, {"kv_write": 0.02}], None),  # one kernel does both
        ([{"kv_write": 0.10}, {}], None),  # no write was seen
    ],
)
def test_profiles_tell_the_kv_write_where_they_can(shares: list[dict[str, float]], ratio: float | None) -> None:
    builder = with_phases(study({128: {"factor": 0.9}}))
    profiles = [
        a_profile(trial.id, session="prefill", phase="prefill", status="ok", summary={"phases": {"prefill": {"share": share}}})
        for trial, share in zip(builder.trials[:2], shares, strict=True)
    ]
    parts = causes(builder, profiles=profiles)[128]["parts"]
    assert (parts["kv_write"]["ratio"] == pytest.approx(ratio, rel=0.01)) if ratio is not None else "kv_write" not in parts
