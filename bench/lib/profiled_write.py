"""What the KV write costs inside the step, read from XLA profiles: the most that writing it faster could ever gain.

Prefill steps of one schedule (aligned) are captured with token-wise and with page-wise writes in turn. A window's time cannot show a part
of a step that is smaller than the machine's noise; the device time of the category `kv_write` can. Pairs are rounds, intervals Student's t.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

from bench.lib.real_engine import WINDOW_TIMEOUT_S
from profiles.classify import Category
from profiles.session_plan import PREFILL
from profiles.summary import Json, summarise
from tuner.core.contract import ABLATION_ARM, ARM_PAGE_ALIGNED, LiveSettings, LoadPlan, ProfileTarget
from tuner.launchers.local import LocalSession
from tuner.stats.intervals import paired_log_ratios
from tuner.stats.samples import Sample, sample_of

ERROR_RATE = 0.05


@dataclass(frozen=True)
class ProfiledWrite:
    """By round: the mean prefill step without loop control, and the KV write in it; milliseconds, with token-wise and page-wise writes."""

    step_ms: dict[str, dict[int, float]]
    write_ms: dict[str, dict[int, float]]
    doubtful: int  # profiles that failed a quality check
    tokens: float  # scheduled tokens a step

    @property
    def speedup(self) -> tuple[float, float, float]:
        """Page-wise / token-wise time of the write, with its interval."""
        sample = sample_of([*paired_log_ratios(self.write_ms[ABLATION_ARM], self.write_ms[ARM_PAGE_ALIGNED]).values()])
        half = sample.half_width(ERROR_RATE)
        return math.exp(sample.mean), math.exp(sample.mean - half), math.exp(sample.mean + half)

    @property
    def ceiling(self) -> tuple[float, float, float]:
        """The token-wise write's fraction of the step, with its interval: what a write that cost nothing would save."""
        return _interval(sample_of([write / self.step_ms[ABLATION_ARM][round_] for round_, write in self.write_ms[ABLATION_ARM].items()]))

    @property
    def saved(self) -> tuple[float, float, float]:
        """What page-wise writing saves of the step, as a fraction of it, with its interval; below 0 where it costs time."""
        baseline, candidate = (self.write_ms[arm] for arm in (ABLATION_ARM, ARM_PAGE_ALIGNED))
        return _interval(
            sample_of([(write - candidate[round_]) / self.step_ms[ABLATION_ARM][round_] for round_, write in baseline.items()])
        )


def profiled_write(session: LocalSession, plan: LoadPlan, budget: int, rounds: int, folder: Path, seed: int = 0) -> ProfiledWrite:
    """Capture `rounds` pairs of prefill phases below `folder`. Raises TrialFailed, EngineLost, ProfileError."""
    arms = (ABLATION_ARM, ARM_PAGE_ALIGNED)
    step_ms: dict[str, dict[int, float]] = {arm: {} for arm in arms}
    write_ms: dict[str, dict[int, float]] = {arm: {} for arm in arms}
    doubtful, tokens = 0, []
    order = random.Random(seed)
    for round_ in range(rounds):
        for arm in order.sample(arms, len(arms)):
            (profile,) = session.profile(
                LiveSettings(arm, budget),
                plan,
                ProfileTarget(folder, "bench", f"{arm}-{budget}-{round_}"),
                phase=PREFILL,
                timeout_s=WINDOW_TIMEOUT_S,
            )
            summary = summarise(profile.path, records=profile.steps, planned_phases=[PREFILL])
            phase: Json = summary.phases[PREFILL]
            step_ms[arm][round_] = phase["step_ms"]["mean"] - phase["categories_ms"][Category.LOOP_CONTROL]
            write_ms[arm][round_] = phase["categories_ms"][Category.KV_WRITE]
            doubtful += not summary.quality["ok"]
            tokens.append(phase["batch"]["scheduled_tokens"])
    return ProfiledWrite(step_ms, write_ms, doubtful, sum(tokens) / len(tokens))


def _interval(sample: Sample) -> tuple[float, float, float]:
    half = sample.half_width(ERROR_RATE)
    return sample.mean, sample.mean - half, sample.mean + half
