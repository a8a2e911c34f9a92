"""Each failure class says whether it is tried again, how often and where; what another version noted is read as far as it can be."""

from __future__ import annotations

import click
import pytest

from tuner.cli.search import search
from tuner.cli.worker import worker
from tuner.core.errors import FailureClass
from tuner.trials.retry import RETRIES, RULES, Attempt, Next, attempts_of, attempts_words, is_left_by, next_step, wait_before

NEVER = {
    FailureClass.OUT_OF_MEMORY,
    FailureClass.COMPILE_ERROR,
    FailureClass.INVALID_CONFIG,
    FailureClass.WRONG_OUTPUT,
    FailureClass.REQUEST_FAILED,
    FailureClass.INVALID_MEASUREMENT,
    FailureClass.INTERNAL,
}


def attempts(*failures: FailureClass, host: str = "tpu-1", then: Next = Next.HERE) -> list[Attempt]:
    told = enumerate(failures, 1)
    return [Attempt(nth, failure.value, "why", host, engine_start=nth, at=0.0, then=then.value) for nth, failure in told]


@pytest.mark.parametrize("failure", FailureClass)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_every_class_has_its_rule(failure: FailureClass, elsewhere: bool) -> None:
    first = next_step(failure, [], most=RETRIES, elsewhere=elsewhere)
    if failure in NEVER or (failure is FailureClass.NO_SPACE and not elsewhere):
        assert first is Next.GIVE_UP
    else:
        moves = failure in (FailureClass.ENGINE_CRASH, FailureClass.STARTUP, FailureClass.NO_SPACE)
        assert first is (Next.ELSEWHERE if elsewhere and moves else Next.HERE)
    used_up = attempts(*[failure] * RULES[failure].times)
    assert next_step(failure, used_up, most=RETRIES, elsewhere=elsewhere) is Next.GIVE_UP


def test_a_trial_has_so_many_attempts_whatever_they_failed_with() -> None:
    earlier = attempts(FailureClass.STARTUP, FailureClass.TIMEOUT)
    assert next_step(FailureClass.ENGINE_CRASH, earlier, most=3, elsewhere=False) is Next.HERE
    assert next_step(FailureClass.ENGINE_CRASH, earlier, most=2, elsewhere=False) is Next.GIVE_UP
    assert next_step(FailureClass.IN_USE, [], most=0, elsewhere=False) is Next.GIVE_UP


def test_only_what_is_in_use_is_waited_for_longer_each_time() -> None:
    waits = [wait_before(FailureClass.IN_USE, attempts(*[FailureClass.IN_USE] * count), 10.0) for count in range(3)]
    assert waits == [10.0, 20.0, 40.0]
    assert {wait_before(failure, [], 10.0) for failure in FailureClass if failure is not FailureClass.IN_USE} == {0.0}


def test_what_was_noted_is_read_again_and_told() -> None:
    notes = {"attempts": [item.to_json() for item in attempts(FailureClass.STARTUP, FailureClass.ENGINE_CRASH, host="h")], "rounds": 3}
    assert attempts_of(notes) == attempts(FailureClass.STARTUP, FailureClass.ENGINE_CRASH, host="h")
    assert attempts_words(notes) == "2 attempts failed: startup on h, engine_crash on h"
    assert not is_left_by(notes, "h")
    left = {"attempts": [item.to_json() for item in attempts(FailureClass.STARTUP, host="h", then=Next.ELSEWHERE)]}
    assert is_left_by(left, "h") and not is_left_by(left, "other")


@pytest.mark.parametrize("notes", [{}, {"attempts": None}, {"attempts": "3"}, {"attempts": [{"host": "h"}, 7]}])
def test_notes_of_another_form_tell_of_no_attempt(notes: dict[str, object]) -> None:
    assert attempts_of(notes) == [] and attempts_words(notes) == ""


@pytest.mark.parametrize("command", [search, worker])
def test_the_command_lines_say_the_same_number(command: click.Command) -> None:
    assert [item.default for item in command.params if item.name == "retries"] == [RETRIES]
