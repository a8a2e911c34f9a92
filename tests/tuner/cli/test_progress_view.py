"""Progress on standard error: a moving line on a terminal, plain lines elsewhere; nothing on standard output."""

from __future__ import annotations

import errno
import io
import sys

import pytest

from tuner.cli.progress_view import ProgressView, status_line
from tuner.trials.progress import Progress


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(view: ProgressView | None = None) -> Progress:
    return Progress(
        planned_trials=8, done_trials=3, failed_trials=1, windows=7, planned_windows=20, engine_starts=2, best=("default p16 b128", 1234.5),
        listener=view,
    )  # fmt: skip


def test_the_line_has_trials_best_starts_and_time_left() -> None:
    line = status_line(progress(), "throughput")
    parts = (
        "3/8 trials",
        "1 failed",
        "7 windows",
        "best throughput 1,234 (default p16 b128)",
        "2 engine starts",
        "at most about 13 s left",
    )
    assert line == " | ".join(parts)


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressView("throughput") as view:
        shown = progress(view)
        shown.note("trial 3 failed: timeout")
        shown.note()
        shown.note()
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "trial 3 failed: timeout" and lines[1:].count(status_line(shown, "throughput")) == 1


def test_one_moving_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressView("throughput") as view:
        shown = progress(view)
        shown.doing("measuring [weird] markup")
        shown.note("trial 3 failed: [/] timeout")
    text = terminal.getvalue()
    assert "trial 3 failed: [/] timeout" in text
    assert capsys.readouterr().out == ""


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_ends_no_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", FullDisk())
    with ProgressView("throughput") as view:
        shown = progress(view)
        shown.note("trial 3 failed: timeout")
    assert shown.done_trials == 3
