"""How reliable the verdicts are: the rate of false findings where there is no effect, power where there is one, coverage of the intervals.

    python -m bench.null_and_power                       all tables, from simulation, about two minutes
    python -m bench.null_and_power --ratios FILE.json    the verdicts on measured A/A data: {"cell": [ratio of round 0, round 1, ...], ...}

Exit status 1 if a bar is missed: wrong better/worse in more than 5 % of A/A cells, or +3 % with 2 % noise found in less than 90 %.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.lib.simulate import (
    NOISES,
    SERIAL_NOISES,
    Array,
    StudyOutcome,
    Tally,
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
    simulate_study,
    skewed,
    student_interval,
    tally,
)
from tuner.metrics.catalog import Direction
from tuner.setup.config import Rounds, StudyConfig
from tuner.setup.space import USUAL_PAGES
from tuner.stats.intervals import ERROR_RATE, Verdict, judge_family
from tuner.stats.pooling import pool
from tuner.stats.samples import Sample, sample_of
from tuner.stats.sequential import InterimPlan
from tuner.verdict.study_answer import ANSWER_NO_EVIDENCE, ANSWER_OFF, ANSWER_ON

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
    for name, power in (("equal (Pocock)", 0), ("n / last (ours)", 1), ("(n / last)^3", 3)):
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


def null_table(studies: int = 20) -> bool:
    """A/A studies of 24 cells, and of the default search's cells and engines. True if no row has more than 5 % wrong verdicts."""
    shapes = f"studies of {CELLS} cells in one engine or {DEFAULT_CELLS} in {ENGINES} (the default search)"
    print(f"\nA/A, {studies * CELLS} cells a row in {shapes},\nrounds {PLAN.first}..{PLAN.last} (the default): fractions in %")
    print("noise    of a window  engines   better  worse  wrong  equivalent  inconclusive  covered  rounds/cell")
    rng = np.random.default_rng(SEED)
    rows = [(name, sd, CELLS, 1) for name in NOISES for sd in (0.002, 0.005, 0.01, 0.02, 0.05)]
    rows += [(name, 0.02, DEFAULT_CELLS, ENGINES) for name in NOISES]
    fine = True
    for name, sd, cells, engines in rows:
        truth = [0.0] * cells
        repeats = studies * CELLS // cells
        row = tally([simulate_study(rng, truth, sd, PLAN, NOISES[name], engines=engines) for _ in range(repeats)], truth, lambda _: True)
        wrong = row.better + row.worse
        fine = fine and wrong <= ERROR_RATE
        fractions = f"{100 * row.better:8.1f} {100 * row.worse:6.1f} {100 * wrong:6.1f} {100 * row.equivalent:11.1f}"
        spent = f"{100 * row.inconclusive:13.1f} {100 * row.covered:8.1f} {row.rounds:12.1f}"
        print(f"{name:8} {100 * sd:9.1f} % {engines:8} {fractions} {spent}")
    return fine


@dataclass(frozen=True)
class Planted:
    """A row of the power table: `studies` studies with the true effects `truth`, one per cell; `bar`: 90 % must be found."""

    name: str
    truth: list[float]
    studies: int
    noise: str = "normal"
    sd: float = 0.02  # of a window
    plan: InterimPlan = PLAN
    engines: int = 1
    give_up: bool = True
    bar: bool = False


def planted_rows(studies: int) -> list[Planted]:
    mixed = [PLANTED] * 6 + [0.0] * (CELLS - 6)
    everywhere, default = [PLANTED] * CELLS, [PLANTED] * DEFAULT_CELLS
    one, all_of = "1 cell", f"{CELLS} of {CELLS} cells"
    search = f"default: {DEFAULT_CELLS} of {DEFAULT_CELLS}"
    of_ratio = 0.02 / math.sqrt(2)
    return [
        Planted(search, default, 4 * studies, engines=ENGINES, bar=True),
        Planted(search, default, 4 * studies, noise="t3", engines=ENGINES),
        Planted(search, default, 4 * studies, noise="skewed", engines=ENGINES),
        Planted(f"{ENGINES} of {ENGINES} cells", [PLANTED] * ENGINES, 12 * studies, engines=ENGINES, bar=True),
        Planted(one, [PLANTED], 480, bar=True),
        Planted(all_of, everywhere, studies, bar=True),
        Planted(all_of, everywhere, studies, give_up=False),
        Planted(f"{all_of}, ratio", everywhere, studies, sd=of_ratio, plan=InterimPlan(3, 12)),
        Planted(all_of, everywhere, studies, plan=InterimPlan(3, 12)),
        Planted(search, default, 4 * studies, plan=InterimPlan(3, 18), engines=ENGINES),
        Planted(f"6 of {CELLS} cells", mixed, 4 * studies),
        Planted(all_of, everywhere, 4 * studies, plan=InterimPlan.single(5)),
    ]


def power_table(studies: int = 20) -> bool:
    """Planted +3 % with 2 % noise. True if the rows marked with a star, where the whole study has the effect, are found in 90 % or more."""
    print("\nPlanted +3 %, 2 % noise of a window (or of the ratio): found in % of the planted cells; wrong in % of the others")
    print("  noise    study                    engines  rounds  give up    planted  found  missed as  wrong  covered  rounds/cell")
    rng = np.random.default_rng(SEED)
    fine = True
    for row in planted_rows(studies):
        outcomes = [
            simulate_study(rng, row.truth, row.sd, row.plan, NOISES[row.noise], give_up=row.give_up, engines=row.engines)
            for _ in range(row.studies)
        ]
        planted = tally(outcomes, row.truth, lambda effect: effect > 0)
        others = tally(outcomes, row.truth, lambda effect: effect == 0) if 0.0 in row.truth else None
        fine = fine and (planted.better >= 0.9 or not row.bar)
        rounds = f"{row.plan.first}..{row.plan.last}"
        label = f"{'*' if row.bar else ' '} {row.noise:8} {row.name:24} {row.engines:7}  {rounds:7} {'yes' if row.give_up else 'no':7}"
        _print_power(label, planted, others)
    return fine


def _print_power(label: str, planted: Tally, others: Tally | None) -> None:
    wrong = f"{100 * (others.better + others.worse):5.1f}" if others else "    -"
    missed = 100 * (planted.worse + planted.equivalent)
    found = f"{100 * planted.better:6.1f} {missed:10.1f} {wrong:>6} {100 * planted.covered:8.1f}"
    print(f"{label} {planted.cells:8} {found} {planted.rounds:12.1f}")


def pooled_table(studies: int = 1000, rounds: int = 5) -> None:
    print(f"\nOne effect over the cells, {studies} studies of {rounds} rounds, 2 % noise, true effect 0")
    print("cells  true spread of cells  covers %  wrong %")
    rng = np.random.default_rng(SEED)
    for cells, between in ((1, 0.0), (2, 0.0), (3, 0.0), (6, 0.0), (24, 0.0), (3, 0.02), (6, 0.02), (24, 0.02)):
        effects = [pool(_samples(rng, cells, rounds, between), Direction.MAXIMIZE) for _ in range(studies)]
        covers = np.mean([effect is not None and effect.low <= 1 <= effect.high for effect in effects])
        wrong = np.mean([effect is not None and effect.verdict in (Verdict.BETTER, Verdict.WORSE) for effect in effects])
        print(f"{cells:5} {100 * between:18.0f} % {100 * covers:9.1f} {100 * wrong:8.1f}")


def answers_table(studies: int = 200) -> bool:
    """The study's own answer, its rounds stopped as cells were decided. True if at most 5 % of A/A studies claim an effect, up to the error
    of the simulation."""
    print(f"\nThe study's answer, {studies} studies a row, rounds {PLAN.first}..{PLAN.last} until decided, 2 % noise of a window")
    print("true effect   cells  engines   on %  off: worse %  off: no difference %  no evidence %  covers %")
    rng = np.random.default_rng(SEED)
    most = ERROR_RATE + 2 * math.sqrt(ERROR_RATE * (1 - ERROR_RATE) / studies)
    fine = True
    for effect in (0.0, PLANTED):
        for cells, engines in ((1, 1), (2, 1), (4, 4), (DEFAULT_CELLS, ENGINES)):
            outcomes = [simulate_study(rng, [effect] * cells, 0.02, PLAN, engines=engines) for _ in range(studies)]
            on, worse, same, none = _answer_fractions(outcomes)
            held = [item.pooled.low <= math.exp(effect) <= item.pooled.high for item in outcomes if item.pooled is not None]
            fine = fine and (effect != 0 or on + worse <= most)
            fractions = f"{100 * on:6.1f} {100 * worse:13.1f} {100 * same:21.1f} {100 * none:14.1f} {100 * float(np.mean(held)):9.1f}"
            print(f"{100 * (math.exp(effect) - 1):+9.1f} % {cells:7} {engines:8} {fractions}")
    return fine


def _answer_fractions(outcomes: Sequence[StudyOutcome]) -> tuple[float, float, float, float]:
    """(on, off because worse, off because there is no difference, no evidence)"""

    def fraction(answer: str, verdicts: Collection[Verdict]) -> float:
        found = [item for item in outcomes if item.answer == answer and item.pooled is not None and item.pooled.verdict in verdicts]
        return len(found) / len(outcomes)

    worse, same = fraction(ANSWER_OFF, (Verdict.WORSE,)), fraction(ANSWER_OFF, (Verdict.EQUIVALENT,))
    return fraction(ANSWER_ON, Verdict), worse, same, fraction(ANSWER_NO_EVIDENCE, Verdict)


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
    options = parser.parse_args(arguments)
    if options.ratios is not None:
        return 0 if judge_measured(ratios_from_json(json.loads(options.ratios.read_text()))) else 1
    coverage_table()
    looks_table()
    null_is_fine = null_table()
    power_is_fine = power_table()
    pooled_table()
    answers_are_fine = answers_table()
    racing_table()
    order_table()
    words = {True: "yes", False: "NO"}
    print(f"\nA/A wrong <= 5 % in every row: {words[null_is_fine]}; planted +3 % found >= 90 %: {words[power_is_fine]}")
    print(f"an effect claimed in <= 5 % of A/A studies, up to the simulation's error: {words[answers_are_fine]}")
    return 0 if null_is_fine and power_is_fine and answers_are_fine else 1


if __name__ == "__main__":
    sys.exit(main())
