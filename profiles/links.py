"""Where profiles lie and how to open them: TensorBoard's folder layout and the deep links of the XProf plugin.

Layout: `<logdir>/<run>/plugins/profile/<session>/<host>.xplane.pb`; the plugin shows it as session `<run>/<session>`, or as `<session>`
where the run is the logdir itself. A link has its query before `#profile`, because XProf ignores a query that comes after it (tried
with xprof 2.24.2).
"""

from __future__ import annotations

import hashlib
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from profiles.errors import ProfileError

XPLANE_SUFFIX = ".xplane.pb"
PLUGIN_FOLDER = ("plugins", "profile")
_LONGEST_NAME = 120  # characters; file systems take 255 bytes
TRACE_VIEWER = "trace_viewer"
TOOLS = (TRACE_VIEWER, "overview_page", "hlo_stats", "op_profile", "graph_viewer", "memory_viewer", "memory_profile", "roofline_model")
DIFF_TOOLS = ("overview_page", "op_profile")


def plain_name(name: str) -> str:
    """Turn a name into one folder name, so that different names stay different: everything but letters, digits, `_`, `.` and `-` is
    percent-encoded, and so is a leading dot; a long name is cut and ends in its hash."""
    quoted = quote(name, safe="").replace("~", "%7E")
    plain = "%2E" + quoted[1:] if quoted.startswith(".") else quoted
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class ProfileFile:
    """One host's `.xplane.pb` in a logdir. `run` is a path below the logdir with "/" between its parts, "" for the logdir itself."""

    logdir: Path
    run: str
    session: str
    host: str

    @property
    def path(self) -> Path:
        return session_folder(self.logdir, self.run, self.session) / (self.host + XPLANE_SUFFIX)

    @property
    def session_name(self) -> str:
        """What the plugin calls the session."""
        return f"{self.run}/{self.session}" if self.run else self.session


def session_folder(logdir: Path, run: str, session: str) -> Path:
    """Where a session's profiles go. Raises ProfileError for names that would leave the logdir."""
    parts = [*run.split("/"), session] if run else [session]
    if any(part in {"", ".", ".."} or "\\" in part or "\0" in part for part in parts) or "/" in session:
        raise ProfileError(f"run {run!r}, session {session!r}: use plain folder names")
    return logdir.joinpath(*run.split("/") if run else (), *PLUGIN_FOLDER, session)


def new_session(logdir: Path, run: str, suffix: str = "") -> str:
    """A name for a new session: the time, as JAX names its sessions, and a suffix; a number follows where that name is taken."""
    wanted = time.strftime("%Y_%m_%d_%H_%M_%S") + suffix
    names = itertools.chain([wanted], (f"{wanted}-{count}" for count in itertools.count(2)))
    return next(name for name in names if not session_folder(logdir, run, name).exists())


def session_of(path: Path) -> str | None:
    """The session whose folder a profile lies in; None for a file elsewhere."""
    parts = path.absolute().parts
    return parts[-2] if len(parts) >= 4 and parts[-4:-2] == PLUGIN_FOLDER else None


def find_profile_files(logdir: Path) -> list[ProfileFile]:
    """All profiles below a logdir, sorted by run, session and host."""
    found = []
    for path in logdir.rglob(f"*{XPLANE_SUFFIX}"):
        parts = path.relative_to(logdir).parts
        if len(parts) >= 4 and parts[-4:-2] == PLUGIN_FOLDER:
            found.append(ProfileFile(logdir, "/".join(parts[:-4]), parts[-2], parts[-1].removesuffix(XPLANE_SUFFIX)))
    return sorted(found, key=lambda each: (each.run, each.session, each.host))


def profile_files_at(path: Path) -> list[Path]:
    """The profile files that a path means: a file, a session's folder, or the only session below a folder. Raises ProfileError."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ProfileError(f"{path}: no such file or folder; give an {XPLANE_SUFFIX} file or a session's folder")
    here = sorted([*path.glob(f"*{XPLANE_SUFFIX}"), *path.glob(f"*{XPLANE_SUFFIX}.gz")])
    if here:
        return here
    found = find_profile_files(path)
    sessions = sorted({each.session_name for each in found})
    if len(sessions) != 1:
        what = (
            f"{len(sessions)} sessions below ({', '.join(sessions[:4])}{', ...' if len(sessions) > 4 else ''})"
            if sessions
            else "no profile below"
        )
        raise ProfileError(f"{path}: {what}; give one session's folder")
    return [each.path for each in found]


def deep_link(base_url: str, profile: ProfileFile, tool: str = TRACE_VIEWER, baseline: ProfileFile | None = None) -> str:
    """A link that opens one tool on one profile in TensorBoard; with `baseline`, XProf's own comparison of two sessions.

    Raises ProfileError for an unknown tool, or one that cannot compare.
    """
    if tool not in TOOLS or (baseline is not None and tool not in DIFF_TOOLS):
        allowed = TOOLS if baseline is None else DIFF_TOOLS
        raise ProfileError(f"tool {tool!r}: use one of {', '.join(allowed)}")
    query = {"run": profile.session_name, "tool": tool, "host": profile.host}
    if baseline is not None:
        query["base_session_id"] = baseline.session_name
    return f"{base_url.rstrip('/')}/?{urlencode(query)}#profile"
