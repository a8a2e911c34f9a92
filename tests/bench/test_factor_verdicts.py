"""One simulated study a row of bench/factor_verdicts.py: what it prints for many."""

from __future__ import annotations

import numpy as np
import pytest

from bench.factor_verdicts import LEAST_FOUND, LOUD, MOST_WRONG, PLANTED, judged, judged_by_windows, simulate


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["live", "cold"])
def test_nothing_is_found_where_nothing_is_and_a_planted_3_percent_is(kind: str) -> None:
    rng = np.random.default_rng(1)
    nothing = judged(kind, simulate(kind, 0.0, rng))
    assert nothing.different <= MOST_WRONG and not nothing.says
    assert judged(kind, simulate(kind, PLANTED, rng)).different >= LEAST_FOUND


@pytest.mark.slow
def test_windows_of_a_start_are_not_taken_for_values_of_their_own() -> None:
    records = [simulate("cold", 0.0, np.random.default_rng(seed), LOUD) for seed in range(4)]
    assert any(judged_by_windows(item).says for item in records), "so the mistake would be seen here"
    assert not any(judged("cold", item).says for item in records)
