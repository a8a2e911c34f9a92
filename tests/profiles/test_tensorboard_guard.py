"""What TensorBoard may be asked: the allow-list in front of it, its limits, and where a request may come from."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from profiles.tensorboard_guard import AT_ONCE, Guard, Refused, checked, same_origin
from tests.waiting import PATIENCE_S

XPROF = "/data/plugin/profile"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    """A session `s%2Fx/trial-0/now` of one host, as a study named "s/x" has it, and one of the logdir itself."""
    folder = tmp_path / "logs"
    for session in (folder / "s%2Fx" / "trial-0" / "plugins" / "profile" / "now", folder / "plugins" / "profile" / "alone"):
        session.mkdir(parents=True)
        (session / "h.xplane.pb").write_bytes(b"")
    return folder


def refused(path: str, query: str, logdir: Path, method: str = "GET") -> int:
    with pytest.raises(Refused) as caught:
        checked(method, path, query, logdir)
    return caught.value.status


@pytest.mark.parametrize(
    "path", ["/", "/index.html", "/index.js", "/font-roboto/x-Y_1.woff2", f"{XPROF}/", f"{XPROF}/trace_viewer_v2.wasm"]
)
def test_pages_and_scripts_are_given_whatever_the_link_says(path: str, logdir: Path) -> None:
    assert checked("GET", path, "run=gone&tool=trace_viewer&anything=1", logdir) == ""


@pytest.mark.parametrize("run", ["s%2Fx/trial-0/now", "alone"])
def test_the_profiles_below_the_logdir_are_read(run: str, logdir: Path) -> None:
    query = f"run={run.replace('%', '%25')}&tag=trace_viewer%40&host=h&resolution=8000&start_time_ms=0.5"
    again = checked("GET", f"{XPROF}/data", query, logdir)
    assert checked("GET", f"{XPROF}/data", again, logdir) == again
    assert "tag=trace_viewer%40" in again


def test_a_session_that_leads_out_of_the_logdir_is_not_there(logdir: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "plugins" / "profile" / "now"
    outside.mkdir(parents=True)
    (outside / "h.xplane.pb").write_bytes(b"secret")
    (logdir / "out").symlink_to(tmp_path / "outside")
    linked = logdir / "plugins" / "profile" / "linked"
    linked.mkdir()
    (linked / "h.xplane.pb").symlink_to(outside / "h.xplane.pb")
    for run in ("out/now", "linked", "../outside/now", str(outside), "..", ".", "gone", "s%2Fx/trial-0/now/h.xplane.pb"):
        assert refused(f"{XPROF}/hosts", f"run={run.replace('%', '%25')}&tag=trace_viewer", logdir) == 404, run


@pytest.mark.parametrize("name", ["session_path", "run_path", "service_addr", "worker_list", "logdir"])
@pytest.mark.parametrize("path", [f"{XPROF}/data", f"{XPROF}/runs", f"{XPROF}/index.html", "/", "/data/runs", "/data/environment"])
def test_nobody_names_a_folder_or_an_address(name: str, path: str, logdir: Path) -> None:
    assert refused(path, f"{name}=x", logdir) == 400


@pytest.mark.parametrize(
    "path", [f"{XPROF}/capture_profile", f"{XPROF}/generate_cache", f"{XPROF}/local", "/data/logdir", "/x/../index.html"]
)
def test_what_is_not_on_the_list_is_not_there(path: str, logdir: Path) -> None:
    assert refused(path, "", logdir) == 404


def test_it_is_for_reading(logdir: Path) -> None:
    assert refused(f"{XPROF}/data", "", logdir, "POST") == 405
    assert refused("/index.html", "", logdir, "PUT") == 405
    assert refused("/data/plugin/hparams/experiment", "", logdir) == 405
    assert checked("POST", "/data/plugin/hparams/experiment", "", logdir) == ""
    assert checked("HEAD", "/data/runs", "", logdir) == ""


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:6006", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),  # somebody followed a link
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://127.0.0.1:6007"}, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, False),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, False),
    ],
)
def test_another_sites_page_may_not_ask(headers: dict[str, str], ours: bool) -> None:
    assert same_origin(headers, ["127.0.0.1:6006", ""]) is ours


class Asked:
    """A WSGI application that remembers what reached it."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.wait: Callable[[], object] = lambda: None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.queries.append(environ["QUERY_STRING"])
        self.wait()
        start_response("200 OK", [])
        return [b"answer"]


def ask(guard: Guard, path: str, query: str = "", host: str = "127.0.0.1:6006", **headers: str) -> str:
    """The status of the answer."""
    statuses: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": host}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    b"".join(guard(environ, lambda status, _headers: statuses.append(status)))
    return statuses[0].partition(" ")[0]


def test_the_guard_in_tensorboards_process_lets_nothing_else_through(logdir: Path) -> None:
    behind = Asked()
    guard = Guard(behind, logdir, "/tensorboard")
    assert ask(guard, "/tensorboard/data/plugin/profile/hosts", "run=alone&tag=overview_page") == "200"
    assert ask(guard, "/tensorboard/") == "200"
    assert behind.queries == ["run=alone&tag=overview_page", ""]
    assert ask(guard, "/data/runs") == "404"  # not below the prefix
    assert ask(guard, "/tensorboardx/data/runs") == "404"
    assert ask(guard, "/tensorboard/data/plugin/profile/runs", "session_path=/etc") == "400"
    assert ask(guard, "/tensorboard/", host="evil.example:6006") == "421"  # DNS rebinding
    assert ask(guard, "/tensorboard/data/runs", origin="http://evil.example") == "403"
    assert len(behind.queries) == 2


def test_so_many_requests_that_all_threads_hang_are_not_taken(logdir: Path) -> None:
    behind, go_on = Asked(), threading.Event()
    behind.wait = lambda: go_on.wait(PATIENCE_S)
    guard = Guard(behind, logdir)
    threads = [threading.Thread(target=ask, args=(guard, "/data/runs")) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    while len(behind.queries) < AT_ONCE:
        pass
    assert ask(guard, "/data/runs") == "429"
    go_on.set()
    for thread in threads:
        thread.join()
    assert ask(guard, "/data/runs") == "200"


def test_tensorboards_process_has_limits_of_its_own() -> None:
    script = (
        "import os, resource, sys; from profiles.tensorboard_main import limit_process; limit_process();"
        "print(*(resource.getrlimit(getattr(resource, f'RLIMIT_{name}'))[1] for name in ('CORE', 'NOFILE', 'FSIZE', 'AS')), os.nice(0))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    core, files, size, memory, nice = map(int, done.stdout.split())
    assert (core, files, size) == (0, 1024, 4 << 30)
    assert 0 < memory < 1 << 44 and nice >= 5
