"""Options that several verbs share, and the two ways out: text and JSON."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.secret_files import from_file
from tuner.core.defaults import DEFAULT_LOGDIR, DEFAULT_STORAGE

if TYPE_CHECKING:
    from storage.base import Storage
    from storage.records import Actor, Study

type Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

STORAGE_HELP = f"Database: sqlite:///FILE or postgresql://...  [env TUNER_STORAGE or TUNER_STORAGE_FILE; default {DEFAULT_STORAGE}]"
LOGDIR_HELP = f"Folder for XLA profiles and engine logs.  [env TUNER_LOGDIR; default {DEFAULT_LOGDIR}]"

STORAGE_VARIABLE = "TUNER_STORAGE"


def storage_from_file() -> str | None:
    """For a URL with a password: what TUNER_STORAGE_FILE holds, None where it is not set. Raises BadInput."""
    return from_file(STORAGE_VARIABLE)


JSON_FLAG = "--json"
_json_printed: ContextVar[bool] = ContextVar("json_printed", default=False)

json_option: Decorator = click.option(JSON_FLAG, "as_json", is_flag=True, help="Print one JSON document on standard output.")
storage_option: Decorator = click.option(
    "--storage", envvar=STORAGE_VARIABLE, default=lambda: storage_from_file() or DEFAULT_STORAGE, metavar="URL", help=STORAGE_HELP
)
engine_python_option: Decorator = click.option(
    "--engine-python",
    envvar="TUNER_ENGINE_PYTHON",
    metavar="PATH",
    help="Path of the Python in which vLLM is installed.  [default: this one]",
)
logdir_option: Decorator = click.option("--logdir", envvar="TUNER_LOGDIR", default=DEFAULT_LOGDIR, metavar="DIR", help=LOGDIR_HELP)


def parsed_time(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """90s, 10m, 1h30m. Raises BadInput."""
    from tuner.core.errors import BadInput
    from tuner.setup.config import parse_duration

    if text is None:
        return None
    try:
        return float(parse_duration(text))
    except ValueError as error:
        raise BadInput("is no time", setting="time", value=repr(text), fix="write 90s, 10m or 1h30m") from error


spool_option: Decorator = click.option(
    "--spool",
    envvar="TUNER_SPOOL",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder that keeps finished windows while the database is away.  [env TUNER_SPOOL; default: spool in the logdir]",
)
patience_option: Decorator = click.option(
    "--patience",
    callback=parsed_time,
    default="10m",
    metavar="TIME",
    help="How long to wait for a database that is away, where nothing can be measured before.  [default: 10m]",
)


hang_option: Decorator = click.option(
    "--hang-factor",
    type=click.FloatRange(min=0),
    default=20.0,
    metavar="N",
    help="An engine counts as hung after N times its longest window so far, and at least a minute; 0: only after the trial timeout.  "
    "[default: 20]",
)


retries_option: Decorator = click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=3,
    metavar="N",
    help="How often a configuration whose engine did not start, crashed or hung is tried again at most; its failure class says how often "
    "and where (docs/fleet.md); 0: never.  [default: 3]",
)


def _reason(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """Raises BadInput, before anything is opened."""
    from tuner.core.reason import check_reason

    return check_reason(text)


reason_option: Decorator = click.option("--reason", default="", callback=_reason, help="Why; the audit trail keeps it.")


def study_argument(*, required: bool = True) -> Decorator:
    """The STUDY of a verb that reads; shells complete it from the database."""
    return click.argument("study", required=required, shell_complete=_study_names)


def _study_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names of the newest studies; none where the database cannot be read: a completion has no place for an error."""
    from storage.base import StorageFault
    from tuner.core.errors import BadInput

    try:
        with reading(context.params.get("storage") or storage_from_file() or DEFAULT_STORAGE) as storage:
            return [study.name for study in storage.list_studies(limit=200) if study.name.startswith(begun)]
    except (StorageFault, BadInput):
        return []


def examples(*lines: str) -> str:
    """An epilog that click does not re-flow."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(document: Any) -> None:
    """Exactly one document on standard output. NaN is refused: it is no JSON."""
    text = json.dumps(document, indent=2, allow_nan=False)
    _json_printed.set(True)
    print(text)


def json_was_printed(*, reset: bool = False) -> bool:
    """Whether this command line has printed its document: an error after that must not add a second one."""
    before = _json_printed.get()
    if reset:
        _json_printed.set(False)
    return before


@contextmanager
def reading(url: str) -> Iterator[Storage]:
    """The storage for a verb that only reads; creates nothing. Raises StorageFault."""
    from storage.upgrade import open_storage

    storage = open_storage(url, create=False, read_only=True)
    try:
        yield storage
    finally:
        storage.close()


@contextmanager
def writing(url: str, *, create: bool = False) -> Iterator[Storage]:
    """The storage for a verb that changes something by itself, without a search. Raises StorageFault, also for a mistyped path."""
    from storage.upgrade import open_storage, require_file

    require_file(url, unless=DEFAULT_STORAGE)
    opened = open_storage(url, create=create)
    try:
        yield opened
    finally:
        opened.close()


def beside(url: str, say: Callable[[str], None]) -> AbstractContextManager[Storage | None]:
    """See storage.upgrade.beside."""
    from storage.upgrade import beside

    return beside(url, say)


def operator(reason: str) -> Actor:
    """Who sits at this machine, for the audit trail."""
    from storage.records import Actor

    return Actor(f"cli:{getpass.getuser()}", reason)


def required_study(storage: Storage, name: str) -> Study:
    """Raises BadInput naming studies that do exist."""
    from tuner.core.errors import BadInput
    from tuner.search.opening import find_study

    study = find_study(storage, name)
    if study is None:
        known = ", ".join(item.name for item in storage.list_studies(limit=5))
        raise BadInput(f"study {name!r} is not in this database; " + (f"newest: {known}" if known else "it holds no study yet"))
    return study
