"""python -m tests.tuner.engine.replayed: the same loads on the real scheduler in three ways: shown every request in every step ("each"),
without those that a step cannot change, and without a prefix cache that could give nothing ("parked"), and besides asked only where its
answer can change ("jumping").

Prints one JSON object a line. A program of its own, because vLLM changes the process that imports it.

    python -m tests.tuner.engine.replayed --random 400 --seed 1     # other loads: prints those where a way differs; exit status 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

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
WAYS = {"each": {"parks": False, "repeats": False}, "parked": {"parks": True, "repeats": False}, "jumping": {}}
PARTS = ("steps", "times", "requests", "held_back")
LOADS = {
    "closed": "mixed-small",
    "open": "synthetic:input=100,output=60,requests=60,prefix_share=0.5,prefix_groups=3,rate=12",
    "crowded": "synthetic:input=200,output=150,requests=40,rate=inf",  # more than the pool holds: preemptions
    "prompts": "synthetic:input=1-450,output=1-60,requests=60,prefix_share=0.4,prefix_groups=2,rate=25",  # prefills beside decodes
    "apart": "synthetic:input=1-300,output=1-60,requests=40,rate=4",  # nothing for a prefix cache to find
    "tight": "synthetic:input=1-220,output=1-150,requests=60,rate=14",  # likewise, until somebody is preempted, and others end meanwhile
    "last pages": "synthetic:input=116,output=97-137,requests=35,rate=14,seed=112",  # a last token fills a page that is found later
    "places": "synthetic:input=6,output=88,requests=51,rate=inf",  # all end at once, and others wait for their places
    "pages freed": "synthetic:input=76-226,output=78-198,requests=53,rate=inf,seed=901,prefix_share=1,prefix_groups=1",  # by the preempted
    "same step": "synthetic:input=273,output=80,requests=39,rate=10,seed=981",  # one ends with a whole page as another is preempted
    "same": "synthetic:input=257,output=1-200,requests=40,prefix_share=1,prefix_groups=1,concurrency=12",  # chunks that leave one token
}
ONLY = {"apart": 64, "tight": 16, "last pages": 16, "places": 64, "pages freed": 32, "same step": 16}  # the page size that shows it
CASES = (  # page size, variant, whether aligned
    (16, "demote", False),
    (16, "demote", True),
    (16, "strict", True),
    (32, "fill_bucket", True),
    (64, "demote", False),
    (64, "demote", True),
)


def _summary(found: Replayed) -> dict[str, object]:
    columns = found.steps.columns()
    return {
        "steps": [columns[name] for name in ("scheduled_tokens", "padded_tokens", "prefill_tokens", "decode_requests")],
        "times": [round(start, 9) for start in found.steps.start_s],
        "requests": [
            (
                item.sent_s,
                item.finished_s,
                item.cached_tokens,
                item.preemptions,
                [step for first, n in item.runs for step in range(first, first + n)],
            )
            for item in found.sent
        ],
        "asked": found.asked,
        "held_back": found.held_back,
    }


def _plan(text: str, vocabulary: int) -> LoadPlan:
    plan = WorkloadSpec.parse(text).plan(vocabulary, 512)
    return replace(plan, requests=tuple(sorted(plan.requests, key=lambda request: request.arrival_s)))


def _count_shown(scheduler: Any) -> list[int]:
    """[requests that were in the running list, added up over all calls of schedule() from now on]."""
    schedule, count = scheduler.schedule, [0]

    def counted() -> Any:
        count[0] += len(scheduler.running)
        return schedule()

    scheduler.schedule = counted
    return count


def _random_load(rng: random.Random) -> str:
    prompt, answer = rng.randint(1, 200), rng.randint(1, 100)
    longest, most = prompt + rng.choice((0, 0, 50, 150)), answer + rng.choice((0, 0, 40, 120))
    shared = rng.choice(("", ",prefix_share=0.5,prefix_groups=2", ",prefix_share=1,prefix_groups=1"))
    rate, count, seed = rng.choice(("6", "10", "14", "20", "inf")), rng.randint(20, 60), rng.randint(0, 999)
    return f"synthetic:input={prompt}-{longest},output={answer}-{most},requests={count},rate={rate},seed={seed}{shared}"


def _windows(loads: Sequence[tuple[str, str, int | None]]) -> Iterator[dict[str, Any]]:
    """`loads`: (name, workload, the page size it is for; None: all). Each in all ways, on every case that it is for."""
    model = resolve_model("tiny-qwen3")
    model.prepare()
    for page, variant, aligned in CASES:
        settings = EngineSettings(
            model=model.name,
            model_path=model.path,
            block_size=page,
            max_num_batched_tokens=256,
            max_num_seqs=16,
            max_model_len=512,
            load_format="dummy",
            num_gpu_blocks=2048 // page + 1,
            alignment_variant=variant,
        )
        schedule = RealSchedule(engine_args(settings, "cpu"))
        schedule.scheduler.set_page_aligned(aligned)
        shown = _count_shown(schedule.scheduler)
        for name, text, only in loads:
            if only not in (None, page):
                continue
            load = load_of(_plan(text, model.vocab_size), page)
            found = {}
            for way, options in WAYS.items():
                shown[0] = 0
                window = Replay(schedule, StepClock(COSTS, [1]), **options).run(load, 1e6)
                found[way] = {**_summary(window), "shown": shown[0], "cache_left_out": schedule.prefix_cache_left_out}
            yield {"page": page, "variant": variant, "aligned": aligned, "load": name, **found}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tuner.engine.replayed")
    parser.add_argument("--random", type=int, default=0, metavar="COUNT", help="random loads instead, each on the cases of one page size")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(argv)
    os.environ.update(engine_environment("cpu", offline=True))
    import vllm.plugins

    vllm.plugins.load_general_plugins()
    if not asked.random:
        for window in _windows([(name, text, ONLY.get(name)) for name, text in LOADS.items()]):
            sys.stdout.write(json.dumps(window) + "\n")
        return 0
    rng = random.Random(asked.seed)
    loads = [_random_load(rng) for _ in range(asked.random)]
    windows = differ = 0
    for window in _windows([(load, load, rng.choice((16, 32, 64))) for load in loads]):
        windows += 1
        wrong = [f"{way}: {part}" for way in ("parked", "jumping") for part in PARTS if window[way][part] != window["each"][part]]
        if wrong:
            differ += 1
            sys.stdout.write(json.dumps({**{key: window[key] for key in ("page", "variant", "aligned", "load")}, "differs": wrong}) + "\n")
    sys.stdout.write(f"{windows} windows of {len(loads)} random loads: {differ} differ\n")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
