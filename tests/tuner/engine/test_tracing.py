"""A phase is reached, held and let go; on a scheduler of a few lines. The real engine's profiles are in test_client."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from profiles.session_plan import PHASES, composition
from tuner.core.contract import LoadPlan, PlannedRequest, StepRecord
from tuner.engine.tracing import SETTLED_STEPS, Feeder, name_session, settle
from tuner.workload.client import TokenBatch, WindowTimeout
from tuner.workload.phases import PhaseLoad, phase_load

PLAN = LoadPlan(tuple(PlannedRequest(f"r{index}", tuple(range(20 + index * 13)), 5) for index in range(6)), 5, "hash")


class Scheduler:
    """Decodes first, then prefills in chunks up to a budget; every step is done at once."""

    def __init__(self, budget: int, max_num_seqs: int) -> None:
        self._budget, self._max_num_seqs = budget, max_num_seqs
        self._left: dict[str, list[int]] = {}  # request -> [prompt tokens, output tokens] still to do
        self.steps: list[StepRecord] = []

    def add(self, request: PlannedRequest) -> None:
        assert request.request_id not in self._left
        self._left[request.request_id] = [len(request.prompt_token_ids), request.max_tokens]

    def abort(self, request_ids: Sequence[str]) -> None:
        for name in request_ids:
            del self._left[name]

    @property
    def empty(self) -> bool:
        return not self._left

    def step(self) -> list[TokenBatch]:
        budget, decodes = self._budget, 0
        prefills: list[int] = []
        batches: list[TokenBatch] = []
        running = sorted(list(self._left.items())[: self._max_num_seqs], key=lambda item: item[1][0] > 0)
        for name, left in running:
            size = min(left[0] or 1, budget)
            budget -= size
            if left[0]:
                prefills += [size] if size else []
                left[0] -= size
            else:
                decodes += size
            if size and not left[0]:
                left[1] -= 1
                batches.append(TokenBatch(name, [1], left[1] == 0, 0))
                if not left[1]:
                    del self._left[name]
        scheduled = sum(prefills) + decodes
        self.steps.append(
            StepRecord(
                start_s=0.0,
                duration_s=0.0,
                scheduled_tokens=scheduled,
                padded_tokens=scheduled,
                prefill_tokens=sum(prefills),
                prefill_requests=len(prefills),
                decode_requests=decodes,
            )
        )
        return batches


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_is_held_once_it_is_reached_and_nothing_is_left_of_it(phase: str) -> None:
    engine, load = Scheduler(64, 8), phase_load(phase, PLAN, 64, 8, 400)
    feeder = Feeder(engine, load)
    assert settle(feeder, load, lambda: 0, time.perf_counter() + 60) >= SETTLED_STEPS
    for _ in range(40):
        (record,) = feeder.step()
        assert composition(record).phase == phase
    feeder.abort()
    assert engine.empty


@pytest.mark.parametrize("length", [1, 65, 129])
def test_prompts_that_end_in_a_chunk_of_one_token_hold_the_prefill_phase(length: int) -> None:
    """With a budget of 64 each of these prompts has a last chunk of one token, which was taken for a decode."""
    plan = LoadPlan(tuple(PlannedRequest(f"r{index}", tuple(range(length)), 5) for index in range(3)), 1, "hash")
    engine, load = Scheduler(64, 1), phase_load("prefill", plan, 64, 1, 400)
    feeder = Feeder(engine, load)
    settle(feeder, load, lambda: 0, time.perf_counter() + 60)
    assert {composition(feeder.step()[0]).phase for _ in range(12)} == {"prefill"}


def test_a_compilation_starts_the_settling_anew() -> None:
    engine, load = Scheduler(64, 8), phase_load("prefill", PLAN, 64, 8, 400)
    compiled = iter([0, 1, 2, 3, *[4] * 100])
    assert settle(Feeder(engine, load), load, lambda: next(compiled), time.perf_counter() + 60) == 4 + SETTLED_STEPS


def test_a_phase_that_is_never_reached_is_a_time_out() -> None:
    never = PhaseLoad("decode", PLAN.requests[:1] * 2, 1)
    one_step = PhaseLoad("decode", tuple(PlannedRequest(f"r{index}", (1, 2, 3), 1) for index in range(3)), 1)
    for load, deadline in ((one_step, 60.0), (never, -1.0)):
        with pytest.raises(WindowTimeout, match="did not come into phase decode"):
            settle(Feeder(Scheduler(64, 8), load), load, lambda: 0, time.perf_counter() + deadline)


def test_what_cannot_be_scheduled_does_not_pile_up() -> None:
    full = Scheduler(4, 1)
    load = PhaseLoad("mixed", (PlannedRequest("a", (1,), 10**6),), 1, (PlannedRequest("b", (1, 2, 3), 1),))
    feeder = Feeder(full, load)
    for _ in range(50):
        feeder.step()
    assert len(full._left) == 3
    feeder.abort()
    assert full.empty


def test_the_newest_session_gets_its_name(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="wrote no profile"):
        name_session(tmp_path, "s")
    folder = tmp_path / "plugins" / "profile" / "2026_01_01"
    folder.mkdir(parents=True)
    (folder / "host.xplane.pb").write_bytes(b"x")
    assert name_session(tmp_path, "mine") == tmp_path / "plugins/profile/mine/host.xplane.pb"
    assert name_session(tmp_path, "mine").read_bytes() == b"x"
