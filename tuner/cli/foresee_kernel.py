"""`tuner foresee kernel`: RPA's block sizes by what can be known of them without a TPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tuner.cli.foresee_options import compiled_engine_options, looking, one_step_options
from tuner.cli.options import engine_python_option, examples, json_option, print_json
from tuner.cli.search_options import engine_arg_option, own_words

if TYPE_CHECKING:
    from tuner.foresight.kernel_blocks import Candidate, Sizes
    from tuner.foresight.look import Side
    from tuner.foresight.tuned_blocks import Tuned

_BEST = 3


@click.command(
    epilog=examples(
        "tuner foresee kernel --model Qwen/Qwen3-8B --accelerator v6e-1 --page-size 128                    # the decode kernel",
        "tuner foresee kernel --model Qwen/Qwen3-8B --accelerator v6e-1 --page-size 128 --case mixed --json",
        "tuner foresee kernel --model ./config.json --accelerator 7x-1 --blocks 1,2048,1,512 --blocks 1,4096,1,1024",
    )
)
@one_step_options
@click.option(
    "--case",
    type=click.Choice(["decode", "mixed"]),
    default="decode",
    show_default=True,
    help="The kernel of requests that decode, or of those that prefill beside them.",
)
@click.option(
    "--blocks",
    multiple=True,
    metavar="BQ,BKV,BQC,BKVC",
    help="Block sizes to compile, as RPA_V3_*_BLOCK_SIZES. Repeat the option for several.  [default: what is sensible for the shape]",
)
@compiled_engine_options
@engine_arg_option
@engine_python_option
@json_option
@click.pass_context
def kernel(context: click.Context, /, *, case: str, blocks: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Which block sizes of the attention kernel are worth measuring?

    Each is compiled for that TPU (one layer, about a minute on two cores; answers are kept), in a process that uses no device, and ranked
    by the code that libtpu makes: bundles for one matrix product. tpu-inference's own tuned entry for the shape stands beside it. Nothing
    is run: the order is a hint what to measure first (tuner search --factor). Exit code 1: nothing can be known.
    """
    from tuner.cli.foresee import say
    from tuner.cli.interrupts import interruptible
    from tuner.core.errors import TrialFailed
    from tuner.foresight.kernel_blocks import compiled, place_of, ranked, tried
    from tuner.foresight.sides import side_of
    from tuner.foresight.tuned_tables import entry_for, installed_entries

    with interruptible(), own_words():
        given = [_sizes(case, text) for text in blocks]
        side = side_of({**options, "layers": 1})
        entries = installed_entries()
        shape = _shape(side, options)
        entry = None if shape is None else entry_for(entries, shape)
        engine = side.question.engine
        winner = None if entry is None else entry.winner
        every = given or tried(case, engine.block_size, engine.max_num_batched_tokens, engine.max_model_len, winner)
        try:
            with looking(options, say) as look:
                order = ranked(compiled(look, side, case, [None, *every], say))
        except TrialFailed as error:
            click.echo(f"not known: {error}", err=True)
            context.exit(1)
    place = None if winner is None or case == "decode" else place_of(winner, engine.block_size, order)
    if as_json:
        print_json(_document(case, side, order, entry, place, _known(entries, entry)))
    else:
        _print(case, side, order, entry, place, _known(entries, entry))


def _sizes(case: str, text: str) -> Sizes:
    from tuner.foresight.kernel_blocks import VARIABLES
    from tuner.foresight.sides import block_sizes

    bq, bkv, bq_compute, bkv_compute = map(int, block_sizes(VARIABLES[case], text).split(","))
    return bq, bkv, bq_compute, bkv_compute


def _shape(side: Side, options: dict[str, Any]) -> Tuned | None:
    """As the tables name it; None for a TPU that they do not have, or a model whose heads are not known."""
    from tuner.foresight.questions import foreseeable_model
    from tuner.foresight.tuned_blocks import Blocks, Tuned
    from tuner.foresight.tuned_tables import TPU_NAMES

    features, engine = foreseeable_model(options["model"]).features, side.question.engine
    tpu = TPU_NAMES.get(side.question.target.name.partition("-")[0])
    heads, kv_heads, head_size = (features.get(name) for name in ("heads", "kv_heads", "head_size"))
    if tpu is None or not (heads and kv_heads and head_size):
        return None
    ways = engine.tensor_parallel_size
    kv_bits = 8 if str(options.get("kv_cache_dtype") or "auto").startswith("fp8") else 16
    return Tuned(
        tpu=tpu,
        page=engine.block_size,
        query_bits=16,
        kv_bits=kv_bits,
        query_heads=max(1, heads // ways),
        kv_heads=max(1, kv_heads // ways),
        head_size=head_size,
        max_model_len=engine.max_model_len,
        winner=Blocks(0, 0),
    )


def _known(entries: list[Tuned], entry: Tuned | None) -> dict[str, Any] | None:
    """How often the winner of the same TPU's entries is among the best of a ranking that needs no compiler."""
    from tuner.foresight.tuned_blocks import among_best, by_trips, by_vmem

    same = [each for each in entries if entry is not None and each.tpu == entry.tpu]
    if not same:
        return None
    found: dict[str, Any] = {"tpu": same[0].tpu, "entries": len(same), "best": _BEST}
    for name, rank in (("fewest_rounds", by_trips), ("smallest_buffers", by_vmem)):
        found[name], found["by_chance"] = among_best(same, [rank(each) for each in same], _BEST)
    return found


def _document(
    case: str, side: Side, order: list[Candidate], entry: Tuned | None, place: int | None, known: dict[str, Any] | None
) -> dict[str, Any]:
    table = None if entry is None else {"pages": entry.winner.pages, "queries": entry.winner.queries, "max_model_len": entry.max_model_len}
    return {
        "case": case,
        "accelerator": side.question.target.name,
        "block_size": side.question.engine.block_size,
        "candidates": [each.to_json() for each in order],
        "tuned_entry": None if table is None else {**table, "place": place},
        "tables": known,
        "measured": False,
    }


def _print(case: str, side: Side, order: list[Candidate], entry: Tuned | None, place: int | None, known: dict[str, Any] | None) -> None:
    from tuner.cli.tables import text_table
    from tuner.core.numbers import number, share
    from tuner.foresight.bundles import BUNDLES, SCALAR, SPILLS
    from tuner.foresight.kernel_blocks import VARIABLES

    page = side.question.engine.block_size
    rows = []
    for rank, each in enumerate(order, 1):
        sizes = [str(size) for size in each.sizes or ("?",) * 4]
        word = "the engine's own" if each.given is None else ""
        if entry is not None and case != "decode" and each.is_entry(entry.winner, page):
            word = f"{word}; the table's".strip("; ")
        if each.refused is not None:
            rows.append(["-", *sizes, *[""] * 4, f"refused: {each.refused}"])
            continue
        counts = [number(each.code.get(BUNDLES), 7), number(each.matmuls, 7), number(each.each(BUNDLES), 4), number(each.each(SPILLS), 4)]
        rows.append([str(rank), *sizes, *counts, f"{number(each.code.get(SCALAR), 7)} scalar operations" + (f"; {word}" if word else "")])
    print(f"RPA {case} kernel on {side.question.target.name}, page size {page}, one layer: compiled, not run")
    headers = ["", "bq", "bkv", "bq compute", "bkv compute", "bundles", "matrix products", "bundles for one", "spills for one", ""]
    print(text_table(headers, rows))
    if entry is not None:
        where = "" if case == "decode" or place is None else f": place {place} of {sum(each.refused is None for each in order)} here"
        print(
            f"tpu-inference's tuned table for this shape (prefills, {entry.max_model_len:,} tokens; measured by its authors, for "
            f"heads of 128 with an earlier kernel): {entry.winner.pages} pages, {entry.winner.queries} queries{where}"
        )
    if known is not None:
        print(
            f"how often a table's winner is among the best {known['best']} without a compiler, in {known['entries']:,} entries of "
            f"{known['tpu']}: fewest rounds {share(known['fewest_rounds'])}, smallest buffers {share(known['smallest_buffers'])}, "
            f"by chance {share(known['by_chance'])}"
        )
    print(f"a hint what to measure first, no measurement: tuner search --factor 'env:{VARIABLES[case]}=unset;...'")
