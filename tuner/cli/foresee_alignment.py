"""`tuner foresee alignment`: what page alignment changes in steps, padding and waiting on a TPU that is not here."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import engine_python_option, examples, json_option, print_json
from tuner.cli.search_options import borrow_option, numbers, own_words, words

if TYPE_CHECKING:
    from tuner.core.contract import EngineSettings, LoadPlan
    from tuner.launchers.alignment_effect import Place, Prediction, Row
    from tuner.setup.config import StudyConfig
    from tuner.setup.models import ResolvedModel
    from tuner.workload.spec import WorkloadSpec

_STUDY = "foresee"  # a configuration needs a name; nothing is stored under it
PAGE_SIZES, BUDGETS = (16, 32, 64, 128, 256), (512, 1024, 2048, 4096, 8192)


@dataclass(frozen=True)
class Played:
    """A workload in a closed loop, as it was played in one place; `rows` by cell and arm."""

    workload: str
    requests: int
    place: Place
    max_model_len: int
    rows: list[Row]


@click.command(
    epilog=examples(
        "tuner foresee alignment --model tiny-qwen3 --accelerator v6e,v5e --workload chat --page-sizes 16,256 --chunk-budgets 512,2048",
        "tuner foresee alignment --model Qwen/Qwen3-8B --accelerator v6e --workload azure:code.csv --requests 200 --summary",
        "tuner foresee alignment --model Qwen/Qwen3-8B --accelerator 7x --borrow v6e --workload chat --page-sizes 128 --json",
    )
)
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    metavar="MODEL",
    help="A folder or file with config.json, a Hugging Face id, or tiny-qwen3. Repeat the option for several.",
)
@click.option(
    "--accelerator",
    "accelerators",
    required=True,
    callback=words,
    metavar="TPU,TPU",
    help="TPUs, such as v5e, v6e-4 or 7x; without a number: as many devices as the model needs.",
)
@click.option(
    "--workload", "workloads", required=True, multiple=True, metavar="W", help="As for tuner search. Repeat the option for several."
)
@click.option("--page-sizes", callback=numbers, metavar="N,N", help="Tokens per KV block.  [default: 16,32,64,128,256]")
@click.option("--chunk-budgets", callback=numbers, metavar="N,N", help="Tokens per engine step.  [default: 512,1024,2048,4096,8192]")
@click.option(
    "--arms",
    callback=words,
    metavar="ARM,ARM",
    help="default, strict, demote and fill_bucket; default always belongs to it.  [default: all]",
)
@click.option(
    "--requests", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="The first N requests of each workload."
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=32, show_default=True, metavar="N", help="Requests that are in the engine at once."
)
@click.option("--max-model-len", type=int, metavar="N", help="Most tokens of one request.  [default: from the workload]")
@borrow_option
@click.option("--summary", is_flag=True, help="Print only the summary: a line for each workload and cell, over all models and TPUs.")
@engine_python_option
@json_option
def alignment(*, summary: bool, as_json: bool, **options: Any) -> None:
    """What does page alignment change in steps, padding and waiting, on TPUs that are not here?

    vLLM's real scheduler plays the first requests in a closed loop, where it decides the same however long steps take: what it decides is
    exact. Throughput and TTFT are predicted where step times are known. Nothing is measured.
    """
    from tuner.cli.interrupts import interruptible

    played = []
    with interruptible(), own_words():
        for found in _played(options):
            played.append(found)
            if not (as_json or summary):
                print(_table(found), flush=True)
    if as_json:
        print_json({"concurrency": options["concurrency"], "marks": _legend(), "rows": [line for found in played for line in _json(found)]})
    else:
        print(summary_of(played))
        print("\n".join(f"{mark}: {meaning}" for mark, meaning in _legend().items()))


def _played(options: dict[str, Any]) -> Iterator[Played]:
    from tuner.foresight.fitted import step_times_for
    from tuner.foresight.questions import foreseeable_model
    from tuner.foresight.simulated_chip import SimulatedChip
    from tuner.launchers.alignment_effect import place_of, rows_of
    from tuner.launchers.choice import check_python
    from tuner.launchers.simulate import SimulateLauncher

    arms = _arms(options["arms"])
    config = _config(options, arms)
    if config.engine_python is not None:
        check_python(config.engine_python)
    if config.borrow is not None:
        step_times_for("", config.borrow)  # or there is nothing to borrow
    specs = [_closed_loop(text, options["requests"], options["concurrency"]) for text in options["workloads"]]
    asked = []
    for name in options["models"]:
        model = foreseeable_model(name)
        for spec in specs:
            settings, plan = _engine(config, model, spec, options["concurrency"])
            places = [place_of(model, accelerator, settings, config.borrow) for accelerator in options["accelerators"]]
            asked += [(spec, settings, plan, place) for place in places]
        model.prepare()
    cells = [(page, budget) for page in config.page_sizes or () for budget in config.chunk_budgets]
    with ExitStack() as ending:
        logs = ending.enter_context(tempfile.TemporaryDirectory(prefix="tuner-foresee-", ignore_cleanup_errors=True))
        launcher = SimulateLauncher(SimulatedChip("", None, 1, None, None), log_dir=Path(logs), python=config.engine_python)
        ending.callback(launcher.close)
        _say("importing vLLM")
        for spec, settings, plan, place in asked:
            rows = sorted(rows_of(launcher, place, settings, plan, cells, arms), key=lambda row: cells.index((row.page_size, row.budget)))
            _say(f"{_short(spec.name)}, {_short(place.model.name)} on {place.name}: done")
            yield Played(spec.name, len(plan.requests), place, settings.max_model_len, rows)


def _arms(asked: list[str] | None) -> list[str]:
    """In the order of ARMS, default among them. Raises BadInput."""
    from tuner.core.errors import BadInput
    from tuner.launchers.alignment_effect import ARMS

    for arm in asked or ():
        if arm not in ARMS:
            raise BadInput(f"{arm!r} is unknown", setting="arms", fix=f"use some of {', '.join(ARMS)}, separated by commas")
    return [arm for arm in ARMS if asked is None or arm in asked or arm == ARMS[0]]


def _config(options: dict[str, Any], arms: Sequence[str]) -> StudyConfig:
    """As settings of a search. Raises BadInput."""
    from tuner.setup.config_file import load_config

    given = {name: options[name] for name in ("max_model_len", "engine_python", "borrow") if options[name] is not None}
    given |= {"page_sizes": options["page_sizes"] or list(PAGE_SIZES), "chunk_budgets": options["chunk_budgets"] or list(BUDGETS)}
    given |= {"model": options["models"][0], "accelerator": options["accelerators"][0], "launcher": "simulate"}
    given |= {"alignment_variant": "strict" if "strict" in arms else "demote", "max_num_seqs": options["concurrency"]}
    return load_config(None, given, unnamed=_STUDY)


def _closed_loop(text: str, requests: int, concurrency: int) -> WorkloadSpec:
    """The first requests of a workload, whatever sends them otherwise."""
    from tuner.workload.sources import DRAWN, Load
    from tuner.workload.spec import WorkloadSpec

    spec = WorkloadSpec.parse(text)
    source = spec.source
    name = DRAWN.get(type(source), "max_requests")
    most = getattr(source, name)
    source = source.model_copy(update={name: requests if most is None else min(requests, most)})
    return spec.model_copy(update={"source": source, "load": Load(max_concurrency=concurrency)})


def _engine(config: StudyConfig, model: ResolvedModel, spec: WorkloadSpec, concurrency: int) -> tuple[EngineSettings, LoadPlan]:
    from tuner.setup.study_setup import max_model_len_of, shared_engine

    max_model_len = max_model_len_of(config, model, spec)
    plan = spec.plan(model.vocab_size, max_model_len)
    for warning in spec.warnings(plan, max_model_len):
        _say(f"warning: {warning}")
    settings = shared_engine(config, model, max_num_seqs=concurrency, max_model_len=max_model_len)
    return settings.with_changes(model=model.name, block_size=max(config.page_sizes or ())), plan


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _short(name: str) -> str:
    """Without the folders that a name may hold."""
    return re.sub(r"[^\s,:=]*/", "", name)


def _legend() -> dict[str, str]:
    return {
        "exact": "decided by vLLM's scheduler in a closed loop, whatever a step takes, given the KV pages that are named",
        "predicted": "with the interval of step times that were measured elsewhere",
        "measured": "nothing here is",
    }


def _json(found: Played) -> Iterator[dict[str, Any]]:
    for row in found.rows:
        yield {"workload": found.workload, "requests": found.requests, "max_model_len": found.max_model_len, **row.to_json()}


def _table(found: Played) -> str:
    from tuner.cli.tables import text_table

    place = found.place
    lengths = f"{found.requests} requests of at most {found.max_model_len} tokens"
    lines = [f"{_short(found.workload)} ({lengths}), {_short(place.model.name)} on {place.name}"]
    if place.no_prediction is not None:
        lines.append(f"no prediction: {place.no_prediction}")
    elif place.chip.borrowed:
        lines.append(f"predicted with step times BORROWED from a {place.chip.borrowed}")
    headers = ["page", "budget", "arm", "KV pages", "steps", "padded tokens", "chunks", "held back", "steps to 1st token"]
    timed = ["tokens/s, predicted", "TTFT p50 ms, predicted"] if place.no_prediction is None else []
    rows = [[*_cells(row), *(_predicted(value) for value in (row.throughput, row.ttft_ms) if value is not None)] for row in found.rows]
    return "\n".join([*lines, text_table([*headers, *timed], rows), ""])


def _cells(row: Row) -> list[str]:
    counts = row.counts
    exact = (counts.steps, counts.padded_tokens, counts.prefill_chunks, counts.held_back_tokens)
    return [str(row.page_size), str(row.budget), row.arm, str(row.pages), *(f"{count:,}" for count in exact), f"{counts.ttft_steps:.1f}"]


def _predicted(value: Prediction) -> str:
    return f"{value.value:,.0f} ({value.low:,.0f} to {value.high:,.0f})"


def summary_of(played: Sequence[Played]) -> str:
    """A line for each workload and cell, over all places: default's own counts, and the change of each other arm."""
    from tuner.cli.tables import text_table

    lines = list(dict.fromkeys((found.workload, row.page_size, row.budget) for found in played for row in found.rows))
    arms = list(dict.fromkeys(row.arm for found in played for row in found.rows if row.arm != "default"))
    rows = []
    for workload, page_size, budget in lines:
        pairs = {arm: _pairs(played, (workload, page_size, budget), arm) for arm in ["default", *arms]}
        own = [row.counts for row, _ in pairs["default"]]
        counts = [
            _from_to([f"{steps:,}" for steps in sorted(count.steps for count in own)]),
            _from_to([f"{wait:.1f}" for wait in sorted(count.ttft_steps for count in own)]),
        ]
        rows.append([_short(workload), str(page_size), str(budget), *counts, *(_changes(pairs[arm]) for arm in arms)])
    headers = ["workload", "page", "budget", "steps", "to 1st token", *arms]
    what = "of an arm, the change against default: steps | padded tokens | steps to 1st token | tokens/s, predicted | TTFT p50, predicted"
    return f"{what}\n{text_table(headers, rows)}"


def _pairs(played: Sequence[Played], cell: tuple[str, int, int], arm: str) -> list[tuple[Row, Row]]:
    """(its row, default's) of each place."""
    found = []
    for item in played:
        rows = {row.arm: row for row in item.rows if (item.workload, row.page_size, row.budget) == cell}
        found += [(rows[arm], rows["default"])] if rows else []
    return found


def _changes(pairs: Sequence[tuple[Row, Row]]) -> str:
    steps = [row.counts.steps / base.counts.steps for row, base in pairs]
    padded = [row.counts.padded_tokens / base.counts.padded_tokens for row, base in pairs]
    waits = [row.counts.ttft_steps / base.counts.ttft_steps for row, base in pairs]
    speeds = _ratios([(row.throughput, base.throughput) for row, base in pairs])
    ttfts = _ratios([(row.ttft_ms, base.ttft_ms) for row, base in pairs])
    timed = [_spread(ratios) for ratios in (speeds, ttfts)] if speeds else ["no prediction"]
    return " | ".join([*(_spread(ratios) for ratios in (steps, padded, waits)), *timed])


def _ratios(pairs: Sequence[tuple[Prediction | None, Prediction | None]]) -> list[float]:
    return [value.value / base.value for value, base in pairs if value is not None and base is not None]


def _spread(ratios: Sequence[float]) -> str:
    from tuner.core.numbers import change

    return _from_to([change(ratio) for ratio in sorted(ratios)])


def _from_to(texts: Sequence[str]) -> str:
    """The first and the last, or the one."""
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"
