"""The words of a study's answer: one sentence that a maintainer can act on, in the forms of docs/terminology.md. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, median

from tuner.core import numbers
from tuner.core.factors import cell_words
from tuner.metrics.names import said
from tuner.stats.intervals import Verdict
from tuner.stats.pooling import PooledEffect
from tuner.stats.sequential import InterimPlan
from tuner.verdict.cell_claims import ALL_CELLS_LEVEL, MARGIN, CellClaims, MetricCells, Place
from tuner.verdict.compared import ALIGNED, Subject
from tuner.verdict.settings_rule import SettingsRule
from tuner.verdict.slo_cells import NO_SLOS, SloFacts

NO_RULE = "no simple rule in the settings is shown to separate them"
CHANCE_TO_TELL = 0.9  # of a cell without an effect, to be shown not to lose more than 1 %
_UNTOLD = 2000  # more rounds than this are no advice
_NO_DECIMALS_FROM = 9.95  # percent


@dataclass(frozen=True)
class Told:
    """What a sentence is about: the objectives' metrics, all with the same cells in the same order, and the SLOs."""

    objectives: Sequence[MetricCells]
    slos: SloFacts = NO_SLOS
    plan: InterimPlan | None = None
    interrupted: bool = False  # the search can go on
    subject: Subject = ALIGNED

    @property
    def places(self) -> list[Place]:
        return [cell.place for cell in self.objectives[0].cells]

    def among(self, keep: Callable[[Place], bool]) -> Told:
        """Of some cells only."""
        parts = [MetricCells(item.metric, tuple(cell for cell in item.cells if keep(cell.place))) for item in self.objectives]
        return replace(self, objectives=parts)


def on_text(told: Told) -> str:
    return f"{told.subject.good}: {told.subject.it} {won(told)}, and loses more than 1 % in none"


def on_where_text(told: Told, rule: SettingsRule) -> str:
    inside, outside = told.among(rule.holds), told.among(lambda place: not rule.holds(place))
    elsewhere = [lost(outside), won(outside)] if _count(outside, _wins) else [lost(outside)]
    there = f"there {told.subject.it} {won(inside)}, and loses more than 1 % in none"
    return f"{told.subject.good} where {rule.words}: {there}; elsewhere it {' and '.join(elsewhere)}"


def off_text(told: Told) -> str:
    return f"{told.subject.bad}: {told.subject.it} {lost(told)}, wins in none{_open_text(told)}"


def mixed_text(told: Told) -> str:
    return f"mixed: {told.subject.it} {won(told)}, {lost(told)}{_open_text(told)}; {NO_RULE}"


def trade_off_text(told: Told) -> str:
    """ "4 % more throughput, at 28 % more TTFT (p99), ..." """
    gains = [size(item.pooled, item.metric) for item in told.objectives if item.pooled is not None and any(map(_wins, item.cells))]
    costs = [size(item.pooled, item.metric) for item in told.objectives if item.pooled is not None and any(map(_loses, item.cells))]
    sizes = ", at ".join(" and ".join(part) for part in (gains, costs) if part)
    average = f"{sizes} on average over {cells(len(told.places))}: " if sizes else ""
    return f"trade-off: {average}{told.subject.it} {won(told)}, {lost(told)}"


def no_difference_text(told: Told) -> str:
    return f"no difference: {told.subject.it} changes {_metrics(told)} by less than 1 % in {_all(len(told.places))}"


def unmet_text(told: Told) -> str:
    """Where it would be on if any configuration met the SLOs."""
    harm = "loses more than 1 % in none" if all(cell.harmless for item in told.objectives for cell in item.cells) else lost(told)
    subject = told.subject
    take = "turn it on" if subject.of_arms else "take it"
    return f"undecided: {told.slos.unmet}, so there is nothing to {take} for; {subject.it} {won(told)}, {harm}"


def undecided_text(told: Told) -> str:
    """Says what is shown, what is missing, and what would decide it."""
    total, wins = len(told.places), _count(told, _wins)
    without = [cell for cell in told.objectives[0].cells if not cell.tested]
    resume = "; the search was interrupted and can go on (--resume)" if told.interrupted and without else ""
    if len(without) == total:
        return f"undecided: {_none_of(total)} enough valid pairs ({_why(without)}){resume}"
    parts = [f"{told.subject.it} {won(told)}, loses in none" if wins else f"{told.subject.it} is shown to win or lose in {_no(total)}"]
    open_cells = [cell for item in told.objectives for cell in item.cells if cell.tested and not cell.harmless]
    if open_cells:
        count = len({cell.place for cell in open_cells})
        parts.append(f"a loss of more than 1 % is not excluded{'' if total == 1 else f' in {_any(count, total)} of them'}")
    elif not without:
        parts.append(f"a loss of more than 1 % is excluded{'' if total == 1 else ' in all'}, but no gain is sure")
    if without:
        parts.append(f"{_have(len(without))} too few valid pairs ({_why(without)})")
    rest = open_cells or [cell for item in told.objectives for cell in item.cells if cell.tested]
    advice = _advice(rest, told) if open_cells or not without else ""
    return "undecided: " + "; ".join([*parts, *([advice] if advice else [])]) + resume


def won(told: Told) -> str:
    """ "wins in 3 of 12 cells (best: page size 64, chunk budget 256: +5.2 % throughput)"; "wins in none" where it does not."""
    return _where(told, "wins", "best", _wins)


def lost(told: Told) -> str:
    """ "loses in 4 of 12 cells (worst: ...)", with the SLOs that are missed."""
    slo = slo_lost(told)
    if not slo:
        return _where(told, "loses", "worst", _loses)
    return f"{_where(told, 'loses', 'worst', _loses)} and {slo}" if _count(told, _loses) else slo


def slo_lost(told: Told) -> str:
    """ "misses ttft_p99_ms<=500 in 3 cells where {told.subject.against} meets it"; "" where it does not."""
    count = len(told.slos.lost.intersection(told.places))
    return f"misses {' and '.join(told.slos.missed)} in {cells(count)} where {told.subject.against} meets it" if count else ""


def looks_text(told: Told) -> str:
    """Cells whose own verdict is better or worse while the study is not sure of it; "" without any."""
    looks = {verdict: {cell.place for item in told.objectives for cell in item.cells if cell.looks is verdict} for verdict in Verdict}
    parts = [f"{len(looks[verdict])} {verdict.value}" for verdict in (Verdict.WORSE, Verdict.BETTER) if looks[verdict]]
    if not parts:
        return ""
    further = "further " if _count(told, _wins) + _count(told, _loses) else ""
    return f"of the {further}cells {' and '.join(parts)} by the own interval alone, which is not sure over the whole study"


def average_text(pooled: PooledEffect | None, metric: str) -> str:
    """The average for what it is; "" without one."""
    if pooled is None:
        return ""
    interval = f"{100 * (1 - pooled.level):.0f} % interval {change(pooled.low)} to {change(pooled.high)}"
    return f"average over {cells(pooled.cells)}: {change(pooled.ratio)} {said(metric)} ({interval}, {pooled.pairs} pairs)"


def cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def change(ratio: float) -> str:
    """1.052 -> "+5.2 %", 0.33 -> "-67 %": no decimals from 10 % on, which nobody reads."""
    return numbers.change(ratio, 1 if abs(100 * (ratio - 1)) < _NO_DECIMALS_FROM else 0)


def size(pooled: PooledEffect | None, metric: str) -> str:
    """ "4 % more throughput"."""
    if pooled is None:
        return ""
    return f"{change(pooled.ratio)[1:]} {'more' if pooled.ratio >= 1 else 'less'} {said(metric)}"


def rounds_to_tell(sd: float, plan: InterimPlan | None) -> int:
    """Rounds after which a cell without an effect is shown with CHANCE_TO_TELL not to lose more than 1 %, by the normal approximation.
    `sd`: standard deviation of the log-ratios."""
    level = 2 * ALL_CELLS_LEVEL
    own = level if plan is None else plan.level_at(plan.last, level)
    normal = NormalDist()
    return math.ceil(((normal.inv_cdf(1 - own / 2) + normal.inv_cdf(CHANCE_TO_TELL)) * sd / MARGIN) ** 2)


def _wins(cell: CellClaims) -> bool:
    return cell.wins


def _loses(cell: CellClaims) -> bool:
    return cell.loses


def _count(told: Told, shown: Callable[[CellClaims], bool]) -> int:
    return sum(shown(cell) for item in told.objectives for cell in item.cells)


def _where(told: Told, verb: str, extreme: str, shown: Callable[[CellClaims], bool]) -> str:
    """In how many cells, and the largest effect among them; one part for each objective where there are several."""
    total, several = len(told.places), len(told.objectives) > 1
    parts = []
    for item in told.objectives:
        found = [cell for cell in item.cells if shown(cell)]
        if found:
            largest = max(found, key=lambda cell: abs(math.log(cell.effect.ratio or 1.0)))
            size_words = f"{change(largest.effect.ratio or 1.0)} {said(item.metric)}"
            where = f"in {len(found)} of {cells(total)}" if total > 1 else "in the only cell"
            of = f" in {said(item.metric)}" if several else ""
            parts.append(f"{where}{of} ({extreme + ': ' if len(found) > 1 or total > 1 else ''}{cell_words(largest.place)}: {size_words})")
    return f"{verb} {' and '.join(parts)}" if parts else f"{verb} in none"


def _open_text(told: Told) -> str:
    """How many cells may as well win or lose; "" where all are known."""
    known = {cell.place for item in told.objectives for cell in item.cells if cell.wins or cell.loses}
    count = len({cell.place for item in told.objectives for cell in item.cells if not cell.within} - known - told.slos.lost)
    return f", and {cells(count)} {'is' if count == 1 else 'are'} undecided" if count else ""


def _metrics(told: Told) -> str:
    return " and ".join(said(item.metric) for item in told.objectives)


def _advice(open_cells: Sequence[CellClaims], told: Told) -> str:
    noise = [cell.effect.sd for cell in open_cells if cell.effect.sd is not None]
    if not noise or median(noise) == 0:
        return f"more {told.subject.more.partition(' a ')[0]} would tell"
    usual = median(noise)
    rounds = max(rounds_to_tell(usual, told.plan), max(cell.effect.pairs for cell in open_cells) + 1)
    seen = f"at the noise seen ({100 * usual:.1f} % a pair)"
    if rounds > _UNTOLD:
        return f"{seen} only a quieter machine would tell"
    return f"about {rounds} {told.subject.more} would tell {seen}, or a quieter machine"


def _why(without: Sequence[CellClaims]) -> str:
    """The first cell without an interval and its reason."""
    first = without[0]
    reason = first.reason or f"{first.effect.pairs} {'pair' if first.effect.pairs == 1 else 'pairs'}"
    return f"{cell_words(first.place)}: {reason}"


def _none_of(total: int) -> str:
    return "the only cell does not have" if total == 1 else f"none of {total} cells has"


def _no(total: int) -> str:
    return "no cell (one was measured)" if total == 1 else f"none of {total} cells"


def _any(count: int, total: int) -> str:
    return "any" if count == total else str(count)


def _all(total: int) -> str:
    return "the only cell" if total == 1 else f"all {total} cells"


def _have(count: int) -> str:
    return "1 cell has" if count == 1 else f"{count} cells have"
