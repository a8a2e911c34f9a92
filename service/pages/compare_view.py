"""What the comparison of two trials shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from profiles.diff import ProfileDiff
from service.pages.format import number
from service.pages.trial_view import KEY_METRICS, ConfigRow, config_rows
from storage.records import Comparison, Measurement, Stage, Trial
from tuner.core.factors import in_arm
from tuner.metrics.catalog import CATALOG
from tuner.report.cell_why import cause_of
from tuner.stats.intervals import judge, paired_log_ratios
from tuner.stats.sequential import InterimPlan
from tuner.verdict.evidence import COMPARABLE, metric_by_round, origin_by_round, place_of, usable_measurements


@dataclass(frozen=True)
class RatioRow:
    """candidate / baseline in percent. Without pairs it is the ratio of the medians, with no interval and no verdict."""

    metric: str
    unit: str
    less_is_better: bool
    baseline: float
    candidate: float
    change: float | None
    low: float | None
    high: float | None
    verdict: str
    pairs: int
    key: bool


def paired(baseline: Trial, candidate: Trial) -> bool:
    """Whether the two trials were measured in one engine, so that they may have rounds in common. A finalist has an engine of its own."""
    same = (baseline.study_id, baseline.block_size) == (candidate.study_id, candidate.block_size)
    return same and baseline.stage is candidate.stage is Stage.SEARCH


def searched_pair(trials: Sequence[Trial], baseline: Trial, candidate: Trial) -> tuple[Trial, Trial] | None:
    """The search's trials of the same two configurations: they share an engine and rounds, which two finalists do not."""
    if paired(baseline, candidate) or baseline.study_id != candidate.study_id:
        return None
    found = [_searched(trials, side) for side in (baseline, candidate)]
    if found[0] is None or found[1] is None or found == [baseline, candidate]:
        return None
    return found[0], found[1]


def _searched(trials: Sequence[Trial], wanted: Trial) -> Trial | None:
    place = in_arm(wanted.arm, place_of(wanted))
    same = [trial for trial in trials if in_arm(trial.arm, place_of(trial)) == place]
    return next((trial for trial in same if trial.stage is Stage.SEARCH and trial.values), None)


def ratio_rows(
    baseline: Trial,
    candidate: Trial,
    measurements: Sequence[Measurement],
    first: Sequence[str] = (),
    interim: InterimPlan | None = None,
) -> list[RatioRow]:
    """Metrics of the catalogue that both have; key metrics first. `interim`: of the study (tuner.verdict.evidence.interim_plan)."""
    usable, _ = usable_measurements([baseline, candidate], measurements, COMPARABLE)
    ours, theirs = usable.get(baseline.id, []), usable.get(candidate.id, [])
    shared = _names(ours) & _names(theirs) & CATALOG.keys()
    leading = list(dict.fromkeys([*first, *KEY_METRICS]))
    order = [*(name for name in leading if name in shared), *sorted(shared - set(leading))]
    in_pairs, _ = usable_measurements([baseline, candidate], measurements, COMPARABLE, in_pairs=True)
    pairs = in_pairs if paired(baseline, candidate) else {}
    one, other = pairs.get(baseline.id, []), pairs.get(candidate.id, [])
    return [_row(name, ours, theirs, _ratios(name, one, other), interim, name in leading) for name in order]


def differing_settings(baseline: Trial, candidate: Trial) -> list[ConfigRow]:
    """Only what differs: requested settings first, then what the engines took."""
    asked = [row for row in config_rows(_plain(baseline.requested), _plain(candidate.requested)) if row.requested != row.effective]
    names = {row.name for row in asked}
    taken = config_rows(_plain(baseline.effective), _plain(candidate.effective))
    return [*asked, *(row for row in taken if row.requested != row.effective and row.name not in names)]


def caveats(baseline: Trial, candidate: Trial) -> list[str]:
    """Where the two are not the same experiment."""
    found = []
    if baseline.workload_hash != candidate.workload_hash:
        found.append("the workloads differ")
    if baseline.environment != candidate.environment:
        found.append("the environments differ: machine or versions")
    if not paired(baseline, candidate):
        found.append("they were not measured in the same rounds: ratios of medians, without intervals")
    return found


def cell_why(comparisons: Sequence[Comparison], baseline: Trial, candidate: Trial) -> str:
    """Why the cell of the two is what it is, in the study's first metric; "" where they are not the two arms of a compared cell."""
    pair = (baseline.id, candidate.id)
    found = (cause_of(item) for item in comparisons if (item.baseline_trial_id, item.candidate_trial_id) == pair)
    return next((str(cause["sentence"]) for cause in found if cause), "")


def _ratios(name: str, ours: Sequence[Measurement], theirs: Sequence[Measurement]) -> list[float]:
    """Log-ratios of the rounds that both were measured in, in the same engine."""
    engines = origin_by_round(ours, name), origin_by_round(theirs, name)
    ratios = paired_log_ratios(metric_by_round(ours, name), metric_by_round(theirs, name))
    return [value for number, value in ratios.items() if engines[0][number] == engines[1][number]]


def _row(
    name: str, ours: Sequence[Measurement], theirs: Sequence[Measurement], ratios: Sequence[float], interim: InterimPlan | None, key: bool
) -> RatioRow:
    info = CATALOG[name]
    baseline, candidate = (median([float(item.metrics[name]) for item in side if name in item.metrics]) for side in (ours, theirs))
    effect = judge(ratios, info.direction, plan=interim)
    plain = 100 * (candidate / baseline - 1) if baseline > 0 else None
    return RatioRow(
        metric=name,
        unit=info.unit,
        less_is_better=info.direction.sign < 0,
        baseline=baseline,
        candidate=candidate,
        change=plain if effect.ratio is None else 100 * (effect.ratio - 1),
        low=None if effect.low is None else 100 * (effect.low - 1),
        high=None if effect.high is None else 100 * (effect.high - 1),
        verdict=effect.verdict.value if effect.low is not None else "",
        pairs=len(ratios),
        key=key,
    )


def _names(measurements: Sequence[Measurement]) -> set[str]:
    return {name for item in measurements for name, value in item.metrics.items() if isinstance(value, int | float)}


def _plain(settings: dict[str, object]) -> dict[str, object]:
    """Settings that say the same thing in other words are left out."""
    return {name: value for name, value in settings.items() if name not in {"alignable", "model_path"}}


def why_in_words(found: ProfileDiff) -> str:
    """The waterfall as a sentence: by how much a step differs, and in which categories. What may be chance is not named."""
    step = found.step
    if not step.changed:
        return f"A step takes {_ms(step.candidate_ms)} against {_ms(step.baseline_ms)}: the profiles show no difference beyond chance"
    start = f"A step takes {_ms(step.candidate_ms)} instead of {_ms(step.baseline_ms)}, {_signed_ms(step.difference_ms)}"
    changed = sorted((row for row in found.categories if row.changed), key=lambda row: -abs(row.difference_ms))
    if not changed:
        return f"{start}; no single category changed beyond chance"
    return f"{start}, of which " + ", ".join(f"{row.category} {_signed_ms(row.difference_ms)}" for row in changed[:4])


def _ms(value: float) -> str:
    return f"{number(value)} ms"


def _signed_ms(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)} ms"
