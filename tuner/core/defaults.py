"""Where things lie when nobody says otherwise. Apart from tuner.setup.config, so that `tuner --help` need not load pydantic."""

from __future__ import annotations

DEFAULT_STORAGE = "sqlite:///tuner.db"
DEFAULT_LOGDIR = "tuner-profiles"
