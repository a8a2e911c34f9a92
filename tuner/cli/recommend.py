"""`tuner recommend`: the newest recommendation of a study, or of a model and accelerator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import examples, json_option, print_json, reading, required_study, storage_option, study_argument
from tuner.core.errors import BadInput

if TYPE_CHECKING:
    from storage.base import Storage
    from tuner.verdict.answer import Answer
    from tuner.verdict.study_answer import StudyAnswer

FORMS = ("yaml", "flags", "env", "kubernetes")
EPILOG = examples(
    "tuner recommend first",
    "tuner recommend first --format flags | xargs vllm serve MODEL",
    "tuner recommend first --format yaml > serve.yaml       # for vllm serve --config serve.yaml",
    "tuner recommend --model tiny-qwen3 --accelerator 'TPU v6e-4' --workload chat",
    "tuner recommend --model Qwen/Qwen3-8B --accelerator v6e-1 --workload chat --accept predicted",
    "tuner recommend --model Qwen/Qwen3-0.6B --accelerator v6e --devices 4 --slo 'ttft_p99_ms<=500' --format kubernetes",
)


@click.command(epilog=EPILOG)
@study_argument(required=False)
@click.option("--model", metavar="MODEL", help="Instead of STUDY: what is known for this model (name, or folder with config.json) ...")
@click.option("--accelerator", metavar="NAME", help="... on this accelerator, e.g. 'TPU v6e-4' ...")
@click.option("--devices", "device_count", type=click.IntRange(1), help="... with so many devices, where the name does not say it ...")
@click.option("--workload", metavar="NAME", help="... under this workload (name or content hash) ...")
@click.option("--objective", metavar="NAME", help="... for this objective ...")
@click.option("--slo", multiple=True, metavar="LIMIT", help="... and this limit, e.g. 'ttft_p99_ms<=500'; may be repeated.")
@click.option(
    "--accept", type=click.Choice(["predicted"]), help="... and where nothing was measured, what was simulated for it, with its error."
)
@click.option("--format", "form", type=click.Choice(["table", "json", *FORMS]), default="table", show_default=True)
@storage_option
@json_option
@click.pass_context
def recommend(
    context: click.Context,
    /,
    study: str | None,
    model: str | None,
    form: str,
    storage: str,
    as_json: bool,
    **options: Any,
) -> None:
    """The recommended settings of STUDY, or of what matches the question: exactly, else the nearest with its distance, else vLLM's default.

    "none" is an answer too.
    """
    from tuner.cli.verdicts import print_answer
    from tuner.report.report import recommendation_json
    from tuner.serving.serve_formats import FORMATS
    from tuner.verdict.answer import STATUS_NONE

    if (study is None) == (model is None):
        raise BadInput("name either a STUDY or --model; see tuner recommend --help")
    if model is not None and not model.strip():
        raise BadInput("--model is empty; give the name that vllm serve takes, or a folder with config.json")
    if study is not None and any(options.values()):
        raise BadInput("--accelerator, --devices, --workload, --objective, --slo and --accept go with --model; a STUDY has its own")
    with reading(storage) as opened:
        answer = _of_study(opened, study) if study is not None else _matching(opened, str(model), options)
        said = _said_by(opened, study) if study is not None and form == "table" and not as_json else None
    if as_json or form == "json":
        print_json(recommendation_json(answer) if study is not None else answer.to_json())
        return
    if form == "table":
        print_answer(answer)
        if said is not None:
            print(f"  the study's answer: {said.sentence}")
        return
    if answer.status == STATUS_NONE:
        click.echo(f"error: nothing is recommended: {answer.reason}", err=True)
        context.exit(1)
    print(FORMATS[form](answer.served()), end="")


def _of_study(storage: Storage, name: str) -> Answer:
    """The stored one; for a study that has not ended yet, what its evidence says so far."""
    from tuner.verdict.answer import answer_of
    from tuner.verdict.changes import with_changes
    from tuner.verdict.conclude import default_settings, recommend_stored

    study = required_study(storage, name)
    stored = storage.list_recommendations(study_id=study.id, limit=1)
    return with_changes(answer_of(stored[0] if stored else recommend_stored(storage, study)), default_settings(study))


def _said_by(storage: Storage, name: str) -> StudyAnswer | None:
    """The study's answer to "can page-aligned scheduling be on by default?", beside what it recommends."""
    from tuner.search.life import life_of
    from tuner.verdict.conclude import compare_stored

    study = required_study(storage, name)
    life = life_of(storage, study)
    return None if life is not None and not life.note else compare_stored(storage, study).answer


def _matching(storage: Storage, model: str, options: Mapping[str, Any]) -> Answer:
    """The answer to a question (tuner.advice.advice)."""
    from tuner.advice.advice import advise
    from tuner.advice.distance import model_features
    from tuner.advice.lookup import Query
    from tuner.advice.predicted import or_predicted
    from tuner.engine.environment import versions
    from tuner.metrics.objective import parse_slo
    from tuner.setup.models import local_features

    slos = tuple(parse_slo(text) for text in options["slo"])
    asked = {name: options[name] for name in ("accelerator", "device_count", "workload", "objective")}
    described = local_features(model)
    features = None if described is None else model_features(described)
    query = Query(model=model, model_features=features, slos=slos, now=time.time(), versions=versions(), **asked)
    found = advise(storage, query)
    return found if options["accept"] is None else or_predicted(storage, query, found)
