"""Answers of the compiler that were had before, on disk below TUNER_CACHE: one small file for each, named after its key.

On disk and not in the studies' database: an answer depends on versions, chip and settings alone, belongs to no study, and can always be had
again. Deleting the folder costs nothing but time. Processes may share it: a file appears whole, or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tuner.core.defaults import cache_root
from tuner.core.errors import BadInput
from tuner.engine.wire_fields import WrongFields, from_fields, to_fields

Json = dict[str, Any]
FORMAT = 1  # of what the numbers mean: goes up when an older answer would be wrong


class KeptAnswers:
    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: below TUNER_CACHE by default. Raises BadInput where it cannot be made or written."""
        self._folder = folder or cache_root() / "foresight"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"the cache folder {self._folder} cannot be written: {error.strerror}; set TUNER_CACHE to another") from error
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise BadInput(f"the cache folder {self._folder} cannot be written; set TUNER_CACHE to another")

    def find[Answer](self, kind: type[Answer], key: Json) -> Answer | None:
        """None for an answer that was never had, or that cannot be read: then it is asked for again."""
        try:
            stored = json.loads(self._path(key).read_text(encoding="utf-8"))
            return from_fields(kind, stored["answer"])
        except (OSError, ValueError, KeyError, TypeError, WrongFields):
            return None

    def keep(self, key: Json, answer: object) -> str | None:
        """None, or why it could not be kept (a full disk): the answer is good all the same."""
        text = json.dumps({"key": key, "answer": to_fields(answer)})
        temporary = ""
        try:
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self._folder, prefix=".", delete=False) as file:
                temporary = file.name
                file.write(text)
            Path(temporary).replace(self._path(key))
        except OSError as error:
            with contextlib.suppress(OSError):
                Path(temporary or "/nonexistent").unlink()
            return f"{self._folder}: {error.strerror or error}"
        return None

    def _path(self, key: Json) -> Path:
        words = json.dumps({"format": FORMAT, **key}, sort_keys=True, separators=(",", ":"))
        return self._folder / f"{hashlib.sha256(words.encode()).hexdigest()}.json"
