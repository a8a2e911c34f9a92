"""The ways that ARCHITECTURE.md lists are those that a run takes, and they are short."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.ways import ROOT, WAYS, Way, as_written_down, follow, written_down
from tuner.setup.space import Configuration


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
def test_a_way_is_short_and_the_one_that_is_written_down(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    files = follow(way, tmp_path)
    assert len(files) <= way.most_files
    assert files == written_down((ROOT / "ARCHITECTURE.md").read_text())[way.name], "print it anew: python -m tests.ways"


# The follower itself.

CONFIGURATION = Configuration(16, 128, "default")


@dataclass
class Holder:
    configuration: Configuration


def _way(run: object, destination: str = "Configuration.live") -> Way:
    return Way("x", run, lambda: (Configuration,), (destination, "tuner/setup/space.py"), most_files=1)  # type: ignore[arg-type]


def test_only_files_that_hand_it_on_before_the_destination_count(tmp_path: Path) -> None:
    from tuner.trials.rounds import round_order

    def run(_folder: Path) -> None:
        round_order({"cell": ["plain", "words"]}, "seed", 0)
        assert CONFIGURATION.live
        round_order({"cell": [CONFIGURATION]}, "seed", 0)  # after the destination

    assert follow(_way(run), tmp_path) == ["tuner/setup/space.py"]


def test_a_list_of_them_counts(tmp_path: Path) -> None:
    from tuner.trials.rounds import _arms

    def run(_folder: Path) -> None:
        _arms([CONFIGURATION], "seed", turned=False)
        assert CONFIGURATION.live

    assert follow(_way(run), tmp_path) == ["tuner/trials/rounds.py", "tuner/setup/space.py"]


def test_what_holds_it_counts_only_where_it_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.trials.rounds import _arms

    def run(_folder: Path) -> None:
        _arms([Holder(CONFIGURATION)], "seed", turned=False)
        assert CONFIGURATION.live

    assert follow(_way(run), tmp_path) == ["tuner/setup/space.py"]
    monkeypatch.setattr(Holder, "__module__", "tuner.trials.rounds")
    assert follow(_way(run), tmp_path) == ["tuner/trials/rounds.py", "tuner/setup/space.py"]


def test_a_run_that_never_arrives_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="never came to"):
        follow(_way(lambda _folder: None), tmp_path)


def test_what_is_written_is_read_again() -> None:
    files = ["tuner/cli/search.py", "storage/base.py"]
    assert written_down(f"before\n{as_written_down(replace(WAYS[0], name='w'), files)}\nafter `tuner/x.py`") == {"w": files}
