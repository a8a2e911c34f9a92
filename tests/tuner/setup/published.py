"""Configurations as they were published (the weights are never needed): tests/assets/models."""

from __future__ import annotations

import shutil
from pathlib import Path

ASSETS = Path(__file__).parents[2] / "assets" / "models"
NAMES = tuple(sorted(path.stem for path in ASSETS.glob("*.json")))


def model_folder(folder: Path, name: str) -> Path:
    """A model folder below `folder` with this configuration."""
    place = folder / name
    place.mkdir(parents=True)
    shutil.copyfile(ASSETS / f"{name}.json", place / "config.json")
    return place
