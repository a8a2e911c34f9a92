"""`tuner profile` on stored trials: STUDY:TRIAL shows, compares, draws and is captured again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.plugins.study import workbench_in
from tests.profiles.builder import model_runs, tpu_xspace
from tests.tuner.cli.conftest import with_database_of
from tests.tuner.cli.terminal import Terminal
from tests.tuner.fake_engine import FakeLauncher, crash, small_xspace, step_records
from tests.tuner.workbench import Workbench
from tuner.core.contract import WindowResult
from tuner.setup.space import Configuration

PHASES = ("prefill", "decode", "mixed")


def xspace(configuration: Configuration, phase: str, session: str) -> bytes:
    slower = configuration.arm == "page_aligned" and phase == "decode"
    return tpu_xspace(model_runs(steps=9, factor={"tuner_kv_write": 1.5}, names="other")) if slower else small_xspace()


def window(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    """Decode steps of the page-aligned arm take 12 us longer, which is what its profile shows."""
    longer = 12e-6 if configuration.arm == "page_aligned" else 0.0
    return replace(result, steps=tuple(replace(step, duration_s=step.duration_s + longer) for step in step_records(0.0, 5)))


def launcher() -> FakeLauncher:
    return FakeLauncher(xspace=xspace, profile_phases=PHASES, on_measure=window)


@pytest.fixture(scope="module")
def profiled_study(tmp_path_factory: pytest.TempPathFactory, _database_with_optuna: Path) -> Iterator[Workbench]:
    """A study of one cell whose finalists, trials 2 and 3, have two profile sessions of each phase."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        bench = workbench_in(_database_with_optuna, tmp_path_factory.mktemp("profiled"), monkeypatch)
        bench.run(launcher(), page_sizes=[32], chunk_budgets=[256], profile="finalists")
        yield bench
        bench.close()


@pytest.fixture
def profiled(terminal: Terminal, profiled_study: Workbench, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """That study in a database of the test's own. Its profiles stay where they are; new ones lie beside them."""
    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: launcher())
    return with_database_of(profiled_study, terminal, monkeypatch)


def arms(profiled: Terminal) -> dict[str, str]:
    """arm -> STUDY:TRIAL of the trials that have profiles."""
    return {item["arm"]: f"s:{item['number']}" for item in profiled.run("show", "s", "--json").json["trials"] if item["profiles"]}


@pytest.mark.slow
def test_show_a_trial_with_its_links(profiled: Terminal) -> None:
    trial = arms(profiled)["default"]
    text = profiled.run("profile", "show", trial)
    assert text.code == 0 and f"{trial} default p32 b256" in text.out
    assert text.out.count("jit_step_fun on TPU, 8 steps") == 3
    assert text.out.count("http://127.0.0.1:6006/?run=s%2Ftrial-000") == 3 and "tool=trace_viewer" in text.out
    document = profiled.run("profile", "show", trial, "--json").json
    assert [set(item["phases"]) for item in document["profiles"]] == [{"all", phase} for phase in PHASES]
    assert len(document["links"]) == 3


@pytest.mark.slow
def test_diff_of_two_trials_compares_each_phase_and_explains_what_the_windows_measured(profiled: Terminal) -> None:
    trials = arms(profiled)
    both = [trials["default"], trials["page_aligned"]]
    document = profiled.run("profile", "diff", *both, "--json").json
    assert [item["phase"] for item in document["diffs"]] == list(PHASES)
    changed = {item["phase"]: [row["category"] for row in item["categories"] if row["changed"]] for item in document["diffs"]}
    assert changed == {"prefill": [], "decode": ["kv_write"], "mixed": []}
    (decode,) = [item for item in document["diffs"] if item["phase"] == "decode"]
    assert decode["explained"]["measured_ms"] == pytest.approx(0.012)
    assert decode["explained"]["share"] == pytest.approx(1.0, abs=0.1)
    assert document["end_to_end"]["explained"] == pytest.approx(1.0, abs=0.2)
    assert any(line.startswith("mostly because: kv_write takes 50% more of a decode step") for line in document["words"])
    text = profiled.run("profile", "diff", *both).out
    assert "of the measured difference, +0.012 ms" in text
    assert text.rstrip().splitlines()[-len(document["words"]) :] == document["words"]
    one = profiled.run("profile", "diff", *both, "--phase", "decode")
    assert "of the measured difference" in one.out and "mostly because" not in one.out  # one phase is not the whole window


@pytest.mark.slow
def test_pictures_of_trials(profiled: Terminal) -> None:
    trials = arms(profiled)
    both = [trials["default"], trials["page_aligned"]]
    assert profiled.run("profile", "show", *both, "--svg", "bars.svg").code == 0
    picture = (profiled.folder / "bars.svg").read_text()
    assert all(f"{label} · {phase} (8 steps)" in picture for phase in PHASES for label in (f"{both[0]} default p32 b256",))
    assert profiled.run("profile", "show", *both, "--chart", "step-times", "--phase", "decode", "--svg", "times.svg").code == 0
    assert "How long steps take (decode)" in (profiled.folder / "times.svg").read_text()
    refused = profiled.run("profile", "diff", *both, "--svg", "why.svg")
    assert refused.code == 2 and "a picture shows one phase; add --phase prefill" in refused.err


@pytest.mark.slow
def test_the_same_pictures_as_png(profiled: Terminal) -> None:
    pytest.importorskip("vl_convert", reason="needs vllm-tpu-tuner[ui]")
    trials = arms(profiled)
    both = [trials["default"], trials["page_aligned"]]
    assert profiled.run("profile", "diff", *both, "--phase", "decode", "--png", "why.png").code == 0
    data = (profiled.folder / "why.png").read_bytes()
    assert data.startswith(b"\x89PNG") and int.from_bytes(data[16:20], "big") == 1720


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "word"),
    [("s:99", "study 's' has no trial 99"), ("t:0", "study 't' is not in this database"), ("nowhere", "no such file or folder")],
)
def test_what_is_not_there_is_one_line(profiled: Terminal, target: str, word: str) -> None:
    result = profiled.run("profile", "show", target)
    assert result.code == 2 and word in result.err and len(result.err.splitlines()) == 1


@pytest.mark.slow
def test_a_trial_without_a_profile_says_how_to_get_one_and_gets_it(profiled: Terminal) -> None:
    without = profiled.run("profile", "show", "s:0")
    assert without.code == 2 and "trial s:0 has no profile; capture one with: tuner profile capture s:0" in without.err
    captured = profiled.run("profile", "capture", "s:0", "--phase", "decode")
    assert captured.code == 0 and captured.out.startswith("decode: ok, ")
    assert profiled.run("profile", "show", "s:0").code == 0
    document = profiled.run("profile", "capture", "s:0", "--json").json
    assert [item["phase"] for item in document["profiles"]] == list(PHASES)


@pytest.mark.slow
def test_repeated_sessions_enter_a_comparison_as_sessions(profiled: Terminal) -> None:
    finalist, other = arms(profiled)["default"], "s:0"
    for phase, count in (("decode", 2), ("prefill", 1)):
        again = profiled.run("profile", "capture", other, "--phase", phase, "--repeat", str(count), "--json").json
        assert len(again["profiles"]) == count
    for phase, sessions in (("decode", [2, 2]), ("prefill", [2, 1])):
        shown = ("profile", "diff", finalist, other, "--phase", phase)
        assert profiled.run(*shown, "--json").json["captures"] == sessions
        assert ("one profile session on a side" in profiled.run(*shown).out) == (min(sessions) == 1)


@pytest.mark.slow
def test_profiles_that_fail_end_in_one_line_and_exit_1(profiled: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(configuration: Configuration, nth: int) -> None:
        raise crash("the engine hung while profiling")

    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: FakeLauncher(on_profile=hook))
    result = profiled.run("profile", "capture", "s:0")
    assert result.code == 1 and "the engine hung while profiling" in result.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "name one thing to profile"),
        (["s:0", "--url", "http://x"], "name one thing to profile"),
        (["s:0", "--phase", "all"], "--phase all: this engine can be profiled in prefill, decode, mixed"),
        (["nonsense"], "names no trial; use STUDY:NUMBER"),
        (["--url", "http://127.0.0.1:1"], "--url needs --profiler-dir"),
        (["--url", "http://127.0.0.1:1", "--profiler-dir", "missing"], "--profiler-dir missing does not exist here"),
        (["--url", "http://127.0.0.1:1", "--profiler-dir", "."], "--url http://127.0.0.1:1: no answer"),
        (["--url", "ftp://x", "--profiler-dir", "."], "use http://HOST:PORT"),
        (["--url", "http://127.0.0.1:1", "--profiler-dir", ".", "--phase", "decode"], "--phase is for trials"),
        (["--url", "http://127.0.0.1:1", "--profiler-dir", ".", "--run", "../up"], "use plain folder names"),
    ],
)
def test_bad_input_of_capture_is_one_line(profiled: Terminal, arguments: list[str], word: str) -> None:
    result = profiled.run("profile", "capture", *arguments)
    assert result.code == 2 and word in result.err and len(result.err.splitlines()) <= 2


@pytest.mark.slow
def test_a_table_has_no_engine_to_profile(terminal: Terminal) -> None:
    assert terminal.search("--study", "s").code == 0
    result = terminal.run("profile", "capture", "s:0", "--storage", terminal.url)
    assert result.code == 2 and "measured from a table; there is no engine to profile" in result.err
