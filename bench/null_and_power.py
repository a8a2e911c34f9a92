"""How reliable the verdicts are: the rate of false findings where there is no effect, power where there is one, coverage of the intervals.

    python -m bench.null_and_power                       all tables, from simulation, some 12 minutes of one core
    python -m bench.null_and_power --verdicts            the table of whole searches alone, some 10 minutes
    python -m bench.null_and_power --verdicts --rows bursts,recorded --studies 1000     some of its rows, with a smaller error of their own
    python -m bench.null_and_power --quick               the same table from few studies, to see that it runs: half a minute
    python -m bench.null_and_power --ratios FILE.json    the verdicts on measured A/A data: {"cell": [ratio of round 0, round 1, ...], ...}

The table of whole searches (bench.lib.simulated_search) runs the code of a search on simulated windows. Exit status 1 if a bar is missed:
a wrong cell in more than 5 % of the A/A studies of a row, an effect found less often than a row's bar or than the code of November 2026
did (bench.lib.verdict_table), up to the simulation's own error.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.lib.simulate import (
    NOISES,
    SERIAL_NOISES,
    Array,
    coverage_of_methods,
    covered,
    covered_at_every_analysis,
    log_ratios,
    measured_at,
    normal,
    p_by_analysis,
    paired_positions,
    race_once,
    ratios_from_json,
    shuffled_positions,
    skewed,
    student_interval,
)
from bench.lib.simulated_search import PAGES
from bench.lib.verdict_table import CELLS as SEARCH_CELLS
from bench.lib.verdict_table import LONG, SHORT, Count, count, rows
from tuner.metrics.catalog import Direction
from tuner.setup.config import Rounds, StudyConfig
from tuner.setup.space import USUAL_PAGES
from tuner.stats.intervals import ERROR_RATE, Verdict, judge_family
from tuner.stats.pooling import pool
from tuner.stats.samples import Sample, sample_of
from tuner.stats.sequential import InterimPlan

SEED = 19878
DEFAULT = Rounds()
PLAN = InterimPlan(DEFAULT.min, DEFAULT.max)
PLANTED = math.log(1.03)
CELLS = 24
ENGINES = len(USUAL_PAGES)  # a default search of short requests: one engine for each page size
DEFAULT_CELLS = ENGINES * len(StudyConfig.model_fields["chunk_budgets"].default)


def coverage_table(samples: int = 1500, resamples: int = 300) -> None:
    print("\nCoverage in % of nominal 95 % intervals for the mean log-ratio (noise of a window, in both arms)")
    print("noise               rounds  Student t  percentile    BCa  bootstrap-t  width bootstrap-t / Student t")
    rng = np.random.default_rng(SEED)
    for name in (*NOISES, "skewed, one arm"):
        for rounds in (3, 4, 5, 6, 8, 10, 12):
            fractions, width = coverage_of_methods(rng, _draw(rng, name, (samples, rounds)), resamples)
            student = covered(student_interval(_draw(rng, name, (20_000, rounds)), ERROR_RATE))
            wide = f"{width:9.2f}" if width < 100 else "unbounded"
            others = f"{100 * fractions['percentile']:10.1f} {100 * fractions['BCa']:6.1f} {100 * fractions['bootstrap-t']:11.1f}"
            print(f"{name:18} {rounds:6}  {100 * student:9.1f}  {others}  {wide}")


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, int]) -> Array:
    return log_ratios(rng, NOISES[name], shape) if name in NOISES else skewed(rng, shape)


def looks_table(samples: int = 20_000) -> None:
    last, first = PLAN.last, PLAN.first
    print(
        f"\nLooking after each of rounds {first}..{last}, one cell: A/A cells ever called different; +3 % with 2 % noise per window found"
    )
    print("level each time          A/A false %   found %   mean rounds")
    rng = np.random.default_rng(SEED)
    null = p_by_analysis(log_ratios(rng, normal, (samples, last)), first)
    planted = p_by_analysis(PLANTED + 0.02 * log_ratios(rng, normal, (samples, last)), first)
    analyses = np.arange(first, last + 1)
    calibration = p_by_analysis(log_ratios(rng, normal, (4 * samples, last)), first)
    for name, power in (("equal (Pocock)", 0), ("n / last", 1), ("(n / last)^2 (ours)", 2), ("(n / last)^3", 3)):
        weights = (analyses / last) ** power
        constant = float(np.quantile((calibration / weights).min(axis=1), ERROR_RATE))
        _print_interim(name, null <= constant * weights, planted <= constant * weights, analyses)
    _print_interim("uncorrected 5 %", null <= ERROR_RATE, planted <= ERROR_RATE, analyses)
    print("Intervals that cover the truth at every analysis together, in %:")
    for name, noise in NOISES.items():
        print(f"  {name:10} {100 * covered_at_every_analysis(log_ratios(rng, noise, (samples, last)), PLAN):5.1f}")


def _print_interim(name: str, null: NDArray[np.bool_], planted: NDArray[np.bool_], analyses: NDArray[np.int_]) -> None:
    found = planted.any(axis=1)
    rounds = np.where(found, analyses[planted.argmax(axis=1)], analyses[-1])
    print(f"{name:24} {100 * null.any(axis=1).mean():10.1f} {100 * found.mean():9.1f} {rounds.mean():10.1f}")


def verdicts_table(studies: int, power_studies: int, wanted: Sequence[str] = ()) -> bool:
    """Whole searches under each noise. True if every bar is met."""
    found, left_out = rows()
    chosen = [row for row in found if not wanted or any(part in row.name for part in wanted)]
    print(f"\nWhole searches of {len(SEARCH_CELLS)} cells in {len(PAGES)} engines. A/A: studies with a wrong cell, % of {studies} (95 %);")
    print(f"an effect in all cells, rounds 3..24: better in % of the cells of {power_studies} studies, before -> now (rounds of a cell)")
    print("noise              A/A 3..24          A/A 3..6              +3 %               +5 %               +10 %         bars")
    fine = True
    for row in chosen:
        nulls = [count(row.machine, 0.0, rounds, studies) for rounds in (LONG, SHORT)]
        effects = {effect: count(row.machine, effect, LONG, power_studies) for effect in (0.03, 0.05, 0.10)}
        met = all(null.rare for null in nulls) or not row.null
        met = met and all(effects[effect].reaches(max(row.bars.get(effect, 0), row.before.get(effect, 0))) for effect in effects)
        fine = fine and met
        powers = " ".join(f"{_power(row.before.get(effect), item):>18}" for effect, item in effects.items())
        print(f"{row.name:18} {_rate(nulls[0]):18} {_rate(nulls[1]):18} {powers}  {'met' if met else 'MISSED'}", flush=True)
    for reason in left_out:
        print(f"left out: {reason}")
    return fine


def _rate(null: Count) -> str:
    low, high = null.wrong_interval
    return f"{100 * null.wrong / null.studies:4.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _power(before: float | None, now: Count) -> str:
    return f"{'' if before is None else f'{before:.0f} -> '}{100 * now.found:.0f} ({now.rounds:.1f})"


def pooled_table(studies: int = 1000, rounds: int = 5) -> None:
    print(f"\nOne effect over the cells, {studies} studies of {rounds} rounds, 2 % noise, true effect 0")
    print("cells  true spread of cells  covers %  wrong %")
    rng = np.random.default_rng(SEED)
    for cells, between in ((1, 0.0), (2, 0.0), (3, 0.0), (6, 0.0), (24, 0.0), (3, 0.02), (6, 0.02), (24, 0.02)):
        effects = [pool(_samples(rng, cells, rounds, between), Direction.MAXIMIZE) for _ in range(studies)]
        covers = np.mean([effect is not None and effect.low <= 1 <= effect.high for effect in effects])
        wrong = np.mean([effect is not None and effect.verdict in (Verdict.BETTER, Verdict.WORSE) for effect in effects])
        print(f"{cells:5} {100 * between:18.0f} % {100 * covers:9.1f} {100 * wrong:8.1f}")


def _samples(rng: np.random.Generator, cells: int, rounds: int, between: float) -> list[Sample]:
    rows = between * rng.standard_normal((cells, 1)) + 0.02 * log_ratios(rng, normal, (cells, rounds))
    return [sample_of(row.tolist()) for row in rows]


def racing_table(races: int = 60, rounds: int = 16) -> None:
    print(f"\nRacing, {races} races of {CELLS} settings, {rounds} rounds: best dropped (bar 5 %), and windows spent of the full grid")
    print("noise                              best dropped %   windows %")
    rng = np.random.default_rng(SEED)
    tied = [0.0] + [-math.log(1 - 0.02)] * (CELLS - 1)  # setting 0 lies exactly at the edge of the tie band of 23 others
    spread = [-0.2 * index / (CELLS - 1) for index in range(CELLS)]
    unequal = np.exp(rng.normal(0, 0.7, CELLS))
    unequal *= 0.02 / math.sqrt(float(np.mean(unequal**2)))
    loud = [0.08] + [0.01] * (CELLS - 1)
    cases: list[tuple[str, Sequence[float], str, Sequence[float]]] = [
        ("equal", [0.02] * CELLS, "normal", tied),
        ("equal, t3", [0.02] * CELLS, "t3", tied),
        ("unequal, t3", unequal.tolist(), "t3", tied),
        ("8 % for the best, 1 % for others", loud, "normal", tied),
        ("equal, settings spread over 20 %", [0.02] * CELLS, "normal", spread),
    ]
    for label, sds, noise, truth in cases:
        results = [race_once(rng, truth, sds, NOISES[noise], rounds) for _ in range(races)]
        dropped = 1 - float(np.mean([survived for survived, _ in results]))
        print(f"{label:34} {100 * dropped:12.1f} {100 * float(np.mean([fraction for _, fraction in results])):12.0f}")


def order_table(studies: int = 1500, rounds: int = 6) -> None:
    cells = DEFAULT_CELLS // ENGINES
    print(
        f"\nOrder within a round, {cells} cells in one engine, {rounds} rounds: standard deviation of a log-ratio, and intervals that cover"
    )
    print("noise of a window  second pays  order             arms of a cell  of two cells  covers %")
    rng = np.random.default_rng(SEED)
    orders = {"all shuffled": shuffled_positions, "arms side by side": paired_positions}
    for name, second in (*((name, 0.0) for name in SERIAL_NOISES), ("independent", 0.5)):
        for order, positions_of in orders.items():
            windows = SERIAL_NOISES[name](rng, (studies, rounds * 2 * cells))
            logs = measured_at(windows, positions_of(rng, studies, rounds, cells), second)
            arms, others = logs[..., 1::2] - logs[..., ::2], logs[..., 2] - logs[..., 0]
            covers = covered(student_interval(arms.transpose(0, 2, 1).reshape(-1, rounds), ERROR_RATE))
            spread = f"{float(arms.std()):14.2f} {float(others.std()):13.2f}"
            print(f"{name:17} {second:12.1f}  {order:17} {spread} {100 * covers:9.1f}")


def judge_measured(log_ratios_by_cell: Mapping[str, Sequence[float]]) -> bool:
    """Verdicts on measured A/A cells, looked at once. True if at most 5 % are better or worse."""
    effects = judge_family(log_ratios_by_cell, Direction.MAXIMIZE)
    for cell, effect in effects.items():
        interval = "no interval" if effect.low is None or effect.high is None else f"{effect.low:.4f} .. {effect.high:.4f}"
        print(f"{cell:30} {effect.pairs:4} pairs  {interval}  {effect.verdict}")
    wrong = sum(effect.verdict in (Verdict.BETTER, Verdict.WORSE) for effect in effects.values())
    print(f"{wrong} of {len(effects)} A/A cells called better or worse")
    return wrong <= ERROR_RATE * len(effects)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="False findings, power and coverage of the verdicts.")
    parser.add_argument("--ratios", type=Path, help="measured A/A ratios as JSON, instead of the simulation")
    parser.add_argument("--verdicts", action="store_true", help="the table of whole searches alone")
    parser.add_argument("--quick", action="store_true", help="that table from few studies: its numbers say little")
    parser.add_argument("--rows", default="", help="only rows of that table whose names contain one of these, separated by commas")
    parser.add_argument("--studies", type=int, default=300, help="A/A studies of a row")
    parser.add_argument("--power-studies", type=int, default=60, help="studies of a row for each effect")
    options = parser.parse_args(arguments)
    if options.ratios is not None:
        return 0 if judge_measured(ratios_from_json(json.loads(options.ratios.read_text()))) else 1
    if not (options.verdicts or options.quick):
        coverage_table()
        looks_table()
        pooled_table()
        racing_table()
        order_table()
    studies, power_studies = (12, 3) if options.quick else (options.studies, options.power_studies)
    fine = verdicts_table(studies, power_studies, [part for part in options.rows.split(",") if part])
    print(f"\nEvery bar is met: {'yes' if fine else 'NO'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
