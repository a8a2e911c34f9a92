"""Stored studies, made up: trials, measurements and evidence with chosen levels, for tests of compare, candidates and recommend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from storage.records import Comparison, Environment, Json, Measurement, Profile, Stage, Study, Trial, TrialState, Workload
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.metrics.catalog import metric_info
from tuner.stats.intervals import Effect, Verdict, floor_of
from tuner.stats.pooling import pool
from tuner.stats.samples import typical_of
from tuner.verdict.answer_words import Told
from tuner.verdict.cell_claims import CellEvidence, MetricCells, cell_claims
from tuner.verdict.evidence import Evidence
from tuner.verdict.study_answer import study_answer, with_answer

METRIC = "total_token_throughput"
STUDY = Study(name="s", model="tiny-qwen3", config={}, objective="throughput", id=7)
ENVIRONMENT = Environment("env", "tpu", "TPU v6e-1", 1, {"vllm_tpu": "0.32.0", "jax": "0.11.2", "python": "3.12.1"})
WORKLOAD = Workload("wl", "mixed-small", {}, {"requests": 12})
REQUESTED: Json = {
    "model": "tiny-qwen3",
    "model_path": "models/tiny-qwen3",
    "max_num_seqs": 16,
    "max_model_len": 512,
    "dtype": "auto",
    "attention_backend": "auto",
    "alignment_variant": "demote",
    "kv_write": "auto",
}


@dataclass
class StudyBuilder:
    """Adds trials with measurements; ids count from 1 (trials) and 1000 (measurements)."""

    trials: list[Trial] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    def trial(
        self,
        arm: str = ARM_DEFAULT,
        block_size: int = 32,
        budget: int = 256,
        values: Sequence[float] = (),
        *,
        requested: Json | None = None,
        **changes: Any,
    ) -> Trial:
        """A trial with one valid measurement of throughput per value, rounds 0, 1, ..."""
        number = len(self.trials)
        trial = Trial(
            study_id=STUDY.id,
            number=number,
            arm=arm,
            block_size=block_size,
            max_num_batched_tokens=budget,
            requested={**REQUESTED, **(requested or {})},
            workload_hash=WORKLOAD.content_hash,
            id=number + 1,
            state=TrialState.COMPLETE,
            environment=ENVIRONMENT.fingerprint,
        )
        trial = replace(trial, **changes)
        self.trials.append(trial)
        for round_number, value in enumerate(values):
            self.measure(trial, round_number, {METRIC: value})
        return trial

    def measure(self, trial: Trial, round_number: int, metrics: Json, **changes: Any) -> Measurement:
        number = 1000 + len(self.measurements)
        item = Measurement(trial.id, round_number, 0, float(number), 1.0, metrics, id=number)
        self.measurements.append(replace(item, **changes))
        return self.measurements[-1]

    def failed(self, *args: Any, great_values: Sequence[float] = (), **changes: Any) -> Trial:
        """A FAIL trial that carries measurements which would win if anybody looked at them."""
        trial = self.trial(*args, state=TrialState.FAIL, error_class="out_of_memory", error_message="no memory", **changes)
        for round_number, value in enumerate(great_values):
            self.measure(trial, round_number, {METRIC: value})
        return trial

    def cell(
        self, block_size: int, budget: int, level: float, effect: float, *, rounds: int = 6, sd: float = 0.004, **changes: Any
    ) -> None:
        """Both arms of a cell, `effect` = page_aligned / default, with noise of its own and noise that the arms of a round share."""
        rng = np.random.default_rng(block_size * 10_000 + budget)
        shared = 0.02 * rng.standard_normal(rounds)
        for arm, factor in ((ARM_DEFAULT, 1.0), (ARM_PAGE_ALIGNED, effect)):
            noise = shared + sd * rng.standard_normal(rounds)
            self.trial(arm, block_size, budget, [level * factor * math.exp(value) for value in noise], **changes)

    def evidence(self, **changes: Any) -> Evidence:
        base = Evidence(STUDY, tuple(self.trials), tuple(self.measurements), ENVIRONMENT, WORKLOAD)
        return replace(base, **changes)


def stepped(steps: int, padded: int, *, scheduled: int = 1966, step_ms: float = 6.0, token_ms: float = 0.05, factor: float = 1.0) -> Json:
    """Metrics of a window whose every step costs `step_ms` and every padded token `token_ms`, times `factor`."""
    engine_ms = factor * (step_ms * steps + token_ms * padded)
    per_step = {"scheduled_tokens_per_step": scheduled / steps, "padded_tokens_per_step": padded / steps, "prefill_tokens_per_step": 1.0}
    return {METRIC: 1e6 / engine_ms, "steps": float(steps), "mean_step_ms": engine_ms / steps, **per_step}


def poison(builder: StudyBuilder, trial: Trial, value: float, first_round: int = 50, *, drifted: bool = True) -> None:
    """Measurements of a good trial that must never enter: each kind of bad one, with a value that would change everything. `drifted`
    ones enter no value, but pairs."""
    for offset, reason in enumerate(("recompiled", "drifted", "busy", "request_failed", "invalid")):
        if drifted or reason != "drifted":
            builder.measure(trial, first_round + offset, {METRIC: value}, valid=False, invalid_reason=reason)
    builder.measure(trial, first_round + 10, {METRIC: value}, details={"compilations": 2})
    builder.measure(trial, first_round + 11, {METRIC: value, "failed": 3.0})
    if drifted:
        builder.measure(trial, first_round + 12, {METRIC: value}, invalid_reason="drifted")


def profile(trial_id: int, profile_id: int) -> Profile:
    return Profile(trial_id, "tuner-profiles", "run", "session", "host", "all", 1, id=profile_id)


def answered(cells: Sequence[Comparison]) -> list[Comparison]:
    """Cells of one metric with the answer that they give, as a study's end stores them. Pairs with their mean and standard deviation take
    the place of those that were not kept."""
    direction = metric_info(cells[0].metric).direction
    floor = floor_of(map(_pairs_of, cells))
    evidence = [CellEvidence((item.block_size, item.max_num_batched_tokens), _pairs_of(item), _effect_of(item), floor) for item in cells]
    samples = [typical_of(item.log_ratios) for item in evidence if len(item.log_ratios) >= 2]
    found = MetricCells(cells[0].metric, cell_claims(evidence, direction), pool(samples, direction))
    return with_answer(cells, study_answer(Told([found])))


def _pairs_of(item: Comparison) -> list[float]:
    if not item.ratio or item.pairs < 2:
        return []
    away = item.details["log_ratio_sd"] * math.sqrt((item.pairs - 1) / (item.pairs - item.pairs % 2))
    signs = [1, -1] * (item.pairs // 2) + [0] * (item.pairs % 2)
    return [math.log(item.ratio) + sign * away for sign in signs]


def _effect_of(item: Comparison) -> Effect:
    sd = item.details.get("log_ratio_sd")
    return Effect(item.pairs, item.ratio, item.low, item.high, Verdict(item.verdict), sd=sd if item.low is not None else None)


def comparison(block_size: int, budget: int, verdict: str = "better") -> Comparison:
    return Comparison(STUDY.id, METRIC, block_size, budget, verdict, 6, ratio=1.1, low=1.05, high=1.15)


CONFIRM: dict[str, Any] = {"stage": Stage.CONFIRM}
