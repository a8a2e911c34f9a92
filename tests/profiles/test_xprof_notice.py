"""XProf's own page says what it lacks. In a real browser: test_tensorboard_pages.py and tests/service/pages/test_tensorboard.py."""

from __future__ import annotations

import gzip
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from profiles.tensorboard_guard import Guard
from profiles.xprof_notice import with_notice

PAGE = b"<!doctype html><html><body>\n  <app></app>\n  <script>1</script></body></html>"


def asked(path: str, body: bytes, encoded: bool = False) -> tuple[str, dict[str, str], bytes]:
    """What a browser gets through the guard."""
    said: list[Any] = []
    content = gzip.compress(body) if encoded else body
    given = [("Content-Type", "text/html"), ("Content-Length", str(len(content))), ("ETag", "x")]

    def behind(_environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [*given, *([("Content-Encoding", "gzip")] if encoded else [])])
        return [content]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "HTTP_HOST": "localhost", "QUERY_STRING": ""}
    answer = b"".join(Guard(behind, Path("/nowhere"), "/tensorboard")(environ, lambda *words: said.extend(words)))
    return str(said[0]), dict(said[1]), answer


@pytest.mark.parametrize("name", ["index.html", ""])
@pytest.mark.parametrize("encoded", [False, True])
def test_xprofs_page_showed_0_ms_and_nothing_of_what_it_lacks(name: str, encoded: bool) -> None:
    status, headers, answer = asked(f"/tensorboard/data/plugin/profile/{name}", PAGE, encoded)
    assert status == "200 OK" and answer.count(b'id="tuner-notice"') == 1
    assert answer.index(b"tuner-notice") < answer.index(b"<app></app>") and b"No step times" in answer and b"Google Charts" in answer
    assert headers == {"Content-Type": "text/html", "Content-Length": str(len(answer))}


@pytest.mark.parametrize("name", ["bundle.js", "trace_viewer_index.html", "styles.css"])
def test_other_files_pass_as_they_are(name: str) -> None:
    _, headers, answer = asked(f"/tensorboard/data/plugin/profile/{name}", PAGE)
    assert answer == PAGE and headers["ETag"] == "x"


@pytest.mark.parametrize("page", [b"", b"<html></html>", b"<app></app><app></app>", b"\xff\xfe"])
def test_a_page_of_another_version_is_left_alone(page: bytes) -> None:
    assert with_notice(page) == page


def test_the_installed_xprof_has_the_place_for_it_and_names_its_parts_so() -> None:
    found = find_spec("xprof")
    if found is None or found.origin is None:
        pytest.skip("xprof is not installed (extra: ui)")
    static = Path(found.origin).parent / "static"
    assert b'id="tuner-notice"' in with_notice((static / "index.html").read_bytes())
    bundle = (static / "bundle.js").read_text()
    for element in ("performance-summary", "trace-viewer", "op-profile", "graph-viewer", "router-outlet"):
        assert re.search(rf'"{element}"', bundle), element
