"""Fixture `terminal`: an empty working directory for command lines of `tuner`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuner.cli.terminal import TABLE, Terminal


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("TUNER_STORAGE", "TUNER_LOGDIR", "TUNER_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "table.csv").write_text(TABLE)
    return Terminal(folder, capsys)
