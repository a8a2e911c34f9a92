from __future__ import annotations

from pathlib import Path

import pytest

from bench import storage_scale
from storage.upgrade import open_storage


@pytest.mark.slow
def test_copies_are_whole_studies_and_a_slow_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for most, status, word in ((1e9, 0, "met"), (0.0, 1, "MISSED")):
        monkeypatch.setattr(storage_scale, "MOST_MS", {"sqlite": most})
        url = f"sqlite:///{tmp_path}/{word}.db"
        assert storage_scale.main([url, "--measurements", "360", "--of-a-study", "120"]) == status
        out = capsys.readouterr().out
        assert "360 measurements in 3 studies, 20 compared cells in each" in out and word in out
        storage = open_storage(url)
        first, *_, last = sorted(storage.list_studies(), key=lambda study: study.id)
        assert len(storage.list_measurements(study_id=last.id)) == 120
        assert storage_scale.judge(storage, last.id)[0].verdict == storage_scale.judge(storage, first.id)[0].verdict
        storage.close()
