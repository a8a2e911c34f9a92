"""Makes the other files of this folder from a finished study of the real engine; README.md says how to call it."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from storage.records import StudyState
from storage.upgrade import open_storage, upgrade
from tuner.verdict.conclude import compare_measured, recommend_stored

HERE = Path(__file__).resolve().parent
NAME = "demo"
SLO = "ttft_p99_ms<=80"
_OF_THE_CACHE = re.compile(r"/[A-Za-z0-9_./-]*/models/(?=tiny-)")


def make(database: Path, logdir: Path) -> None:
    """Of a database that holds one study."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tuner.db"
        shutil.copyfile(database, copy)
        upgrade(f"sqlite:///{copy}")
        with closing(sqlite3.connect(copy)) as connection, connection:
            _prepare(connection)
        _conclude(f"sqlite:///{copy}")
        with closing(sqlite3.connect(copy)) as connection:
            text = "\n".join(connection.iterdump()) + "\n"
    text = _OF_THE_CACHE.sub("/models/", text).replace(str(logdir), "/profiles")
    (HERE / "database.sqlite.sql.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    summaries = {str(path.relative_to(logdir)): json.loads(path.read_text()) for path in sorted(logdir.rglob("*.summary.json"))}
    (HERE / "summaries.json.gz").write_bytes(gzip.compress(json.dumps(summaries).encode(), mtime=0))


def _prepare(connection: sqlite3.Connection) -> None:
    """Without Optuna's tables, under the name NAME and with SLO."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in tables:
        if not name.startswith(("tuner_", "sqlite_")):
            connection.execute(f"DROP TABLE {name}")
    ((study, config),) = connection.execute("SELECT id, config FROM tuner_studies").fetchall()
    changed = json.dumps({**json.loads(config), "study": NAME, "slos": [SLO]})
    connection.execute("UPDATE tuner_studies SET name = ?, config = ? WHERE id = ?", (NAME, changed, study))
    connection.execute("DELETE FROM tuner_recommendations")


def _conclude(url: str) -> None:
    """As at the end of a search."""
    storage = open_storage(url, create=False)
    study = storage.get_study(NAME)
    storage.replace_comparisons(study.id, compare_measured(storage, study).comparisons)
    storage.add_recommendation(recommend_stored(storage, study))
    storage.update_study(study.id, state=StudyState.COMPLETE)
    storage.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
