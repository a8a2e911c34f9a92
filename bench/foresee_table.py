"""Does it fit? Real models on TPUs that are not here, and how good the answer is close to the limit.

    python -m bench.foresee_table [--rows TEXT] [--cold | --limit] [--configs ../shared/data/configs]

The first table: a sample of Qwen3 models, TPUs, page sizes and chunk budgets with requests of the model's own length, each compiled whole
by the code of `tuner foresee check`; "building" and "compiling" are what the engine and its two programs took when that was done (answers
are kept below TUNER_CACHE). --cold keeps them in a folder of its own, so that everything is compiled now, with vLLM imported before. "all"
is the time until the answer; "CPU" is that of all threads, which says more on a machine with other work. At the end all are asked a second
time.
--limit: from one answer the number of KV pages that just fits is computed, and the compiler is asked half a percent below and above it.
Exit status 1 where what was compiled now took more than 90 s or the second asking more than 0.1 s for a configuration, or the compiler
contradicts a "fits".
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tuner.core.numbers import number
from tuner.foresight.check import Foresight
from tuner.foresight.compiler import Compiler
from tuner.foresight.installed import installed
from tuner.foresight.kept import KeptAnswers
from tuner.foresight.question import GIB, Foreseen, Question, Verdict
from tuner.foresight.questions import foreseeable_model, questions_of
from tuner.setup.config_file import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "configs"
MOST_S, MOST_AGAIN_S = 90.0, 0.1  # a configuration, cold and the second time
NEAR = 0.005  # of the pages, on both sides of the limit


@dataclass(frozen=True)
class Asked:
    """`model`: a file of the configs, without "Qwen--" and "_config.json"."""

    model: str
    accelerator: str
    page: int
    budget: int
    devices: int = 1  # tensor parallelism
    pages: int | None = None  # in the KV cache; None: the engine decides

    def __str__(self) -> str:
        return f"{self.model} {self.accelerator} TP {self.devices} page {self.page} budget {self.budget}"


def _every(model: str, accelerators: str, settings: str, devices: int = 1) -> list[Asked]:
    pairs = [tuple(map(int, word.split("/"))) for word in settings.split()]
    return [Asked(model, name, page, budget, devices) for name in accelerators.split() for page, budget in pairs]


SAMPLE = (
    *_every("Qwen3-0.6B", "v5e v6e 7x", "16/512 64/2048 256/8192"),
    *_every("Qwen3-8B", "v5e", "128/2048"),
    *_every("Qwen3-8B", "v6e 7x", "64/512 128/2048 256/8192"),
    *_every("Qwen3-8B", "v5e-4 v6e-4", "128/2048", devices=4),
    *_every("Qwen3-32B", "v5e-4", "128/2048", devices=4),
    *_every("Qwen3-32B", "v6e-4 7x-4", "64/1024 256/8192", devices=4),
    *_every("Qwen3-32B", "v5e-8 v6e-8", "128/2048", devices=8),
    *_every("Qwen3-30B-A3B", "v6e-4", "128/2048", devices=4),
)
NEAR_THE_LIMIT = (
    *_every("Qwen3-0.6B", "v5e v6e", "64/2048"),
    *_every("Qwen3-0.6B", "7x", "256/512"),
    *_every("Qwen3-8B", "v6e", "128/2048"),
)


def question_of(asked: Asked, configs: Path) -> Question:
    settings = {
        "study": "foresee",
        "model": str(configs / f"Qwen--{asked.model}_config.json"),
        "page_sizes": [asked.page],
        "chunk_budgets": [asked.budget],
        "tensor_parallel_size": asked.devices,
        "num_gpu_blocks": asked.pages,
        "arms": ["default"],
    }
    config = load_config(None, {name: value for name, value in settings.items() if value is not None})
    model = foreseeable_model(config.model)
    model.prepare()
    return questions_of(config, model, [asked.accelerator])[0]


def seconds_of(answer: Foreseen) -> tuple[float, float]:
    """(building the engine, compiling), when that was done."""
    built = 0.0 if answer.prepared is None else answer.prepared.seconds
    return built, sum(program.seconds for program in answer.programs)


def cells_of(asked: Asked, answer: Foreseen, cpu_s: float) -> list[str]:
    built, compiled = seconds_of(answer)
    weights = None if answer.prepared is None or not answer.prepared.pages else answer.prepared.weight_bytes
    sizes = [f"{size / GIB:.2f}" if size is not None else "" for size in (weights, answer.pool_bytes, answer.hbm_left_bytes)]
    verdict = answer.verdict.value + (f": {answer.kind}" if answer.kind else "")
    requests = "" if answer.most_requests is None else str(answer.most_requests)
    where = [asked.model, asked.accelerator, str(asked.devices), str(asked.page), str(asked.budget)]
    return [*where, verdict, *sizes, requests, f"{built:.0f}", f"{compiled:.0f}", *_now(answer, cpu_s)]


def _now(answer: Foreseen, cpu_s: float) -> list[str]:
    return ["", ""] if answer.kept else [f"{answer.seconds:.0f}", f"{cpu_s:.0f}"]


HEADERS = (
    *("model", "TPU", "TP", "page", "budget", "verdict", "weights GiB", "KV pages GiB", "left GiB", "requests"),
    *("building, s", "compiling, s", "all, s", "CPU, s"),
)


def table(foresight: Foresight, sample: Sequence[Asked], configs: Path) -> bool:
    """Printed row by row, as each is known. Whether each took at most MOST_S now and MOST_AGAIN_S the second time."""
    print(f"| {' | '.join(HEADERS)} |\n|{'---|' * len(HEADERS)}")
    now, lines = [], []
    for asked in sample:
        before = _cpu_of_children()
        answer, _ = _asked(foresight, asked, configs)
        cpu_s = sum(seconds - before.get(pid, 0.0) for pid, seconds in _cpu_of_children().items())
        print(f"| {' | '.join(cells_of(asked, answer, cpu_s))} |", flush=True)
        now += [] if answer.kept else [answer.seconds]
        lines += [f"{asked}: {answer.reason}"] if answer.reason is not None else []
    print("\n" + "\n".join(lines))
    again = [(asked, *_asked(foresight, asked, configs)) for asked in sample]
    not_kept = [asked for asked, answer, _ in again if not answer.kept]
    slowest, second = max(now, default=0.0), max(seconds for _, _, seconds in again)
    cold = f"compiled now {len(now)}, the slowest in {_judged(slowest, MOST_S)}" if now else "all kept from before"
    print(f"\n{len(sample)} configurations; {cold}; the second time at most {_judged(second, MOST_AGAIN_S)}")
    if not_kept:
        print(f"compiled the second time as well: {', '.join(map(str, not_kept))}")
    return slowest <= MOST_S and second <= MOST_AGAIN_S


def _cpu_of_children() -> dict[int, float]:
    """Process id -> CPU seconds so far, of the processes that compile for this one; the last one still runs when it has answered."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def _asked(foresight: Foresight, asked: Asked, configs: Path) -> tuple[Foreseen, float]:
    """The answer, and the seconds from the settings to it."""
    begun = time.perf_counter()
    (answer,) = foresight.answer([question_of(asked, configs)])
    return answer, time.perf_counter() - begun


def _judged(seconds: float, bar: float) -> str:
    return f"{number(seconds, 3)} s (bar {bar:g} s: {'met' if seconds <= bar else 'MISSED'})"


def around_the_limit(foresight: Foresight, sample: Sequence[Asked], configs: Path) -> Iterator[tuple[Asked, bool, Foreseen]]:
    """(configuration, whether it should fit by what the first answer leaves, the compiler's answer), on both sides of each limit."""
    for asked in sample:
        (first,) = foresight.answer([question_of(asked, configs)])
        if first.prepared is None or first.hbm_left_bytes is None:
            print(f"{asked}: has no limit: {first.reason}", file=sys.stderr, flush=True)
            continue
        limit = first.prepared.pages + first.hbm_left_bytes / first.prepared.page_bytes
        for factor, fits in ((1 - NEAR, True), (1 + NEAR, False)):
            near = Asked(asked.model, asked.accelerator, asked.page, asked.budget, asked.devices, int(limit * factor))
            (answer,) = foresight.answer([question_of(near, configs)])
            yield near, fits, answer


def limits(foresight: Foresight, sample: Sequence[Asked], configs: Path) -> bool:
    print("| model | TPU | TP | page | budget | KV pages | by what was left | compiler |\n|---|---|---|---|---|---|---|---|")
    agreed = total = 0
    for near, fits, answer in around_the_limit(foresight, sample, configs):
        compiles = answer.failed_program is None and answer.verdict is not Verdict.NOT_KNOWN
        said = "compiles" if compiles else answer.kind or "not known"
        where = (near.model, near.accelerator, near.devices, near.page, near.budget, f"{near.pages:,}")
        print(f"| {' | '.join(map(str, where))} | {'fits' if fits else 'does not fit'} | {said} |", flush=True)
        agreed, total = agreed + (compiles is fits), total + 1
    print(f"\n{agreed} of {total} agree")
    return agreed == total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="only configurations whose names contain this")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--cold", action="store_true", help="whatever was kept before, compile now")
    kind.add_argument("--limit", action="store_true", help="close to the limit instead of the sample")
    parser.add_argument("--configs", type=Path, default=CONFIGS)
    args = parser.parse_args()
    if not args.configs.is_dir():
        sys.exit(f"{args.configs} is not there: name the folder of the models' config.json files with --configs")
    sample = [asked for asked in (NEAR_THE_LIMIT if args.limit else SAMPLE) if args.rows in str(asked)]
    if not sample:
        sys.exit(f"no configuration's name contains {args.rows!r}")
    with Compiler(None) as compiler, tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
        kept = KeptAnswers(Path(folder) if args.cold else None)
        foresight = Foresight(compiler, kept, installed(None), lambda line: print(line, file=sys.stderr, flush=True))
        if args.cold:
            compiler.warm_up(question_of(sample[0], args.configs))
        done = (limits if args.limit else table)(foresight, sample, args.configs)
    sys.exit(0 if done else 1)


if __name__ == "__main__":
    main()
