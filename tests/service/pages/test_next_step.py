"""The command that a page gives is the very one: copied into a terminal it goes on."""

from __future__ import annotations

import html
import re
import shlex

import pytest

from storage.base import Storage
from storage.records import StudyState, TrialState
from storage.upgrade import open_storage
from tests.service.conftest import MakeClient
from tests.tuner.cli.terminal import Terminal


def _copied(make_client: MakeClient, storage: Storage, name: str) -> list[str]:
    page = make_client(storage).get(f"/studies/{name}").text
    commands = [html.unescape(found) for found in re.findall(r'<pre id="next-\d+">(.*?)</pre>', page, re.DOTALL)]
    return shlex.split(commands[-1].replace("\\\n", " "))


@pytest.fixture
def begun(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A search of which two trials are left, stopped."""
    monkeypatch.setenv("TUNER_STORAGE", terminal.url)
    monkeypatch.setenv("TUNER_CACHE", str(terminal.folder / "cache"))
    options = ("--study", "stopped", "--slo", "ttft_p99_ms<=49.5", "--seed", "3", "--profile", "none", "--trials", "4")
    assert terminal.search(*options).code == 0
    return open_storage(terminal.url)


@pytest.mark.slow
def test_an_interrupted_study_goes_on_by_the_command_of_its_page(terminal: Terminal, begun: Storage, make_client: MakeClient) -> None:
    study = begun.update_study(begun.get_study("stopped").id, state=StudyState.INTERRUPTED)
    program, *words = _copied(make_client, begun, "stopped")
    assert program == "tuner" and words[:3] == ["search", "--study", "stopped"] and words[-1] == "--resume"
    result = terminal.run(*words)
    assert result.code == 0, result.err
    assert begun.get_study_by_id(study.id).state is StudyState.COMPLETE
    begun.close()


@pytest.mark.slow
def test_a_study_whose_trials_all_failed_is_searched_again_by_the_command_of_its_page(
    terminal: Terminal, begun: Storage, make_client: MakeClient
) -> None:
    table = terminal.table.read_text()
    begun.close()
    terminal.table.write_text(
        "block_size,max_num_batched_tokens,arm,total_token_throughput,ttft_p99_ms,error_class\n"
        + "".join(
            f"{page},{budget},{arm},,,out_of_memory\n" for page in (16, 32) for budget in (128, 256) for arm in ("default", "page_aligned")
        )
    )
    terminal.search("--study", "failing")
    storage = open_storage(terminal.url)
    found = storage.get_study("failing")
    assert storage.count_trials(found.id)[TrialState.COMPLETE] == 0
    terminal.table.write_text(table)
    program, *words = _copied(make_client, storage, "failing")
    assert (program, words[:3]) == ("tuner", ["search", "--study", "failing-again"])
    assert terminal.run(*words).code == 0
    assert storage.count_trials(storage.get_study("failing-again").id)[TrialState.COMPLETE] >= 8
    storage.close()
