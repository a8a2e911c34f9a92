"""`tuner simulate`, in one process of its own each: what it prints, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.upgrade import open_storage
from tests.tuner.cli.terminal import Terminal
from tuner.cli.simulate import chart
from tuner.foresight.prediction import Span, readable
from tuner.launchers.rate_sweep import RatePoint

pytestmark = pytest.mark.usefixtures("shared_simulation_host")

STEPS = "about: a test\npadded_ms: {16: 10, 2048: 60}\nlow: 0.8\nhigh: 1.2\n"


def _point(rate: float, goodput: float, low: float, high: float) -> RatePoint:
    return RatePoint(rate, "default", goodput, low, high, {"request_throughput": goodput}, 0.1)


def test_bars_reach_from_the_lower_to_the_upper_end() -> None:
    head, *bars = chart([_point(1, 1.0, 0.5, 2.0), _point(8, 0.0, 0.0, 0.0)]).splitlines()
    assert "lower end" in head
    assert bars[0].endswith("#" * 10 + "=" * 10 + "-" * 20)
    assert bars[1].split() == ["8", "default"]


def test_nothing_served_at_any_rate_is_a_chart_without_bars() -> None:
    assert chart([_point(1, 0.0, 0.0, 0.0)]).splitlines()[1].split() == ["1", "default"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rates", "1"], "add --accelerator v6e-1, or --step-time FILE"),
        (["--rates", "1", "--accelerator", "v5e-1"], "has no prediction"),
        (["--rates", "fast", "--accelerator", "v6e-1"], "rates 'fast' is no list"),
        (["--rates", "0,1", "--accelerator", "v6e-1"], "rates '0,1' is no list"),
        (["--rates", "1", "--accelerator", "v6e-1", "--page-size", "24"], "not a power of two"),
        (["--rates", "1", "--accelerator", "v6e-0"], "accelerator 'v6e-0' names no slice"),
        (["--rates", "1", "--accelerator", "v6e-9223372036854775808"], "names no slice of a TPU v6e; end it in a power of two up to 256"),
        (["--rates", "1", "--accelerator", "v6e-1", "--slo", "speed<=1"], "speed"),
        (["--rates", "1", "--accelerator", "v6e-1", "--slo", "total_token_throughput>=5"], "needs a latency SLO"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(terminal: Terminal, arguments: list[str], complaint: str) -> None:
    done = terminal.run("simulate", "--model", "tiny-qwen3", "--workload", "demo", *arguments)
    assert done.code == 2, done.err
    assert complaint in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--page-size", "-1"], "'--page-size'"),
        (["--page-size", "24"], "page_size: 24 is not a power of two"),
        (["--page-size", "2097152"], "--page-size: "),
        (["--page-size", "64", "--chunk-budget", "32"], "raise chunk_budget or drop that page size"),
        (["--page-size", "4096"], "4096 is above the chunk budget 2048"),
        (["--chunk-budget", "0"], "'--chunk-budget'"),
        (["--chunk-budget", "9999999"], "--chunk-budget: "),
        (
            ["--max-num-seqs", "3000"],
            "max_num_seqs 3000 is above the chunk budget 2048, which vLLM refuses; lower max_num_seqs or raise chunk_budget",
        ),
        (["--max-num-seqs", "2000000"], "is above the chunk budget 2048"),
        (["--max-num-seqs", "600", "--chunk-budget", "512"], "max_num_seqs 600 is above the chunk budget 512"),
        (["--seeds", "99999999999"], "not in the range 1<=x<=100"),
    ],
)
def test_a_complaint_names_this_verbs_options_and_the_budget_that_is_used(terminal: Terminal, arguments: list[str], complaint: str) -> None:
    """--max-num-seqs 600 was held against a search's smallest budget, 512, though 2,048 is simulated."""
    done = terminal.run("simulate", "--model", "tiny-qwen3", "--workload", "demo", "--accelerator", "v6e-1", "--rates", "1", *arguments)
    assert done.code == 2, done.err
    assert complaint in done.err
    assert done.err.count("\n") == 1
    assert not any(other in done.err for other in ("page_sizes", "page-sizes", "chunk_budgets", "chunk-budgets"))


def test_requests_that_fit_into_vllms_own_budget_are_not_refused(terminal: Terminal) -> None:
    """It gets as far as the step times, which two devices have none of."""
    arguments = [
        "--accelerator",
        "v6e-2",
        "--tensor-parallel-size",
        "2",
        "--rates",
        "1",
        "--max-num-seqs",
        "600",
        "--page-size",
        "1024",
        "--max-model-len",
        "1024",
    ]
    done = terminal.run("simulate", "--model", "tiny-qwen3", "--workload", "demo", *arguments)
    assert done.code == 2 and done.err.endswith(
        "error: tensor_parallel_size 2 has no prediction: collectives were not measured; use 1, or give the costs yourself "
        "with --step-time FILE\n"
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_json_says_what_was_predicted_and_from_what(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "steps.yaml").write_text(STEPS)
    arguments = ["--step-time", str(tmp_path / "steps.yaml"), "--rates", "2", "--seeds", "1", "--arms", "default", "--json"]
    done = terminal.run("simulate", "--model", "tiny-qwen3", "--workload", "demo", *arguments)
    assert done.code == 0, done.err
    found = done.json
    assert (found["status"], found["step_times"], found["step_time_interval"]) == ("predicted", "given: a test", [0.8, 1.2])
    (point,) = found["points"]
    assert point["low"] <= point["goodput"] <= point["high"]
    assert found["settings"]["block_size"] == 32


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_was_predicted_for_a_chip_is_kept_where_there_is_a_database(terminal: Terminal) -> None:
    url = f"sqlite:///{terminal.folder}/kept.db"
    arguments = ["simulate", "--model", "tiny-qwen3", "--workload", "demo", "--accelerator", "v6e-1", "--rates", "2,8", "--seeds", "1"]
    open_storage(url).close()
    done = terminal.run(*arguments, "--storage", url, "--json")
    assert done.code == 0, done.err
    points = {(point["rate"], point["arm"]): point for point in done.json["points"]}
    ask = ["recommend", "--model", "tiny-qwen3", "--accelerator", "v6e-1", "--objective", "goodput", "--storage", url, "--json"]
    limits = [word for slo in ("ttft_p99_ms<=1000", "tpot_p99_ms<=100") for word in ("--slo", slo)]
    assert terminal.run(*ask, *limits).json["status"] == "default"
    storage = open_storage(url, read_only=True)
    try:
        rows = readable(storage.list_foresight(kind="configuration", model="tiny-qwen3", accelerators=["TPU v6e"], device_count=1))
        assert storage.list_studies() == []
    finally:
        storage.close()
    assert {(item.request_rate, item.arm) for _, item in rows} == points.keys()
    for _, item in rows:
        point = points[float(item.request_rate or 0), item.arm]
        assert item.metrics["goodput"] == Span(point["goodput"], point["low"], point["high"])
        assert item.limits == ("ttft_p99_ms<=1000", "tpot_p99_ms<=100") and "Llama-3.1-8B" in item.step_times.source
