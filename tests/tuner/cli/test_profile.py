"""`tuner profile show` and `diff` on files and sessions: text, JSON, pictures, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from profiles.links import session_folder
from profiles.session_plan import StepComposition
from profiles.summary import summarise, write_summary
from tests.profiles.builder import model_runs, tpu_xspace
from tests.shared_data import shared_data
from tests.tuner.cli.terminal import Terminal


def a_session(terminal: Terminal, run: str, *, block_size: int = 32, slower: float = 1.0) -> Path:
    """A trial's session in the logdir, with its summary beside the profile."""
    folder = session_folder(terminal.folder / "logs", run, "s1")
    folder.mkdir(parents=True)
    path = folder / "host.xplane.pb"
    path.write_bytes(tpu_xspace(model_runs(steps=12, factor={"tuner_kv_write": slower})))
    records = [StepComposition(100, 128, 100, 1, 0, index * 3e-4) for index in range(12)]
    write_summary(summarise(path, records=records, settings={"block_size": block_size}), path)
    return path


def test_show_a_file(terminal: Terminal) -> None:
    path = a_session(terminal, "trial-0")
    text = terminal.run("profile", "show", str(path))
    assert text.code == 0
    assert "jit_step_fun on TPU, 11 steps (device clock" in text.out
    (row,) = [line.split() for line in text.out.splitlines() if line.strip().startswith("kv_write")]
    assert row[:3] == ["kv_write", "0.024", "ms"]
    document = terminal.run("profile", "show", str(path), "--json").json
    (found,) = document["profiles"]
    assert found["quality"]["ok"] is True
    assert set(found["phases"]) == {"all", "prefill"}


def test_show_lists_the_largest_scopes_and_what_a_tpu_is_used_for(terminal: Terminal) -> None:
    text = terminal.run("profile", "show", str(a_session(terminal, "trial-0")), "--scopes", "2").out
    assert [line.split()[-2:] for line in text.splitlines()[-2:]] == [
        ["step_fun/layers.*/mlp", "(mlp)"],
        ["step_fun/layers.*/self_attn/tuner_attention_prefill", "(attention)"],
    ]
    assert "TFLOP/s" not in text  # this profile says nothing about work
    real = terminal.run("profile", "show", str(shared_data("profiles/tpu_v6e_host_offload.xplane.pb"))).out
    (row,) = [line.split() for line in real.splitlines() if "TFLOP/s" in line and line.strip().startswith("unattributed")]
    assert row[1:] == ["0.17", "TFLOP/s", "(0.0%)", "1339.4", "GB/s", "HBM", "(81.8%)"]


def test_show_a_session_with_a_picture(terminal: Terminal) -> None:
    a_session(terminal, "trial-0")
    result = terminal.run("profile", "show", str(terminal.folder / "logs" / "trial-0"), "--svg", "breakdown.svg")
    assert result.code == 0
    root = ElementTree.parse(terminal.folder / "breakdown.svg").getroot()
    assert "prefill (11 steps)" in "".join(root.itertext())


@pytest.mark.slow
def test_diff_finds_the_slower_write(terminal: Terminal) -> None:
    paths = [str(a_session(terminal, "default")), str(a_session(terminal, "aligned", slower=1.5))]
    text = terminal.run("profile", "diff", *paths, "--svg", "why.svg", "--measured-ms", "10", "10.012")
    assert text.code == 0
    marked = [line.split()[1] for line in text.out.splitlines() if line.startswith("*")]
    assert marked == ["step", "kv_write", "step_fun/layers.*/self_attn/tuner_kv_write_token"]
    assert "of the measured difference" in text.out
    assert ElementTree.parse(terminal.folder / "why.svg").getroot().tag.endswith("svg")
    document = terminal.run("profile", "diff", *paths, "--phase", "prefill", "--json").json
    assert document["comparable"] is True
    assert [row["category"] for row in document["categories"] if row["changed"]] == ["kv_write"]


@pytest.mark.slow
def test_another_page_size_is_refused_unless_asked_for(terminal: Terminal) -> None:
    paths = [str(a_session(terminal, "a")), str(a_session(terminal, "b", block_size=64))]
    refused = terminal.run("profile", "diff", *paths)
    assert refused.code == 2
    assert "page size differs (32 and 64)" in refused.err and "--allow-different" in refused.err
    allowed = terminal.run("profile", "diff", *paths, "--allow-different")
    assert allowed.code == 0 and "not like with like: page size differs" in allowed.out


@pytest.mark.parametrize("content", [b"", b"not a profile", b"\x0a\xff\xff\xff\x7f"])
def test_what_cannot_be_read_is_one_line_and_exit_2(terminal: Terminal, content: bytes) -> None:
    path = terminal.folder / "bad.xplane.pb"
    path.write_bytes(content)
    result = terminal.run("profile", "show", str(path))
    assert result.code == 2 and result.out == ""
    assert len(result.err.strip().splitlines()) == 1 and "bad.xplane.pb" in result.err


def test_the_mangled_file_is_one_line_and_exit_2(terminal: Terminal) -> None:
    result = terminal.run("profile", "show", str(shared_data("profiles/mangled.xplane.pb")))
    assert result.code == 2 and result.out == ""
    assert len(result.err.strip().splitlines()) == 1 and "looks converted to UTF-8" in result.err


def test_a_picture_that_cannot_be_written_and_a_missing_path(terminal: Terminal) -> None:
    path = a_session(terminal, "trial-0")
    result = terminal.run("profile", "show", str(path), "--svg", "missing/breakdown.svg")
    assert result.code == 2 and "--svg missing/breakdown.svg: cannot be written" in result.err
    assert terminal.run("profile", "show", "nowhere").code == 2
