"""vLLM's real scheduler, asked only where its answer can change, decides what it decides when it is asked for every step."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.plugins.programs import Programs
from tests.tuner.engine.replayed import PARTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # importing vLLM


@pytest.fixture(scope="module")
def windows(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    printed = programs.run("tests.tuner.engine.replayed", env={"TUNER_CACHE": str(tmp_path_factory.mktemp("cache"))})
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("way", ["parked", "jumping"])
def test_no_short_cut_changes_a_step_a_time_or_a_request(way: str, windows: list[dict[str, Any]]) -> None:
    assert len(windows) == 44
    for window in windows:
        where = (window["page"], window["variant"], window["aligned"], window["load"])
        for part in PARTS:
            assert window[way][part] == window["each"][part], where


def test_most_steps_need_no_asking(windows: list[dict[str, Any]]) -> None:
    large = [window for window in windows if window["page"] == 64]
    asked, steps = (sum(window[way]["asked"] for window in large) for way in ("jumping", "each"))
    assert asked < steps / 2


def test_most_running_requests_are_not_shown(windows: list[dict[str, Any]]) -> None:
    """Or the ways above would be one and the same."""
    large = [window for window in windows if window["page"] == 64]
    shown, running = (sum(window[way]["shown"] for window in large) for way in ("parked", "each"))
    assert shown < running / 2
    assert all(window["parked"]["shown"] < window["each"]["shown"] for window in windows)


def test_the_crowded_load_preempts_and_still_every_token_comes(windows: list[dict[str, Any]]) -> None:
    crowded = [window["jumping"]["requests"] for window in windows if window["load"] == "crowded"]
    assert any(preemptions for requests in crowded for _, _, _, preemptions, _ in requests)
    assert {len(steps) for requests in crowded for *_, steps in requests} == {150}


def test_the_prefix_cache_is_left_out_until_it_could_give_something(windows: list[dict[str, Any]]) -> None:
    """Where prompts share pages it never is, else until somebody is preempted."""
    for window in windows:
        preempted = any(preemptions for _, _, _, preemptions, _ in window["each"]["requests"])
        assert not window["each"]["cache_left_out"]
        if window["load"] in ("apart", "tight", "crowded", "last pages", "places", "same step"):
            assert window["jumping"]["cache_left_out"] is window["parked"]["cache_left_out"] is not preempted
        if window["load"] in ("apart", "tight", "crowded"):
            assert preempted is (window["load"] != "apart"), "or the loads are no longer what they are for"
        elif window["load"] in ("prompts", "same"):
            assert not window["jumping"]["cache_left_out"]


def test_nothing_is_held_back_from_a_prompt_that_waits_for_a_place(windows: list[dict[str, Any]]) -> None:
    """Also in the step that gives one free: who waits could not have been computed in it."""
    found = [window["each"]["held_back"] for window in windows if window["load"] == "places" and not window["aligned"]]
    assert found == [0]


def test_alignment_changes_the_steps(windows: list[dict[str, Any]]) -> None:
    """So that the two arms above are not one and the same."""
    steps = {(window["page"], window["variant"], window["load"], window["aligned"]): window["each"]["steps"] for window in windows}
    assert steps[64, "demote", "closed", True] != steps[64, "demote", "closed", False]
    assert steps[16, "demote", "prompts", True] != steps[16, "strict", "prompts", True]
