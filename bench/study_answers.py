"""How often a study's answer is right, and how often wrong: simulated studies of 12 cells whose true effects are known.

    python -m bench.study_answers                    the table, from simulation, about six minutes of one core
    python -m bench.study_answers --studies 2000     with a smaller error of its own

An answer is wrong where it is of another kind than the true effects are, where it names a cell that does not win or lose, or where it says
of one that it does not lose more than 1 % and it does. Right: of the very kind, with nothing false in it. Neither is undecided, nor, in
rows without a star, "off" or "mixed" where it does lose in some cells: they say what was found and miss what the noise hides. Exit status 1
if a bar is missed: wrong in more than 5 % of any row, right in less than 90 % of a starred one.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.lib.simulate import NOISES, StudyOutcome, simulate_study
from tuner.metrics.catalog import Direction
from tuner.setup.config import Rounds
from tuner.stats.intervals import ERROR_RATE, floor_of
from tuner.stats.sequential import InterimPlan
from tuner.verdict import study_answer as kinds
from tuner.verdict.answer_words import Told
from tuner.verdict.cell_claims import MARGIN, CellEvidence, MetricCells, Place, cell_claims, sure_level
from tuner.verdict.study_answer import StudyAnswer, study_answer

SEED = 19878
METRIC = "total_token_throughput"
PAGES, BUDGETS = (16, 32, 64, 128), (128, 256, 512)
# simulate_study deals the cells out to the engines in turn: one engine for each page size.
PLACES = tuple((page, budget) for budget in BUDGETS for page in PAGES)
PLAN = InterimPlan(Rounds().min, Rounds().max)
RIGHT_FROM = 0.9
NO_EFFECT = (kinds.ANSWER_NO_DIFFERENCE, kinds.ANSWER_UNDECIDED)


@dataclass(frozen=True)
class Truth:
    """`effects`: true changes in percent, in the order of PLACES. `right`: kinds that say so; `bar`: to be found in 90 % of studies."""

    name: str
    effects: tuple[float, ...]
    right: tuple[str, ...]
    noise: str = "normal"
    sd: float = 0.02  # of a window, on the log scale
    bar: bool = True

    @property
    def logs(self) -> list[float]:
        return [math.log1p(effect / 100) for effect in self.effects]

    def louder(self, sd: float, noise: str = "normal") -> Truth:
        """The same without a bar for what is found."""
        return Truth(self.name, self.effects, self.right, noise, sd, bar=False)


def truths() -> list[Truth]:
    small = {place: place[0] / place[1] <= 1 / 4 for place in PLACES}
    checked = {place: (PAGES.index(place[0]) + BUDGETS.index(place[1])) % 2 == 0 for place in PLACES}
    rows = [
        Truth("A/A: no effect", (0.0,) * len(PLACES), NO_EFFECT),
        Truth("one cell -10 %", tuple(-10.0 if place == (128, 128) else 0.0 for place in PLACES), (kinds.ANSWER_OFF,)),
        Truth("one cell -5 %", tuple(-5.0 if place == (128, 128) else 0.0 for place in PLACES), (kinds.ANSWER_OFF,)),
        Truth("page / budget <= 1/4: +3, else -10 %", tuple(3.0 if small[place] else -10.0 for place in PLACES), (kinds.ANSWER_ON_WHERE,)),
        Truth("every second cell +3, -5 %", tuple(3.0 if checked[place] else -5.0 for place in PLACES), (kinds.ANSWER_MIXED,)),
        Truth("all +3 %", (3.0,) * len(PLACES), (kinds.ANSWER_ON,)),
    ]
    edge = Truth("one cell -1 %, others 0", tuple(-100 * -math.expm1(-MARGIN) if place == (16, 128) else 0.0 for place in PLACES), ())
    rows += [edge.louder(sd) for sd in (0.002, 0.005, 0.02)]
    return rows + [row.louder(0.02, noise) for row in rows[:6] for noise in ("t3", "skewed")] + [row.louder(0.05) for row in rows[:6]]


def answer_of(outcome: StudyOutcome) -> StudyAnswer:
    """As tuner.verdict.compare makes it."""
    floor = floor_of(outcome.log_ratios.values(), PLAN)
    cells = [CellEvidence(place, outcome.log_ratios[cell], outcome.effects[cell], floor) for cell, place in enumerate(PLACES)]
    return study_answer(Told([MetricCells(METRIC, cell_claims(cells, Direction.MAXIMIZE, plan=PLAN), outcome.pooled)], plan=PLAN))


def is_right(answer: StudyAnswer, truth: Truth) -> bool:
    return answer.answer in truth.right and not claims_falsely(answer, truth)


def has_the_rule(answer: StudyAnswer, truth: Truth) -> bool:
    """Whether the rule has the very cells on each side."""
    gains = [place for place, effect in zip(PLACES, truth.effects, strict=True) if effect > 0]
    return answer.rule is not None and [tuple(place) for place in answer.rule["on"]] == gains


def is_wrong(answer: StudyAnswer, truth: Truth) -> bool:
    loses_somewhere = min(truth.effects) < 0
    says_less = (kinds.ANSWER_OFF, kinds.ANSWER_MIXED) if loses_somewhere and not truth.bar else ()
    allowed = (*truth.right, *says_less, kinds.ANSWER_UNDECIDED)
    return (bool(truth.right) and answer.answer not in allowed) or claims_falsely(answer, truth)


def claims_falsely(answer: StudyAnswer, truth: Truth) -> bool:
    """Whether something is said of a cell that is not so."""
    true: dict[Place, float] = dict(zip(PLACES, truth.logs, strict=True))
    named = any(true[place] <= 0 for place in answer.wins) or any(true[place] >= 0 for place in answer.loses)
    return (
        named
        or any(true[place] <= -MARGIN for place in _kept_from_harm(answer))
        or (answer.answer == kinds.ANSWER_NO_DIFFERENCE and any(abs(effect) >= MARGIN for effect in true.values()))
    )


def _kept_from_harm(answer: StudyAnswer) -> Sequence[Place]:
    """Cells of which it says that they do not lose more than 1 %."""
    if answer.rule is not None:
        return [(page, budget) for page, budget in answer.rule["on"]]
    return PLACES if answer.answer in (kinds.ANSWER_ON, kinds.ANSWER_NO_DIFFERENCE) else ()


def answers_table(studies: int) -> bool:
    """True if no bar is missed; the one for wrong answers up to the error of the simulation."""
    print(f"The study's answer, {studies} studies a row of {len(PLACES)} cells, rounds {PLAN.first}..{PLAN.last} until decided")
    print("  true effects                          noise             right %  wrong %  undecided %  rounds/cell  answers")
    most = ERROR_RATE + 2 * math.sqrt(ERROR_RATE * (1 - ERROR_RATE) / studies)
    fine = True
    for row in truths():
        rng = np.random.default_rng(SEED)
        outcomes = [
            simulate_study(rng, row.logs, row.sd, PLAN, NOISES[row.noise], engines=len(PAGES), sure_level=sure_level(len(PLACES)))
            for _ in range(studies)
        ]
        answers = [answer_of(outcome) for outcome in outcomes]
        right, wrong = (sum(judge(answer, row) for answer in answers) / studies for judge in (is_right, is_wrong))
        undecided = sum(answer.answer == kinds.ANSWER_UNDECIDED for answer in answers) / studies
        fine = fine and wrong <= most and (not row.bar or right >= RIGHT_FROM)
        rounds = float(np.mean([outcome.rounds for outcome in outcomes]))
        said = ", ".join(f"{kind} {count}" for kind, count in Counter(answer.answer for answer in answers).most_common())
        exact = sum(has_the_rule(answer, row) for answer in answers)
        said += f" (with the very rule: {exact})" if kinds.ANSWER_ON_WHERE in row.right else ""
        label = f"{'*' if row.bar else ' '} {row.name:37} {row.noise:8} {100 * row.sd:4.1f} %"
        print(f"{label} {f'{100 * right:.1f}' if row.right else '-':>10} {100 * wrong:8.1f} {100 * undecided:12.1f} {rounds:12.1f}  {said}")
    return fine


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How often a study's answer is right and wrong, by simulation.")
    parser.add_argument("--studies", type=int, default=400, help="simulated studies a row")
    fine = answers_table(parser.parse_args(arguments).studies)
    print(f"\nwrong <= 5 % in every row, up to the simulation's error, and right >= 90 % in the starred ones: {'yes' if fine else 'NO'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
