"""The HParams tab out of storage: every trial a row, written again only where something has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.records import TrialState
from tests.profiles.hparams_tab import needs_tensorboard, session_groups
from tests.tuner.fake_engine import FakeLauncher, crash
from tests.tuner.workbench import FinishedStudy, Workbench
from tuner.report.hparams import ALWAYS_SHOWN, HParamsTab
from tuner.setup.space import Configuration
from tuner.trials.profiling import run_name

pytestmark = needs_tensorboard


@pytest.mark.slow
def test_every_trial_is_a_row_with_its_settings_and_results(grid: FinishedStudy, tmp_path: Path) -> None:
    assert HParamsTab(grid.bench.storage, tmp_path).refresh() == 10
    groups = {group.name: group for group in session_groups(tmp_path)}
    trials = {run_name("s", trial): trial for trial in grid.bench.trials(None)}
    assert groups.keys() == trials.keys()
    for name, trial in trials.items():
        settings, values = groups[name].hparams, {value.name.tag: value.value for value in groups[name].metric_values}
        assert settings["block_size"].number_value == trial.block_size
        assert settings["arm"].string_value == trial.arm
        assert trial.values is not None and values["throughput"] == pytest.approx(trial.values["throughput"])
        assert values["ttft_p99_ms"] > 0


@pytest.mark.slow
def test_a_setting_in_which_trials_differ_is_a_column_and_a_constant_is_none(bench: Workbench, tmp_path: Path) -> None:
    bench.run(study="s", page_sizes=[32], chunk_budgets=[256])
    tab = HParamsTab(bench.storage, tmp_path)
    tab.refresh()
    assert all(set(group.hparams) == set(ALWAYS_SHOWN) for group in session_groups(tmp_path))
    bench.run(study="t", page_sizes=[32], chunk_budgets=[256], alignment_variant="strict")
    tab.refresh()
    shown = {(group.hparams["study"].string_value, group.hparams["alignment_variant"].string_value) for group in session_groups(tmp_path)}
    assert shown == {("s", "demote"), ("t", "strict")}


@pytest.mark.slow
def test_a_failed_trial_has_no_result_and_an_unchanged_study_is_not_written_again(bench: Workbench, tmp_path: Path) -> None:
    def hook(configuration: Configuration, nth: int) -> None:
        if configuration.arm == "page_aligned":
            raise crash()

    bench.run(FakeLauncher(on_warm_up=hook), page_sizes=[32], chunk_budgets=[256])
    tab = HParamsTab(bench.storage, tmp_path)
    tab.refresh()
    files = sorted(tmp_path.rglob("*tfevents*"))
    failed = [run_name("s", trial) for trial in bench.trials(None) if trial.state is TrialState.FAIL]
    assert failed
    for group in session_groups(tmp_path):
        assert bool(group.metric_values) == (group.name not in failed)
    tab.refresh()
    assert sorted(tmp_path.rglob("*tfevents*")) == files
    bench.run(study="t", page_sizes=[32], chunk_budgets=[256])
    assert tab.refresh() > len(bench.trials(None))
    assert sorted(tmp_path.rglob("*tfevents*")) != files
