"""Optuna's RDBStorage and our tables in one database, whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from storage.records import TrialState
from storage.upgrade import check, open_storage
from storage.url import optuna_storage_arguments
from tests.storage.builders import ANNA, stored_study
from tests.storage.writer import write_trial
from tests.waiting import PATIENCE_S


def _optuna_storage(url: str) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(**optuna_storage_arguments(url))


def _objective(trial: optuna.Trial) -> float:
    return trial.suggest_int("block_size", 16, 128, step=16)


@pytest.mark.slow
@pytest.mark.parametrize("optuna_first", [True, False])
def test_both_work_in_either_order(each_url: str, *, optuna_first: bool) -> None:
    if not optuna_first:
        open_storage(each_url).close()
    study = optuna.create_study(storage=_optuna_storage(each_url), study_name="first", direction="maximize")
    study.optimize(_objective, n_trials=2)
    ours = open_storage(each_url)
    write_trial(ours, stored_study(ours).id, 0)
    study.optimize(_objective, n_trials=1)
    assert check(each_url)["ok"] is True
    again = _optuna_storage(each_url)
    assert again.get_current_version() == again.get_head_version()
    loaded = optuna.load_study(study_name="first", storage=each_url)  # as `optuna-dashboard URL` does, with the very URL of --storage
    assert [trial.state.name for trial in loaded.trials] == ["COMPLETE"] * 3
    assert ours.count_trials(ours.get_study("first").id)[TrialState.COMPLETE] == 1
    optuna.delete_study(study_name="first", storage=again)
    assert ours.get_study("first").name == "first"
    ours.delete_study(ours.get_study("first").id, by=ANNA)
    ours.close()


@pytest.mark.slow
def test_both_write_at_once(each_url: str) -> None:
    ours = open_storage(each_url)
    study = optuna.create_study(storage=_optuna_storage(each_url), sampler=optuna.samplers.RandomSampler(seed=0))
    study_id = stored_study(ours).id
    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(study.optimize, _objective, n_trials=5) for _ in range(2)]
        stored = pool.submit(lambda: [write_trial(ours, study_id, number) for number in range(25)])
        assert len(stored.result(timeout=PATIENCE_S)) == 25
        for search in searches:
            search.result(timeout=PATIENCE_S)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 10
    ours.close()
