"""The name that was probably meant."""

from __future__ import annotations

import pytest

from tuner.core.spelling import closest, did_you_mean

KNOWN = ("search", "show", "gpu_memory_utilization", "ttft_p99_ms")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("serach", "search"),
        ("SHOW", "show"),
        ("gpu-memory-utilisation", "gpu_memory_utilization"),
        ("ttft_p98_ms", "ttft_p99_ms"),
        ("zzz", None),
        ("", None),
    ],
)
def test_closest(word: str, meant: str | None) -> None:
    assert closest(word, KNOWN) == meant


def test_without_a_close_one_all_are_named() -> None:
    assert did_you_mean("zzz", KNOWN) == "known: search, show, gpu_memory_utilization, ttft_p99_ms"
    assert did_you_mean("shwo", KNOWN) == "did you mean show?"
