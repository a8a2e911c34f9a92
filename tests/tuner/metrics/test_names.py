from __future__ import annotations

import pytest

from tuner.metrics.catalog import CATALOG
from tuner.metrics.names import said


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("total_token_throughput", "throughput"),
        ("ttft_p99_ms", "TTFT (p99)"),
        ("itl_mean_ms", "ITL (mean)"),
        ("mean_step_ms", "step time (mean)"),
        ("prefix_cache_hit_rate", "prefix cache hit rate"),
    ],
)
def test_a_metric_as_people_call_it(metric: str, words: str) -> None:
    assert said(metric) == words


def test_no_two_metrics_are_called_the_same() -> None:
    assert len({said(name) for name in CATALOG}) == len(CATALOG)
