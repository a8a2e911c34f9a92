"""Secrets as files: TUNER_STORAGE_FILE and TUNER_API_TOKEN_FILE."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.cli.command_line import run
from tuner.cli.secret_files import from_file
from tuner.core.errors import BadInput


def test_the_file_is_read_without_white_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text(" value \n")
    monkeypatch.setenv("TUNER_API_TOKEN_FILE", str(tmp_path / "secret"))
    assert from_file("TUNER_API_TOKEN") == "value"
    monkeypatch.delenv("TUNER_API_TOKEN_FILE")
    assert from_file("TUNER_API_TOKEN") is None


@pytest.mark.parametrize(("content", "complaint"), [(None, "cannot read"), (b"\n", "is empty"), (b"\xff\xfe", "not text")])
def test_a_file_without_a_secret_is_refused(content: bytes | None, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    monkeypatch.setenv("TUNER_API_TOKEN_FILE", str(tmp_path / "secret"))
    with pytest.raises(BadInput, match=complaint):
        from_file("TUNER_API_TOKEN")


@pytest.mark.slow
def test_the_storage_may_come_from_a_file_and_an_option_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "url").write_text(f"sqlite:///{tmp_path / 'filed.db'}\n")
    monkeypatch.delenv("TUNER_STORAGE", raising=False)
    monkeypatch.setenv("TUNER_STORAGE_FILE", str(tmp_path / "url"))
    assert run(["db", "upgrade"]) == 0
    assert (tmp_path / "filed.db").exists()
    assert run(["db", "upgrade", "--storage", f"sqlite:///{tmp_path / 'given.db'}"]) == 0
    assert (tmp_path / "given.db").exists()
    monkeypatch.setenv("TUNER_STORAGE_FILE", str(tmp_path / "missing"))
    capsys.readouterr()
    assert run(["db", "check"]) == 2
    assert capsys.readouterr().err.startswith("error: TUNER_STORAGE_FILE: cannot read")
