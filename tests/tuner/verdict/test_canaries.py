"""Which differences between two engines' answers are rounding, and which are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tuner.answering import UNIT, answers, forgetful, nudged, right
from tuner.core.contract import Answered, PlannedRequest
from tuner.verdict.canaries import Reference, agreement, tolerance_of
from tuner.workload.canaries import canary_plan

PLAN = canary_plan(512, 512, (16, 64), (128, 256))
EXPECTED = answers(PLAN)
TOLERANCE = 3 * UNIT


def test_half_precision_is_told_by_the_steps_of_its_logits() -> None:
    assert tolerance_of(EXPECTED, EXPECTED) == TOLERANCE


def test_noise_that_one_engine_shows_widens_the_tolerance() -> None:
    assert tolerance_of(EXPECTED, answers(PLAN, nudged((-2, 0, 2)))) == pytest.approx(8 * UNIT)


def test_float32_has_the_tolerance_of_its_rounding() -> None:
    rows = (Answered("r", ((1, 2, 3),), ((-0.7012345, -1.9123456, -3.3000001),)),)
    assert tolerance_of(rows, rows) == pytest.approx(128 * 2**-23 * 3.3, rel=1e-3)


@pytest.mark.parametrize("change", [right, nudged((0, 1)), nudged((-1, 0, 1))])
def test_rounding_is_no_fault_also_where_it_turns_a_near_tie(change: object) -> None:
    found = agreement(EXPECTED, answers(PLAN, change), TOLERANCE)  # type: ignore[arg-type]
    assert found.fault is None
    assert found.match > 0.9


def test_a_near_tie_ends_the_comparison_of_its_prompt() -> None:
    def turned(request: PlannedRequest, position: int, choices: list[tuple[int, float]]) -> list[tuple[int, float]]:
        (first, high), (second, _), *rest = choices
        return [(second, high), (first, high - UNIT), *rest] if request is PLAN.requests[0] and position == 3 else choices

    expected = [replace(item, logprobs=tuple((0.0, -UNIT, *row[2:]) for row in item.logprobs)) for item in EXPECTED]
    got = [replace(item, logprobs=tuple((0.0, -UNIT, *row[2:]) for row in item.logprobs)) for item in answers(PLAN, turned)]
    found = agreement(expected, got, TOLERANCE)
    assert (found.compared, found.equal) == (12 * len(PLAN.requests) - 8, 12 * len(PLAN.requests) - 9)
    assert found.fault is None


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_other_tokens_are_a_fault_that_names_prompt_position_expected_and_got(share: float) -> None:
    found = agreement(EXPECTED, answers(PLAN, forgetful(share)), TOLERANCE)
    assert found.fault is not None and "\n" not in found.fault
    assert found.fault.startswith("prompt canary-") and "output token 1: expected" in found.fault and ", got " in found.fault


def test_the_same_tokens_with_other_probabilities_are_a_fault() -> None:
    """A wrong KV write in a model that hardly looks back: no token changes."""
    got = [replace(item, logprobs=tuple((row[0] - 0.2, *row[1:]) for row in item.logprobs)) for item in EXPECTED]
    found = agreement(EXPECTED, got, TOLERANCE)
    assert found.match == 1.0
    assert found.divergence == pytest.approx(0.2)
    assert found.fault is not None and "log-probabilities moved by 0.2 (tolerance 0.09375)" in found.fault


@pytest.mark.parametrize("got", [[], EXPECTED[:-1], [replace(EXPECTED[0], ids=(), logprobs=()), *EXPECTED[1:]]])
def test_an_answer_that_is_missing_is_a_fault(got: list[Answered]) -> None:
    assert agreement(EXPECTED, got, TOLERANCE).fault is not None


def test_an_engine_that_answers_otherwise_one_by_one_is_no_reference() -> None:
    assert tolerance_of(EXPECTED, answers(PLAN, forgetful(0.2))) is None
    assert tolerance_of(EXPECTED, EXPECTED[1:]) is None


def test_a_reference_is_read_as_it_was_written() -> None:
    kept = Reference("default p16 b256", PLAN.content_hash, tuple(EXPECTED), TOLERANCE)
    assert Reference.from_json(kept.to_json()) == kept
