"""Writes the dump of the newest revision: the last dump, upgraded. What is there is never overwritten.

python -m tests.storage.new_asset
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from storage.sql import schema
from storage.upgrade import upgrade

ASSETS = Path(__file__).with_name("assets")


def upgraded(dump: str, folder: Path) -> str:
    """The SQL dump of an older database, upgraded to this code's schema in a file in `folder`."""
    file = folder / "asset.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(dump)
    upgrade(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        return "".join(f"{line}\n" for line in connection.iterdump())


def main() -> int:
    newest = max(path.name[:4] for path in (schema.MIGRATIONS / "versions").glob("[0-9]*.py"))
    wanted = ASSETS / f"{newest}.sqlite.sql"
    if wanted.exists():
        print(f"{wanted.name} is there and stays as it is")  # noqa: T201
        return 0
    before = max(ASSETS.glob("*.sqlite.sql"))
    with tempfile.TemporaryDirectory() as folder:
        wanted.write_text(upgraded(before.read_text(), Path(folder)))
    print(f"{wanted.name} written from {before.name}; give the new columns and tables some rows by hand")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
