"""The options of `tuner search`: the settings of tuner.setup.config.StudyConfig, in the sections in which --help shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any, override

import click
import yaml

from tuner.cli.options import LOGDIR_HELP, STORAGE_HELP, STORAGE_VARIABLE, Decorator, engine_python_option, storage_from_file
from tuner.core.errors import BadInput
from tuner.core.yaml_file import parse_yaml


def numbers(_context: click.Context, _parameter: click.Parameter, text: str | None) -> list[int | str] | None:
    """16,32,64 -> [16, 32, 64]; what is no number stays a word, for the configuration to refuse by name."""
    return None if text is None else [int(part) if part.isascii() and part.isdecimal() else part for part in _split(text)]


def words(_context: click.Context, _parameter: click.Parameter, text: str | None) -> list[str] | None:
    return None if text is None else _split(text)


def assignments(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any] | None:
    """("a=1", "b={x: 2}") -> {"a": 1, "b": {"x": 2}}; values are YAML."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise BadInput(f"--engine-arg {text!r}: write KEY=VALUE, for instance gpu_memory_utilization=0.8")
        if key.strip() in found:
            raise BadInput(f"--engine-arg {key.strip()!r} is given twice; keep one")
        try:
            found[key.strip()] = parse_yaml(value)
        except (yaml.YAMLError, RecursionError) as error:
            reason = getattr(error, "problem", None) or "nested too deeply"
            raise BadInput(f"--engine-arg {text!r}: the value is not valid YAML ({reason})") from error
    return found or None


def factor_levels(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str] | None:
    """("a=1,2", "b=8..64:log") -> {"a": "1,2", "b": "8..64:log"}, for the configuration to read."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, levels = (part.strip() for part in text.partition("="))
        if not equals or not name or not levels:
            raise BadInput(f"--factor {text!r}: write NAME=LEVEL,LEVEL, for instance max_num_seqs=8,16,32")
        if name in found:
            raise BadInput(f"--factor {name!r} is given twice; keep one")
        found[name] = levels
    return found or None


engine_arg_option = click.option(
    "--engine-arg",
    "engine_args",
    multiple=True,
    callback=assignments,
    metavar="KEY=VALUE",
    help="Any other vLLM engine argument; the value is YAML. Repeat the option for several.",
)


_NO_GUARD = "tuner.no_guard"  # in a context


def _no_guard(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    context.meta[_NO_GUARD] = given


def guard(context: click.Context, _parameter: click.Parameter, text: str | None) -> bool | str | None:
    """Raises BadInput for --guard beside --no-guard, of which one would have no effect."""
    if text is None:
        return False if context.meta.get(_NO_GUARD) else None
    if context.meta.get(_NO_GUARD):
        raise BadInput("is given beside --no-guard", setting="guard", value=repr(text), fix="keep one of the two")
    return {"on": True, "off": False}.get(text, text)


guard_options = [
    click.option(
        "--no-guard",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_no_guard,
        help="Ask no canary prompts: wrong answers are not noticed.",
    ),
    click.option(
        "--guard",
        callback=guard,
        metavar="LIMIT",
        help="How far answers of engines with another dtype, KV dtype or quantisation may be from the baseline's, e.g. "
        "'canary_match>=0.98' or 'canary_divergence<=0.05'; all others have to answer alike (docs/guard.md).  [default: on]",
    ),
]

accelerator_option = click.option("--accelerator", metavar="TPU", help="The TPU that --launcher simulate simulates, for instance v6e-1.")
step_time_option = click.option(
    "--step-time",
    metavar="FILE",
    help="What a step costs, as you measured it: for simulations, in place of what is known of --accelerator; in a search on an engine for "
    "the sampler's prior.",
)
borrow_option = click.option(
    "--borrow", metavar="CHIP", help="Simulate with this chip's step times where --accelerator has none of its own; every answer says so."
)
step_noise_option = click.option(
    "--step-noise", type=float, metavar="SIGMA", help="Noise of simulated steps, as a fraction: 0.02 = 2 %.  [default: 0]"
)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _choice(*names: str) -> click.Choice[str]:
    return click.Choice(names)


_SAMPLERS = ("auto", "ordinal", "tpe", "gp", "nsga2", "random", "grid")


# A default in a help text is StudyConfig's; a test holds the two together. None is given to click: an option that was not named leaves
# the file's setting alone.
SECTIONS: dict[str, list[Decorator]] = {
    "What is measured": [
        click.option("--model", metavar="MODEL", help="tiny-qwen3 (built in, dummy weights), a folder, or a Hugging Face id."),
        click.option(
            "--page-sizes",
            callback=numbers,
            metavar="N,N",
            help="Page sizes to try: tokens per KV block, vLLM's block_size. Not named: 16 to 128, 256 where requests may "
            "be longer than 2048 tokens, and vLLM's own, as far as they fit.  [default: from the workload]",
        ),
        click.option(
            "--chunk-budgets",
            callback=numbers,
            metavar="N,N",
            help="Chunk budgets to try: tokens per engine step, vLLM's max_num_batched_tokens.  [default: 512,1024,2048]",
        ),
        click.option(
            "--arms",
            callback=words,
            metavar="ARM,ARM",
            help="Schedulers to compare: default, page_aligned, or both.  [default: both]",
        ),
        click.option(
            "--factor",
            "factors",
            multiple=True,
            callback=factor_levels,
            metavar="NAME=V,V",
            help="A further setting to try: any vLLM engine argument, or env:NAME for a kernel variable of tpu-inference. Ranges: 8..64:8, "
            "8..64:log (doubling); ; between levels with commas; unset: vLLM's own. Repeat the option for several.",
        ),
        click.option(
            "--compare",
            metavar="FACTOR",
            help="What is compared in pairs in every cell of all else: page_alignment, page_size, chunk_budget, or a factor; each level "
            "against vLLM's own, else the first that is named. arm is page_alignment.  [default: arm]",
        ),
        click.option(
            "--starts",
            type=int,
            metavar="N",
            help="With --compare of a factor that is cold: starts of each level, in turn; below 4 nothing is decided.  [default: 10]",
        ),
        click.option(
            "--alignment-variant",
            type=_choice("demote", "strict", "fill_bucket"),
            help="Rules of page-aligned scheduling: demote (safe), fill_bucket (safe, and chunks fill the step's compiled "
            "size) or strict (exactly as in vLLM PR 19878, with its flaws).  [default: demote]",
        ),
        click.option(
            "--workload",
            metavar="W",
            help="demo, mixed-small, chat, prefill-heavy, decode-heavy, a .yaml or .json file, or "
            "KIND:key=value,... (KIND: synthetic, or a file's: docs/workloads.md)  [default: mixed-small]",
        ),
        click.option(
            "--objective",
            metavar="O",
            help="What to optimise: throughput, or any metric of docs/metrics.md; several separated by commas.  [default: throughput]",
        ),
        click.option(
            "--slo",
            "slos",
            multiple=True,
            metavar="LIMIT",
            help="A limit that the settings must keep, e.g. 'ttft_p99_ms<=500'. Repeat the option for several.",
        ),
        *guard_options,
        click.option(
            "--seed", type=int, metavar="N", help="Random seed of the engine, the order of measurements and the sampler.  [default: 0]"
        ),
    ],
    "How it is searched": [
        click.option("--study", metavar="NAME", help="Name under which everything is stored.  [default: made from the date]"),
        click.option(
            "--rounds",
            metavar="N|MIN-MAX",
            help="How often each configuration is measured: N times, or MIN to MAX times, until its verdict is clear.  [default: 3-24]",
        ),
        click.option("--trials", type=int, metavar="N", help="Measure N configurations in this run, not all of them."),
        click.option("--time-budget", metavar="TIME", help="After this long, start no further measurement: 90s, 10m, 1h30m."),
        click.option(
            "--sampler",
            type=_choice(*_SAMPLERS),
            help="How configurations are chosen. auto: all of them (grid) if --trials and --time-budget allow it, "
            "else ordinal, the sampler of this "
            "project. tpe, gp, nsga2 and random are Optuna's.  [default: auto]",
        ),
        click.option(
            "--warm-start",
            metavar="auto|none|STUDY",
            help="Earlier study whose results tell the sampler where to begin. auto: studies of the same model and "
            "accelerator.  [default: auto]",
        ),
        click.option(
            "--profile",
            type=_choice("finalists", "all", "none"),
            help="Which configurations are profiled with the XLA profiler.  [default: finalists]",
        ),
        click.option(
            "--finalists-via",
            type=_choice("launcher", "serve"),
            help="How the best configurations are measured again at the end: by --launcher, or by vllm serve and vllm "
            "bench serve.  [default: launcher]",
        ),
        click.option("--trial-timeout", metavar="TIME", help="Give up one measurement after this long.  [default: 10m]"),
        click.option("--engine-start-timeout", metavar="TIME", help="Give up one engine start after this long.  [default: 20m]"),
    ],
    "The engine": [
        click.option(
            "--launcher",
            metavar="NAME",
            help="What runs the model: local (vLLM inside a process of this tuner), serve (vllm serve), ray (as "
            "local, on nodes of a Ray cluster), table (no engine: measured values "
            "from a CSV), or simulate (no engine: vLLM's scheduler under predicted step times).  [default: local]",
        ),
        engine_python_option,
        click.option(
            "--ray-address", metavar="ADDRESS", help="The cluster of --launcher ray: HOST:6379 or auto. Not named: RAY_ADDRESS, else auto."
        ),
        click.option(
            "--ray-resources",
            metavar="NAME=N,NAME=N",
            help="What a Ray node must have free for one engine, for instance TPU=4. Not named: as many TPU as --tensor-parallel-size.",
        ),
        click.option("--ray-runtime-env", metavar="FILE", help="Ray's runtime_env (YAML or JSON) for the actors that run engines."),
        click.option(
            "--platform", type=_choice("auto", "tpu", "cpu"), help="Hardware to run on; auto: a TPU if there is one.  [default: auto]"
        ),
        click.option(
            "--foresight/--no-foresight",
            default=None,
            help="Compile every engine before it is started, where there is a TPU, and skip what does not compile or fit; let the sampler "
            "begin with simulated results, where step times of this device are known.  [default: where it is possible]",
        ),
        click.option(
            "--dtype", metavar="TYPE", help="Type of weights and activations: auto, float32, bfloat16 or float16.  [default: auto]"
        ),
        click.option("--max-num-seqs", type=int, metavar="N", help="Most requests that run at once.  [default: from the workload]"),
        click.option(
            "--max-model-len", type=int, metavar="N", help="Most tokens of one request, input and output.  [default: from the workload]"
        ),
        click.option("--num-gpu-blocks", type=int, metavar="N", help="Pages in the KV cache.  [default: the engine decides]"),
        click.option("--tensor-parallel-size", type=int, metavar="N", help="Devices that one model is split over.  [default: 1]"),
        click.option(
            "--enable-prefix-caching/--no-enable-prefix-caching",
            default=None,
            help="vLLM's prefix cache.  [default: on]",
        ),
        click.option("--async-scheduling/--no-async-scheduling", default=None, help="vLLM's asynchronous scheduler.  [default: off]"),
        click.option(
            "--attention-backend",
            metavar="NAME",
            help="rpa (the Pallas kernel of tpu-inference, TPU only), tuner_rpa (the same after a KV write of ours, page-wise "
            "in the page-aligned arm and token-wise in the other, TPU only), tuner_xla (XLA operations, runs anywhere), or "
            "auto: rpa on a TPU, else tuner_xla.  [default: auto]",
        ),
        click.option(
            "--kv-write",
            metavar="TOKEN,PAGE",
            help="How tuner_xla writes keys and values into the cache: an operation for single tokens and one for "
            "whole pages, each scatter or "
            "loop, e.g. scatter,loop. auto: whichever is fastest here.  [default: auto]",
        ),
        engine_arg_option,
        click.option(
            "--table", metavar="FILE", help="Measured configurations for --launcher table: a CSV, or Kernel Tuner's .json or .json.gz."
        ),
        click.option(
            "--table-noise",
            type=float,
            metavar="SIGMA",
            help="Noise added to the values of --table, as a fraction: 0.02 = 2 %.  [default: 0]",
        ),
        accelerator_option,
        step_time_option,
        borrow_option,
        step_noise_option,
    ],
    "Where it is kept": [
        click.option("--storage", envvar=STORAGE_VARIABLE, default=storage_from_file, metavar="URL", help=STORAGE_HELP),
        click.option("--logdir", envvar="TUNER_LOGDIR", metavar="DIR", help=LOGDIR_HELP),
    ],
}


def with_settings(function: Any) -> Any:
    """Decorator: every option of every section."""
    for decorators in reversed(SECTIONS.values()):
        for option in reversed(decorators):
            function = option(function)
    return function


class SectionedCommand(click.Command):
    """A command whose --help shows its options under SECTIONS' headings; what is in none comes last."""

    @override
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        left = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        for title, decorators in SECTIONS.items():
            self._write(title, left[: len(decorators)], ctx, formatter)
            left = left[len(decorators) :]
        self._write("This run", left, ctx, formatter)

    def _write(self, title: str, parameters: list[click.Option], ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = [record for parameter in parameters if (record := parameter.get_help_record(ctx)) is not None]
        with formatter.section(title):
            formatter.write_dl(records)


SIZES = {"page_size": "page_sizes", "chunk_budget": "chunk_budgets"}  # an option of verbs that take one -> the setting of a search


@contextmanager
def own_words() -> Iterator[None]:
    """Complaints about a search's lists name the options that a verb of one size has instead. Raises BadInput."""
    names = [*SIZES.items(), *((one.replace("_", "-"), several.replace("_", "-")) for one, several in SIZES.items())]

    def own(text: str) -> str:
        return reduce(lambda said, pair: said.replace(pair[1], pair[0]), names, text)

    try:
        yield
    except BadInput as error:
        setting, fix = error.setting and own(error.setting), error.fix and own(error.fix)
        raise BadInput(own(error.reason), setting=setting, value=error.value, fix=fix, where=error.where) from error
