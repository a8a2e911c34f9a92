"""What vLLM said about a model, kept: asking takes as long as importing vLLM, and a folder that did not change has the same answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.core.defaults import cache_root
from tuner.core.whole_files import write_whole
from tuner.engine.environment import package_version, versions
from tuner.engine.model_facts import ask_vllm

Json = dict[str, Any]

FORMAT = 1  # goes up when an older answer would be wrong
_MOST_BYTES = 1 << 20  # of a file that may say something about the model's configuration; tokenizers and indexes of weights are larger


def facts_of(question: Json, python: str | None, env: Mapping[str, str]) -> Json | None:
    """model_facts.ask_vllm's answer to one question; None where there is no vLLM to ask. An answer with facts is kept below TUNER_CACHE
    for a folder whose model brings no code of its own, where this Python is the engine's; of other Pythons the versions are not known."""
    kept = _place(question) if python is None else None
    if kept is not None and (known := _read(kept)) is not None:
        return known
    answers = ask_vllm([question], python, env)
    if answers is not None and kept is not None and "facts" in answers[0]:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, json.dumps(answers[0]))
        except OSError:
            pass  # it is asked again the next time
    return None if answers is None else answers[0]


def _place(question: Json) -> Path | None:
    """Named after all that the answer depends on; None where that cannot be told."""
    folder = Path(question["model"])
    if question.get("trust_remote_code") or not folder.is_absolute():
        return None
    try:
        files = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.glob("*.json")
            if path.is_file() and path.stat().st_size <= _MOST_BYTES
        }
    except OSError:
        return None
    asked = {"format": FORMAT, **question, "model": files, "versions": {**versions(), "transformers": package_version("transformers")}}
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return cache_root() / "known-models" / f"{key}.json"


def _read(path: Path) -> Json | None:
    """None for what was never kept, and for what cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and isinstance(found.get("facts"), dict) else None
    except (OSError, ValueError):
        return None
