from __future__ import annotations

import pytest

from bench import compare_scale


@pytest.mark.slow
def test_a_large_study_is_judged_and_its_cost_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for most, status, word in ((1e9, 0, "met"), (0.0, 1, "MISSED")):
        monkeypatch.setattr(compare_scale, "MOST_S", most)
        assert compare_scale.main(["--trials", "48", "--windows", "480"]) == status
        out = capsys.readouterr().out
        assert "48 trials, 480 windows: 24 cells" in out and word in out


@pytest.mark.slow
def test_most_windows_make_pairs() -> None:
    trials, windows = compare_scale.large_study(48, 960)
    assert {trial.arm for trial in trials} == {"default", "page_aligned"}
    assert sum(item.valid for item in windows) > 0.95 * len(windows)
