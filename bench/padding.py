"""What each variant of page alignment does to steps and padding, by vLLM's real scheduler; no engine runs and nothing is timed.

    python -m bench.padding [--workloads demo,prefill-heavy,chat] [--variants demote,fill_bucket] [--json]

Every workload of the table CASES with its page sizes and chunk budgets, in a closed loop, once with alignment off ("default") and once for
each variant. All chunk budgets of a workload share the compiled sizes of the largest one, as in a search. Printed for each: engine steps /
padded tokens, the change of padded tokens against default, and the mean number of steps to a request's first token.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.lib.real_engine import say
from bench.lib.real_scheduler import RealScheduler, ScheduledSteps
from tuner.core.contract import EngineSettings
from tuner.setup.models import resolve_model
from tuner.workload.spec import WorkloadSpec

DEFAULT = "default"


@dataclass(frozen=True)
class Case:
    max_num_seqs: int
    max_model_len: int
    page_sizes: tuple[int, ...]
    chunk_budgets: tuple[int, ...]


CASES = {
    "demo": Case(8, 512, (16, 32, 64, 128), (128, 256, 512)),  # as make demo
    "mixed-small": Case(8, 512, (16, 64, 128), (128, 256, 512)),
    "prefill-heavy": Case(16, 2080, (16, 64, 128, 256), (256, 512, 2048)),  # long prompts
    "chat": Case(32, 3072, (16, 128, 256), (512, 2048)),
    "decode-heavy": Case(16, 640, (16, 128), (128, 512)),
}


@dataclass(frozen=True)
class Row:
    """One cell; `steps`: by "default" and the variants."""

    workload: str
    page: int
    budget: int
    steps: dict[str, ScheduledSteps]


def rows_of(workload: str, variants: Sequence[str]) -> Iterator[Row]:
    """Every cell of a workload's case. Raises KeyError for an unknown workload, ValueError for an unknown variant."""
    case, model = CASES[workload], resolve_model("tiny-qwen3")
    model.prepare()
    plan = WorkloadSpec.parse(workload).plan(model.vocab_size, case.max_model_len)
    for page in case.page_sizes:
        settings = [
            EngineSettings(
                model=model.name,
                model_path=model.path,
                block_size=page,
                max_num_batched_tokens=max(case.chunk_budgets),
                max_num_seqs=case.max_num_seqs,
                max_model_len=case.max_model_len,
                load_format=model.load_format,
                alignment_variant=variant,
            )
            for variant in variants
        ]
        schedulers = dict(zip(variants, map(RealScheduler, settings), strict=True))
        for budget in (budget for budget in case.chunk_budgets if budget >= page):
            say(f"{workload}, page size {page}, budget {budget}")
            found = {DEFAULT: schedulers[variants[0]].window(plan, budget, page_aligned=False)}
            found |= {variant: scheduler.window(plan, budget, page_aligned=True) for variant, scheduler in schedulers.items()}
            yield Row(workload, page, budget, found)


def cell_text(found: ScheduledSteps, default: ScheduledSteps) -> str:
    text = f"{found.steps:,} / {found.padded_tokens:,}"
    if found is not default:
        text += f" ({100 * (found.padded_tokens / default.padded_tokens - 1):+.1f} %)"
    return f"{text}, {found.ttft_steps:.1f}"


def print_table(rows: Sequence[Row]) -> None:
    names = list(rows[0].steps)
    print(f"| workload | page | budget | scheduled tokens | {' | '.join(names)} |")
    print("|" + "---|" * (4 + len(names)))
    for row in rows:
        default = row.steps[DEFAULT]
        texts = " | ".join(cell_text(found, default) for found in row.steps.values())
        print(f"| {row.workload} | {row.page} | {row.budget} | {default.scheduled_tokens:,} | {texts} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default=",".join(CASES))
    parser.add_argument("--variants", default="demote,fill_bucket")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of the table")
    args = parser.parse_args()
    rows = [row for workload in args.workloads.split(",") for row in rows_of(workload, args.variants.split(","))]
    if args.json:
        for row in rows:
            print(json.dumps(asdict(row)))
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
