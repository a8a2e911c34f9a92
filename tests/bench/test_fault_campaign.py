from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.fault_campaign import Campaign, Found


@pytest.mark.slow
def test_a_fault_of_each_kind_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.fault_campaign.WAITING", 1)  # fewer studies, and so less to wait for at the end
    monkeypatch.setattr("bench.fault_campaign.STOPPED_S", (1.2, 1.5))
    found = Campaign(f"sqlite:///{tmp_path}/faults.db", tmp_path, seed=0).run(3)
    assert found.faults == Counter(SIGKILL=1, SIGTERM=1, SIGSTOP=1)
    assert found.windows >= found.studies * 30, "each study has all its windows"
    assert found.is_clean, found


def test_each_loss_is_told() -> None:
    assert Found(studies=1, windows=30).is_clean
    for found in (Found(lost=1), Found(twice=1), Found(orphans=1), Found(not_complete=1)):
        assert not found.is_clean
