"""`tuner space`: a file, options and a table; what cannot be searched is one line."""

from __future__ import annotations

import pytest

from tests.tuner.cli.terminal import Terminal, is_one_line_error

SEQS = ("--factor", "max_num_seqs=8,16 when page_size<=16")


def asked(terminal: Terminal, *more: str) -> list[str]:
    return ["space", *terminal.search_arguments(*more)[1:]]


@pytest.mark.slow
def test_text_and_json_say_the_same_and_nothing_is_written(terminal: Terminal) -> None:
    (terminal.folder / "study.yaml").write_text("chunk_budgets: [64]\nmodel: tiny-qwen3\n")
    before = terminal.files()
    given = ["space", str(terminal.folder / "study.yaml"), "--page-sizes", "16,32", "--chunk-budgets", "256", "--workload", "demo", *SEQS]
    text, document = terminal.run(*given), terminal.run(*given, "--json").json
    assert text.code == 0 and terminal.files() == before
    for factor in document["factors"]:
        assert f"factor {factor['factor']} ({factor['kind']}): " in text.out
    assert "factor max_num_seqs (live): 8,16,256 when page_size <= 16, else 256; vLLM's default: 256; memory: more needs more" in text.out
    assert list(document["configurations"].values()) == [8, 6, 6, 6]
    assert "8 combinations of all levels\n6 configurations after conditions\n" in text.out


@pytest.mark.slow
def test_all_levels_of_a_tables_column_are_printed(terminal: Terminal) -> None:
    rows = [f"{page},128,default,{mode},{page}" for page in (16, 32) for mode in "abc"]
    terminal.table.write_text("\n".join(["block_size,max_num_batched_tokens,arm,mode,total_token_throughput", *rows]) + "\n")
    result = terminal.run(*asked(terminal, "--chunk-budgets", "128", "--factor", "mode=*", "--arms", "default"))
    assert "factor mode (cold): a,b,c; vLLM's default: not known; memory: not known" in result.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--factor", "max_num_seq=8"), "did you mean max_num_seqs"),
        (("--factor", "max_num_seqs=8 when page_size>64"), "no configuration meets it"),
        (
            ("--factor", "max_num_seqs=1..128", "--factor", "max_num_scheduled_tokens=1..999", "--page-sizes", "16,32,64"),
            "more than 1,000,000",
        ),
        (("--engine-arg", "block_size=16"), "page_sizes"),
    ],
)
def test_what_cannot_be_searched_is_one_line(terminal: Terminal, more: tuple[str, ...], words: str) -> None:
    result = terminal.run("space", "--model", "tiny-qwen3", "--page-sizes", "16,32", "--workload", "demo", *more)
    assert result.code == 2 and is_one_line_error(result) and words in result.err
