"""`tuner foresee check` as people meet it: what is refused at once, what is printed. (Real compilations: tests/tuner/foresight.)"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.upgrade import open_storage
from tests.tuner.cli.conftest import Scripted
from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tests.tuner.foresight.questions import COMPILED, PREPARED, ScriptedCompiler

GIB = 1024**3
BIG = replace(PREPARED, usable_hbm_bytes=31 * GIB, weight_bytes=15 * GIB, page_bytes=GIB // 64, pages=513)
LARGE = replace(COMPILED, argument_bytes=23 * GIB)
SMEM = replace(COMPILED, failure="out_of_memory", message="Allocation (size=1310720) would exceed memory (size=1048576) ... space=smem")


def arguments(config: Path | str, *more: str) -> list[str]:
    return ["foresee", "check", "--model", str(config), "--accelerator", "v6e-1", "--page-sizes", "16,64", "--chunk-budgets", "128", *more]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--accelerator", "v9-1"], "accelerator 'v9-1' is unknown; known are TPU v4"),
        (["--accelerator", "v6e-0"], "accelerator 'v6e-0' names no slice of a TPU v6e; end it in a power of two up to 256"),
        (["--accelerator", "v6e-1,v6e-3"], "accelerator 'v6e-3' names no slice"),
        (["--accelerator", "v6e-9223372036854775808"], "names no slice"),
        (["--accelerator", "v4-8"], "accelerator v4-8 cannot be compiled for"),
        (["--tensor-parallel-size", "4"], "tensor_parallel_size 4 is above the 1 devices of v6e-1"),
        (["--page-sizes", "48"], "page_sizes: 48 is not a power of two"),
        (["--page-sizes", "x"], "--page-sizes: 'x' is not a whole number"),
        (["--max-model-len", "32"], "page_sizes: 64 is above max_model_len 32"),
        (["--num-gpu-blocks", "2"], "num_gpu_blocks: 2 pages of 16 do not hold one request"),
        (["--max-num-seqs", "256"], "max_num_seqs 256 is above the chunk budget 128"),
        (["--engine-arg", "nonsense=1"], "engine_args: vLLM has no nonsense"),
        (["--engine-arg", "kv_cache_dtype={"], "the value is not valid YAML"),
        (["--model", "/nowhere/config.json"], "unknown model '/nowhere/config.json'"),
        (["--engine-python", "/nowhere/python"], "engine_python /nowhere/python does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("scripted")
def test_bad_input_is_one_line_and_starts_nothing(terminal: Terminal, config: Path, more: list[str], words: str) -> None:
    result = terminal.run(*arguments(config, *more))
    assert result.code == 2 and words in result.err
    assert is_one_line_error(result)
    assert not (terminal.folder.parent / "cache").exists()


@pytest.mark.usefixtures("scripted")
def test_a_file_that_is_no_model_is_refused(terminal: Terminal, config: Path) -> None:
    for text in ("{", "[]", "{}"):
        config.write_text(text)
        result = terminal.run(*arguments(config))
        assert result.code == 2 and is_one_line_error(result), result.err


@pytest.mark.usefixtures("scripted")
def test_a_cache_that_cannot_be_written_is_refused(terminal: Terminal, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(terminal.table / "cache"))
    result = terminal.run(*arguments(config))
    assert result.code == 2 and result.err.endswith("set TUNER_CACHE to another\n")


def test_the_table_says_what_fits_for_how_many_and_why_not(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    scripted(ScriptedCompiler([BIG], [SMEM, LARGE]))
    result = terminal.run(*arguments(config))
    assert result.code == 0
    assert result.out.splitlines() == [
        "TPU    page  budget  verdict       weights GiB  KV pages GiB  left GiB  requests",
        "v6e-1    16     128  does not fit        15.00          8.02                  32",
        "v6e-1    64     128  fits                15.00          8.02      7.98        32",
        f"v6e-1 page 16 budget 128: SMEM out of memory: a step of 16 tokens: {SMEM.message}",
        "on each device; requests: of 40960 tokens that the KV pages hold at once",
    ]
    assert result.err.splitlines()[:2] == [
        "v6e-1, page size 16, budget 128: building the engine without weights",
        "v6e-1, page size 16, budget 128: compiling a step of 16 tokens",
    ]


def test_json_is_one_document_and_the_second_asking_is_quiet(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    scripted(ScriptedCompiler([BIG], [LARGE]))
    first = terminal.run(*arguments(config, "--json"))
    second = terminal.run(*arguments(config, "--json"))
    assert (first.code, second.code, second.err) == (0, 0, "")
    assert [answer["verdict"] for answer in first.json["answers"]] == ["fits", "fits"]
    assert [answer["kept"] for answer in second.json["answers"]] == [True, True]


def test_where_nothing_is_known_the_exit_code_is_1(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    scripted(ScriptedCompiler([replace(PREPARED, pages=0, programs=(), not_known="model: tpu-inference runs X as vLLM's own model")]))
    result = terminal.run(*arguments(config))
    assert result.code == 1
    assert "v6e-1 page 16 budget 128: not known: model: tpu-inference runs X as vLLM's own model" in result.out


@pytest.mark.slow
def test_answers_are_kept_in_a_database_that_is_there_and_none_is_made(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    scripted(ScriptedCompiler([BIG], [LARGE]))
    url = f"sqlite:///{terminal.folder}/kept.db"
    assert terminal.run(*arguments(config), "--storage", url).code == 0
    assert not (terminal.folder / "kept.db").exists()
    open_storage(url).close()
    assert terminal.run(*arguments(config), "--storage", url).err == ""
    storage = open_storage(url, read_only=True)
    try:
        found = {kind: storage.list_foresight(kind=kind, model=str(config)) for kind in ("engine", "program")}
    finally:
        storage.close()
    assert {kind: {(row.accelerator, row.device_count) for row in rows} for kind, rows in found.items()} == {
        "engine": {("TPU v6e", 1)},
        "program": {("TPU v6e", 1)},
    }


def test_a_database_that_cannot_be_used_is_said_and_the_answer_comes_all_the_same(
    terminal: Terminal, config: Path, scripted: Scripted
) -> None:
    scripted(ScriptedCompiler([BIG], [LARGE]))
    (terminal.folder / "text.db").write_text("Dear diary, this file is longer than a header and is no database at all. " * 9)
    result = terminal.run(*arguments(config), "--storage", f"sqlite:///{terminal.folder}/text.db")
    assert result.code == 0
    assert "warning: answers are kept in files only: --storage (or TUNER_STORAGE): cannot use" in result.err
