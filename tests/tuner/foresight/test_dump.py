"""The dump's folder: bounded, and gone afterwards, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.engine.processes import group_alive, kill_group
from tuner.foresight.dump import GIB, Dump, knows_no_flags

LOST = EngineLost(FailureClass.ENGINE_CRASH, "the compiler process was killed")


def test_it_is_removed_also_when_the_user_interrupts(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Dump(tmp_path) as dump:
            (dump.folder / "deep").mkdir()
            (dump.folder / "deep" / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    script = f"from pathlib import Path; from tuner.foresight.dump import Dump; Dump(Path({str(tmp_path)!r})); import os; os._exit(9)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    with Dump(tmp_path) as ours:
        assert not left.exists()
        with Dump(tmp_path):
            assert ours.folder.exists()


def test_too_little_room_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"may take 1,048,576 GiB, and .* has .* GiB left; make room, or name another folder in TMPDIR"):
        Dump(tmp_path, most_bytes=GIB << 20)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no folder for the compiler's dump in .*nowhere"):
        Dump(tmp_path / "nowhere")


def test_a_writer_without_bounds_is_ended(tmp_path: Path) -> None:
    """A process that fills the folder, as a compiler with a huge kernel does; its end looks like a crash to its client."""
    with Dump(tmp_path, most_bytes=1 << 20) as dump:
        writer: subprocess.Popen[bytes] | None = None

        def stop() -> None:
            assert writer is not None
            kill_group(writer.pid, grace_s=0.0)

        def write() -> None:
            nonlocal writer
            big = dump.folder / "big"
            code = f"import time\nfile = open({str(big)!r}, 'wb')\nfile.write(b'x' * (2 << 20)); file.flush()\ntime.sleep(600)"
            with dump.watched(stop):
                writer = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
                writer.wait()
                raise LOST

        with pytest.raises(TrialFailed, match=r"the compiler's dump grew above 0\.0009766 GiB; it was removed"):
            write()
        assert writer is not None and not group_alive(writer.pid)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_of_another_kind_stays_what_it_is(tmp_path: Path) -> None:
    with Dump(tmp_path) as dump, pytest.raises(EngineLost, match="was killed"), dump.watched(lambda: pytest.fail("nothing to stop")):
        raise LOST


def test_what_was_dumped_before_is_no_part_of_it(tmp_path: Path) -> None:
    """Building the engine compiles as well."""
    with Dump(tmp_path) as dump:
        (dump.folder / "1-hlo-static-bundle-profile.txt").write_text("HLO: of another program\n")
        with dump.watched(lambda: None):
            assert dump.profiles() == []


def test_flags_of_the_user_are_kept(tmp_path: Path) -> None:
    with Dump(tmp_path) as dump:
        flags = dump.environment({"LIBTPU_INIT_ARGS": "--xla_mine=1"})["LIBTPU_INIT_ARGS"].split()
        assert flags[0] == "--xla_mine=1" and f"--xla_jf_dump_to={dump.folder}" in flags
        assert not dump.environment({**os.environ, "LIBTPU_INIT_ARGS": ""})["LIBTPU_INIT_ARGS"].startswith(" ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ERROR: Unknown command line flag 'xla_jf_dump_to'. Did you mean: xla_dump_to ?", True),
        ("Unknown flag --xla_jf_dump_llo_text", True),
        ("ERROR: Unknown command line flag 'xla_mine'", False),
        ("the process was killed by signal 11; see xla_jf_dump_to", False),
        ("", False),
    ],
)
def test_a_libtpu_that_does_not_know_the_flags_is_told_from_one_that_failed(words: str, expected: bool) -> None:
    assert knows_no_flags(words) is expected
