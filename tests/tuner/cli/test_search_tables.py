"""`tuner search --launcher table` on values that people's tables have."""

from __future__ import annotations

import pytest

from tests.tuner.cli.terminal import Terminal, is_one_line_error

CELLS = [(page, budget, arm) for page in (16, 32) for budget in (128, 256) for arm in ("default", "page_aligned")]


def _write(terminal: Terminal, metric: str, values: list[float]) -> None:
    rows = [f"{page},{budget},{arm},{100 + page},{value}" for (page, budget, arm), value in zip(CELLS, values, strict=True)]
    terminal.table.write_text("\n".join([f"block_size,max_num_batched_tokens,arm,total_token_throughput,{metric}", *rows]) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "values"),
    [
        ("preemptions", [0, 0, 0, 0, 3, 3, 3, 3]),
        ("preemptions,throughput", [3, 0, 0, 3, 3, 3, 3, 3]),
        ("prefix_cache_hit_rate", [0] * 8),
        ("padding_share", [0.1, 0, 0.3, 0, 0.1, 0.2, 0, 0]),
    ],
)
def test_a_best_of_0_ends_in_an_answer_and_not_in_a_division_by_it(terminal: Terminal, objective: str, values: list[float]) -> None:
    _write(terminal, objective.split(",")[0], values)
    result = terminal.search("--study", "s", "--objective", objective)
    assert result.code == 0, result.err
    assert "recommendation: recommended" in result.out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--objective", "ttft_p99_ms"], "objective: table {} has no metric ttft_p99_ms; it has total_token_throughput, preemptions"),
        (["--slo", "tpot_p99_ms<=50"], "slos: table {} has no metric tpot_p99_ms"),
        (
            ["--objective", "throughput,goodput", "--slo", "preemptions<=2", "--slo", "ttft_p99_ms<=9"],
            "objective: table {} has no metric goodput",
        ),
    ],
)
def test_a_metric_that_the_table_lacks_is_told_before_the_search(terminal: Terminal, more: list[str], words: str) -> None:
    """It failed trial by trial."""
    _write(terminal, "preemptions", [1] * 8)
    result = terminal.search("--study", "s", *more)
    assert result.code == 2 and is_one_line_error(result) and words.format(terminal.table) in result.err
    assert not (terminal.folder / "tuner.db").exists()
