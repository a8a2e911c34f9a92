"""`tuner foresee`: what the compiler says of engines for a TPU that is not here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.foresee_alignment import alignment
from tuner.cli.foresee_kernel import kernel
from tuner.cli.foresee_options import compiled_engine_options, model_option
from tuner.cli.foresee_profile import profile
from tuner.cli.options import beside, engine_python_option, examples, json_option, print_json, storage_option
from tuner.cli.search_options import engine_arg_option, numbers, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.foresight.question import Foreseen

GIB = 1024**3
_STUDY = "foresee"  # a configuration needs a name; nothing is stored under it


@click.group(
    epilog=examples(
        "tuner foresee check --model Qwen/Qwen3-0.6B --accelerator v6e-1 --page-sizes 16,64 --chunk-budgets 1024",
    )
)
def foresee() -> None:
    """Compile an engine for a TPU that is not here: does it fit, for how many requests, and what is inside?

    libtpu compiles without a TPU, and the model needs no weights: its config.json is enough.
    """


foresee.add_command(profile)
foresee.add_command(alignment)
foresee.add_command(kernel)


@foresee.command(
    epilog=examples(
        "tuner foresee check --model Qwen/Qwen3-8B --accelerator v6e-1,v5e-1                # every page size, default budgets",
        "tuner foresee check --model ./config.json --accelerator v6e-4 --tensor-parallel-size 4 --page-sizes 64,128 --chunk-budgets 2048",
        "tuner foresee check --model Qwen/Qwen3-0.6B --accelerator v6e-1 --max-model-len 40960 --page-sizes 16,64 --json",
    )
)
@model_option
@click.option(
    "--accelerator",
    "accelerators",
    required=True,
    callback=words,
    metavar="TPU,TPU",
    help="TPUs to compile for: v5e-N, v5p-N, v6e-N, 7x-N; a name without a number: as many devices as the engine needs.",
)
@click.option("--page-sizes", callback=numbers, metavar="N,N", help="Tokens per KV block.  [default: 16,32,64,128,256]")
@click.option("--chunk-budgets", callback=numbers, metavar="N,N", help="Tokens per engine step.  [default: 512,1024,2048]")
@compiled_engine_options
@click.option("--num-gpu-blocks", type=int, metavar="N", help="Pages in the KV cache.  [default: the engine decides]")
@engine_arg_option
@click.option(
    "--all-buckets",
    is_flag=True,
    help="Compile every program that the engine would compile, not only the two that decide: its largest step and one of decodes only.",
)
@engine_python_option
@storage_option
@json_option
@click.pass_context
def check(
    context: click.Context, /, *, accelerators: list[str], kv_cache_dtype: str | None, all_buckets: bool, as_json: bool, **options: Any
) -> None:
    """Does each page size and chunk budget compile and fit, on each TPU?

    For each, an engine is built without weights and its programs are compiled for that TPU, in a process that uses no device. Answers are
    kept below TUNER_CACHE, and in the database where there is one, so that the second asking takes no time. Page-aligned scheduling runs
    the same programs as vLLM's own.
    """
    from tuner.cli.interrupts import interruptible

    with interruptible():
        found = _found(accelerators, kv_cache_dtype, options, all_buckets=all_buckets)
    if as_json:
        print_json({"answers": [answer.to_json() for answer in found]})
    else:
        _print(found)
    context.exit(0 if any(answer.verdict != "not known" for answer in found) else 1)


def _found(accelerators: list[str], kv_cache_dtype: str | None, options: dict[str, Any], *, all_buckets: bool) -> list[Foreseen]:
    from tuner.foresight.check import Foresight
    from tuner.foresight.compiler import Compiler
    from tuner.foresight.installed import installed
    from tuner.foresight.kept import KeptAnswers
    from tuner.foresight.questions import foreseeable_model, questions_of
    from tuner.launchers.choice import check_python
    from tuner.serving.engine_arg_names import check_engine_arg_names
    from tuner.setup.config_file import load_config

    url = options.pop("storage")
    given = {name: value for name, value in options.items() if value is not None}
    if kv_cache_dtype is not None:
        given["engine_args"] = {**given.get("engine_args", {}), "kv_cache_dtype": kv_cache_dtype}
    config = load_config(None, {**given, "arms": ["default"]}, unnamed=_STUDY)
    python = config.engine_python
    if python is not None:
        check_python(python)
    check_engine_arg_names(config.engine_args, python)
    model = foreseeable_model(config.model)
    questions = questions_of(config, model, accelerators)
    known = installed(python)
    model.prepare()
    with beside(url, say) as storage, Compiler(python) as compiler:
        return list(Foresight(compiler, KeptAnswers(storage=storage), known, say).answer(questions, all_programs=all_buckets))


def say(line: str) -> None:
    """Progress, not part of the answer."""
    print(line, file=sys.stderr, flush=True)


def _print(found: Sequence[Foreseen]) -> None:
    from tuner.cli.tables import text_table

    headers = ["TPU", "page", "budget", "verdict", "weights GiB", "KV pages GiB", "left GiB", "requests"]
    rows = [
        [
            answer.question.target.name,
            str(answer.question.engine.block_size),
            str(answer.question.engine.max_num_batched_tokens),
            answer.verdict.value,
            _gib(answer.prepared.weight_bytes if answer.prepared is not None and answer.prepared.pages else None),
            _gib(answer.pool_bytes),
            _gib(answer.hbm_left_bytes),
            "" if answer.most_requests is None else str(answer.most_requests),
        ]
        for answer in found
    ]
    print(text_table(headers, rows))
    for answer in found:
        if answer.reason is not None:
            engine = answer.question.engine
            where = f"{answer.question.target.name} page {engine.block_size} budget {engine.max_num_batched_tokens}"
            print(f"{where}: {answer.kind or 'not known'}: {answer.reason}")
    lengths = {answer.question.engine.max_model_len for answer in found}
    print(f"on each device; requests: of {', '.join(map(str, sorted(lengths)))} tokens that the KV pages hold at once")


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.2f}"
