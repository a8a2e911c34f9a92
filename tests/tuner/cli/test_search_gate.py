"""`tuner search --gate`: exit codes for a pipeline."""

from __future__ import annotations

import pytest

from storage.records import Actor
from storage.upgrade import open_storage
from tests.tuner.cli.terminal import TABLE, Terminal, is_one_line_error

GATE = ("--gate", "throughput>=0.97*published")


def _slower(terminal: Terminal, factor: float) -> None:
    """Every configuration, as after a bad change to the engine."""
    lines = TABLE.splitlines()
    rows = (line.split(",") for line in lines[1:])
    changed = [",".join([*row[:3], str(factor * float(row[3])), *row[4:]]) for row in rows]
    terminal.table.write_text("\n".join([lines[0], *changed]) + "\n")


@pytest.mark.slow
def test_a_build_passes_fails_or_is_not_clear(ready: Terminal) -> None:
    assert ready.search("--study", "base", "--table-noise", "0.002", "--seed", "1").code == 0
    storage = open_storage(ready.url, create=False)
    (published,) = storage.list_recommendations()
    storage.mark_recommendation(published.id, published=True, by=Actor("anna"))
    storage.close()
    for name, factor, code, word in (("same", 1.0, 0, "holds"), ("slow", 0.8, 1, "fails"), ("between", 0.96, 3, "undecided")):
        _slower(ready, factor)
        found = ready.search("--study", name, "--table-noise", "0.002", *GATE, "--gate", "ttft_p99_ms<=100")
        assert found.code == code, found
        assert f"gate total_token_throughput>=0.97*published: {word} (" in found.out
        assert f"the published configuration (page_aligned p32 b256) of recommendation {published.id}" in found.out
        assert "gate ttft_p99_ms<=100: holds" in found.out
    again = ready.search("--study", "slow", "--resume", "--table-noise", "0.002", *GATE, "--json")
    assert (again.code, [item["standing"] for item in again.json["gates"]]) == (1, ["fails"]), "of a finished study, without measuring"


def test_a_gate_that_nothing_can_be_compared_with_is_refused_before_the_search(terminal: Terminal) -> None:
    refused = terminal.search("--study", "s", *GATE)
    assert refused.code == 2 and is_one_line_error(refused) and "nothing is published for model tiny-qwen3" in refused.err
    assert not (terminal.folder / "tuner.db").exists()
    unread = terminal.search("--study", "s", "--gate", "throughput>=nan*published")
    assert unread.code == 2 and is_one_line_error(unread)
