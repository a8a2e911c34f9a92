"""Steps of several profile sessions and hosts: averaged where they are the same steps, drawn as wholes where sessions may differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profiles.diff import diff
from profiles.links import session_folder
from profiles.sides import Side
from profiles.summary import Summary, summarise
from tests.profiles.builder import model_runs, tpu_xspace
from tests.profiles.summaries import summary


def host_profile(tmp_path: Path, session: str, host: str, **model: object) -> Summary:
    """A profile in a session's folder, as each host writes one."""
    folder = session_folder(tmp_path, "run", session)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{host}.xplane.pb"
    path.write_bytes(tpu_xspace(model_runs(**{"steps": 16, **model})))  # type: ignore[arg-type]
    return summarise(path)


def test_hosts_of_one_session_are_averaged_step_by_step(tmp_path: Path) -> None:
    one, two = host_profile(tmp_path, "s", "h1"), host_profile(tmp_path, "s", "h2", factor={"mlp": 1.2})
    side = Side([one, two], "all")
    assert (side.sessions, len(side.period), side.hosts_left_out) == (1, 15, 0)
    alone = [Side([each], "all") for each in (one, two)]
    np.testing.assert_allclose(side.period, (alone[0].period + alone[1].period) / 2)
    np.testing.assert_allclose(side.categories, (alone[0].categories + alone[1].categories) / 2)
    keys = [(key[0], key[1]) for key in side.scope_means()]
    np.testing.assert_allclose(side.scope_rows(keys).sum(axis=0) + side.categories[-3:-1].sum(axis=0), side.period, rtol=1e-4)


@pytest.mark.slow
def test_a_second_host_does_not_narrow_an_interval(tmp_path: Path) -> None:
    before = [host_profile(tmp_path, "s1", host) for host in ("h1", "h2", "h3")]
    after = [host_profile(tmp_path, "s2", host, factor={"mlp": 1.2}) for host in ("h1", "h2", "h3")]
    one, three = diff(before[:1], after[:1]).step, diff(before, after).step
    assert three.high_ms - three.low_ms == pytest.approx(one.high_ms - one.low_ms, rel=0.05)


def test_a_host_that_profiled_other_steps_is_left_out_and_said(tmp_path: Path) -> None:
    hosts = [host_profile(tmp_path, "s", "h1"), host_profile(tmp_path, "s", "h2"), host_profile(tmp_path, "s", "h3", steps=9)]
    assert Side(hosts, "all").hosts_left_out == 1
    assert "hosts that profiled another number of steps were left out: 1" in diff(hosts, hosts[:1]).caveats


@pytest.mark.slow
def test_profiles_that_lie_in_no_session_stand_for_themselves(tmp_path: Path) -> None:
    side = Side([summary(tmp_path, "one"), summary(tmp_path, "two")], "all")
    assert (side.sessions, len(side.period)) == (2, 30)


def slower(template: Summary, factor: float) -> Summary:
    """The same profile on a machine that was slower meanwhile."""
    period = [value * factor for value in template.steps["period_ms"]]
    categories = {name: [value * factor for value in row] for name, row in template.categories_ms.items()}
    return replace(template, steps={**template.steps, "period_ms": period}, categories_ms=categories, scopes=[])


@pytest.mark.slow
def test_what_differs_from_session_to_session_is_no_difference_of_the_arms(tmp_path: Path) -> None:
    """Profiles of one and the same setting, each at a speed of its own: one a side is taken in, several are not."""
    template = summary(tmp_path, "template")
    speeds = np.random.default_rng(3).normal(1.0, 0.05, (40, 2, 4))
    single = several = 0
    for pair in speeds:
        before, after = ([slower(template, factor) for factor in side] for side in pair)
        single += diff(before[:1], after[:1], resamples=500).step.changed
        several += diff(before, after, resamples=500).step.changed
    assert single > 30  # the spread of steps alone says nothing about it
    assert several <= 8  # four sessions know their spread roughly: a bootstrap of few is somewhat too sure


def test_weights_are_means_and_draw_whole_sessions(tmp_path: Path) -> None:
    side = Side([summary(tmp_path, "one"), summary(tmp_path, "two", steps=8)], "all")
    weights = side.weights(np.random.default_rng(0), 500)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    of_first = weights[:, :15].sum(axis=1)
    assert {0.0, 1.0} < set(np.round(of_first, 9).tolist())
