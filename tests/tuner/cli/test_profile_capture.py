"""`tuner profile capture --url`: profiles of a server that runs already."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.profiles.builder import model_runs, tpu_xspace
from tests.tuner.cli.terminal import Terminal
from tests.tuner.launchers.answering import answering


def test_a_bad_profile_of_a_server_is_kept_and_tried_once_more(terminal: Terminal) -> None:
    traces, taken = terminal.folder / "traces", itertools.count()
    traces.mkdir()

    def write() -> None:
        number = next(taken)
        folder = traces / "plugins" / "profile" / str(number)
        folder.mkdir(parents=True)
        (folder / "h.xplane.pb").write_bytes(tpu_xspace(model_runs(steps=2 if number == 0 else 9)))

    with answering({}, on_stop=write) as url:
        arguments = ["--url", url, "--profiler-dir", str(traces), "--logdir", "logs", "--run", "mine", "--requests", "2", "--json"]
        document = terminal.run("profile", "capture", *arguments, "--repeat", "2").json
    problems = [profile["quality"]["problems"] for profile in document["profiles"]]
    assert problems == [["few_steps"], [], []]
    assert len(set(document["captures"])) == 3 and len(document["links"]) == 3
    assert [Path(path).parent.name.endswith("-again") for path in document["captures"]] == [False, True, False]
