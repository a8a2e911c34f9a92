"""`tuner foresee alignment`: what it prints, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.shared_data import shared_data
from tests.tuner.cli.terminal import Terminal
from tuner.cli.foresee_alignment import Played, summary_of
from tuner.foresight.simulated_chip import SimulatedChip
from tuner.launchers.alignment_effect import Counts, Place, Prediction, Row
from tuner.setup.models import resolve_model

pytestmark = pytest.mark.usefixtures("shared_simulation_host")

ASKED = ("foresee", "alignment", "--model", "tiny-qwen3")
FEW = ("--chunk-budgets", "128", "--requests", "20", "--concurrency", "8")
SMALL = ("--page-sizes", "32", *FEW)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--accelerator", "h100", "--workload", "demo", *SMALL], "'h100' is unknown"),
        (["--accelerator", "v6e,cpu", "--workload", "demo", *SMALL], "accelerator cpu is no TPU"),
        (["--accelerator", "v6e-3", "--workload", "demo", *SMALL], "names no slice"),
        (["--accelerator", "v6e", "--workload", "dem", *SMALL], "'dem' is unknown"),
        (["--accelerator", "v6e", "--workload", "azure:nowhere.csv", *SMALL], "nowhere.csv"),
        (["--accelerator", "v6e", "--workload", "demo", "--arms", "aligned"], "'aligned' is unknown; use some of default, strict"),
        (["--accelerator", "v6e", "--workload", "demo", "--page-sizes", "24"], "24 is not a power of two"),
        (["--accelerator", "v6e", "--workload", "demo", "--page-sizes", "256", "--chunk-budgets", "128"], "above the chunk budget 128"),
        (["--accelerator", "v6e", "--workload", "demo", "--concurrency", "600"], "above the chunk budget 512"),
        (["--accelerator", "v6e", "--workload", "demo", "--requests", "0"], "'--requests'"),
        (["--accelerator", "7x", "--workload", "demo", "--borrow", "v5e", *SMALL], "no prediction"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(terminal: Terminal, arguments: list[str], complaint: str) -> None:
    done = terminal.run(*ASKED, *arguments)
    assert done.code == 2, done.err
    assert complaint in done.err
    assert done.err.count("\n") == 1


def _row(place: Place, arm: str, steps: int, speed: float | None) -> Row:
    counts = Counts(
        steps=steps,
        scheduled_tokens=90,
        padded_tokens=2 * steps,
        prefill_chunks=3,
        held_back_tokens=0,
        ttft_steps=steps / 10,
        cached_tokens=0,
        preemptions=0,
    )
    throughput = None if speed is None else Prediction(speed, speed / 2, speed * 2)
    wait = None if speed is None else Prediction(10.0 if arm == "default" else (speed - 600) / 25, 1.0, 100.0)
    return Row(place, 16, 512, arm, 100, counts, throughput, wait)


def _played(steps: int, speed: float | None) -> Played:
    place = Place(resolve_model("tiny-qwen3"), SimulatedChip("", None, 1, None, None), 1, None if speed is not None else "not measured")
    rows = [_row(place, "default", 100, 1000.0 if speed is not None else None), _row(place, "strict", steps, speed)]
    return Played("azure:/somewhere/code.csv,too_long=clip", 10, place, 512, rows)


@pytest.mark.parametrize(
    ("played", "changes"),
    [
        ([_played(110, 900.0)], "+10.0 % | +10.0 % | +10.0 % | -10.0 % | +20.0 %"),
        ([_played(110, None)], "+10.0 % | +10.0 % | +10.0 % | no prediction"),
        ([_played(110, 900.0), _played(110, None)], "+10.0 % | +10.0 % | +10.0 % | -10.0 % | +20.0 %"),
        (
            [_played(120, 950.0), _played(110, 900.0)],
            "+10.0 % to +20.0 % | +10.0 % to +20.0 % | +10.0 % to +20.0 % | -10.0 % to -5.0 % | +20.0 % to +40.0 %",
        ),
    ],
)
def test_the_summary_names_each_change_once_and_as_a_range_where_places_differ(played: list[Played], changes: str) -> None:
    line = summary_of(played).splitlines()[-1]
    assert line.split("  ")[0] == "azure:code.csv,too_long=clip"
    assert line.endswith(changes)
    assert line.split()[1:5] == ["16", "512", "100", "10.0"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_table_says_what_is_exact_what_is_predicted_and_what_is_not_known(terminal: Terminal) -> None:
    done = terminal.run(*ASKED, "--accelerator", "v5e,v6e", "--workload", "demo", *SMALL)
    assert done.code == 0, done.err
    assert "on TPU v6e-1" in done.out and "tokens/s, predicted" in done.out
    assert "no prediction: accelerator TPU v5e has no prediction" in done.out
    assert "measured: nothing here is" in done.out
    assert sum(line.split()[:3] == ["32", "128", "fill_bucket"] for line in done.out.splitlines()) == 2


def _rows(terminal: Terminal, *arguments: str) -> list[dict[str, Any]]:
    done = terminal.run(*ASKED, *arguments, "--json")
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["rows"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_borrowed_times_are_marked_in_every_row(terminal: Terminal) -> None:
    rows = _rows(
        terminal, "--accelerator", "7x", "--borrow", "v6e", "--workload", "demo", "--arms", "demote", "--page-sizes", "32,128", *FEW
    )
    assert [(row["page_size"], row["arm"]) for row in rows] == [(32, "default"), (32, "demote"), (128, "default"), (128, "demote")]
    assert {row["throughput_tokens_s"]["borrowed"] for row in rows} == {row["ttft_p50_ms"]["borrowed"] for row in rows} == {"TPU v6e"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_a_trace_the_first_requests_are_played_in_a_closed_loop(terminal: Terminal) -> None:
    path = shared_data("traces/azure_llm_2023/AzureLLMInferenceTrace_code.csv")
    rows = _rows(terminal, "--accelerator", "v5e", "--workload", f"azure:{path},too_long=clip,max_input_tokens=3000", *SMALL)
    assert {row["requests"] for row in rows} == {20}
    assert {row["arm"] for row in rows} == {"default", "strict", "demote", "fill_bucket"}
