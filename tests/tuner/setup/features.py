"""Features of models: the tiny one, and those of public files."""

from __future__ import annotations

from typing import Any

from tests.shared_data import shared_data
from tuner.setup.models import resolve_model


def features_of(name: str, tmp_path: Any) -> dict[str, Any]:
    """Of a file under ../shared/data/configs, which is read in place."""
    (tmp_path / "config.json").symlink_to(shared_data(f"configs/{name}_config.json"))
    return resolve_model(str(tmp_path)).features


BASE: dict[str, Any] = resolve_model("tiny-qwen3").features
