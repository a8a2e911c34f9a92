"""The run directory: what was put comes back, never changes, and stays inside."""

from __future__ import annotations

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.artifacts import MANIFEST, ArtifactCorrupt, RunDirectory
from storage.base import Conflict, InvalidRecord, NotFound, StorageUnavailable


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path, "run-1")


def test_what_was_put_comes_back(run: RunDirectory) -> None:
    assert list(run.entries()) == []
    log = run.put("trial-0/log.txt", b"out of memory\n")
    result = run.put("result.json", b"{}")
    assert log.sha256 == hashlib.sha256(b"out of memory\n").hexdigest()
    assert log.size_bytes == 14
    assert run.get("trial-0/log.txt") == b"out of memory\n"
    assert list(run.entries()) == [log, result]
    assert list(run.verify()) == []
    assert stat.S_IMODE((run.path / "result.json").stat().st_mode) == 0o444


def test_nothing_is_touched_before_the_first_put(run: RunDirectory) -> None:
    run.verify()
    with pytest.raises(NotFound):
        run.get("result.json")
    assert not run.path.exists()


def test_an_artifact_is_immutable(run: RunDirectory) -> None:
    first = run.put("a", b"1")
    assert run.put("a", b"1") == first
    with pytest.raises(Conflict, match="'a' of run-1"):
        run.put("a", b"2")
    assert run.get("a") == b"1"
    assert len(run.entries()) == 1


@pytest.mark.parametrize("damage", ["change", "remove", "link"])
def test_damage_is_found(run: RunDirectory, tmp_path: Path, damage: str) -> None:
    run.put("good", b"1")
    run.put("bad", b"2")
    target = run.path / "bad"
    target.unlink()
    if damage == "change":
        target.write_bytes(b"3")
    elif damage == "link":
        (tmp_path / "elsewhere").write_bytes(b"2")
        target.symlink_to(tmp_path / "elsewhere")
    [problem] = run.verify()
    assert "'bad' of run-1" in problem
    with pytest.raises(ArtifactCorrupt):
        run.get("bad")
    assert run.get("good") == b"1"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "a\\b", "a\x00b", ".hidden", "a/.hidden", MANIFEST, "a\n", "~"],
)
def test_no_name_leads_out(run: RunDirectory, name: str) -> None:
    with pytest.raises(InvalidRecord):
        run.put(name, b"1")
    with pytest.raises(InvalidRecord):
        run.get(name)
    with pytest.raises(InvalidRecord):
        RunDirectory(run.path, name if name != MANIFEST else "../x")


@given(name=st.text(max_size=12) | st.from_regex(r"[./a]{1,8}", fullmatch=True))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_name_the_file_is_inside(tmp_path: Path, name: str) -> None:
    run = RunDirectory(tmp_path / "root", "run")
    try:
        run.put(name, b"1")
    except (InvalidRecord, StorageUnavailable):
        pass
    else:
        assert (run.path / name).resolve().is_relative_to(run.path.resolve())
    assert {path.name for path in tmp_path.iterdir()} <= {"root"}
    assert {path.name for path in (tmp_path / "root").iterdir()} <= {"run"} if (tmp_path / "root").exists() else True


def test_a_link_to_a_folder_outside_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    run.put("a", b"1")
    (tmp_path / "outside").mkdir()
    (run.path / "way").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidRecord, match="link"):
        run.put("way/out", b"1")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_crash_in_the_middle_of_a_line_costs_that_line_only(run: RunDirectory) -> None:
    kept = run.put("kept", b"1")
    with (run.path / MANIFEST).open("ab") as manifest:
        manifest.write(b'{"name": "half", "sha')
    (run.path / "half").write_bytes(b"old")
    assert list(run.entries()) == [kept]
    half = run.put("half", b"new")
    assert list(run.entries()) == [kept, half]
    assert run.get("half") == b"new"


def test_a_foreign_manifest_is_named(run: RunDirectory) -> None:
    run.put("a", b"1")
    with (run.path / MANIFEST).open("ab") as manifest:
        manifest.write(b"not json\n")
    with pytest.raises(ArtifactCorrupt, match=MANIFEST):
        run.entries()


def test_writers_take_turns(run: RunDirectory) -> None:
    def put(place: int) -> str:
        return RunDirectory(run.path.parent, "run-1").put(f"f{place % 20}", b"%d" % (place % 20)).name

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(put, range(40)))) == 40
    assert sorted(artifact.name for artifact in run.entries()) == sorted(f"f{place}" for place in range(20))
    assert list(run.verify()) == []


def test_a_failing_disk_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="--logdir"):
        RunDirectory(tmp_path / "file", "run").put("a", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
