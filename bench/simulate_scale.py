"""How fast the simulator is: whole production traces under vLLM's real scheduler, against the time that they took when they were recorded.

    python -m bench.simulate_scale [--data ../shared/data] [--json]

Qwen3-0.6B on a v6e-1 (predicted step times), vLLM's own page size (256) and chunk budget (2,048). The Azure trace as it is; of the
Mooncake trace every request, its prompt clipped to 4,096 tokens, because a plan is held in memory token by token. Printed: the seconds of
simulating alone (by the clock, and of one core: on a machine that does other things only the latter say how fast the simulator is), and
beside them those of planning, naming pages and carrying the result, of which planning happens once for any number of simulations.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tuner.core.contract import EngineSettings, LiveSettings
from tuner.foresight.questions import foreseeable_model
from tuner.foresight.simulated_chip import simulated_chip
from tuner.launchers.simulate import SimulateLauncher
from tuner.workload.spec import WorkloadSpec

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CONFIG = "configs/Qwen--Qwen3-0.6B_config.json"
TRACES = {
    "azure": "azure:{0}/traces/azure_llm_2023/AzureLLMInferenceTrace_code.csv",
    "mooncake": "mooncake:{0}/traces/mooncake_fast25/conversation_trace.jsonl,too_long=clip,max_input_tokens=4096",
}
MAX_MODEL_LEN, BUDGET, PAGE, SEQS = 8192, 2048, 256, 128
FOREVER_S = 1e9
HEADERS = (
    *("trace", "arm", "requests", "steps", "asked for", "trace, s", "simulated, s"),
    *("took, s", "core, s", "times faster", "of a core", "planning, s"),
)


@dataclass(frozen=True)
class Row:
    """`recorded_s`: the trace's last arrival; `simulated_s`: the window's own time; `wall_s`, `cpu_s`: what simulating took, by the clock
    and of one core; `asked`: how many of the steps the scheduler was asked for."""

    trace: str
    arm: str
    requests: int
    steps: int
    asked: int
    recorded_s: float
    simulated_s: float
    wall_s: float
    cpu_s: float
    planning_s: float

    @property
    def times_faster(self) -> float:
        return self.simulated_s / self.wall_s

    @property
    def times_faster_of_a_core(self) -> float:
        return self.simulated_s / self.cpu_s


def rows(data: Path) -> Iterator[Row]:
    model = foreseeable_model(str(data / CONFIG))
    model.prepare()
    settings = EngineSettings(
        model=model.name,
        model_path=model.path,
        block_size=PAGE,
        max_num_batched_tokens=BUDGET,
        max_num_seqs=SEQS,
        max_model_len=MAX_MODEL_LEN,
        load_format=model.load_format,
    )
    with ExitStack() as ending:
        logs = ending.enter_context(tempfile.TemporaryDirectory())
        launcher = SimulateLauncher(simulated_chip("v6e-1", None, None), log_dir=Path(logs))
        ending.callback(launcher.close)
        session = launcher.open_for(settings, model.features, 600)
        for name, text in TRACES.items():
            print(f"{name}: planning", file=sys.stderr, flush=True)
            begun = time.perf_counter()
            plan = WorkloadSpec.parse(text.format(data)).plan(model.vocab_size, MAX_MODEL_LEN)
            planning_s = time.perf_counter() - begun
            for arm in ("default", "page_aligned"):
                begun = time.perf_counter()
                window = session.simulate(LiveSettings(arm, BUDGET), plan, FOREVER_S, seed=(0,))
                wall_s = float(window.details["wall_s"])
                yield Row(
                    trace=name,
                    arm=arm,
                    requests=len(plan.requests),
                    steps=len(window.steps),
                    asked=int(window.details["scheduler_asked"]),
                    recorded_s=plan.last_arrival_s,
                    simulated_s=window.duration_s,
                    wall_s=wall_s,
                    cpu_s=float(window.details["cpu_s"]),
                    planning_s=planning_s + time.perf_counter() - begun - wall_s,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of the table")
    args = parser.parse_args()
    found = []
    for row in rows(args.data):
        found.append(row)
        if args.json:
            print(json.dumps(asdict(row)), flush=True)
    if not args.json:
        print(f"| {' | '.join(HEADERS)} |\n|{'---|' * len(HEADERS)}")
        for row in found:
            counts = f"{row.requests:,} | {row.steps:,} | {row.asked:,}"
            own = f"{row.recorded_s:,.0f} | {row.simulated_s:,.0f} | {row.wall_s:.1f} | {row.cpu_s:.1f}"
            times = f"{own} | {row.times_faster:,.0f} | {row.times_faster_of_a_core:,.0f} | {row.planning_s:.0f}"
            print(f"| {row.trace} | {row.arm} | {counts} | {times} |")


if __name__ == "__main__":
    main()
