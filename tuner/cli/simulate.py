"""`tuner simulate`: goodput against rate, by vLLM's real scheduler under predicted step times. No engine runs, nothing is measured."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.foresee_options import model_option
from tuner.cli.options import beside, engine_python_option, examples, json_option, print_json, storage_option
from tuner.cli.search_options import (
    SIZES,
    accelerator_option,
    borrow_option,
    engine_arg_option,
    own_words,
    step_noise_option,
    step_time_option,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.records import ForesightAnswer
    from tuner.engine.step_costs import StepCosts
    from tuner.foresight.simulated_chip import SimulatedChip
    from tuner.launchers.kept_rates import Simulation
    from tuner.launchers.rate_sweep import RatePoint
    from tuner.setup.config import StudyConfig
    from tuner.setup.models import ResolvedModel

_STUDY = "simulate"  # a configuration needs a name; nothing is stored under it
DEFAULT_SLOS = ("ttft_p99_ms<=1000", "tpot_p99_ms<=100")
MOST_SEEDS = 100  # each is a plan of its own, simulated three times a point
_BAR = 40  # characters of the longest bar


def rates(_context: click.Context, _parameter: click.Parameter, text: str) -> list[float]:
    """1,2,4.5 -> [1.0, 2.0, 4.5]. Raises BadInput."""
    import math

    from tuner.core.errors import BadInput

    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(math.isfinite(rate) and rate > 0 for rate in found):
        raise BadInput("is no list of requests/s above 0", setting="rates", value=repr(text), fix="write for instance --rates 1,2,4,8")
    return found


@click.command(
    epilog=examples(
        "tuner simulate --model tiny-qwen3 --workload chat --accelerator v6e-1 --rates 8,16,32",
        "tuner simulate --model Qwen/Qwen3-8B --workload mooncake:conversation_trace.jsonl --accelerator v6e-1 --rates 1,2,4,8",
        "tuner simulate --model Qwen/Qwen3-8B --workload azure:code.csv --accelerator v6e-1 --rates 2,4 --page-size 64 --json",
        "tuner simulate --model Qwen/Qwen3-8B --workload chat --step-time steps.yaml --rates 4,8,16 --slo 'ttft_p99_ms<=500'",
    )
)
@model_option
@click.option("--workload", required=True, metavar="W", help="As for tuner search; its requests arrive at the rates below.")
@accelerator_option
@click.option("--rates", required=True, callback=rates, metavar="R,R", help="Requests per second, several separated by commas.")
@click.option("--slo", "slos", multiple=True, metavar="LIMIT", help=f"What a good request meets.  [default: {' and '.join(DEFAULT_SLOS)}]")
@click.option("--page-size", type=click.IntRange(min=1), metavar="N", help="Tokens per KV block.  [default: vLLM's own]")
@click.option("--chunk-budget", type=click.IntRange(min=1), metavar="N", help="Tokens per engine step.  [default: vLLM's own]")
@click.option("--arms", callback=words, metavar="ARM,ARM", help="Schedulers: default, page_aligned, or both.  [default: both]")
@click.option(
    "--max-num-seqs", type=click.IntRange(min=1), metavar="N", help="Most requests that run at once.  [default: 128, at most the budget]"
)
@click.option("--max-model-len", type=int, metavar="N", help="Most tokens of one request.  [default: from the workload]")
@click.option("--num-gpu-blocks", type=int, metavar="N", help="Pages in the KV cache.  [default: what the chip leaves]")
@click.option("--tensor-parallel-size", type=int, metavar="N", help="Devices that one model is split over.  [default: 1]")
@engine_arg_option
@step_time_option
@borrow_option
@step_noise_option
@click.option(
    "--seeds", type=click.IntRange(1, MOST_SEEDS), default=3, show_default=True, metavar="N", help="Draws of requests and of noise."
)
@engine_python_option
@storage_option
@json_option
def simulate(*, rates: list[float], seeds: int, storage: str, as_json: bool, **options: Any) -> None:
    """How many requests per second are served well, at which rate, on a TPU that is not here? Predicted, never measured.

    vLLM's real scheduler plays the workload in virtual time; how long a step takes is predicted, and the interval says how well that is
    known. Only v6e has predictions; --step-time takes your own. A database that is there keeps them, for tuner recommend --accept
    predicted.
    """
    from tuner.cli.interrupts import interruptible

    with interruptible(), own_words():
        header, points = _simulated(options, rates, seeds, storage)
    if as_json:
        print_json({**header, "points": [asdict(point) for point in points]})
    else:
        _print(header, points)


def _simulated(options: dict[str, Any], asked: Sequence[float], seeds: int, url: str) -> tuple[dict[str, Any], list[RatePoint]]:
    """What was simulated, in words and settings, and its points."""
    from tuner.core.contract import LiveSettings
    from tuner.foresight.questions import foreseeable_model, model_hash
    from tuner.foresight.simulated_chip import simulated_chip
    from tuner.launchers.choice import check_launcher
    from tuner.launchers.kept_rates import Simulation
    from tuner.launchers.rate_sweep import open_loops, sweep
    from tuner.launchers.simulate import SimulateLauncher
    from tuner.metrics.objective import request_limits
    from tuner.setup.study_setup import max_model_len_of, shared_engine
    from tuner.workload.spec import WorkloadSpec

    config = _config(options)
    check_launcher(config)
    specs = open_loops(WorkloadSpec.parse(str(config.workload)), seeds)
    model = foreseeable_model(config.model)
    max_model_len = max(max_model_len_of(config, model, spec) for spec in specs)
    page_size, budget, max_num_seqs = _sizes(config, options, max_model_len, model)
    settings = shared_engine(config, model, max_num_seqs=max_num_seqs, max_model_len=max_model_len).with_changes(
        block_size=page_size, max_num_batched_tokens=budget
    )
    limits = request_limits(config.objectives, config.limits)
    plans = [spec.plan(model.vocab_size, max_model_len) for spec in specs]
    for warning in specs[0].warnings(plans[0], max_model_len):
        _say(f"warning: {warning}")
    model.prepare()
    chip = simulated_chip(config.accelerator, config.step_time, config.borrow, config.step_noise)
    with ExitStack() as ending:
        logs = ending.enter_context(tempfile.TemporaryDirectory(prefix="tuner-simulate-", ignore_cleanup_errors=True))
        launcher = SimulateLauncher(chip, log_dir=Path(logs), python=config.engine_python, seed=config.seed)
        ending.callback(launcher.close)
        _say("importing vLLM")
        session = launcher.open_for(settings, model.features, config.engine_start_timeout)
        points = []
        for point in sweep(session, plans, asked, [LiveSettings(arm, budget) for arm in config.arms], limits=limits, seeds=seeds):
            points.append(point)
            _say(f"{point.rate:g} requests/s, {point.arm}: done in {point.wall_s:.1f} s")
        effective = session.report.effective
    shared = Simulation(
        settings=settings,
        model_hash=model_hash(model),
        accelerator="" if chip.limits is None else chip.limits.name,
        device_count=chip.devices,
        workload=specs[0].name,
        plans=plans,
        limits=tuple(str(slo) for slo in config.limits),
        costs=session.costs,
        versions=session.report.environment["versions"],
    )
    if shared.accelerator:  # else nobody knows what it is a prediction for
        _keep(url, [shared.kept(point) for point in points])
    return _header(config, chip, session.costs, shared, effective), points


def _header(config: StudyConfig, chip: SimulatedChip, costs: StepCosts, shared: Simulation, effective: dict[str, Any]) -> dict[str, Any]:
    """What was simulated, for people and programs."""
    return {
        "status": "predicted",
        "accelerator": chip.accelerator,
        "step_times": chip.source,
        "step_time_interval": [costs.low, costs.high],
        "model": config.model,
        "workload": shared.workload,
        "requests": len(shared.plans[0].requests),
        "slos": list(shared.limits),
        "settings": {
            name: effective[name] for name in ("block_size", "max_num_batched_tokens", "max_num_seqs", "max_model_len", "num_gpu_blocks")
        },
    }


def _keep(url: str, answers: Sequence[ForesightAnswer]) -> None:
    """In the database, where there is one; nothing fails for it."""
    from storage.base import StorageFault

    with beside(url, _say) as storage:
        try:
            if storage is not None:
                storage.put_foresight(answers)
        except StorageFault as error:
            _say(f"warning: the predictions are not kept: {error}")


def _config(options: dict[str, Any]) -> StudyConfig:
    """As settings of a search, which has lists of page sizes and budgets. Raises BadInput.

    Where no budget is given, its list holds one that refuses nothing, and max_num_seqs is left out: vLLM's own budget depends on the
    lengths, and _sizes checks with it.
    """
    from tuner.setup.config import LARGEST_SIZE
    from tuner.setup.config_file import load_config

    given = {name: value for name, value in options.items() if value is not None and name not in (*SIZES, "slos", "max_num_seqs")}
    for name, setting in SIZES.items():
        if options[name] is not None:
            given[setting] = [options[name]]
    given.setdefault("chunk_budgets", [LARGEST_SIZE])
    given.update(objective="goodput", slos=list(options["slos"] or DEFAULT_SLOS), launcher="simulate")
    return load_config(None, given, unnamed=_STUDY)


def _sizes(config: StudyConfig, options: dict[str, Any], max_model_len: int, model: ResolvedModel) -> tuple[int, int, int]:
    """Page size, chunk budget and max_num_seqs, vLLM's own where none is given. Raises BadInput where they do not go together."""
    from tuner.setup.config import check_config
    from tuner.setup.study_setup import MAX_DEFAULT_SEQS
    from tuner.setup.vllm_defaults import is_mla, vllm_defaults

    most_seqs = options["max_num_seqs"] or MAX_DEFAULT_SEQS
    own = vllm_defaults(max_model_len, most_seqs, config.engine_args, mla=is_mla(model.features))
    page_size, budget = options["page_size"] or own.block_size, options["chunk_budget"] or own.max_num_batched_tokens
    sizes = {"page_sizes": (page_size,), "chunk_budgets": (budget,), "max_num_seqs": options["max_num_seqs"]}
    check_config(config.model_copy(update=sizes))
    return page_size, budget, min(most_seqs, budget)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(header: dict[str, Any], points: Sequence[RatePoint]) -> None:
    from tuner.cli.tables import text_table

    settings = ", ".join(f"{name} {value}" for name, value in header["settings"].items())
    print(f"{header['accelerator']}, {header['model']}, {header['workload']} ({header['requests']} requests): {settings}")
    print(f"predicted, not measured: step times {header['step_times']}, true / predicted in {_span(*header['step_time_interval'])}")
    print(f"goodput: requests/s with {' and '.join(header['slos'])}\n")
    headers = ["rate", "arm", "goodput", "interval", "served", "TTFT p50 ms", "TTFT p99 ms", "TPOT p50 ms"]
    rows = [
        [
            f"{point.rate:g}",
            point.arm,
            f"{point.goodput:.2f}",
            _span(point.low, point.high),
            f"{point.metrics['request_throughput']:.2f}",
            *(f"{point.metrics[name]:,.0f}" if name in point.metrics else "" for name in ("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms")),
        ]
        for point in points
    ]
    print(text_table(headers, rows))
    print()
    print(chart(points))


def _span(low: float, high: float) -> str:
    return f"{low:.2f} to {high:.2f}"


def chart(points: Sequence[RatePoint]) -> str:
    """Bars of goodput: `#` up to the lower end of the interval, `=` up to the value, `-` up to the upper end."""
    longest = max((point.high for point in points), default=0.0)
    scale = _BAR / longest if longest > 0 else 0.0
    lines = ["goodput by rate (# lower end of the interval, = predicted, - upper end)"]
    for point in points:
        low, value, high = (round(scale * end) for end in (point.low, point.goodput, point.high))
        bar = "#" * low + "=" * (value - low) + "-" * (high - value)
        lines.append(f"{point.rate:>8g}  {point.arm:<12}  {bar}")
    return "\n".join(lines)
