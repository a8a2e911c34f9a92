"""A recommendation as a running `tuner serve` answers it, in each form that a deployer may ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx

from storage.base import Storage
from tests.plugins.server import StartServer
from tests.storage.builders import a_recommendation, stored_study
from tests.tuner.evidence_builder import ENVIRONMENT, STUDY, StudyBuilder
from tests.tuner.workbench import config_of
from tuner.metrics.objective import parse_objectives
from tuner.setup.study_setup import prepare_study
from tuner.verdict.recommend import recommend

FORMS = ("yaml", "flags", "env", "kubernetes")
QUESTION = {"model": "tiny-qwen3", "accelerator": "cpu x86_64", "workload": "chat"}
CPU = replace(ENVIRONMENT, platform="cpu", accelerator="cpu x86_64")


def fetch_forms(start: StartServer, storage: Storage, folder: Path) -> Path:
    """The folder, with a file for each form, fetched over HTTP; the recommendation is of the page-aligned arm."""
    setup = prepare_study(config_of(page_sizes=[32], chunk_budgets=[128], arms=["page_aligned"], logdir=str(folder / "profiles")))
    builder = StudyBuilder()
    trial = builder.trial("page_aligned", 32, 128, [100.0, 101.0], requested=setup.requested(setup.space.configurations[0], setup.engine))
    evidence = builder.evidence(environment=CPU, trials=(replace(trial, effective={"kv_write": "scatter,loop"}),))
    body = recommend(evidence, parse_objectives("throughput"), ()).body
    stored = storage.add_recommendation(a_recommendation(stored_study(storage).id, body=body, objective=STUDY.objective))
    _, url = start(storage)
    for form in FORMS:
        fetched = httpx.get(f"{url}/v1/recommendations/config", params={**QUESTION, "format": form}).raise_for_status()
        assert fetched.content == httpx.get(f"{url}/v1/recommendations/{stored.id}/config", params={"format": form}).content
        (folder / f"serve.{form}").write_bytes(fetched.content)
    return folder
