"""What people do to studies that are there: rename, tag, archive and delete; the same rules for command line, API and pages.

Who renames or deletes holds the study's lease meanwhile, so no search runs then and none begins. An archived study is left out of lists
and nothing else: its recommendations go on answering questions until they are withdrawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from storage.base import Conflict, Storage
from storage.records import Actor, Study
from tuner.core.errors import BadInput
from tuner.search.lease import StudyLease
from tuner.search.life import life_of
from tuner.setup.config import check_study_name

MOST_TAGS = 20
TAG = r"[^\s,\x00-\x1f\x7f]{1,40}"


def rename(storage: Storage, name: str, to: str, *, by: Actor) -> Study:
    """Raises NotFound, Conflict where the name is taken or the study runs, and BadInput for a name that no search would take."""
    check_study_name(to)
    study = storage.get_study(name)
    with _held(storage, study, "renamed"):
        return storage.rename_study(study.id, to, by=by)


def tag(storage: Storage, name: str, tags: Sequence[str], *, by: Actor) -> Study:
    """Replace the tags. Raises NotFound, and BadInput for what is no tag."""
    for word in tags:
        if not re.fullmatch(TAG, word):
            raise BadInput(setting="tags", value=repr(word[:60]), fix="use 1 to 40 characters without spaces and commas")
    if len(set(tags)) > MOST_TAGS:
        raise BadInput(setting="tags", value=f"{len(set(tags))} of them", fix=f"a study has at most {MOST_TAGS}")
    return storage.label_study(storage.get_study(name).id, tags=tags, by=by)


def archive(storage: Storage, name: str, *, archived: bool, by: Actor) -> Study:
    """Archive or restore. Raises NotFound."""
    return storage.label_study(storage.get_study(name).id, archived=archived, by=by)


def delete(storage: Storage, url: str, name: str, *, typed: str, by: Actor) -> Study:
    """Delete the study with all that was measured, and Optuna's record of it; profiles stay in their folder. Returns what is gone.

    `url`: of the storage. `typed`: the name once more. Raises NotFound, and Conflict where the study runs or `typed` is another name.
    """
    from tuner.trials.optuna_record import delete_record

    study = storage.get_study(name)
    if typed != name:
        raise Conflict(f"{typed!r} is not its name", f"type the study's name, {name}, to delete it")
    with _held(storage, study, "deleted"):
        delete_record(url, name)
        storage.delete_study(study.id, by=by)
    return study


@contextmanager
def _held(storage: Storage, study: Study, what: str) -> Iterator[None]:
    """Nobody runs the study meanwhile. Raises Conflict where somebody does."""
    life = life_of(storage, study)
    if life is not None and not life.note:
        raise Conflict(f"study {study.name!r} is running", f"it can be {what} when its search has ended or was stopped")
    lease = StudyLease(storage, study)
    try:
        lease.claim()
    except BadInput as error:  # whose words are for who begins a search: the other one may be this very process
        raise Conflict(f"study {study.name!r} is being changed, or taken up again, by somebody else just now", "try again") from error
    try:
        yield
    finally:
        lease.release()
