"""A search's prior that answers from a function, and engines whose windows have steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from storage.base import Storage
from storage.records import Environment, ForesightAnswer
from tuner.core.contract import StepRecord, WindowResult
from tuner.engine.step_costs import Point, StepCosts
from tuner.foresight.prediction import Prediction, Span, StepTimeError, as_stored, configuration_question
from tuner.foresight.simulated_chip import SimulatedChip
from tuner.search.prior import SimulatedPrior
from tuner.search.step_model import StepModel
from tuner.setup.space import Configuration
from tuner.setup.study_setup import StudySetup

ERROR = StepTimeError("given: a test", 0.9, 1.2, "its file says so", None)
COSTS = StepCosts("given: a test", (Point(16, 0.007), Point(512, 0.06)), low=0.9, high=1.2)
MODEL = StepModel(SimulatedChip("engine", None, 1, None, COSTS), ERROR)


def a_prediction(configuration: Configuration, throughput: float, **changes: object) -> Prediction:
    found = Prediction(
        block_size=configuration.block_size,
        max_num_batched_tokens=configuration.max_num_batched_tokens,
        arm=configuration.arm,
        metrics={
            "total_token_throughput": Span(throughput, throughput / 1.2, throughput / 0.9),
            "ttft_p99_ms": Span(1e5 / throughput, 0.9e5 / throughput, 1.2e5 / throughput),
        },
        step_times=ERROR,
        workload_hash="a" * 64,
        workload_name="chat",
        request_rate=None,
        limits=(),
        config={"block_size": configuration.block_size},
        vllm_args=("--block-size", str(configuration.block_size)),
        env={},
        changes=(),
        versions={"vllm": "0"},
        family="one",
        factors=dict(configuration.factors),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


class ScriptedPrior(SimulatedPrior):
    """Predicts what `value` says, and simulates nothing."""

    def __init__(self, value: Callable[[Configuration], float]) -> None:
        super().__init__(MODEL, Path("/nowhere"), None)
        self.value = value
        self.asked = 0

    def predict(self, setup: StudySetup, storage: Storage, environment: Environment, say: Callable[[str], None]) -> list[ForesightAnswer]:
        self.asked += 1
        rows = [
            as_stored(
                a_prediction(item, self.value(item)),
                configuration_question({"study": setup.config.study}, *item.cell[:2], item.arm, item.factors),
                model=setup.config.model,
                accelerator=environment.accelerator,
                device_count=environment.device_count,
            )
            for item in setup.space.configurations
        ]
        storage.put_foresight(rows)
        return rows


def with_steps(configuration: Configuration, _nth: int, result: WindowResult) -> WindowResult:
    """A window of ten steps that take 1 ms and 20 us a padded token."""
    padded = configuration.max_num_batched_tokens // 4
    seconds = 0.001 + 2e-5 * padded
    steps = [StepRecord(place * seconds, seconds, padded - 3, padded, padded // 2, 1, padded - 3 - padded // 2) for place in range(10)]
    return replace(result, steps=tuple(steps))


def kept_predictions(
    *throughputs: float, model: str = "other/model", accelerator: str = "TPU v6e", device_count: int = 1, **changes: object
) -> list[ForesightAnswer]:
    """Rows for page sizes 16, 32, ... with these predicted throughputs."""
    found = [a_prediction(Configuration(16 << place, 256, "default"), value, **changes) for place, value in enumerate(throughputs)]
    return [
        as_stored(
            item,
            configuration_question({"changes": repr(changes), "where": accelerator}, item.block_size, 256, item.arm),
            model=model,
            accelerator=accelerator,
            device_count=device_count,
        )
        for item in found
    ]
