"""Where a search knows the seconds of a step from: a file, or what was measured on this very device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.study import bench_on
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.search.foreseen import with_steps
from tests.tuner.workbench import Workbench, config_of
from tuner.core.errors import BadInput
from tuner.search.plan import plan_search
from tuner.search.step_model import StepModel, find_step_model
from tuner.setup.hardware import TPU_LIMITS
from tuner.setup.study_setup import StudySetup, prepare_study

FEW: dict[str, Any] = {"trials": 4}  # so that the sampler is ours


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, _database_with_optuna: Path) -> Path:
    """A database with a finished study "first" of eight configurations, which have steps."""
    folder = tmp_path_factory.mktemp("measured")
    with bench_on(_database_with_optuna, folder) as bench:
        bench.run(FakeLauncher(on_measure=with_steps), study="first", rounds=2)
    return folder / "tuner.db"


@pytest.fixture
def on_this_device(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    monkeypatch.setattr("tuner.search.step_model.cpu_name", lambda: "fake engine")
    with bench_on(measured, tmp_path) as bench:
        yield bench


def setup_of(study: str = "new", **changes: Any) -> StudySetup:
    return prepare_study(config_of(study, **{**FEW, **changes}))


@pytest.mark.slow
def test_steps_of_an_earlier_study_are_a_model_with_an_error(on_this_device: Workbench) -> None:
    found = find_step_model(setup_of(workload="chat"), on_this_device.storage)
    assert isinstance(found, StepModel)
    assert found.error.source == "fitted on 20 windows of 8 configurations measured on this device"
    assert found.error.held_out == "each configuration left out in turn"
    assert found.error.median_error is not None and found.error.median_error < 0.05
    assert found.error.low <= 1 <= found.error.high
    costs = found.chip.costs(setup_of().group_engine(16), {})
    assert not costs.step_noise and not costs.window_noise, "a prior has no noise of its own"


@pytest.mark.parametrize(
    "changes",
    [{"dtype": "bfloat16"}, {"kv_write": "loop,loop"}, {"engine_args": {"enforce_eager": True}}, {"async_scheduling": True}],
    ids=str,
)
def test_an_engine_with_other_steps_teaches_nothing(on_this_device: Workbench, changes: dict[str, Any]) -> None:
    found = find_step_model(setup_of(**changes), on_this_device.storage)
    assert isinstance(found, str) and found.startswith("no earlier study of this model on this device has steps of 4 configurations")


@pytest.mark.slow
def test_another_device_teaches_nothing(on_this_device: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.search.step_model.cpu_name", lambda: "cpu x86_64 another x8")
    assert isinstance(find_step_model(setup_of(), on_this_device.storage), str)


@pytest.mark.slow
def test_settings_that_no_step_time_knows_are_not_predicted(on_this_device: Workbench) -> None:
    """Configurations that differ in such a setting alone would share a prediction."""
    plan = plan_search(setup_of(factors={"enable_chunked_prefill": [True, False]}), on_this_device.storage)
    assert plan.to_json()["prior"] == {"predicted": 0, "reason": "nothing is known of what enable_chunked_prefill does to a step"}


@pytest.mark.slow
def test_settings_that_the_simulated_scheduler_takes_are_predicted(on_this_device: Workbench) -> None:
    plan = plan_search(setup_of(factors={"max_num_seqs": [2, 8], "long_prefill_token_threshold": [0, 64]}), on_this_device.storage)
    assert plan.to_json()["prior"]["predicted"] == len(plan.setup.space.configurations)


def test_the_study_itself_teaches_nothing(on_this_device: Workbench) -> None:
    assert isinstance(find_step_model(setup_of("first"), on_this_device.storage), str)


@pytest.mark.slow
def test_windows_without_steps_teach_nothing(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.search.step_model.cpu_name", lambda: "fake engine")
    bench.run(FakeLauncher(), study="first", rounds=2)
    assert isinstance(find_step_model(setup_of(), bench.storage), str)
    assert isinstance(find_step_model(setup_of(), None), str)


def test_a_tpu_has_its_generations_public_times_and_no_others() -> None:
    known, unknown = (prepare_study(config_of("new", **FEW), TPU_LIMITS[name]) for name in ("TPU v6e", "TPU v5e"))
    found = find_step_model(known, None)
    assert isinstance(found, StepModel) and "Llama-3.1-8B on one v6e" in found.error.source
    assert found.error.low < 1 < found.error.high
    assert "step times are known of TPU v6e only" in str(find_step_model(unknown, None))


@pytest.mark.slow
def test_the_plan_says_what_is_foreseen_and_off_is_off(on_this_device: Workbench) -> None:
    plan = plan_search(setup_of(), on_this_device.storage)
    assert plan.to_json()["prior"]["predicted"] == 8
    assert "20 windows of 8 configurations" in plan.to_json()["prior"]["step_times"]
    for changes in ({"foresight": False}, {"trials": None}):  # switched off; the whole grid, which no sampler chooses from
        plan = plan_search(setup_of(**changes), on_this_device.storage)
        assert plan.step_model is None and plan.to_json()["prior"]["predicted"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step_time": "/nowhere.yaml"}, "step time file /nowhere.yaml"),
        ({"step_time": "x.yaml", "trials": None}, "step_time x.yaml: sampler grid has no use for predictions; drop --step-time, or"),
        ({"step_time": "x.yaml", "sampler": "tpe"}, "step_time x.yaml: sampler tpe has no use for predictions"),
        ({"step_time": "x.yaml", "foresight": False}, "step_time x.yaml: --no-foresight predicts nothing"),
    ],
    ids=str,
)
def test_step_times_that_nothing_has_a_use_for_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as raised:
        plan_search(setup_of(**changes))
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_of_step_times_goes_before_what_was_measured(on_this_device: Workbench, tmp_path: Path) -> None:
    (tmp_path / "steps.yaml").write_text("about: ours\npadded_ms: {16: 7, 512: 60}\nlow: 0.9\nhigh: 1.1\nwindow_noise: [0.9, 1.1]\n")
    found = find_step_model(setup_of(step_time=str(tmp_path / "steps.yaml")), on_this_device.storage)
    assert isinstance(found, StepModel)
    assert found.error.sentence == "step times ours; true / predicted in 0.90 to 1.10 (90 %; its file says so)"
    assert found.chip.costs(setup_of().group_engine(16), {}).window_noise == ()
