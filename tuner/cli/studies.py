"""`tuner studies`: rename, tag, archive and delete studies, and who did it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import (
    examples,
    json_option,
    operator,
    print_json,
    reading,
    reason_option,
    required_study,
    storage_option,
    study_argument,
    writing,
)

if TYPE_CHECKING:
    from storage.records import Study


@click.group(
    epilog=examples(
        "tuner studies rename first chat-v6e",
        "tuner studies tag first nightly v6e",
        "tuner studies archive first --reason 'another machine'",
        "tuner studies history",
    )
)
def studies() -> None:
    """Rename, tag, archive or delete studies, and who did; `tuner show` lists them."""


@studies.command(epilog=examples("tuner studies rename first chat-v6e"))
@study_argument()
@click.argument("name")
@reason_option
@storage_option
@json_option
def rename(study: str, name: str, reason: str, storage: str, as_json: bool) -> None:
    """Give STUDY another NAME, in its recommendations too; profiles stay where they are."""
    from tuner.search import keeping

    with writing(storage) as opened:
        required_study(opened, study)
        _print(keeping.rename(opened, study, name, by=operator(reason)), as_json, f"{study} is {name} now")


@studies.command(epilog=examples("tuner studies tag first nightly v6e", "tuner studies tag first"))
@study_argument()
@click.argument("tags", nargs=-1)
@reason_option
@storage_option
@json_option
def tag(study: str, tags: tuple[str, ...], reason: str, storage: str, as_json: bool) -> None:
    """Replace the tags of STUDY by TAGS, or take them all away."""
    from tuner.search import keeping

    with writing(storage) as opened:
        required_study(opened, study)
        found = keeping.tag(opened, study, tags, by=operator(reason))
    _print(found, as_json, f"{study}: {' '.join(found.tags or []) or 'no tags'}")


@studies.command(epilog=examples("tuner studies archive first --reason 'another machine'"))
@study_argument()
@reason_option
@storage_option
@json_option
def archive(study: str, reason: str, storage: str, as_json: bool) -> None:
    """Leave STUDY out of lists. Its recommendations go on answering questions until they are withdrawn."""
    _archive(study, reason, storage, as_json, archived=True)


@studies.command(epilog=examples("tuner studies restore first"))
@study_argument()
@reason_option
@storage_option
@json_option
def restore(study: str, reason: str, storage: str, as_json: bool) -> None:
    """Take an archived STUDY back into lists."""
    _archive(study, reason, storage, as_json, archived=False)


@studies.command(epilog=examples("tuner studies delete first --confirm first"))
@study_argument()
@click.option("--confirm", metavar="NAME", help="The study's name once more, instead of typing it when asked.")
@reason_option
@storage_option
@json_option
def delete(study: str, confirm: str | None, reason: str, storage: str, as_json: bool) -> None:
    """Delete STUDY with everything that was measured, once you type its name. Profiles stay in their folder; a running study stays."""
    from tuner.search import keeping

    with writing(storage) as opened:
        found = required_study(opened, study)
        typed = confirm if confirm is not None else _typed(study)
        keeping.delete(opened, storage, study, typed=typed, by=operator(reason))
    if as_json:
        print_json({"deleted": found.name})
    else:
        print(f"deleted {found.name}")


@studies.command(epilog=examples("tuner studies history", "tuner studies history first --json"))
@study_argument(required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Entries, newest first.")
@storage_option
@json_option
def history(study: str | None, limit: int, storage: str, as_json: bool) -> None:
    """Who renamed, tagged, archived or deleted studies, or this STUDY, when and why."""
    from tuner.cli.tables import text_table

    with reading(storage) as opened:
        subject = None if study is None else str(required_study(opened, study).id)
        found = opened.list_audit(kind="study", subject=subject, limit=limit)
    if as_json:
        fields = ("at", "actor", "action", "detail", "reason")
        print_json({"history": [{"study_id": int(item.subject), **{name: getattr(item, name) for name in fields}} for item in found]})
        return
    rows = [[time.strftime("%Y-%m-%d %H:%M", time.localtime(item.at)), item.actor, item.action, item.detail, item.reason] for item in found]
    print(text_table(("at", "actor", "action", "what", "reason"), rows) if rows else "nobody has changed a study by hand yet")


def _typed(study: str) -> str:
    """What the user types as the study's name, or what is piped in. Raises BadInput where nobody is there to ask."""
    from tuner.core.errors import BadInput

    asked = sys.stdin is not None and sys.stdin.isatty()
    try:
        if sys.stdin is not None:
            return str(click.prompt(f"type {study} to delete it with all its trials", err=True))
    except click.Abort as error:
        if asked or not isinstance(error.__context__, EOFError):  # somebody pressed Ctrl-C or Ctrl-D
            raise
        click.echo(err=True)  # the question's line is still open
    raise BadInput("is needed: there is no terminal to ask on", setting="confirm", fix=f"add --confirm {study}")


def _archive(study: str, reason: str, storage: str, as_json: bool, *, archived: bool) -> None:
    from tuner.search import keeping

    with writing(storage) as opened:
        required_study(opened, study)
        found = keeping.archive(opened, study, archived=archived, by=operator(reason))
    _print(found, as_json, f"{study} is {'archived' if archived else 'in lists again'}")


def _print(study: Study, as_json: bool, words: str) -> None:
    from tuner.report.report import study_json

    document: dict[str, Any] = study_json(study)
    if as_json:
        print_json(document)
    else:
        print(words)
