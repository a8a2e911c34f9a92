"""The same capacity asked several times in a row, on the real engine: do the answers agree within their intervals?

    python -m bench.capacity_twice [--times 2] [--model tiny-qwen3] [--slo 'ttft_p90_ms<=60']
    python -m bench.capacity_twice --by concurrency [--slo 'tpot_p50_ms<=25']

Each search (that of `tuner capacity`) starts its own engine and draws its own requests. The machine's speed is part of the answer: beside
other work the edge itself moves between two searches. Exit status 1 if any two intervals do not meet.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from bench.lib.real_engine import device_line, launcher, say
from storage.records import CapacityRun, CapacityState, CapacityWindow
from storage.upgrade import open_storage
from tuner.capacity.loads import CONCURRENCY, KINDS, RATE
from tuner.capacity.question import CapacityQuestion, question_of
from tuner.capacity.run import CapacityAsk, CapacitySearch
from tuner.setup.config_file import load_config
from tuner.setup.study_setup import prepare_study
from tuner.stats.edge_search import MAX_WINDOWS, PRECISION

# by: workload, most requests at once, SLO
ASKED = {
    RATE.by: ("synthetic:input=32-128,output=8,requests=60,rate=1", 8, "ttft_p90_ms<=60"),
    CONCURRENCY.by: ("synthetic:input=32-96,output=16,requests=128", 64, "tpot_p50_ms<=25"),
}


def question(model: str, by: str, slo: str | None) -> CapacityQuestion:
    workload, max_num_seqs, usual = ASKED[by]
    given = {
        "model": model,
        "workload": workload,
        "slos": [slo or usual],
        "page_sizes": [32],
        "chunk_budgets": [256],
        "arms": ["default"],
        "max_num_seqs": max_num_seqs,
        "max_model_len": 512,
        "dtype": "float32",
    }
    return question_of(load_config(None, given, unnamed="capacity"), prepare_study, None, KINDS[by])


def tell(doing: str, window: CapacityWindow | None) -> None:
    say(doing if window is None else f"load {window.load:.2f}: {window.invalid_reason or ('holds' if window.held else 'does not hold')}")


def searches(asked: CapacityQuestion, times: int) -> list[CapacityRun]:
    found = []
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder, launcher() as opened:
        storage = open_storage(f"sqlite:///{Path(folder) / 'capacity.db'}", create=True)
        for seed in range(times):
            drawn = replace(asked, spec=asked.spec.model_copy(update={"seed": seed}))
            run = CapacitySearch(drawn, CapacityAsk(MAX_WINDOWS, PRECISION), storage, opened, tell).run()
            edge = "" if run.edge is None else f"{run.edge:.2f} ({run.low or 0:.2f} to {run.high or 0:.2f})"
            windows = len(storage.list_capacity_windows(run.id))
            print(f"search {seed + 1}: {run.state.value} {edge} {asked.kind.unit}, {windows} windows", flush=True)
            found.append(run)
        storage.close()
    return found


def meet(one: CapacityRun, other: CapacityRun) -> bool:
    """Whether both found an edge and their intervals have a rate in common."""
    if {one.state, other.state} != {CapacityState.FOUND}:
        return False
    return max(one.low or 0, other.low or 0) <= min(one.high or 0, other.high or 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2, help="searches")
    parser.add_argument("--model", default="tiny-qwen3")
    parser.add_argument("--by", choices=list(ASKED), default=RATE.by, help="which load")
    parser.add_argument("--slo", help="what has to hold")
    given = parser.parse_args()
    print(device_line())
    pairs = list(combinations(searches(question(given.model, given.by, given.slo), given.times), 2))
    apart = sum(not meet(*pair) for pair in pairs)
    print(f"{len(pairs) - apart} of {len(pairs)} pairs of intervals meet")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
