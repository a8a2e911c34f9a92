"""What page alignment changes on a TPU that is not here: counts are the scheduler's own, times are predicted or there are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.tuner.workbench import config_of
from tuner.core.contract import EngineSettings, LoadPlan, RequestRecord, StepRecord, WindowResult
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.foresight.simulated_chip import SimulatedChip
from tuner.launchers.alignment_effect import ARMS, Place, Row, counts_of, place_of, rows_of
from tuner.launchers.simulate import SimulateLauncher
from tuner.setup.models import ResolvedModel, resolve_model
from tuner.setup.study_setup import shared_engine
from tuner.workload.spec import WorkloadSpec

pytestmark = pytest.mark.usefixtures("shared_simulation_host")

CELLS = [(32, 128), (32, 256), (128, 128)]
LOAD = "synthetic:input=20-300,output=10-40,requests=40,concurrency=8"


def _model(**features: Any) -> ResolvedModel:
    model = resolve_model("tiny-qwen3")
    model.prepare()
    return replace(model, features={**model.features, **features})


def _settings() -> EngineSettings:
    return shared_engine(config_of(chunk_budgets=[256]), _model(), max_num_seqs=8, max_model_len=512).with_changes(block_size=128)


def _window(first_tokens: list[float], sent: list[float]) -> WindowResult:
    """Three steps of one second."""
    steps = tuple(StepRecord(float(start), 1.0, 10, 16, 9, 2, 1) for start in range(3))
    requests = tuple(
        RequestRecord(f"r{index}", 5, 0.0, begin, (token,), token, cached_tokens=3, preemptions=1)
        for index, (token, begin) in enumerate(zip(first_tokens, sent, strict=True))
    )
    return WindowResult(requests, steps, started_at=0.0, duration_s=3.0, details={"held_back_tokens": 7})


def test_counts_are_sums_over_the_steps() -> None:
    counts = counts_of(_window([1.0, 3.0], [0.0, 1.0]))
    assert (counts.steps, counts.scheduled_tokens, counts.padded_tokens, counts.prefill_chunks) == (3, 30, 48, 6)
    assert (counts.held_back_tokens, counts.cached_tokens, counts.preemptions) == (7, 6, 2)


@pytest.mark.parametrize(
    ("first_tokens", "sent", "steps"),
    [([1.0], [0.0], 1.0), ([3.0], [0.0], 3.0), ([3.0], [2.0], 1.0), ([1.0, 3.0], [0.0, 1.0], 1.5)],
)
def test_the_steps_until_the_first_token_are_counted_from_the_sending(first_tokens: list[float], sent: list[float], steps: float) -> None:
    assert counts_of(_window(first_tokens, sent)).ttft_steps == steps


def test_a_request_without_a_token_is_no_count() -> None:
    window = _window([1.0], [0.0])
    with pytest.raises(TrialFailed, match="got no token"):
        counts_of(replace(window, requests=(replace(window.requests[0], token_times_s=()),)))


def test_a_chip_with_step_times_predicts() -> None:
    place = place_of(_model(), "v6e", _settings(), None)
    assert (place.name, place.no_prediction, place.chip.borrowed) == ("TPU v6e-1", None, None)


@pytest.mark.parametrize("chip", ["v5e", "7x", "v5p"])
def test_a_chip_without_step_times_has_no_prediction_unless_it_borrows(chip: str) -> None:
    place = place_of(_model(), chip, _settings(), None)
    assert place.no_prediction is not None and "has no prediction" in place.no_prediction
    borrowing = place_of(_model(), chip, _settings(), "v6e")
    assert (borrowing.no_prediction, borrowing.chip.borrowed) == (None, "TPU v6e")


def test_a_model_takes_as_many_devices_as_it_needs_and_collectives_have_no_prediction() -> None:
    large = _model(layers=64, hidden_size=5120, heads=64, kv_heads=8, head_size=128, intermediate_size=25600, dtype="bfloat16")
    assert [place_of(large, chip, _settings(), None).devices for chip in ("v5e", "v6e", "7x")] == [8, 4, 1]
    assert "collectives" in str(place_of(large, "v6e", _settings(), None).no_prediction)


def test_a_model_that_no_number_of_devices_holds_is_out_of_memory() -> None:
    huge = _model(layers=800, hidden_size=16384, heads=128, kv_heads=8, head_size=128, intermediate_size=65536, dtype="bfloat16")
    with pytest.raises(TrialFailed, match="less than one request") as caught:
        place_of(huge, "v5e", _settings(), None)
    assert caught.value.failure is FailureClass.OUT_OF_MEMORY


@pytest.mark.parametrize("name", ["h100", "v6e-3", "tpu"])
def test_what_is_no_tpu_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="accelerator"):
        place_of(_model(), name, _settings(), None)


# With vLLM's scheduler.


def _plan(load: str = LOAD) -> LoadPlan:
    return WorkloadSpec.parse(load).plan(2048, 512)


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulateLauncher]:
    launcher = SimulateLauncher(SimulatedChip("", None, 1, None, None), log_dir=tmp_path_factory.mktemp("effect"))
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def rows(launcher: SimulateLauncher) -> dict[str, dict[tuple[int, int, str], Row]]:
    """Chip -> cell and arm -> row; all cells of the chip with step times, the first one of that without."""
    found = {}
    for chip, cells in (("v6e", CELLS), ("v5e", CELLS[:1])):
        place = place_of(_model(), chip, _settings(), None)
        listed = list(rows_of(launcher, place, _settings(), _plan(), cells, ARMS))
        found[chip] = {(row.page_size, row.budget, row.arm): row for row in listed}
        assert len(listed) == len(found[chip]) == len(cells) * len(ARMS)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_arm_computes_the_same_tokens(rows: dict[str, dict[tuple[int, int, str], Row]]) -> None:
    plan = _plan()
    tokens = sum(len(request.prompt_token_ids) + request.max_tokens - 1 for request in plan.requests)
    for row in rows["v6e"].values():
        assert row.counts.scheduled_tokens + row.counts.cached_tokens == tokens
        assert row.counts.padded_tokens >= row.counts.scheduled_tokens


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_vllms_own_schedule_holds_nothing_back_and_whole_pages_do(rows: dict[str, dict[tuple[int, int, str], Row]]) -> None:
    found = rows["v6e"]
    assert all(row.counts.held_back_tokens == 0 for row in found.values() if row.arm == "default")
    assert all(found[(*cell, arm)].counts.held_back_tokens > 0 for cell in CELLS for arm in ("strict", "demote"))
    assert found[128, 128, "demote"].counts.ttft_steps > 2 * found[128, 128, "default"].counts.ttft_steps


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_counted_does_not_depend_on_step_times(rows: dict[str, dict[tuple[int, int, str], Row]]) -> None:
    assert rows["v5e"] and all(rows["v6e"][cell].counts == row.counts for cell, row in rows["v5e"].items())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_value_says_what_it_is(rows: dict[str, dict[tuple[int, int, str], Row]]) -> None:
    with_times, without = (rows[chip][32, 128, "demote"].to_json() for chip in ("v6e", "v5e"))
    assert with_times["steps"]["mark"] == without["steps"]["mark"] == "exact"
    speed = with_times["throughput_tokens_s"]
    assert speed["mark"] == "predicted" and speed["low"] < speed["value"] < speed["high"]
    assert without["throughput_tokens_s"]["mark"] == without["ttft_p50_ms"]["mark"] == "no prediction"
    assert "value" not in without["throughput_tokens_s"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_open_loop_is_refused(launcher: SimulateLauncher) -> None:
    place = Place(_model(), SimulatedChip("", None, 1, None, None), 1, None)
    plan = _plan(LOAD.replace("concurrency=8", "rate=5"))
    with pytest.raises(BadInput, match="open loop"):
        next(rows_of(launcher, place, _settings(), plan, CELLS, ARMS))
