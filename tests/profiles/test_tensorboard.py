"""HParams as TensorBoard itself reads them back, and the command line on loopback only."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from profiles.errors import ProfileError
from profiles.tensorboard import HParamsTrial, command, write_hparams
from tests.profiles.hparams_tab import needs_tensorboard, session_groups

TRIALS = [
    HParamsTrial("s/trial-0", {"arm": "default", "block_size": 32, "aligned": False, "none": None}, {"tpot_p50_ms": 7.5}, 100.0, 110.0),
    HParamsTrial(
        "s/trial-1", {"arm": "page_aligned", "block_size": 64, "aligned": True}, {"tpot_p50_ms": 7.25, "output_tok_s": 900.0}, 110.0, 120.0
    ),
    HParamsTrial("s/trial-2", {"arm": "page_aligned", "block_size": 128, "aligned": True}, {}, 120.0, 121.0, failed=True),
]


@pytest.mark.slow
@needs_tensorboard
def test_the_tab_lists_every_trial_with_settings_and_results(tmp_path: Path) -> None:
    write_hparams(tmp_path, TRIALS)
    groups = {group.name: group for group in session_groups(tmp_path)}
    assert set(groups) == {"s/trial-0", "s/trial-1", "s/trial-2"}
    first = groups["s/trial-0"]
    assert first.hparams["arm"].string_value == "default"
    assert first.hparams["block_size"].number_value == 32
    assert first.hparams["aligned"].bool_value is False
    assert "none" not in first.hparams
    values = {value.name.tag: value.value for value in groups["s/trial-1"].metric_values}
    assert values == {"tpot_p50_ms": 7.25, "output_tok_s": 900.0}
    assert [session.status for session in groups["s/trial-2"].sessions] == [2]  # STATUS_FAILURE
    assert not groups["s/trial-2"].metric_values


@pytest.mark.slow
@needs_tensorboard
def test_writing_again_replaces_what_we_wrote_and_nothing_else(tmp_path: Path) -> None:
    stranger = tmp_path / "s" / "trial-0" / "events.out.tfevents.1.host"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"")
    write_hparams(tmp_path, TRIALS)
    written = write_hparams(tmp_path, TRIALS)
    assert sorted(tmp_path.rglob("events.out.tfevents.*")) == sorted([*written, stranger])
    assert len(session_groups(tmp_path)) == 3


@pytest.mark.slow
@needs_tensorboard
def test_runs_stay_below_the_logdir(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="plain folder names"):
        write_hparams(tmp_path / "logs", [HParamsTrial("../elsewhere", {}, {}, 0.0)])
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileError, match="cannot be written"):
        write_hparams(tmp_path / "file", TRIALS)


def test_without_tensorboard_the_mend_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.plugins.hparams", None)
    with pytest.raises(ProfileError, match=r"install vllm-tpu-tuner\[ui\]"):
        write_hparams(tmp_path, TRIALS)


def test_the_command_line_binds_loopback_only(tmp_path: Path) -> None:
    assert command(tmp_path, 6006)[2:] == ["profiles.tensorboard_main", f"--logdir={tmp_path}", "--host=127.0.0.1", "--port=6006"]
    assert command(tmp_path, 1, "::1", "/tb")[-1] == "--path_prefix=/tb"
    for host in ("0.0.0.0", "example.org", "192.168.1.4"):
        with pytest.raises(ProfileError, match="no access control"):
            command(tmp_path, 6006, host)
