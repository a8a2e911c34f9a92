"""Whether a recommendation that was measured again still holds. Pure.

It holds where it is shown, in pairs, to lose no more than the tie band (2 %) to its runner-up and to vLLM's defaults, and to keep its SLOs.
It is withdrawn where it is shown to lose to one of them, to miss an SLO, to win nothing over the defaults any more, or where it fails for a
reason that is its own. Everything else is undecided, which changes nothing.

All that is asked of one recommendation shares the error of 5 % (Bonferroni): in at most 5 % of those that hold is one withdrawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from storage.records import TrialState
from tuner.core.errors import FailureClass
from tuner.core.factors import cell_words
from tuner.core.numbers import change, number
from tuner.metrics.objective import Objective, Slo
from tuner.setup.space import Configuration
from tuner.stats.intervals import EQUIVALENCE_RATIO, ERROR_RATE, interval_at, log_mean_interval
from tuner.stats.racing import TIE_BAND
from tuner.stats.samples import typical_of
from tuner.upkeep.contenders import Contenders, windows_of_a_start
from tuner.upkeep.pairs import log_ratios, searched
from tuner.verdict.evidence import MEASURED, Evidence, usable_measurements

# Failures that are the settings' own under these versions. Any other, of a full disk for instance, says nothing of them.
ITS_OWN = frozenset(
    (
        FailureClass.OUT_OF_MEMORY,
        FailureClass.ENGINE_CRASH,
        FailureClass.INVALID_CONFIG,
        FailureClass.REQUEST_FAILED,
        FailureClass.WRONG_OUTPUT,
        FailureClass.COMPILE_ERROR,
    )
)


class Fate(StrEnum):
    HOLDS = "holds"
    WITHDRAWN = "withdrawn"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Judgement:
    """`reasons`: what was found, one clause each."""

    fate: Fate
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        return "; ".join(self.reasons)


@dataclass(frozen=True)
class _Finding:
    """`fate`: what this alone would come to."""

    fate: Fate
    words: str


def judge(evidence: Evidence, contenders: Contenders, objective: Objective, slos: Sequence[Slo]) -> Judgement:
    """`evidence`: of the study that measured it again (tuner.upkeep.contenders.check_study)."""
    if failed := _failed(evidence, contenders.recommended):
        return Judgement(failed.fate, (failed.words,))
    level = ERROR_RATE / max(1, len(contenders.against) + len(slos))
    findings = [_limit(evidence, contenders.recommended, slo, level) for slo in slos]
    defaults_fit = contenders.defaults is not None and all(
        _limit(evidence, contenders.defaults, slo, ERROR_RATE).fate is Fate.HOLDS for slo in slos
    )
    for words, other in contenders.against.items():
        findings.append(_against(evidence, contenders, other, words, objective, level))
        if other == contenders.defaults and defaults_fit and findings[-1].fate is Fate.HOLDS:
            findings[-1] = _worth_it(evidence, contenders, other, objective, level) or findings[-1]
    if not findings:
        return Judgement(Fate.UNDECIDED, ("nothing was measured to compare it with",))
    lost = [item for item in findings if item.fate is Fate.WITHDRAWN]
    open_ones = [item for item in findings if item.fate is Fate.UNDECIDED]
    fate = Fate.WITHDRAWN if lost else Fate.UNDECIDED if open_ones else Fate.HOLDS
    return Judgement(fate, tuple(item.words for item in lost or open_ones or findings))


def _failed(evidence: Evidence, recommended: Configuration) -> _Finding | None:
    trials = [trial for trial in evidence.trials if Configuration.of_trial(trial) == recommended]
    failures = [trial for trial in trials if trial.state is TrialState.FAIL]
    for trial in failures:
        if trial.error_class in ITS_OWN:
            return _Finding(Fate.WITHDRAWN, f"it fails now: {trial.error_class}: {trial.error_message or 'no message'}")
    if failures:
        return _Finding(Fate.UNDECIDED, f"it could not be measured: {failures[0].error_class}")
    if searched(evidence, recommended) is None:
        return _Finding(Fate.UNDECIDED, "it was not measured")
    return None


def _against(evidence: Evidence, contenders: Contenders, other: Configuration, words: str, objective: Objective, level: float) -> _Finding:
    ratios = log_ratios(evidence, other, contenders.recommended, objective.metric, windows=windows_of_a_start(contenders))
    who = f"{words} ({cell_words(other.cell)}, {other.arm})"
    if not ratios:
        return _Finding(Fate.UNDECIDED, f"no pairs with {who}{_why_none(evidence, contenders, other)}")
    low, high = _good_way(ratios, objective, level)
    told = f"{change(math.exp(typical_of(ratios).mean))} {objective.metric} against {who}, {len(ratios)} pairs"
    if low >= 1 - TIE_BAND:
        return _Finding(Fate.HOLDS, told)
    return _Finding(Fate.WITHDRAWN, f"it loses: {told}") if high < 1 / EQUIVALENCE_RATIO else _Finding(Fate.UNDECIDED, f"not clear: {told}")


def _worth_it(evidence: Evidence, contenders: Contenders, defaults: Configuration, objective: Objective, level: float) -> _Finding | None:
    """Settings that win nothing would not be recommended."""
    ratios = log_ratios(evidence, defaults, contenders.recommended, objective.metric, windows=windows_of_a_start(contenders))
    _, high = _good_way(ratios, objective, level)
    if high > EQUIVALENCE_RATIO:
        return None
    told = f"{change(math.exp(typical_of(ratios).mean))} {objective.metric}, {len(ratios)} pairs"
    return _Finding(Fate.WITHDRAWN, f"it wins nothing over vLLM's defaults any more: {told}")


def _good_way(ratios: Sequence[float], objective: Objective, level: float) -> tuple[float, float]:
    """Interval of how many times as good it is; (0, infinity) where nothing is known."""
    found = interval_at([objective.direction.sign * value for value in ratios], level)
    return (0.0, math.inf) if found is None else found


def _why_none(evidence: Evidence, contenders: Contenders, other: Configuration) -> str:
    trial = searched(evidence, other)
    if trial is not None and trial.error_class:
        return f", which failed ({trial.error_class})"
    if not contenders.paired:
        return f": they differ in {' and '.join(contenders.cold)}, each of which needs an engine of its own"
    return ""


def _limit(evidence: Evidence, configuration: Configuration, slo: Slo, level: float) -> _Finding:
    """Of the median window: an interval of the geometric mean, as a recommendation's expected values have it."""
    usable, _ = usable_measurements(evidence.trials, evidence.measurements, MEASURED)
    ids = [trial.id for trial in evidence.trials if Configuration.of_trial(trial) == configuration]
    values = [float(item.metrics[slo.metric]) for number_ in ids for item in usable.get(number_, []) if slo.metric in item.metrics]
    interval = log_mean_interval(values, level)
    if interval is None:
        return _Finding(Fate.UNDECIDED, f"{slo} is not known: too few values of {slo.metric}")
    span = f"{slo.metric} is {number(interval[0])} to {number(interval[1])}"
    met = [slo.is_met(end) for end in interval]
    if all(met):
        return _Finding(Fate.HOLDS, f"{slo} is met: {span}")
    return _Finding(Fate.UNDECIDED, f"{slo} is not clear: {span}") if any(met) else _Finding(Fate.WITHDRAWN, f"{slo} is missed: {span}")
