"""`tuner foresee kernel` as people meet it. (Real compilations: tests/tuner/foresight/test_look.py.)"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuner.cli.conftest import Scripted
from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tests.tuner.foresight.bundle_texts import bundle_profile
from tests.tuner.foresight.questions import COMPILED, ScriptedCompiler
from tests.tuner.foresight.small_module import module
from tuner.core.errors import FailureClass, TrialFailed

OWN = "RPAd-p_64-bq_1_1-bkv_4096_4096.1"


def arguments(config: Path, *more: str) -> list[str]:
    given = ["--model", str(config), "--accelerator", "v6e-1", "--page-size", "64", "--chunk-budget", "128", "--max-num-seqs", "16"]
    return ["foresee", "kernel", *given, "--max-model-len", "2048", *more]


def code(name: str, bundles: int) -> tuple[bytes, str]:
    return module(64).replace(OWN.encode(), name.encode()), bundle_profile({name: {"bundles": bundles, "matmuls": 100}})


def compiler_of(*dumped: tuple[bytes, str]) -> ScriptedCompiler:
    made = ScriptedCompiler()
    made.dumped = list(dumped)
    return made


BLOCKS = ("--blocks", "1,2048,1,2048", "--blocks", "1,2048,1,1024")
CODES = (code(OWN, 5000), code("RPAd-p_64-bq_1_1-bkv_2048_2048.1", 4000), code("RPAd-p_64-bq_1_1-bkv_2048_1024.1", 6000))

REFUSED = replace(COMPILED, failure=FailureClass.INVALID_CONFIG, message="decode bkv_csz=500 must be divisible by page_size=64")


@pytest.mark.slow
def test_block_sizes_are_ranked_and_nothing_is_called_measured(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    compiler = scripted(compiler_of(*CODES))
    result = terminal.run(*arguments(config, *BLOCKS))
    assert result.code == 0, result.err
    assert [each.get("RPA_V3_DECODE_BLOCK_SIZES") for each in compiler.environments] == [None, "1,2048,1,2048", "1,2048,1,1024"]
    rows = [line.split() for line in result.out.splitlines()]
    assert [row[:6] for row in rows if row[:1] in (["1"], ["2"], ["3"])] == [
        ["1", "1", "2048", "1", "2048", "4,000"],
        ["2", "1", "4096", "1", "4096", "5,000"],
        ["3", "1", "2048", "1", "1024", "6,000"],
    ]
    assert "the engine's own" in result.out and "compiled, not run" in result.out and "no measurement" in result.out


@pytest.mark.slow
def test_json_says_the_same_and_the_second_asking_compiles_nothing(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    scripted(compiler_of(*CODES))
    first = terminal.run(*arguments(config, *BLOCKS, "--json"))
    compiler = scripted(ScriptedCompiler([TrialFailed(FailureClass.INTERNAL, "nothing may be started")]))
    assert terminal.run(*arguments(config, *BLOCKS, "--json")).json == first.json and compiler.asked == []
    assert first.json["measured"] is False
    assert [each["block_sizes"] for each in first.json["candidates"]] == [[1, 2048, 1, 2048], [1, 4096, 1, 4096], [1, 2048, 1, 1024]]
    assert [each["bundles_per_matmul"] for each in first.json["candidates"]] == [40, 50, 60]


@pytest.mark.slow
def test_a_block_size_that_does_not_compile_is_a_row_with_its_reason(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    compiler = compiler_of(*CODES)
    failed = ScriptedCompiler(compiles=[COMPILED, REFUSED, COMPILED])
    failed.dumped = compiler.dumped
    scripted(failed)
    result = terminal.run(*arguments(config, *BLOCKS))
    assert result.code == 0, result.err
    assert any(line.split()[:5] == ["-", "1", "2048", "1", "2048"] and "bkv_csz" in line for line in result.out.splitlines())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--blocks", "1,2"], "RPA_V3_DECODE_BLOCK_SIZES"),
        (["--blocks", "1,0,1,512"], "must be bq,bkv,bq compute,bkv compute in tokens"),
        (["--case", "mixed", "--blocks", "x"], "RPA_V3_MIXED_BLOCK_SIZES"),
        (["--case", "prefill"], "'prefill' is not one of"),
        (["--accelerator", "h100-1"], "accelerator 'h100-1' is unknown"),
        (["--page-size", "48"], "48 is not a power of two"),
        (["--model", "/nowhere/config.json"], "unknown model"),
    ],
)
@pytest.mark.usefixtures("scripted")
def test_bad_input_is_one_line_and_starts_nothing(terminal: Terminal, config: Path, more: list[str], words: str) -> None:
    result = terminal.run(*arguments(config, *more))
    assert result.code == 2 and words in result.err, result.err
    assert is_one_line_error(result)


@pytest.mark.slow
def test_a_step_without_that_kernel_is_told(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    scripted(compiler_of(CODES[0]))
    result = terminal.run(*arguments(config, "--case", "mixed"))
    assert result.code == 2
    assert result.err.splitlines()[-1] == "error: --case mixed has no RPA kernel in a step of 128 tokens: these heads have another one"
