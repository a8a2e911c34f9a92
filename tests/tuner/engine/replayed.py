"""python -m tests.tuner.engine.replayed: the same loads on the real scheduler, asked for every step and only where its answer can change.

Prints one JSON object a line. A program of its own, because vLLM changes the process that imports it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

from tuner.core.contract import EngineSettings, LoadPlan
from tuner.engine.environment import engine_environment
from tuner.engine.real_schedule import RealSchedule
from tuner.engine.replay import Replay, Replayed
from tuner.engine.step_costs import Point, StepClock, StepCosts
from tuner.launchers.simulate import load_of
from tuner.serving.engine_args import engine_args
from tuner.setup.models import resolve_model
from tuner.workload.spec import WorkloadSpec

COSTS = StepCosts("a test", padded=(Point(16, 0.007), Point(512, 0.060)), decode=(0.0, 0.0, 1e-6), step_noise=(0.9, 1.0, 1.2))
LOADS = {
    "closed": "mixed-small",
    "open": "synthetic:input=100,output=60,requests=60,prefix_share=0.5,prefix_groups=3,rate=12",
    "crowded": "synthetic:input=200,output=150,requests=40,rate=inf",  # more than the pool holds: preemptions
}


def _summary(found: Replayed) -> dict[str, object]:
    steps = found.steps
    return {
        "steps": [list(steps.scheduled_tokens), list(steps.padded_tokens), list(steps.prefill_tokens), list(steps.decode_requests)],
        "times": [round(start, 9) for start in steps.start_s],
        "requests": [
            (item.sent_s, item.finished_s, item.cached_tokens, item.preemptions, sum(n for _, n in item.runs)) for item in found.sent
        ],
        "asked": found.asked,
    }


def _plan(text: str, vocabulary: int) -> LoadPlan:
    plan = WorkloadSpec.parse(text).plan(vocabulary, 512)
    return replace(plan, requests=tuple(sorted(plan.requests, key=lambda request: request.arrival_s)))


def main() -> None:
    os.environ.update(engine_environment("cpu", offline=True))
    import vllm.plugins

    vllm.plugins.load_general_plugins()
    model = resolve_model("tiny-qwen3")
    model.prepare()
    for page in (16, 64):
        settings = EngineSettings(
            model=model.name,
            model_path=model.path,
            block_size=page,
            max_num_batched_tokens=256,
            max_num_seqs=16,
            max_model_len=512,
            load_format="dummy",
            num_gpu_blocks=2048 // page + 1,
        )
        schedule = RealSchedule(engine_args(settings, "cpu"))
        for aligned in (False, True):
            schedule.scheduler.set_page_aligned(aligned)
            for name, text in LOADS.items():
                load = load_of(_plan(text, model.vocab_size), page)
                each, jumping = (Replay(schedule, StepClock(COSTS, [1]), repeats=repeats).run(load, 1e6) for repeats in (False, True))
                line = {"page": page, "aligned": aligned, "load": name, "each": _summary(each), "jumping": _summary(jumping)}
                sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
