"""Summaries of profiles of known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiles.session_plan import StepComposition
from profiles.summary import Summary, summarise
from tests.profiles.builder import model_runs, tpu_xspace

MARKERS = [(index * 280.0, f"execute_model: 1 reqs, {100 + index} toks") for index in range(9)]


def summary(
    tmp_path: Path, name: str, *, build: Any = tpu_xspace, tokens: int = 128, records: bool = True, block_size: int = 32, **model: Any
) -> Summary:
    path = tmp_path / f"{name}.xplane.pb"
    path.write_bytes(build(model_runs(**{"steps": 16, **model})))
    steps = [StepComposition(tokens, 128, tokens, 1, 0, index * 3e-4) for index in range(model.get("steps", 16))] if records else []
    return summarise(path, records=steps, settings={"block_size": block_size})
