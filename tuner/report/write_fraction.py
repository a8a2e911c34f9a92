"""How much of a prefill step the KV write is, by a study's profiles: the most that writing the cache faster can gain. Pure.

The time of a window cannot show a part of a step that is smaller than the machine's noise; a profile can. Where one kernel writes and
attends (tpu-inference's on a TPU) the two cannot be told apart, and nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiles.classify import Category
from profiles.session_plan import PREFILL
from storage.records import Trial, TrialState
from tuner.core.contract import ARM_DEFAULT
from tuner.core.factors import further
from tuner.core.numbers import share
from tuner.verdict.evidence import Evidence
from tuner.verdict.profile_sessions import OK, usable

CLAIM = "the pull request claimed about 5 % per step"
TRACED_LOOPS = (
    "on XLA:CPU the tracer lengthens the ops of a loop: a write that is one shows too large a fraction, "
    "and implementations do not compare by it"
)


@dataclass(frozen=True)
class WriteFraction:
    """Fractions of the mean prefill step of one trial's good profiles, mean over hosts. `fused`: of the kernel that writes and attends."""

    trial: Trial
    write: float
    fused: float
    loops: bool = False  # traced loops of XLA:CPU were in the step


def write_fractions(evidence: Evidence) -> list[WriteFraction]:
    """In order of trials; only completed ones with a good profile of the prefill phase."""
    found = []
    for trial in sorted(evidence.trials, key=lambda item: item.number):
        profiles = [item for item in evidence.profiles if item.trial_id == trial.id] if trial.state is TrialState.COMPLETE else []
        phases = [item.summary.get("phases", {}).get(PREFILL) for item in usable(profiles) if item.status == OK]
        fractions = [phase["share"] for phase in phases if phase]
        if fractions:
            write, fused = _mean_fraction(fractions, Category.KV_WRITE), _mean_fraction(fractions, Category.ATTENTION_FUSED_KV)
            found.append(WriteFraction(trial, write, fused, any(fraction.get(Category.LOOP_CONTROL, 0.0) > 0 for fraction in fractions)))
    return found


def _mean_fraction(fractions: Sequence[Mapping[str, float]], category: Category) -> float:
    """Of the step without loop control, most of which an untraced step does not have."""
    return sum(fraction.get(category, 0.0) / (1 - fraction.get(Category.LOOP_CONTROL, 0.0)) for fraction in fractions) / len(fractions)


def write_lines(evidence: Evidence) -> list[str]:
    """A line for each profiled trial, and what follows from the default arm's; [] where no prefill was profiled."""
    found = write_fractions(evidence)
    lines = [_line(item) for item in found]
    apart = [item.write for item in found if item.trial.arm == ARM_DEFAULT and item.write > 0 and item.fused == 0]
    if apart:
        lines.append(f"so writing the cache faster can gain at most {share(max(apart))} of such a step here ({CLAIM})")
    if any(item.loops and item.write > 0 for item in found):
        lines.append(TRACED_LOOPS)
    return lines


def _line(item: WriteFraction) -> str:
    trial = item.trial
    what = f"page size {trial.block_size}, budget {trial.max_num_batched_tokens}{further(trial.factors)}"
    who = f"trial {trial.number} ({trial.stage}, {trial.arm}, {what})"
    if item.fused > 0:
        return f"{who}: one kernel writes and attends ({share(item.fused)} of a prefill step); its write cannot be told apart"
    return f"{who}: {share(item.write)} of a prefill step"
