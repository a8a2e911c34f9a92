"""`tuner foresee profile`: what is inside a step that was compiled for a TPU that is not here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.foresee_options import compiled_engine_options, looking, one_step_options
from tuner.cli.options import engine_python_option, examples, json_option, print_json
from tuner.cli.search_options import engine_arg_option, own_words

if TYPE_CHECKING:
    from tuner.foresight.look import Side
    from tuner.foresight.static_profile import StaticProfile


@click.command(
    epilog=examples(
        "tuner foresee profile --model Qwen/Qwen3-8B --accelerator v6e-1 --page-size 128",
        "tuner foresee profile --model Qwen/Qwen3-8B --accelerator v6e-1 --page-size 256 --against page_size=16 --html pages.html",
        "tuner foresee profile --model ./config.json --accelerator v6e-1 --against RPA_V3_DECODE_BLOCK_SIZES=1,2048,1,512 --json",
    )
)
@one_step_options
@click.option("--tokens", type=int, metavar="N", help="The step to look at, padded as the engine does.  [default: the chunk budget]")
@click.option(
    "--layers", type=click.IntRange(1, 8), default=1, show_default=True, metavar="N", help="Layers to compile; those of a model are alike."
)
@compiled_engine_options
@engine_arg_option
@click.option(
    "--against",
    multiple=True,
    metavar="KEY=VALUE",
    help="Look at a second program, in which this is changed: page_size, chunk_budget, tokens, accelerator, max_num_seqs, max_model_len, "
    "tensor_parallel_size, dtype, kv_cache_dtype, or RPA_V3_DECODE_, _PREFILL_ or _MIXED_BLOCK_SIZES. Repeat the option for several.",
)
@click.option("--ops", type=click.IntRange(0), default=10, show_default=True, metavar="N", help="Instructions to list, costliest first.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page with charts, too.")
@engine_python_option
@json_option
@click.pass_context
def profile(context: click.Context, /, *, against: tuple[str, ...], ops: int, html: Path | None, as_json: bool, **options: Any) -> None:
    """What does the compiler make of a step: flops, bytes and cycles by category, and the code of its kernels?

    One step is compiled for that TPU in a process that uses no device, and libtpu's dump of the code is read: bundles by unit, spills and
    fills. Nothing is run. Exit code 1: nothing can be known.
    """
    from tuner.cli.foresee_profile_view import print_difference, print_profile
    from tuner.cli.interrupts import interruptible
    from tuner.core.errors import TrialFailed
    from tuner.foresight.profile_difference import difference

    with interruptible(), own_words():
        try:
            sides, found = _found(against, options)
        except TrialFailed as error:
            click.echo(f"not known: {error}", err=True)
            context.exit(1)
    compared = difference(found[0], found[1]) if against else None
    if html is not None:
        _write_page(html, sides, found)
    if as_json:
        document = [{**_settings(side), **each.to_json()} for side, each in zip(sides, found, strict=True)]
        print_json({"profiles": document, "difference": None if compared is None else compared.to_json()})
        return
    for side, each in zip(sides, found, strict=True):
        print_profile(title(side, each), each, ops)
    if compared is not None:
        print_difference(compared)


def _found(against: tuple[str, ...], options: dict[str, Any]) -> tuple[list[Side], list[StaticProfile]]:
    from tuner.cli.foresee import say
    from tuner.foresight.sides import changes, side_of

    with looking(options, say) as look:
        sides = [side_of(options), *([side_of({**options, **changes(against)})] if against else [])]
        return sides, [look.at(side) for side in sides]


def _settings(side: Side) -> dict[str, Any]:
    engine = side.question.engine
    return {
        "accelerator": side.question.target.name,
        "model": engine.model,
        "block_size": engine.block_size,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "max_num_seqs": engine.max_num_seqs,
        "max_model_len": engine.max_model_len,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "environment": dict(side.environment),
    }


def title(side: Side, found: StaticProfile) -> str:
    """v6e-1, page size 64, a step of 128 tokens, 1 layer."""
    engine, layers = side.question.engine, "1 layer" if found.layers == 1 else f"{found.layers} layers"
    changed = "".join(f", {name}={value}" for name, value in side.environment.items())
    return f"{side.question.target.name}, page size {engine.block_size}, a step of {found.tokens:,} tokens, {layers}{changed}"


def _write_page(path: Path, sides: list[Side], found: list[StaticProfile]) -> None:
    from tuner.cli.foresee_profile_page import page
    from tuner.core.errors import BadInput

    try:
        path.write_text(page([(title(side, each), each) for side, each in zip(sides, found, strict=True)]), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--html {path}: cannot be written ({error.strerror}); choose another file") from error
