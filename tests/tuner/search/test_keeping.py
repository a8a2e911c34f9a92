"""What people do to studies, and the searches before and after it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import optuna
import pytest

from storage.base import Conflict, NotFound, Storage
from storage.records import StudyState
from storage.upgrade import open_storage
from storage.url import optuna_storage_arguments
from tests.storage.builders import ANNA, a_lease
from tests.tuner.cli.terminal import Terminal
from tuner.search import keeping
from tuner.search.lease import StudyLease


def trials_in_optuna(url: str) -> dict[str, int]:
    """Name of each of Optuna's studies -> trials."""
    kept = optuna.storages.RDBStorage(**optuna_storage_arguments(url))
    found = {summary.study_name: summary.n_trials for summary in optuna.get_all_study_summaries(kept)}
    kept.engine.dispose()
    return found


@pytest.fixture
def searched(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """Four of eight configurations are measured."""
    monkeypatch.setenv("TUNER_CACHE", str(terminal.folder / "cache"))
    assert terminal.search("--study", "before", "--trials", "4", "--seed", "3").code == 0
    storage = open_storage(terminal.url)
    yield storage
    storage.close()


@pytest.mark.slow
def test_a_renamed_study_is_resumed_under_its_new_name(terminal: Terminal, searched: Storage) -> None:
    study = searched.update_study(searched.get_study("before").id, state=StudyState.INTERRUPTED)
    measured, told = len(searched.list_measurements(study_id=study.id)), trials_in_optuna(terminal.url)["before"]
    keeping.rename(searched, "before", "after", by=ANNA)
    result = terminal.search("--study", "after", "--trials", "8", "--seed", "3", "--resume")
    assert result.code == 0, result.err
    assert searched.get_study("after").id == study.id
    assert len(searched.list_measurements(study_id=study.id)) > measured, "and went on where it was"
    assert list(trials_in_optuna(terminal.url)) == ["after"] and trials_in_optuna(terminal.url)["after"] > told
    assert searched.list_recommendations(study_id=study.id)[0].body["evidence"]["study"] == "after"


@pytest.mark.slow
def test_a_deleted_name_begins_anew(terminal: Terminal, searched: Storage) -> None:
    """Optuna's record went too: the next study of this name would have gone on with its trials."""
    before = trials_in_optuna(terminal.url)["before"]
    keeping.delete(searched, terminal.url, "before", typed="before", by=ANNA)
    assert trials_in_optuna(terminal.url) == {}
    assert terminal.search("--study", "before", "--trials", "4", "--seed", "3").code == 0
    assert trials_in_optuna(terminal.url) == {"before": before}


@pytest.mark.slow
def test_who_keeps_a_study_holds_it_and_lets_it_go(searched: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that begins meanwhile is refused; afterwards, also after an error, nobody holds it."""
    study = searched.get_study("before")
    seen = []

    def rename_study(*_arguments: object, **_named: object) -> None:
        seen.append(searched.get_lease(study.id))
        raise Conflict("taken")

    monkeypatch.setattr(searched, "rename_study", rename_study)
    with pytest.raises(Conflict):
        keeping.rename(searched, "before", "after", by=ANNA)
    assert seen[0] is not None and searched.get_lease(study.id) is None


@pytest.mark.slow
@pytest.mark.parametrize("state", [StudyState.RUNNING, StudyState.INTERRUPTED, StudyState.COMPLETE])
def test_a_study_that_a_living_search_holds_is_left_alone(terminal: Terminal, searched: Storage, state: StudyState) -> None:
    """Whatever its state says: a search that opens it has it before the state is RUNNING."""
    study = searched.update_study(searched.get_study("before").id, state=state)
    lease = StudyLease(searched, study)
    lease.claim()
    with pytest.raises(Conflict):
        keeping.rename(searched, "before", "after", by=ANNA)
    with pytest.raises(Conflict):
        keeping.delete(searched, terminal.url, "before", typed="before", by=ANNA)
    lease.release()
    keeping.delete(searched, terminal.url, "before", typed="before", by=ANNA)
    with pytest.raises(NotFound):
        searched.get_study("before")


@pytest.mark.slow
def test_a_search_on_another_machine_is_believed_for_a_minute(terminal: Terminal, searched: Storage) -> None:
    study = searched.update_study(searched.get_study("before").id, state=StudyState.INTERRUPTED)
    searched.swap_lease(study.id, None, a_lease(study.id, "t1", host="elsewhere", heartbeat=time.time() - 30))
    with pytest.raises(Conflict):
        keeping.rename(searched, "before", "after", by=ANNA)
    searched.swap_lease(study.id, "t1", a_lease(study.id, "t2", host="elsewhere", heartbeat=time.time() - 90))
    assert keeping.rename(searched, "before", "after", by=ANNA).name == "after"
