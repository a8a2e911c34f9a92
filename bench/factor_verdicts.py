"""How often a comparison of a factor's levels is wrong, and how often it finds 3 %: simulated studies of 48 cells.

    python -m bench.factor_verdicts                  the table, about a minute of one core
    python -m bench.factor_verdicts --studies 5      with a larger error of its own

Noise on the log scale: 2 % a window, and 1 % a start, which all windows of a start share (two starts of one engine then differ by up to
about 3 %, as measured ones do: docs/decisions/0012). A live factor is compared in 24 rounds of one engine for each page size, a cold one
in 10 starts of each level with 3 windows. Wrong: a cell without an effect is called better or worse, or the study's sentence says that any
wins or loses. With starts three times as unlike the last row judges
the windows as if each were a value of its own, which is what must not be done. Exit status 1
if a bar is missed: cells and sentences wrong in more than 5 %, a planted 3 % found in less than 80 % of cells.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.records import Measurement, Stage, Trial, TrialState
from tuner.core.contrast import Contrast
from tuner.core.factors import Level
from tuner.metrics.catalog import Direction
from tuner.stats.intervals import judge_family, paired_log_ratios
from tuner.verdict.compare import Question, compare_study

METRIC = "total_token_throughput"
PAGES, BUDGETS = (16, 32, 64, 128), (128, 160, 192, 224, 256, 320, 384, 448, 512, 768, 1024, 2048)
WINDOW_SD, START_SD, LOUD, PLANTED = 0.02, 0.01, 0.03, math.log(1.03)
ROUNDS, STARTS, WINDOWS = 24, 10, 3
CONTRASTS = {"live": Contrast("max_num_seqs", 8), "cold": Contrast("kv_cache_dtype", "auto")}
OTHER: dict[str, Level] = {"live": 16, "cold": "fp8"}
SAYS_SOMETHING = ("on", "on_where", "off", "mixed", "trade_off")
MOST_WRONG, LEAST_FOUND = 0.05, 0.8
_HEADER = f"{'':28}{'cells different':>16}{'sentences that say so':>24}"


@dataclass(frozen=True)
class Records:
    """A simulated study as it would be stored."""

    trials: list[Trial]
    windows: list[Measurement]


@dataclass(frozen=True)
class Verdicts:
    """Of one study: shares of cells by verdict, and whether the sentence says that a cell wins or loses."""

    different: float
    says: bool


def simulate(kind: str, effect: float, rng: np.random.Generator, start_sd: float = START_SD) -> Records:
    """`effect`: log of what the other level multiplies a value by, in every cell."""
    contrast, count = CONTRASTS[kind], ROUNDS if kind == "live" else STARTS * WINDOWS
    trials: list[Trial] = []
    windows: list[Measurement] = []
    for page in PAGES:
        starts = start_sd * rng.standard_normal((2, STARTS)) if kind == "cold" else np.zeros((2, STARTS))
        for budget in BUDGETS:
            for side, level in enumerate[Level]((contrast.baseline, OTHER[kind])):
                identity = len(trials) + 1
                trials.append(_trial(identity, page, budget, contrast.name, level))
                logs = effect * side + WINDOW_SD * rng.standard_normal(count)
                for number in range(count):
                    block = number // WINDOWS if kind == "cold" else 0
                    value = 100 * math.exp(logs[number] + starts[side, block])
                    windows.append(_window(identity, number, side ^ (number % 2), value, 2 * block + side if kind == "cold" else page))
    return Records(trials, windows)


def _trial(identity: int, page: int, budget: int, name: str, level: Level) -> Trial:
    return Trial(
        study_id=1,
        number=identity,
        arm="default",
        block_size=page,
        max_num_batched_tokens=budget,
        requested={},
        workload_hash="w",
        stage=Stage.SEARCH,
        factors={name: level},
        id=identity,
        state=TrialState.COMPLETE,
        environment="e",
    )


def _window(trial: int, number: int, position: int, value: float, start: int) -> Measurement:
    details = {"launcher": "simulated", "engine_start": start}
    return Measurement(
        trial_id=trial, round=number, position=position, started_at=0.0, duration_s=1.0, metrics={METRIC: value}, details=details
    )


def judged(kind: str, records: Records) -> Verdicts:
    """As the product judges it."""
    question = Question((METRIC,), contrast=CONTRASTS[kind], windows=WINDOWS)
    found = compare_study(1, records.trials, records.windows, [METRIC], question=question)
    verdicts = [item.verdict for item in found.comparisons]
    assert len(verdicts) == len(PAGES) * len(BUDGETS) and found.answer is not None
    return Verdicts(_different(verdicts), found.answer.answer in SAYS_SOMETHING)


def judged_by_windows(records: Records) -> Verdicts:
    """As if the windows of a start were independent."""
    values: dict[int, dict[int, float]] = {}
    for window in records.windows:
        values.setdefault(window.trial_id, {})[window.round] = window.metrics[METRIC]
    ids = [trial.id for trial in records.trials]
    ratios = {one: list(paired_log_ratios(values[one], values[other]).values()) for one, other in zip(ids[::2], ids[1::2], strict=True)}
    verdicts = [effect.verdict for effect in judge_family(ratios, Direction.MAXIMIZE).values()]
    return Verdicts(_different(verdicts), _different(verdicts) > 0)


def _different(verdicts: Sequence[str]) -> float:
    return sum(item in ("better", "worse") for item in verdicts) / len(verdicts)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--seed", type=int, default=19878)
    args = parser.parse_args(arguments)
    rng, missed = np.random.default_rng(args.seed), False
    print(f"{args.studies} studies of {len(PAGES) * len(BUDGETS)} cells a row\n\n{_HEADER}")
    for kind, effect in (("live", 0.0), ("cold", 0.0), ("live", PLANTED), ("cold", PLANTED), ("cold", None)):
        found = [judged(kind, simulate(kind, effect or 0.0, rng, START_SD if effect is not None else LOUD)) for _ in range(args.studies)]
        cells, says = (float(np.mean([getattr(item, name) for item in found])) for name in ("different", "says"))
        missed |= cells < LEAST_FOUND if effect else max(cells, says) > MOST_WRONG
        name = "+3 % planted" if effect else "no effect" if effect is not None else "no effect, loud starts"
        _row(f"{kind}, {name}", cells, says)
    found = [judged_by_windows(simulate("cold", 0.0, rng, LOUD)) for _ in range(args.studies)]
    _row("the same, by windows", *(float(np.mean([getattr(item, name) for item in found])) for name in ("different", "says")))
    return int(missed)


def _row(name: str, cells: float, says: float) -> None:
    print(f"{name:28}{100 * cells:14.1f} %{100 * says:22.1f} %")


if __name__ == "__main__":
    sys.exit(main())
