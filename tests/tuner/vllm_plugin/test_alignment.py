"""Page arithmetic: the variants step by step, against an independent transliteration of the pull request, and without starvation."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles.pr19878 import Request, schedule_step
from tests.quick import examples
from tuner.vllm_plugin.alignment import (
    StepLedger,
    Variant,
    check_page_size,
    grant_demote,
    grant_fill_bucket,
    grant_strict,
    round_down,
    round_up,
)

BUCKETS = (16, 32, 64, 128, 256, 512, 1024)
PAGES = st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128])


@dataclass
class Simulation:
    """vLLM's two loops around a StepLedger, as Scheduler.schedule() calls the hook; then each request decodes its output."""

    requests: list[Request]
    outputs: dict[str, int]
    budget: int
    page: int
    variant: Variant
    max_running: int = 4
    running: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    charged: list[int] = field(default_factory=list)
    unaligned_starts: int = 0

    def __post_init__(self) -> None:
        self.waiting = list(self.requests)
        self.ledger = StepLedger(self.page, self.variant, BUCKETS)

    def step(self) -> dict[str, int]:
        self.ledger.begin(self.budget)
        scheduled: dict[str, int] = {}
        left = self.budget
        for request in self.running:
            if left <= 0:
                break
            tokens = self.ledger.grant(request.total - request.computed, min(request.total - request.computed, left), waiting=False)
            if tokens:
                scheduled[request.name] = tokens
                left -= tokens
        while self.waiting and left > 0 and len(self.running) < self.max_running:
            request = self.waiting[0]
            tokens = self.ledger.grant(request.total - request.computed, min(request.total - request.computed, left), waiting=True)
            if not tokens:
                break
            self.running.append(self.waiting.pop(0))
            scheduled[request.name] = tokens
            left -= tokens
        self.charged.append(self.budget - self.ledger.left)
        return scheduled

    def apply(self, scheduled: dict[str, int]) -> None:
        for request in list(self.running):
            tokens = scheduled.get(request.name, 0)
            if tokens > 1 and request.computed % self.page:
                self.unaligned_starts += 1
            request.computed += tokens
            if tokens and request.computed == request.total:
                if self.outputs[request.name] == 0:
                    self.running.remove(request)
                else:
                    self.outputs[request.name] -= 1
                    request.total += 1

    def run(self, limit: int) -> int:
        """Steps until every request is done; raises after `limit` steps."""
        for steps in range(limit):
            if not self.running and not self.waiting:
                return steps
            self.apply(self.step())
        raise AssertionError(f"requests starve: {self.running} {self.waiting}")


@st.composite
def simulations(draw: st.DrawFn, variant: Variant) -> Simulation:
    page = draw(PAGES)
    budget = draw(st.integers(page, 8 * page + 7))
    lengths = draw(st.lists(st.integers(1, 5 * budget), min_size=1, max_size=6))
    requests = [Request(f"r{i}", total) for i, total in enumerate(lengths)]
    outputs = {request.name: draw(st.integers(0, 6)) for request in requests}
    return Simulation(requests, outputs, budget, page, variant, draw(st.integers(1, 5)))


@pytest.mark.slow
@examples(120)
@given(st.one_of(simulations(Variant.DEMOTE), simulations(Variant.FILL_BUCKET)))
def test_the_safe_variants_finish_every_request_for_every_page_up_to_the_budget(simulation: Simulation) -> None:
    tokens = sum(request.total for request in simulation.requests) + sum(simulation.outputs.values())
    simulation.run(limit=4 * tokens + 16)
    assert simulation.unaligned_starts == 0
    assert max(simulation.charged) <= simulation.budget


@examples(120)
@given(simulations(Variant.STRICT), st.integers(1, 30))
def test_strict_reproduces_the_pull_request(simulation: Simulation, steps: int) -> None:
    running: list[Request] = []
    waiting = copy.deepcopy(simulation.requests)
    by_name = {request.name: request for request in waiting}
    for _ in range(steps):
        scheduled = simulation.step()
        expected = schedule_step(running, waiting, simulation.budget, simulation.page, simulation.max_running)
        assert scheduled == expected
        assert simulation.charged[-1] <= simulation.budget
        simulation.apply(scheduled)
        for mine in simulation.requests:  # the same progress on the oracle's side
            by_name[mine.name].computed, by_name[mine.name].total = mine.computed, mine.total
        running = [by_name[request.name] for request in simulation.running]


@examples(120)
@given(PAGES, st.integers(1, 4096), st.integers(1, 4096), st.integers(1, 4096))
def test_a_grant_is_within_what_was_asked_and_left(page: int, remaining: int, limit: int, left: int) -> None:
    new_tokens = min(remaining, limit, left)
    for rule in (grant_strict, grant_demote):
        grant = rule(remaining, new_tokens, left, page)
        assert 0 <= grant.tokens <= new_tokens
        assert grant.tokens <= grant.charge <= left
        assert grant.charge == grant.tokens == 1 or grant.charge == round_up(grant.tokens, page)
    demoted = grant_demote(remaining, new_tokens, left, page)
    assert demoted.tokens in (0, remaining) or demoted.tokens % page == 0
    assert not demoted.stops_loop


@examples(120)
@given(PAGES, st.integers(1, 4096), st.integers(1, 4096), st.integers(0, 1024))
def test_a_filling_grant_is_charged_its_tokens_and_never_raises_the_padding(page: int, remaining: int, limit: int, used: int) -> None:
    new_tokens = min(remaining, limit)
    grant = grant_fill_bucket(remaining, new_tokens, used, page, BUCKETS)
    assert grant.charge == grant.tokens <= new_tokens and not grant.stops_loop
    assert grant.tokens in (0, remaining) or grant.tokens % page == 0
    assert new_tokens < page or grant.tokens > 0  # where a page or the rest fits, something is scheduled
    assert padded(used + grant.tokens) <= padded(used + new_tokens)


def padded(tokens: int) -> int:
    return next((bucket for bucket in BUCKETS if bucket >= tokens), tokens)


@pytest.mark.parametrize(
    ("remaining", "new_tokens", "used", "granted"),
    [
        (70, 70, 5, 48),  # 75 tokens would be padded to 128: 53 fit into 64
        (100, 100, 5, 100),  # 105 of 128 is filled well enough
        (70, 70, 60, 64),  # 130 would be padded to 256: 60 + 64 fit into 128
        (40, 40, 30, 32),  # 70 would be padded to 128: 30 + 32 fit into 64
        (20, 20, 55, 20),  # 75 would be padded to 128, but beside 55 no whole page fits into 64
        (300, 123, 5, 112),  # no last segment: whole pages only
        (1, 1, 64, 1),  # a decode is never kept waiting
        (11, 11, 5, 11),  # fits the smallest bucket exactly
        (15, 15, 5, 15),  # 20 would be padded to 32, but no page fits into 16 beside 5
    ],
)
def test_fill_bucket_cuts_a_segment_to_the_bucket_below(remaining: int, new_tokens: int, used: int, granted: int) -> None:
    """Page size 16."""
    assert grant_fill_bucket(remaining, new_tokens, used, 16, BUCKETS).tokens == granted


def test_fill_bucket_schedules_a_last_segment_whose_charge_would_exceed_the_budget() -> None:
    """Page 128, budget 200: demote cuts the 195 tokens to 128, because it would charge 256."""
    steps = [
        Simulation([Request("r0", 195)], {"r0": 1}, 200, 128, variant).run(limit=1000) for variant in (Variant.DEMOTE, Variant.FILL_BUCKET)
    ]
    assert steps == [3, 2]


def test_strict_stalls_for_ever_where_demote_does_not() -> None:
    """Page 128, budget 200: a 150-token tail is charged 256, never at most 200."""
    stalled = Simulation([Request("r0", 150)], {"r0": 1}, 200, 128, Variant.STRICT)
    with pytest.raises(AssertionError, match="starve"):
        stalled.run(limit=1000)
    assert Simulation([Request("r0", 150)], {"r0": 1}, 200, 128, Variant.DEMOTE).run(limit=1000) == 3


def test_strict_takes_a_one_token_remainder_of_the_budget_for_a_decode() -> None:
    """Rule 1 to the letter: with one token of budget left a prefill gets one token, and its next chunk starts off the page boundary."""
    running_decode = Request("decode", 33, 32)
    simulation = Simulation([Request("long", 100)], {"long": 0, "decode": 3}, 34, 32, Variant.STRICT)
    simulation.running = [running_decode, Request("other", 64, 32)]
    simulation.outputs["other"] = 0
    scheduled = simulation.step()
    assert scheduled == {"decode": 1, "other": 32, "long": 1}
    simulation.apply(scheduled)
    simulation.apply(simulation.step())
    assert simulation.unaligned_starts == 1


def test_step_ledger_forgets_a_stop_at_the_next_step_and_between_the_loops() -> None:
    ledger = StepLedger(128, Variant.STRICT)
    ledger.begin(200)
    assert ledger.grant(150, 150, waiting=False) == 0
    assert ledger.grant(1, 1, waiting=False) == 0  # the loop stopped
    assert ledger.grant(100, 100, waiting=True) == 100  # the other loop did not
    ledger.begin(200)
    assert ledger.grant(1, 1, waiting=False) == 1


@pytest.mark.parametrize(("page", "budget", "word"), [(48, 512, "power of two"), (0, 512, "power of two"), (256, 128, "exceeds")])
def test_bad_page_sizes_are_refused_by_name(page: int, budget: int, word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        check_page_size(page, budget)
    assert "block_size" in str(caught.value)


@given(st.integers(0, 10**6), PAGES)
def test_rounding(tokens: int, page: int) -> None:
    assert round_down(tokens, page) <= tokens <= round_up(tokens, page)
    assert round_up(tokens, page) - round_down(tokens, page) in (0, page)
    assert round_up(tokens, page) % page == round_down(tokens, page) % page == 0
