"""`tuner tensorboard` in a real browser: the Profile tab shows the trials' runs, a deep link opens its trace, the HParams tab lists them.

XProf's pages ask for fonts and charts of the web; what is asserted here works without them. Screenshots go to tmp_path.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from storage.upgrade import open_storage
from tests.plugins.browser import OpenPage, WatchedPage
from tests.profiles.hparams_tab import needs_tensorboard
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench
from tuner.verdict.profile_sessions import link, usable

if TYPE_CHECKING:
    from playwright.sync_api import Frame

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600), needs_tensorboard]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 180.0
PATIENCE_MS = 1000 * PATIENCE_S


@dataclass(frozen=True)
class Board:
    """TensorBoard over a study of one cell. `links` are relative, one a profile."""

    url: str
    runs: list[str]
    sessions: list[str]
    links: list[str]

    def get(self, path: str) -> Any:
        data = urllib.request.urlopen(self.url + path, timeout=60).read()
        return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


@pytest.fixture
def board(bench: Workbench, jax_profile: Path, tmp_path: Path) -> Iterator[Board]:
    fake = FakeLauncher(xspace=lambda configuration, phase, session: jax_profile.read_bytes(), profile_phases=("decode",))
    outcome = bench.run(fake, page_sizes=[32], chunk_budgets=[256], profile="finalists")
    open_storage(bench.url, create=False).close()
    rows = bench.storage.list_profiles(study_id=outcome.study.id)
    shown = [profile for trial in bench.trials(None) for profile in usable(bench.storage.list_profiles(trial_id=trial.id))]
    assert (len(rows), len(shown)) == (4, 2)  # something was compiled inside this profile, so each was tried again
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--logdir", str(bench.folder / "profiles"), "--storage", bench.url, "--port", str(port)]
    command = [sys.executable, "-c", "from tuner.cli.main import main; main()", "tensorboard", *arguments]
    with (tmp_path / "tensorboard.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log)
    names = [f"{row.run}/{row.session}" for row in rows]
    made = Board(f"http://127.0.0.1:{port}", sorted({row.run for row in rows}), names, [link(row) for row in shown])
    try:
        _wait_for(process, made)
        yield made
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(process: subprocess.Popen[bytes], board: Board) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if set(board.get("/data/plugin/profile/runs")) == set(board.sessions):
                return
        except OSError:
            assert process.poll() is None, "TensorBoard ended"
        time.sleep(0.5)
    raise AssertionError(f"TensorBoard does not list {board.sessions}")


def frame_of(watched: WatchedPage, part: str) -> Frame:
    """The frame whose address holds `part`; TensorBoard nests XProf, XProf its trace viewer."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for frame in watched.page.frames:
            if part in frame.url:
                return frame
        watched.page.wait_for_timeout(200)
    raise AssertionError(f"no frame {part} among {[frame.url for frame in watched.page.frames]}")


def wait_for_text(frame: Frame, *words: str) -> None:
    for word in words:
        frame.get_by_text(re.compile(re.escape(word))).first.wait_for(state="attached", timeout=PATIENCE_MS)


def test_a_deep_link_opens_its_trace_and_the_profile_tab_shows_every_run(board: Board, open_page: OpenPage, tmp_path: Path) -> None:
    wanted = board.sessions[-1]
    assert board.get(f"/data/plugin/profile/hosts?run={wanted}&tag=trace_viewer")
    watched = open_page(board.url + board.links[-1])
    xprof = frame_of(watched, "/data/plugin/profile/trace_viewer")
    wait_for_text(xprof, wanted, "Trace Viewer", f"Sessions ({len(board.sessions)})")
    trace = frame_of(watched, "trace_viewer_index.html")
    assert wanted in unquote(trace.url)
    wait_for_text(trace, "/host:CPU")
    watched.page.screenshot(path=tmp_path / "trace.png")
    xprof.get_by_role("combobox").first.click()
    for session in board.sessions:
        xprof.get_by_role("option", name=session, exact=True).wait_for(timeout=PATIENCE_MS)
    watched.page.screenshot(path=tmp_path / "runs.png")


def test_an_overview_without_step_markers_showed_0_ms_for_every_part_of_a_step(board: Board, open_page: OpenPage) -> None:
    watched = open_page(board.url + board.links[-1].replace("trace_viewer", "overview_page"))
    frame = frame_of(watched, "/data/plugin/profile/overview_page")
    summary, notice = frame.locator("performance-summary"), frame.locator("#tuner-notice")
    summary.wait_for(state="attached", timeout=PATIENCE_MS)
    notice.get_by_text("No step times").wait_for(state="visible", timeout=PATIENCE_MS)
    assert "0.0 ms" in summary.text_content() and not summary.is_visible()  # type: ignore[operator]
    assert "tuner profile show has the step's time by category" in notice.inner_text()


def test_the_hparams_tab_lists_every_trial(board: Board, bench: Workbench, open_page: OpenPage, tmp_path: Path) -> None:
    watched = open_page(board.url + "/#hparams")
    trials = bench.trials(None)
    assert len(trials) == 4
    page = watched.page
    page.get_by_text(f"Number of matching session groups: {len(trials)}").wait_for(timeout=PATIENCE_MS)
    for run in board.runs:
        page.get_by_text(run).first.wait_for(state="attached", timeout=PATIENCE_MS)
    for name in ("block_size", "arm", "throughput", "ttft_p99_ms"):
        page.get_by_text(name, exact=True).first.wait_for(state="attached", timeout=PATIENCE_MS)
    page.screenshot(path=tmp_path / "hparams.png")
    assert watched.hosts() <= {board.url.removeprefix("http://")}  # this tab asks nobody else
