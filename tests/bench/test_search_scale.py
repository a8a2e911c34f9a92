"""The bench of a search's cost per trial: what it calls flat, and that it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.search_scale import is_flat, run


@pytest.mark.parametrize(
    ("costs", "flat"),
    [
        ([0.02, 0.03, 0.03, 0.04], True),
        ([0.02, 0.03, 0.03, 0.051], False),
        ([0.02, 0.02, 0.025, 0.031], False),
        ([0.04, 0.02, 0.02, 0.02], False),
        ([0.05], True),
        ([0.06], False),
    ],
)
def test_flat_is_cheap_and_does_not_grow(costs: list[float], flat: bool) -> None:
    assert is_flat(costs) is flat


@pytest.mark.slow
def test_the_time_is_known_at_every_trial(tmp_path: Path) -> None:
    reached = run(tmp_path, 9, "1", None)
    assert set(range(10)) <= set(reached)
    assert [reached[count] for count in range(10)] == sorted(reached[count] for count in range(10))
