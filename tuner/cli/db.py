"""`tuner db`: the database as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tuner.cli.options import examples, json_option, logdir_option, print_json, reading, storage_option, writing


@click.group(
    epilog=examples(
        "tuner db check",
        "tuner db upgrade --storage sqlite:///tuner.db",
        "tuner db backup tuner-backup.db",
        "tuner db size",
        "tuner db prune --profiles-older-than 30d --keep-published --dry-run",
    )
)
def db() -> None:
    """Upgrade, check, back up or prune the database; how large it is."""


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


@db.command(epilog=examples("tuner db size", "tuner db size --json"))
@click.option("--studies", "count", type=click.IntRange(0, 10_000), default=10, show_default=True, help="The largest studies to list.")
@storage_option
@json_option
def size(count: int, storage: str, as_json: bool) -> None:
    """Rows and bytes: of the whole, by table, and of the largest studies."""
    from dataclasses import asdict

    from tuner.cli.tables import text_table

    with reading(storage) as opened:
        whole, tables, studies = opened.database_bytes(), opened.table_sizes(), opened.study_sizes(count)
    if as_json:
        print_json({"bytes": whole, "tables": [asdict(item) for item in tables], "studies": [asdict(item) for item in studies]})
        return
    print(f"{whole:,} bytes in all")
    rows = [[item.name, f"{item.rows:,}", "" if item.bytes is None else f"{item.bytes:,}"] for item in tables if item.rows]
    print(text_table(("table", "rows", "bytes"), rows))
    if studies:
        print()
        columns = ("study", "trials", "windows", "bytes", "profiles", "bytes of files")
        counts = ((item.trials, item.windows, item.bytes, item.profiles, item.profile_bytes) for item in studies)
        print(text_table(columns, [[item.name, *(f"{value:,}" for value in found)] for item, found in zip(studies, counts, strict=True)]))


@db.command(
    epilog=examples(
        "tuner db prune --requests-older-than 90d --profiles-older-than 30d --keep-published --dry-run",
        "tuner db prune --profiles-older-than 30d",
    )
)
@click.option("--requests-older-than", metavar="TIME", help="Of studies that ended before: details of windows, log excerpts.")
@click.option("--profiles-older-than", metavar="TIME", help="Profiles captured before: their files below the logdir.")
@click.option("--keep-published", is_flag=True, help="Leave studies alone that a published recommendation rests on.")
@click.option("--dry-run", is_flag=True, help="Only say what would be freed.")
@logdir_option
@storage_option
@json_option
def prune(
    *,
    requests_older_than: str | None,
    profiles_older_than: str | None,
    keep_published: bool,
    dry_run: bool,
    logdir: str,
    storage: str,
    as_json: bool,
) -> None:
    """Free space without changing an answer: verdicts, recommendations, and what they rest on stay as they are.

    TIME is for instance 90d, 12h or 30m. A study that runs or waits in the queue keeps everything.
    """
    import time

    from storage.url import parse_url
    from tuner.core.ages import parse_age
    from tuner.core.errors import BadInput
    from tuner.upkeep.prune import Age, prune

    given = {"requests-older-than": requests_older_than, "profiles-older-than": profiles_older_than}
    now = time.time()
    before = {name: now - parse_age(text, name) for name, text in given.items() if text is not None}
    if not before:
        raise BadInput("nothing is to be pruned; name --requests-older-than, --profiles-older-than or both")
    age = Age(before.get("requests-older-than"), before.get("profiles-older-than"))
    with reading(storage) if dry_run else writing(storage) as opened:
        found = prune(opened, age, logdir=Path(logdir), keep_published=keep_published, dry_run=dry_run, now=now)
    if as_json:
        print_json({"dry_run": dry_run, **found.to_json()})
        return
    print(f"{'would free' if dry_run else 'freed'}, of {found.studies} studies:")
    for name, part in found.parts.items():
        print(f"  {name.replace('_', ' ')}: {part.rows:,} rows, {part.bytes:,} bytes")
    print(f"left alone: {found.busy} studies that run or wait, {found.published} that are published")
    if not dry_run and found.details.rows + found.logs.rows:
        sqlite = parse_url(storage).dialect == "sqlite"
        how = "sqlite3 FILE VACUUM, while nothing uses it," if sqlite else "VACUUM FULL tuner_measurements"
        print(f"the database reuses the space; {how} gives it back to the disk")


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
