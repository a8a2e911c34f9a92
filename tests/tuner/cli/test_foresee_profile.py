"""`tuner foresee profile` as people meet it: what is refused at once, what is printed. (Real compilations: tests/tuner/foresight.)"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.tuner.cli.conftest import Scripted
from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tests.tuner.foresight.bundle_texts import bundle_profile
from tests.tuner.foresight.questions import COMPILED, PREPARED, ScriptedCompiler
from tests.tuner.foresight.small_module import kernel_name, module
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.foresight.bundles import SCALAR


@pytest.fixture(autouse=True)
def temporary(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where dumps go; empty after every test."""
    place = terminal.folder / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def two_pages() -> ScriptedCompiler:
    made = ScriptedCompiler()
    made.dumped = [
        (module(page), bundle_profile({kernel_name(page): {"bundles": bundles, "scalar": scalar}, "dot.1": {"bundles": 12}}))
        for page, bundles, scalar in ((64, 9377, 2224), (16, 12193, 7408))
    ]
    return made


def arguments(config: Path | str, *more: str) -> list[str]:
    given = ["--model", str(config), "--accelerator", "v6e-1", "--page-size", "64", "--chunk-budget", "128", "--max-num-seqs", "16"]
    return ["foresee", "profile", *given, *more]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--accelerator", "v9-1"], "accelerator 'v9-1' is unknown"),
        (["--accelerator", "v6e-0"], "accelerator 'v6e-0' names no slice of a TPU v6e"),
        (["--against", "accelerator=v6e-3"], "accelerator 'v6e-3' names no slice"),
        (["--chunk-budget", "0"], "error: --chunk-budget: "),
        (["--max-num-seqs", "256"], "lower max_num_seqs or raise chunk_budget\n"),
        (["--page-size", "48"], "page_size: 48 is not a power of two"),
        (["--layers", "0"], "'--layers': 0 is not in the range"),
        (["--against", "page_sise=16"], "--against page_sise cannot be changed; did you mean page_size?"),
        (["--against", "page_size=48"], "page_size: 48 is not a power of two"),
        (["--against", "RPA_V3_DECODE_BLOCK_SIZES=1,2"], "must be bq,bkv,bq compute,bkv compute in tokens"),
        (["--against", "accelerator=v4-8"], "accelerator v4-8 cannot be compiled for"),
        (["--engine-arg", "nonsense=1"], "engine_args: vLLM has no nonsense"),
        (["--model", "/nowhere/config.json"], "unknown model '/nowhere/config.json'"),
        (["--engine-python", "/nowhere/python"], "engine_python /nowhere/python does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("scripted")
def test_bad_input_is_one_line_and_starts_nothing(terminal: Terminal, config: Path, temporary: Path, more: list[str], words: str) -> None:
    result = terminal.run(*arguments(config, *more))
    assert result.code == 2 and words in result.err, result.err
    assert is_one_line_error(result)
    assert list(temporary.iterdir()) == []


def test_two_pages_side_by_side_with_the_reason(terminal: Terminal, config: Path, scripted: Scripted, temporary: Path) -> None:
    compiler = scripted(two_pages())
    result = terminal.run(*arguments(config, "--against", "page_size=16"))
    assert result.code == 0, result.err
    assert compiler.asked == ["prepare 64 128", "profile step 128", "prepare 16 128", "profile step 128"]
    assert all("--xla_jf_dump_to=" in each["LIBTPU_INIT_ARGS"] for each in compiler.environments)
    lines = result.out.splitlines()
    assert "v6e-1, page size 64, a step of 128 tokens, 1 layer" in lines and "v6e-1, page size 16, a step of 128 tokens, 1 layer" in lines
    assert ["mlp", "1", "0.000008192", "0.003584", "900", "12"] in [line.split()[:6] for line in lines]
    assert ["scalar", "2,224", "7,408", "+5,184"] in [line.split() for line in lines]
    assert "RPA decode: RPAd-p_64-bq_1_1-bkv_4096_4096 against RPAd-p_16-bq_1_1-bkv_4096_4096" in lines
    assert "each page costs 27 scalar operations and 14.7 bundles" in result.out
    assert list(temporary.iterdir()) == []


def test_json_and_page_have_the_same_numbers_and_the_second_asking_is_quiet(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    scripted(two_pages())
    page = terminal.folder / "page.html"
    first = terminal.run(*arguments(config, "--against", "page_size=16", "--json", "--html", str(page)))
    second = terminal.run(*arguments(config, "--against", "page_size=16", "--json"))
    assert (first.code, second.code, second.err) == (0, 0, "")
    assert first.json == second.json
    assert [each["categories"]["mlp"]["flops"] for each in first.json["profiles"]] == [8192, 8192]
    (kernel,) = first.json["difference"]["kernels"]
    assert kernel["code"][1][SCALAR] - kernel["code"][0][SCALAR] == 5184
    text = page.read_text()
    assert "each page costs 27 scalar operations" in text and "<script" not in text
    charts = [f"<svg{part.partition('</svg>')[0]}</svg>" for part in text.split("<svg")[1:]]
    assert len(charts) == 3
    for chart in charts:
        ElementTree.fromstring(chart)


def test_a_page_that_cannot_be_written_is_refused(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    scripted(two_pages())
    result = terminal.run(*arguments(config, "--html", str(terminal.folder)))
    assert result.code == 2 and is_one_line_error(result)


@pytest.mark.parametrize(
    ("compiler", "code", "words"),
    [
        (ScriptedCompiler([replace(PREPARED, not_known="model: X runs through torchax")]), 1, "not known: model: X runs through torchax"),
        (ScriptedCompiler([replace(PREPARED, refused="no room")]), 2, "the engine refuses these settings: no room"),
        (ScriptedCompiler([TrialFailed(FailureClass.INVALID_CONFIG, "bad dtype")]), 2, "the engine refuses these settings: bad dtype"),
        (ScriptedCompiler(compiles=[replace(COMPILED, failure="out_of_memory", message="no room")]), 2, "does not compile: no room"),
        (
            ScriptedCompiler([EngineLost(FailureClass.STARTUP, "ended", "ERROR: Unknown command line flag 'xla_jf_dump_to'")]),
            2,
            "this libtpu knows no dump flags",
        ),
        (ScriptedCompiler([EngineLost(FailureClass.STARTUP, "the compiler was killed")]), 1, "not known: the compiler was killed"),
        (ScriptedCompiler(), 1, "not known: this libtpu wrote no static bundle profile"),
    ],
    ids=["model", "refused", "invalid", "does not compile", "no flags", "lost", "nothing dumped"],
)  # fmt: skip
def test_where_there_is_no_profile_one_line_says_why_and_nothing_is_left(
    terminal: Terminal, config: Path, scripted: Scripted, temporary: Path, compiler: ScriptedCompiler, code: int, words: str
) -> None:
    scripted(compiler).dumped = [(b"", "")]
    result = terminal.run(*arguments(config))
    assert (result.code, result.out) == (code, "") and words in result.err.splitlines()[-1]
    assert list(temporary.iterdir()) == []


def test_a_step_that_the_engine_does_not_have_is_refused(terminal: Terminal, config: Path, scripted: Scripted) -> None:
    scripted(two_pages())
    result = terminal.run(*arguments(config, "--tokens", "4096"))
    assert result.code == 2 and "tokens 4096 is above the engine's largest step of 128; raise the chunk budget" in result.err
