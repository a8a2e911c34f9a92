"""Folders and links of TensorBoard's profile plugin."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from profiles.errors import ProfileError
from profiles.links import ProfileFile, deep_link, find_profile_files, profile_files_at, session_folder


def put(logdir: Path, run: str, session: str, host: str) -> ProfileFile:
    folder = session_folder(logdir, run, session)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{host}.xplane.pb").write_bytes(b"x")
    return ProfileFile(logdir, run, session, host)


def test_what_is_put_is_found(tmp_path: Path) -> None:
    made = [put(tmp_path, "study/trial-1", "s1", "h1"), put(tmp_path, "study/trial-1", "s1", "h2"), put(tmp_path, "", "s0", "h1")]
    (tmp_path / "stray.xplane.pb").write_bytes(b"x")
    assert find_profile_files(tmp_path) == [made[2], made[0], made[1]]
    assert all(each.path.is_file() for each in made)
    assert made[0].path == tmp_path / "study/trial-1/plugins/profile/s1/h1.xplane.pb"


@pytest.mark.parametrize(
    ("run", "session"), [("../up", "s"), ("a//b", "s"), ("a", ".."), ("a", "s/t"), ("a", ""), ("/abs", "s"), ("a\\b", "s"), ("a", "s\0")]
)
def test_names_cannot_leave_the_logdir(tmp_path: Path, run: str, session: str) -> None:
    with pytest.raises(ProfileError, match="plain folder names"):
        session_folder(tmp_path, run, session)


def test_a_path_means_a_file_a_session_or_the_only_session_below(tmp_path: Path) -> None:
    one = put(tmp_path / "one", "r", "s", "h")
    assert profile_files_at(one.path) == profile_files_at(one.path.parent) == profile_files_at(tmp_path / "one") == [one.path]
    put(tmp_path / "one", "r", "t", "h")
    with pytest.raises(ProfileError, match=r"2 sessions below \(r/s, r/t\)"):
        profile_files_at(tmp_path / "one")
    with pytest.raises(ProfileError, match="no such file"):
        profile_files_at(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProfileError, match="no profile below"):
        profile_files_at(tmp_path / "empty")


def test_links_carry_their_query_before_the_fragment(tmp_path: Path) -> None:
    profile = ProfileFile(tmp_path, "study/trial 1", "s&1", "host")
    link = urlsplit(deep_link("http://127.0.0.1:6006/tb/", profile))
    assert (link.path, link.fragment) == ("/tb/", "profile")
    assert parse_qs(link.query) == {"run": ["study/trial 1/s&1"], "tool": ["trace_viewer"], "host": ["host"]}
    assert "run=study%2Ftrial+1%2Fs%261" in link.query


def test_a_comparison_names_its_base_session(tmp_path: Path) -> None:
    baseline, candidate = ProfileFile(tmp_path, "a", "s", "h"), ProfileFile(tmp_path, "", "s", "h")
    query = parse_qs(urlsplit(deep_link("http://x", candidate, "op_profile", baseline)).query)
    assert (query["run"], query["base_session_id"]) == (["s"], ["a/s"])
    for tool, base in (("nonsense", None), ("trace_viewer", baseline)):
        with pytest.raises(ProfileError, match="use one of"):
            deep_link("http://x", candidate, tool, base)
