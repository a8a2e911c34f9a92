"""Answers of the compiler that were had before: one small file for each below TUNER_CACHE, named after its key, and the same in SQL.

An answer depends on versions, chip and settings alone, belongs to no study, and can always be had again: deleting the folder costs nothing
but time. Processes may share it: a file appears whole, or not at all. The database, where there is one, is for other machines and for the
service; where it fails, the files do.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.base import Storage, StorageFault
from storage.records import ForesightAnswer
from tuner.core.defaults import cache_root
from tuner.core.errors import BadInput
from tuner.core.whole_files import write_whole
from tuner.engine.wire_fields import WrongFields, from_fields, to_fields
from tuner.foresight.question import key_of

Json = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What an answer in SQL is found by, beside its key. `kind`: of storage.records.ForesightAnswer."""

    kind: str
    model: str
    accelerator: str
    device_count: int


class KeptAnswers:
    def __init__(self, folder: Path | None = None, storage: Storage | None = None) -> None:
        """`folder`: below TUNER_CACHE by default. `storage`: to write to. Raises BadInput where the folder cannot be made or written."""
        self._folder = folder or cache_root() / "foresight"
        self._storage = storage
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"the cache folder {self._folder} cannot be written: {error.strerror}; set TUNER_CACHE to another") from error
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise BadInput(f"the cache folder {self._folder} cannot be written; set TUNER_CACHE to another")

    def find[Answer](self, kind: type[Answer], key: Json, about: Subject | None = None) -> Answer | None:
        """None for an answer that was never had, or that cannot be read: then it is asked for again. `about`: also looked for in SQL, and
        put there where only a file has it."""
        stored = None if about is None else self._in_sql(key)
        if stored is not None:
            with contextlib.suppress(WrongFields):
                return from_fields(kind, stored.answer)
        try:
            found = from_fields(kind, json.loads(self._path(key).read_text(encoding="utf-8"))["answer"])
        except (OSError, ValueError, KeyError, TypeError, WrongFields):
            return None
        if about is not None and stored is None:
            self._to_sql(key, found, about)
        return found

    def keep(self, key: Json, answer: object, about: Subject | None = None) -> str | None:
        """None, or why it could not be kept (a full disk): the answer is good all the same. `about`: also in SQL."""
        problem = self._to_file(key, answer)
        return problem if about is None else self._to_sql(key, answer, about) or problem

    def _to_file(self, key: Json, answer: object) -> str | None:
        text = json.dumps({"key": key, "answer": to_fields(answer)})
        try:
            write_whole(self._path(key), text)
        except OSError as error:
            return f"{self._folder}: {error.strerror or error}"
        return None

    def _in_sql(self, key: Json) -> ForesightAnswer | None:
        if self._storage is None:
            return None
        with contextlib.suppress(StorageFault):
            return self._storage.find_foresight([key_of(key)]).get(key_of(key))
        return None

    def _to_sql(self, key: Json, answer: object, about: Subject) -> str | None:
        if self._storage is None:
            return None
        row = ForesightAnswer(
            key=key_of(key),
            kind=about.kind,
            model=about.model,
            accelerator=about.accelerator,
            device_count=about.device_count,
            question=key,
            answer=to_fields(answer),
        )
        try:
            self._storage.put_foresight([row])
        except StorageFault as error:
            return str(error)
        return None

    def _path(self, key: Json) -> Path:
        return self._folder / f"{key_of(key)}.json"
