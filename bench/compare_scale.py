"""What it costs to judge a large study: `compare_study` of 2,400 trials and 40,000 windows (or as many as asked).

    python -m bench.compare_scale [--trials 2400] [--windows 40000]

Prints the seconds of CPU of the first comparison in a process, calibration of the interim analyses included. Exit status 1 above 2 s.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from storage.records import Measurement, Trial, TrialState
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.stats.sequential import InterimPlan
from tuner.verdict.compare import compare_study

METRIC = "total_token_throughput"
PLAN = InterimPlan(3, 24)
BUDGETS = 12  # of an engine
MOST_S = 2.0


def large_study(trials: int, windows: int, seed: int = 7) -> tuple[list[Trial], list[Measurement]]:
    """Cells with effects of +-4 % and 2 % noise, in engines of BUDGETS cells; one window in fifty was drifted or recompiled."""
    rng = np.random.default_rng(seed)
    made: list[Trial] = []
    for number in range(trials):
        place, arm = divmod(number, 2)
        engine, budget = divmod(place, BUDGETS)
        requested = {"block_size": 16 * (engine + 1), "gpu_memory_utilization": 0.9}
        made.append(
            Trial(
                study_id=1,
                number=number,
                arm=(ARM_DEFAULT, ARM_PAGE_ALIGNED)[arm],
                block_size=16 * (engine + 1),
                max_num_batched_tokens=256 * (budget + 1),
                requested=requested,
                workload_hash="w",
                id=number + 1,
                state=TrialState.COMPLETE,
                environment="e",
            )
        )
    effects = rng.normal(0, 0.04, trials // 2)
    found: list[Measurement] = []
    for window in range(windows):
        trial = made[window % trials]
        effect = float(effects[trial.number // 2]) if trial.arm == ARM_PAGE_ALIGNED else 0.0
        metrics = {METRIC: 1000 * math.exp(effect + 0.02 * float(rng.standard_normal())), "failed": 0.0}
        reason = str(rng.choice(["drifted", "recompiled"])) if rng.random() < 0.02 else None
        found.append(
            Measurement(
                trial_id=trial.id,
                round=window // trials,
                position=int(rng.integers(24)),
                started_at=float(window),
                duration_s=1.0,
                metrics=metrics,
                id=window + 1,
                valid=reason is None,
                invalid_reason=reason,
                details={"launcher": "table", "engine_start": trial.block_size, "compilations": 0},
            )
        )
    return made, found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Seconds of CPU that the comparison of a large study takes.")
    parser.add_argument("--trials", type=int, default=2400)
    parser.add_argument("--windows", type=int, default=40_000)
    options = parser.parse_args(arguments)
    trials, measurements = large_study(options.trials, options.windows)
    begun = time.process_time()
    comparison = compare_study(1, trials, measurements, [METRIC], plan=PLAN)
    seconds = time.process_time() - begun
    verdicts = dict(sorted(Counter(item.verdict for item in comparison.comparisons).items()))
    print(f"{len(trials)} trials, {len(measurements)} windows: {len(comparison.comparisons)} cells {verdicts}")
    print(f"compare_study: {seconds:.2f} s of CPU (bar {MOST_S:g} s): {'met' if seconds <= MOST_S else 'MISSED'}")
    return 0 if seconds <= MOST_S else 1


if __name__ == "__main__":
    sys.exit(main())
