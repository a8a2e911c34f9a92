"""`tuner db`: the database as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tuner.cli.options import examples, json_option, print_json, storage_option


@click.group(epilog=examples("tuner db check", "tuner db upgrade --storage sqlite:///tuner.db", "tuner db backup tuner-backup.db"))
def db() -> None:
    """Upgrade, check or back up the database."""


@db.command(epilog=examples("tuner db upgrade", "tuner db upgrade --storage postgresql://tuner@db/tuner"))
@storage_option
@json_option
def upgrade(storage: str, as_json: bool) -> None:
    """Bring the schema to what this tuner needs; creates the tables where there are none."""
    from storage.upgrade import upgrade as upgrade_schema

    _print(upgrade_schema(storage), as_json)


@db.command(epilog=examples("tuner db check", "tuner db check --json"))
@storage_option
@json_option
@click.pass_context
def check(context: click.Context, storage: str, as_json: bool) -> None:
    """Whether the database is there and its schema is this tuner's; changes nothing."""
    from storage.upgrade import check as check_schema

    found = check_schema(storage)
    _print(found, as_json)
    context.exit(0 if found["ok"] else 1)


@db.command(epilog=examples("tuner db backup tuner-backup.db"))
@click.argument("file", type=click.Path(path_type=Path))
@storage_option
@json_option
def backup(file: Path, storage: str, as_json: bool) -> None:
    """Copy the whole database to a new FILE while it is in use."""
    from storage.upgrade import backup as backup_database

    path = backup_database(storage, file)
    if as_json:
        print_json({"backup": str(path), "size_bytes": path.stat().st_size})
    else:
        print(f"{path}: {path.stat().st_size} bytes")


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    state = "ok" if found["ok"] else _mend(found)
    print(f"{found['url']}: {found['dialect']}, schema {found['revision']} (head {found['head']}), {state}")


def _mend(found: dict[str, Any]) -> str:
    from storage.sql.schema import is_known

    if found["revision"] is None:
        return "no tables yet: run tuner search, or tuner db upgrade"
    return "older than this tuner: run tuner db upgrade" if is_known(found["revision"]) else "made by a newer tuner: upgrade vllm-tpu-tuner"
