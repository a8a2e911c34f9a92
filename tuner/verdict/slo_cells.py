"""What the SLOs say of the arms: limits that nothing meets, and cells in which only one arm meets them all. Pure.

By medians over the usable windows, as a recommendation is chosen (tuner.verdict.candidates); there is no error rate in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from tuner.core.contrast import ALIGNMENT, Contrast
from tuner.metrics.objective import Slo, is_feasible
from tuner.verdict.candidates import Candidate, feasible
from tuner.verdict.cell_claims import Place
from tuner.verdict.compared import compared_trials


@dataclass(frozen=True)
class SloFacts:
    """`unmet` says which SLOs no configuration meets; "" where one meets them all. `lost`: cells in which the default arm
    meets all and page_aligned does not; `won`: the other way round. `missed`: the SLOs that page_aligned misses in the lost cells."""

    unmet: str = ""
    lost: frozenset[Place] = frozenset()
    won: frozenset[Place] = frozenset()
    missed: tuple[str, ...] = ()


NO_SLOS = SloFacts()


def slo_facts(stages: Sequence[Sequence[Candidate]], slos: Sequence[Slo], contrast: Contrast = ALIGNMENT) -> SloFacts:
    """`stages`: the candidates of the search and, where it was begun, those of the confirmation. The cells are the search's.
    `contrast`: what is compared; the baseline level is what is called the default arm here, another level page_aligned."""
    if not slos or not stages:
        return NO_SLOS
    unmet = next((unmet_words(found, slos) for found in stages if found and not feasible(found, slos)), "")
    lost: set[Place] = set()
    won: set[Place] = set()
    missed: set[str] = set()
    by_trial = {item.trial.id: item for item in stages[0]}
    for pair in compared_trials([item.trial for item in stages[0]], {key: item.cell for key, item in by_trial.items()}, contrast):
        for default, aligned in product(*([by_trial[trial.id] for trial in side] for side in (pair.baselines, pair.candidates))):
            meets = is_feasible(slos, default.metrics), is_feasible(slos, aligned.metrics)
            if meets == (True, False):
                lost.add(pair.cell.place)
                missed |= {str(slo) for slo in slos if not is_feasible((slo,), aligned.metrics)}
            elif meets == (False, True):
                won.add(pair.cell.place)
    named = tuple(str(slo) for slo in slos if str(slo) in missed)
    return SloFacts(unmet, frozenset(lost), frozenset(won), named)


def unmet_words(candidates: Sequence[Candidate], slos: Sequence[Slo]) -> str:
    """Of candidates of which none meets all SLOs: "no configuration meets ttft_p99_ms<=1"."""
    alone = [str(slo) for slo in slos if not any(is_feasible((slo,), item.metrics) for item in candidates)]
    return f"no configuration meets {' and '.join(alone)}" if alone else f"no configuration meets {' and '.join(map(str, slos))} at once"
