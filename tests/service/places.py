"""A logdir with ways out of it, and somebody who waits for a connection: for the tests with hostile requests."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from profiles.links import ProfileFile

PROFILE = Path(__file__).resolve().parents[1] / "profiles" / "data" / "jax_0_12_cpu.xplane.pb.gz"
SECRET = "host-of-somebody-else"


@dataclass(frozen=True)
class Place:
    """`outside`: a session beside the logdir. Symbolic links of the logdir lead into `linked`, a session as well."""

    logdir: Path
    outside: Path
    linked: Path


def make_place(tmp_path: Path) -> Place:
    logdir = tmp_path / "logs"
    _session(logdir, "s/trial-0", "now", "h")
    outside, linked = (_session(tmp_path / name, "", "now", SECRET).parent for name in ("outside", "linked"))
    (logdir / "out").symlink_to(tmp_path / "linked")
    session = _session(logdir, "s/trial-0", "linked", "h").parent
    (session / "h.xplane.pb").unlink()
    (session / "h.xplane.pb").symlink_to(linked / f"{SECRET}.xplane.pb")
    return Place(logdir, outside, linked)


def _session(logdir: Path, run: str, session: str, host: str) -> Path:
    path = ProfileFile(logdir, run, session, host).path
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.decompress(PROFILE.read_bytes()))
    return path


@contextmanager
def listening() -> Iterator[socket.socket]:
    """Somebody who waits for a connection that a client named."""
    with socket.socket() as waiting:
        waiting.bind(("127.0.0.1", 0))
        waiting.listen()
        waiting.setblocking(False)
        yield waiting
