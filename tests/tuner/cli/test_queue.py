"""`tuner submit`, `queue`, `worker` and `watch` as somebody types them; a worker process that is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from storage.queue_records import SubmissionState
from storage.upgrade import open_storage
from tests.tuner.cli.terminal import ROOT, Terminal, is_one_line_error, start_process
from tests.waiting import wait_until


@pytest.fixture
def study_file(ready: Terminal, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_STORAGE", ready.url)
    monkeypatch.setenv("TUNER_LOGDIR", str(ready.folder / "profiles"))
    path = ready.folder / "study.yaml"
    path.write_text(
        "model: tiny-qwen3\nstudy: s\npage_sizes: [16, 32]\nchunk_budgets: [128, 256]\nworkload: demo\nrounds: 3\n"
        f"launcher: table\ntable: {ready.table}\n"
    )
    return path


@pytest.mark.slow
def test_from_submission_to_the_end(ready: Terminal, study_file: Path) -> None:
    submitted = ready.run("submit", study_file, "--priority", "3", "--team", "chat", "--require", "chips=1", "--json").json
    assert submitted["submission"]["state"] == "QUEUED"
    assert submitted["submission"]["requirements"] == {"chips": 1}
    assert submitted["plan"]["trials"] == 8
    again = ready.run("submit", study_file)
    assert again.code == 2
    assert "is queued or running already" in again.err
    assert "s      QUEUED" in ready.run("queue", "list").out
    worked = ready.run("worker", "--once", "--json")
    assert (worked.code, worked.json["studies"]) == (0, ["COMPLETE"])
    watched = ready.run("watch", "s")
    assert watched.code == 0
    assert watched.out.count("COMPLETE") == 1 + 10, "the study and its trials"
    shown = ready.run("queue", "show", "1", "--json").json
    assert [event["what"] for event in shown["events"]] == ["QUEUED", "RUNNING", "COMPLETE"]
    existing = ready.run("submit", study_file)
    assert existing.code == 2
    assert "--resume" in existing.err
    assert ready.run("submit", study_file, "--resume").code == 0


def test_cancelled_before_anybody_took_it(ready: Terminal, study_file: Path) -> None:
    ready.run("submit", study_file)
    assert "CANCELLED" in ready.run("queue", "cancel", "s", "--reason", "wrong file").out
    assert ready.run("watch", "1").code == 1
    assert ready.run("queue", "cancel", "1").code == 2
    assert ready.run("queue", "list").out == "nothing is queued or running\n"
    assert ready.run("worker", "--once").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["queue", "show", "99"],
        ["queue", "cancel", "nobody"],
        ["queue", "limit", "chat", "many"],
        ["watch", "99"],
        ["worker", "--lease", "soon"],
        ["worker", "--ray", "127.0.0.1:1"],
        ["worker", "--ray-resources", "TPU=4"],
        ["worker", "--ray", "127.0.0.1:1", "--ray-resources", "TPU"],
        ["submit", "nothing.yaml"],
    ],
)
def test_bad_input_is_one_line(ready: Terminal, study_file: Path, arguments: list[str]) -> None:
    result = ready.run(*arguments)
    assert result.code == 2
    assert is_one_line_error(result)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("rounds: 0\n", "rounds"),
        ("page_sizes: [7]\n", "page_sizes"),
        ("colour: red\n", "colour"),
        ("engine_args: {hf_token: hf_abcdef}\n", ""),
    ],
)
def test_what_a_search_refuses_is_not_queued(ready: Terminal, study_file: Path, more: str, words: str) -> None:
    lines = [line for line in study_file.read_text().splitlines() if line.partition(":")[0] != more.partition(":")[0]]
    study_file.write_text("\n".join([*lines, more]))
    result = ready.run("submit", study_file)
    assert result.code == 2
    assert words in result.err
    assert ready.run("queue", "list", "--all", "--json").json["submissions"] == []


@pytest.mark.slow
def test_a_team_has_a_limit(ready: Terminal, study_file: Path) -> None:
    assert ready.run("queue", "limit", "chat", "0").out == "chat: 0 at once\n"
    ready.run("submit", study_file, "--team", "chat")
    assert ready.run("worker", "--once", "--json").json["studies"] == []
    assert ready.run("queue", "limit", "chat", "none").out == "no team has a limit\n"
    assert ready.run("worker", "--once", "--json").json["studies"] == ["COMPLETE"]


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ends_in_the_middle_loses_nothing(ready: Terminal, study_file: Path, sent: signal.Signals) -> None:
    """kill -9 leaves the study to whoever comes after its lease; SIGTERM gives it back. The engine of this worker never ends its tenth
    window, so that a busy machine cannot miss the moment."""
    storage = open_storage(ready.url, create=False)
    ready.run("submit", study_file)
    env = {**os.environ, "TUNER_TEST_WINDOWS": "9", "TUNER_CACHE": str(ready.folder.parent / "cache"), "PYTHONPATH": str(ROOT)}
    process = start_process(["worker", "--lease", "1s"], env, "tests.tuner.cli.held_tuner")

    def windows() -> list[tuple[int, int]]:
        found = [study for study in storage.list_studies() if study.name == "s"]
        return [(item.trial_id, item.round) for study in found for item in storage.list_measurements(study_id=study.id)]

    try:
        wait_until(lambda: len(windows()) == 9, "nine windows")
        process.send_signal(sent)
        if sent is signal.SIGTERM:
            wait_until(lambda: [worker.state for worker in storage.list_workers()] == ["draining"], "the worker to drain")
            process.send_signal(sent)  # this window never ends: the second signal does not wait for it
        process.wait(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert storage.get_submission(1).state is (SubmissionState.RUNNING if sent is signal.SIGKILL else SubmissionState.QUEUED)
    wait_until(lambda: ready.run("worker", "--once", "--lease", "1s", "--json").json["studies"] == ["COMPLETE"], "the lease to run out")
    after = windows()
    assert len(after) == len(set(after))
    assert len(after) == 8 * 3 + 6
    storage.close()


@pytest.mark.slow
def test_a_host_is_put_into_quarantine_and_released_by_hand(ready: Terminal, study_file: Path) -> None:
    assert ready.run("queue", "quarantine").out == "no host is in quarantine\n"
    assert "put there by hand" in ready.run("queue", "quarantine", "tpu-7").out
    (held,) = ready.run("queue", "quarantine", "tpu-7", "--reason", "fan", "--json").json["quarantines"]
    assert (held["host"], held["reason"], held["released_at"]) == ("tpu-7", "put there by hand", None), "it was there already"
    assert ready.run("queue", "release", "tpu-7").out == "tpu-7 may claim studies again\n"
    again = ready.run("queue", "release", "tpu-7")
    assert is_one_line_error(again) and "is not in quarantine" in again.err
    assert ready.run("queue", "quarantine", " ").code == 2
