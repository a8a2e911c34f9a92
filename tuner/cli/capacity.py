"""`tuner capacity`: the highest rate of requests, or number at once, at which one configuration meets its SLOs, in one running engine."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import engine_python_option, examples, json_option, logdir_option, print_json, reading, storage_option
from tuner.cli.search_options import (
    SIZES,
    accelerator_option,
    borrow_option,
    engine_arg_option,
    own_words,
    step_noise_option,
    step_time_option,
)
from tuner.core.errors import BadInput

if TYPE_CHECKING:
    from storage.records import CapacityRun, CapacityWindow
    from tuner.capacity.loads import LoadKind
    from tuner.capacity.question import CapacityQuestion
    from tuner.setup.config import StudyConfig

_STUDY = "capacity"  # a configuration needs a name; it names the folder of the engine's logs
LAUNCHERS = ("local", "serve", "simulate")
MOST_WINDOWS = 200
_ABOVE_0 = click.FloatRange(min=0, min_open=True)

EPILOG = examples(
    "tuner capacity --model tiny-qwen3 --workload synthetic:input=64,output=8,requests=100,rate=1 --slo 'ttft_p99_ms<=500'",
    "tuner capacity --model Qwen/Qwen3-8B --workload chat --requests 1000 --slo 'ttft_p99_ms<=500' --slo 'tpot_p99_ms<=50'",
    "tuner capacity --model Qwen/Qwen3-8B --workload chat --slo 'ttft_p99_ms<=500' --config recommended --load 40 --chip-hour-price 1.2",
    "tuner capacity --model Qwen/Qwen3-8B --workload chat --slo 'ttft_p99_ms<=500' --launcher simulate --accelerator v6e-1 --json",
    "tuner capacity --model Qwen/Qwen3-8B --workload chat --requests 1000 --slo 'tpot_p99_ms<=50' --by concurrency --load 200",
)


@click.command(epilog=EPILOG)
@click.option("--model", required=True, metavar="MODEL", help="tiny-qwen3 (built in, dummy weights), a folder, or a Hugging Face id.")
@click.option("--workload", required=True, metavar="W", help="As for tuner search; its requests arrive at the rates that are tried.")
@click.option("--slo", "slos", multiple=True, required=True, metavar="LIMIT", help="What has to hold, e.g. 'ttft_p99_ms<=500'; repeat it.")
@click.option(
    "--by",
    type=click.Choice(["rate", "concurrency"]),
    default="rate",
    show_default=True,
    help="Which load: requests/s that arrive, or requests that are there at once.",
)
@click.option(
    "--config",
    "engine_config",
    metavar="WHICH",
    default="defaults",
    show_default=True,
    help="The engine's settings: defaults (vLLM's own), recommended (by what was measured), or a YAML file for vllm serve --config.",
)
@click.option("--page-size", type=click.IntRange(min=1), metavar="N", help="Tokens per KV block; wins over --config.")
@click.option("--chunk-budget", type=click.IntRange(min=1), metavar="N", help="Tokens per engine step; wins over --config.")
@click.option("--arm", type=click.Choice(["default", "page_aligned"]), help="The scheduler; wins over --config.")
@click.option("--max-num-seqs", type=int, metavar="N", help="Most requests that run at once.  [default: 128, at most the budget]")
@click.option("--max-model-len", type=int, metavar="N", help="Most tokens of one request.  [default: from the workload]")
@click.option("--num-gpu-blocks", type=int, metavar="N", help="Pages in the KV cache.  [default: the engine decides]")
@click.option("--tensor-parallel-size", type=int, metavar="N", help="Devices that one model is split over.  [default: 1]")
@click.option("--dtype", metavar="TYPE", help="Type of weights and activations.  [default: auto]")
@engine_arg_option
@click.option(
    "--requests", type=click.IntRange(min=8), metavar="N", help="Requests of a window; a p99 needs 1000.  [default: the workload's]"
)
@click.option("--max-windows", type=click.IntRange(3, MOST_WINDOWS), metavar="N", help="Windows at most.  [default: 12]")
@click.option("--precision", type=_ABOVE_0, metavar="FRACTION", help="End when the interval is so narrow: 0.05 = +-5 %.  [default: 0.05]")
@click.option("--start", type=_ABOVE_0, metavar="LOAD", help="First load.  [default: half of what is served, or of --max-num-seqs]")
@click.option("--max-rate", "--max-load", "max_rate", type=_ABOVE_0, metavar="LOAD", help="No load above this one is tried.")
@click.option("--trial-timeout", metavar="TIME", help="Give up one window after this long, or 3 times its arrivals.  [default: 10m]")
@click.option("--engine-start-timeout", metavar="TIME", help="Give up the engine's start after this long.  [default: 20m]")
@click.option("--load", type=_ABOVE_0, metavar="LOAD", help="Say how many chips serve so many requests/s, or at once.")
@click.option(
    "--chip-hour-price", type=_ABOVE_0, metavar="PRICE", help="Say what a million tokens cost, at this price of a chip for an hour."
)
@click.option("--launcher", type=click.Choice(LAUNCHERS), default="local", show_default=True, help="What runs the model.")
@accelerator_option
@step_time_option
@borrow_option
@step_noise_option
@click.option("--platform", type=click.Choice(["auto", "tpu", "cpu"]), help="Hardware to run on.  [default: auto]")
@click.option("--seed", type=int, metavar="N", help="Seed of the engine and of simulated noise.  [default: 0]")
@click.option("--resume", is_flag=True, help="Go on with the newest search of this question: its windows count.")
@engine_python_option
@storage_option
@logdir_option
@json_option
def capacity(**options: Any) -> None:
    """How many requests per second, or at once, does one configuration serve within its SLOs?

    Loads are tried until one holds and a higher one does not, then near the edge, each with requests of its own; the answer has a 95 %
    interval. Every window is stored. What --launcher simulate says is predicted, never measured.
    """
    from tuner.capacity.stored import answer_json
    from tuner.cli.interrupts import interruptible

    with interruptible(), own_words():
        question = _question(options)
        run = _run(question, options)
    with reading(options["storage"]) as storage:
        from tuner.capacity.stored import answer_of

        answer = answer_of(storage, run)
    if options["as_json"]:
        print_json(answer_json(answer, load=options["load"], price=options["chip_hour_price"]))
        return
    from tuner.cli.capacity_view import print_capacity

    print_capacity(answer, load=options["load"], price=options["chip_hour_price"])


def _question(options: dict[str, Any]) -> CapacityQuestion:
    """Raises BadInput; writes nothing."""
    from tuner.capacity.loads import KINDS
    from tuner.capacity.question import question_of
    from tuner.launchers.choice import check_launcher, device_limits
    from tuner.setup.study_setup import check_places, prepare_study

    if options["start"] and options["max_rate"] and options["start"] > options["max_rate"]:
        raise BadInput(f"is above --max-rate {options['max_rate']:g}", setting="start", value=f"{options['start']:g}", fix="lower it")
    config = _config(options)
    check_launcher(config)
    check_places(config)
    limits = device_limits(config)
    question = question_of(config, lambda settings: prepare_study(settings, limits), options["requests"], KINDS[options["by"]])
    for reason in question.setup.infeasible(question.engine):
        raise BadInput(str(reason), fix="name other settings")
    for warning in question.setup.warnings:
        _say(f"warning: {warning}")
    question.load(0, 1.0)  # a workload without arrivals is refused before anything starts
    return question


def _config(options: dict[str, Any]) -> StudyConfig:
    """As settings of a search. Raises BadInput."""
    from tuner.setup.config import StudyConfig
    from tuner.setup.config_file import load_config

    given = {name: value for name, value in options.items() if name in StudyConfig.model_fields and value not in (None, ())}
    given["slos"] = list(options["slos"])
    for name, setting in SIZES.items():
        if options[name] is not None:
            given[setting] = [options[name]]
    served = _served_settings(options)
    arms = [options["arm"]] if options["arm"] else served.pop("arms", ["default"])
    extra = {**served.pop("engine_args", {}), **given.pop("engine_args", {})}
    return load_config(None, {**served, **given, "arms": arms, **({"engine_args": extra} if extra else {})}, unnamed=_STUDY)


def _served_settings(options: dict[str, Any]) -> dict[str, Any]:
    """What --config says, under the names of a search's settings. Raises BadInput."""
    from tuner.capacity.question import settings_of_served
    from tuner.core.yaml_file import read_yaml

    which = options["engine_config"]
    if which == "defaults":
        return {}
    if which == "recommended":
        return settings_of_served(_recommended(options), "the recommendation")
    return settings_of_served(read_yaml(Path(which), holds="arguments of vllm serve, such as block-size"), which)


def _recommended(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that `tuner recommend` gives for this model, workload and SLOs. Raises BadInput where it gives none."""
    from tuner.advice.advice import advise
    from tuner.advice.lookup import Query
    from tuner.capacity.question import check_variables
    from tuner.metrics.objective import parse_slo
    from tuner.verdict.answer import STATUS_RECOMMENDED
    from tuner.workload.spec import WorkloadSpec

    slos = tuple(parse_slo(text) for text in options["slos"])
    workload = WorkloadSpec.parse(options["workload"]).name
    query = Query(model=options["model"], workload=workload, accelerator=options["accelerator"], slos=slos, now=time.time())
    with reading(options["storage"]) as storage:
        answer = advise(storage, query)
    if answer.status != STATUS_RECOMMENDED:
        raise BadInput(answer.reason, setting="config", value="recommended:", fix="use --config defaults, or search first: tuner search")
    check_variables(answer.factors, os.environ)
    _say(f"settings: {' '.join(answer.vllm_args)}")
    return answer.config


def _run(question: CapacityQuestion, options: dict[str, Any]) -> CapacityRun:
    from storage.upgrade import open_storage
    from tuner.capacity.run import CapacityAsk, CapacitySearch
    from tuner.launchers.choice import make_launcher
    from tuner.stats.edge_search import MAX_WINDOWS, PRECISION

    ask = CapacityAsk(
        max_windows=options["max_windows"] or MAX_WINDOWS,
        precision=options["precision"] or PRECISION,
        first=options["start"],
        highest=options["max_rate"],
    )
    with ExitStack() as ending:
        launcher = make_launcher(question.config)
        ending.callback(launcher.close)
        storage = open_storage(question.config.storage, create=True)
        ending.callback(storage.close)
        search = CapacitySearch(question, ask, storage, launcher, lambda doing, window: _tell(doing, window, question.kind))
        earlier = search.earlier() if options["resume"] else None
        if options["resume"] and earlier is None:
            raise BadInput("no search of this question is stored", setting="resume", fix="leave it out")
        return search.run(earlier)


def _tell(doing: str, window: CapacityWindow | None, kind: LoadKind) -> None:
    from tuner.cli.capacity_view import window_line

    _say(doing if window is None else window_line(window, kind))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
