"""Whatever ends a run: launchers are closed, the lease is free, and what cannot run is refused before anything is there."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from storage.base import StorageUnavailable
from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, config_of
from tuner.core.errors import BadInput, StorageError, StudyBusy
from tuner.search.plan import plan_search
from tuner.search.study import StudyRun
from tuner.setup.study_setup import prepare_study


def gone(*_arguments: object, **_changes: object) -> Any:
    raise StorageUnavailable("connection refused")


def run_with(bench: Workbench, search: FakeLauncher, finalists: FakeLauncher) -> None:
    plan = plan_search(prepare_study(config_of(storage=bench.url, logdir=str(bench.folder / "profiles"))), bench.storage)
    StudyRun(plan, bench.storage, search, finalists_launcher=finalists).run()


def lease_is_free(bench: Workbench) -> bool:
    return bench.storage.get_lease(bench.storage.get_study("s").id) is None


@pytest.mark.parametrize("method", ["put_workload", "create_study", "get_lease", "update_study", "list_trials"])
def test_both_launchers_are_closed_where_opening_the_study_fails(bench: Workbench, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    search, finalists = FakeLauncher(), FakeLauncher()
    with monkeypatch.context() as patch:
        patch.setattr(bench.storage, method, gone)
        with pytest.raises((StorageUnavailable, StorageError), match="connection refused"):
            run_with(bench, search, finalists)
    assert search.closed and finalists.closed and search.opened == []
    assert method in ("put_workload", "create_study") or lease_is_free(bench)


@pytest.mark.slow
def test_the_lease_is_free_where_the_study_cannot_be_marked_as_running(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run need not wait for it to go stale."""
    with monkeypatch.context() as patch:
        patch.setattr(bench.storage, "update_study", gone)
        with pytest.raises(StorageUnavailable):
            bench.run()
    assert lease_is_free(bench)
    assert bench.run(resume=True).completed_trials == 10


@pytest.mark.slow
def test_both_launchers_are_closed_and_the_lease_is_free_after_a_run(bench: Workbench) -> None:
    search, finalists = FakeLauncher(), FakeLauncher()
    run_with(bench, search, finalists)
    assert search.closed and finalists.closed and lease_is_free(bench)


@pytest.mark.slow
def test_a_launcher_that_will_not_close_hides_neither_the_state_nor_the_lease(bench: Workbench) -> None:
    class Stuck(FakeLauncher):
        def close(self) -> None:
            raise RuntimeError("stuck")

    with pytest.raises(RuntimeError, match="stuck"):
        bench.run(Stuck())
    assert lease_is_free(bench)
    assert bench.storage.get_study("s").state == "COMPLETE"


@pytest.mark.parametrize("then", ["make_finalists_launcher", "open_storage"])
def test_the_launcher_is_closed_where_what_is_made_after_it_fails(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    launcher = FakeLauncher()

    def fail(*_arguments: object, **_options: object) -> Any:
        raise BadInput("no such thing here")

    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: launcher)
    monkeypatch.setattr({"make_finalists_launcher": "tuner.launchers.choice", "open_storage": "storage.upgrade"}[then] + f".{then}", fail)
    result = terminal.search("--study", "s")
    assert result.code == 2 and is_one_line_error(result)
    assert launcher.closed and launcher.opened == []


@pytest.mark.slow
@pytest.mark.parametrize("missing", [["torch"], ["scipy"], ["scipy", "torch"]])
def test_the_sampler_gp_without_its_packages_is_refused_before_anything_is_there(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, missing: list[str]
) -> None:
    """As in the service's and the worker's image."""
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)  # Python's way to say: not to be found
    before = terminal.files()
    for more in ([], ["--dry-run"]):
        result = terminal.search("--study", "s", "--sampler", "gp", *more)
        assert result.code == 2 and is_one_line_error(result)
        assert f"sampler gp needs {' and '.join(missing)}" in result.err and f"pip install {' '.join(missing)}" in result.err
    assert terminal.files() == before
    assert terminal.search("--study", "s", "--sampler", "random", "--trials", "2").code == 0, "the others need neither"


@pytest.mark.slow
def test_a_study_that_is_begun_between_plan_and_run_is_left_alone(bench: Workbench) -> None:
    plan = plan_search(prepare_study(config_of(storage=bench.url, logdir=str(bench.folder / "profiles"))), bench.storage)
    bench.run()
    launcher = FakeLauncher()
    with pytest.raises(StudyBusy, match="study 's' was begun by another process just now"):  # a worker gives it back
        StudyRun(plan, bench.storage, launcher).run()
    assert launcher.closed and launcher.opened == []


@pytest.mark.slow
def test_a_plan_is_made_from_counts_and_reads_no_window(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run(study="earlier")
    setup = prepare_study(config_of(storage=bench.url))
    monkeypatch.setattr(bench.storage, "list_measurements", gone)
    assert plan_search(setup, bench.storage).costs.source == "study 'earlier'"
