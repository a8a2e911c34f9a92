"""Where things lie when nobody says otherwise. Apart from tuner.setup.config, so that `tuner --help` need not load pydantic."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_STORAGE = "sqlite:///tuner.db"
DEFAULT_LOGDIR = "tuner-profiles"


def cache_root() -> Path:
    """Where files that can be made again are kept: TUNER_CACHE, else ~/.cache/vllm-tpu-tuner. An empty TUNER_CACHE counts
    as not set, or the cache would be the current folder. Absolute, because engines are started in folders of their own; a ~ that no shell
    replaced (in a unit file, in quotes) is the home."""
    given = os.environ.get("TUNER_CACHE")
    return Path(os.path.expanduser(given)).absolute() if given else Path.home() / ".cache" / "vllm-tpu-tuner"  # noqa: PTH111  # never raises
