"""`tuner recommend --accept predicted`: what was simulated, for those who ask for it."""

from __future__ import annotations

import pytest

from storage.upgrade import open_storage
from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tests.tuner.search.foreseen import ERROR, kept_predictions

ASK = ("recommend", "--model", "other/model", "--accelerator", "v6e-1", "--workload", "chat")
ACCEPT = ("--accept", "predicted")


@pytest.fixture
def foreseen(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    url = f"sqlite:///{terminal.folder}/foreseen.db"
    monkeypatch.setenv("TUNER_STORAGE", url)
    storage = open_storage(url)
    storage.put_foresight(kept_predictions(100.0, 300.0))
    storage.close()
    return terminal


@pytest.mark.slow
def test_it_says_that_nothing_was_measured_and_how_sure_it_is(foreseen: Terminal) -> None:
    out = foreseen.run(*ASK, *ACCEPT).out
    assert out.startswith("predicted, never measured: best total_token_throughput of 2 simulated configurations: page size 32")
    assert "expected total_token_throughput 300 tokens/s (250 to 333.3), predicted, not measured" in out
    assert f"note: {ERROR.sentence}" in out
    assert "recommend" not in out


@pytest.mark.slow
def test_without_it_nothing_changes(foreseen: Terminal) -> None:
    found = foreseen.run(*ASK, "--json").json
    assert found["status"] == "default" and found["vllm_args"] == [] and "prediction" not in found


@pytest.mark.slow
def test_json_has_the_error_and_flags_can_be_used(foreseen: Terminal) -> None:
    found = foreseen.run(*ASK, *ACCEPT, "--json").json
    assert (found["status"], found["prediction"]["low"], found["prediction"]["high"]) == ("predicted", 0.9, 1.2)
    assert foreseen.run(*ASK, *ACCEPT, "--format", "flags").out == "--block-size 32\n"


@pytest.mark.slow
def test_a_chip_without_step_times_is_told_so(foreseen: Terminal) -> None:
    result = foreseen.run("recommend", "--model", "other/model", "--accelerator", "v5p-8", "--workload", "chat", *ACCEPT)
    assert result.code == 0
    assert "note: no prediction: step times of a TPU v5p are not known, only of TPU v6e" in result.out


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(*ASK, "--accept", "measured"), (*ASK, "--accept", ""), ("recommend", "s", *ACCEPT)])
def test_bad_values_are_one_line(foreseen: Terminal, arguments: tuple[str, ...]) -> None:
    result = foreseen.run(*arguments)
    assert result.code == 2 and is_one_line_error(result), result.err
    assert "accept" in result.err
