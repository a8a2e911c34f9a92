"""`tuner recommend`: the newest recommendation of a study, or of a model and accelerator."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from tuner.cli.options import examples, json_option, print_json, reading, required_study, storage_option
from tuner.errors import BadInput

if TYPE_CHECKING:
    from storage.base import Storage
    from storage.records import Recommendation

FORMS = ("yaml", "flags", "env", "kubernetes")
EPILOG = examples(
    "tuner recommend first",
    "tuner recommend first --format flags                   for a shell: vllm serve MODEL $(...)",
    "tuner recommend first --format yaml > serve.yaml       for vllm serve --config serve.yaml",
    "tuner recommend --model tiny-qwen3 --accelerator 'TPU v6e-4' --workload chat",
)


@click.command(epilog=EPILOG)
@click.argument("study", required=False)
@click.option("--model", metavar="MODEL", help="Instead of STUDY: the newest recommendation for this model ...")
@click.option("--accelerator", metavar="NAME", help="... on this accelerator ...")
@click.option("--workload", metavar="NAME", help="... under this workload (name or content hash).")
@click.option("--format", "form", type=click.Choice(["table", "json", *FORMS]), default="table", show_default=True)
@storage_option
@json_option
@click.pass_context
def recommend(
    context: click.Context,
    study: str | None,
    model: str | None,
    accelerator: str | None,
    workload: str | None,
    form: str,
    storage: str,
    as_json: bool,
) -> None:
    """The recommended settings of STUDY, or of what matches --model, --accelerator and --workload; "none" is an answer too."""
    from tuner.cli.verdicts import print_recommendation
    from tuner.recommend import STATUS_NONE
    from tuner.report import recommendation_json
    from tuner.serve_formats import FORMATS

    if (study is None) == (model is None):
        raise BadInput("name either a STUDY or --model; see tuner recommend --help")
    if study is not None and (accelerator or workload):
        raise BadInput("--accelerator and --workload go with --model; a STUDY has its own")
    with reading(storage) as opened:
        found = _of_study(opened, study) if study is not None else _matching(opened, str(model), accelerator, workload)
    if as_json or form == "json":
        print_json(recommendation_json(found))
        return
    if form == "table":
        print_recommendation(found)
        return
    if found.status == STATUS_NONE:
        click.echo(f"error: nothing is recommended: {found.body['reason']}", err=True)
        context.exit(1)
    print(FORMATS[form](found.body), end="")


def _of_study(storage: Storage, name: str) -> Recommendation:
    """The stored one; for a study that has not ended yet, what its evidence says so far."""
    from tuner.conclude import recommend_stored

    study = required_study(storage, name)
    stored = storage.list_recommendations(study_id=study.id, limit=1)
    return stored[0] if stored else recommend_stored(storage, study)


def _matching(storage: Storage, model: str, accelerator: str | None, workload: str | None) -> Recommendation:
    """The newest that matches, marked stale where it was measured with other versions than those installed here."""
    for item in storage.list_recommendations(model=model, accelerator=accelerator):
        if workload is None or workload in (item.workload_hash, _workload_name(item)):
            return _with_staleness(item)
    asked = ", ".join(
        f"{name} {value}" for name, value in (("model", model), ("accelerator", accelerator), ("workload", workload)) if value
    )
    raise BadInput(f"no recommendation for {asked}; run tuner search, or see tuner show for the studies there are")


def _with_staleness(found: Recommendation) -> Recommendation:
    """Looking up asks no device: the accelerator is the one that the recommendation is for, the versions are those of this Python."""
    from storage.records import Environment
    from tuner.engine.environment import versions
    from tuner.recommend import stale_reasons

    scope = found.body.get("scope", {})
    here = Environment("", scope.get("platform"), scope.get("accelerator"), scope.get("device_count"), versions())
    reasons = stale_reasons(scope, here)
    return replace(found, body={**found.body, "stale": {"stale": bool(reasons), "reasons": reasons}})


def _workload_name(recommendation: Recommendation) -> str | None:
    workload = recommendation.body.get("scope", {}).get("workload")
    return workload.get("name") if isinstance(workload, dict) else None
