"""The pictures of README.md, drawn from a finished study of the real engine: the last screen of its search, its page, a profile.

    make demo STUDY=mine && make pictures STUDY=mine

The screen is what `tuner search --resume` prints for a study in which nothing is left to do; the pages are those of `tuner serve`, in
headless Chromium. Names of this machine's folders are replaced. Written to docs/pictures.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from storage.base import Storage
from storage.records import Study, StudyState, Trial
from storage.upgrade import open_storage
from tests.plugins.browser import chromium_path, launch_chromium
from tuner.setup.stored_study import StoredStudy

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
COLUMNS = 150  # of the terminal
WIDTH, HEIGHT = 1200, 1720  # of the page, pixels
MOST_BYTES = 200_000
_COLOURS = 64  # flat areas and text: fewer colours are not seen, and a picture is a third of the size
_TUNER = (sys.executable, "-m", "tuner")


def newest_study(storage: Storage, name: str | None) -> Study:
    """The study of that name, else the newest one that is complete. Raises SystemExit where there is none."""
    if name is not None:
        return storage.get_study(name)
    for study in storage.list_studies():
        if study.state is StudyState.COMPLETE:
            return study
    raise SystemExit("no finished study here: run make demo first")


def profiled_arms(storage: Storage, study: Study) -> list[Trial]:
    """Both arms of one cell that have a profile, the recommended cell first; default before page_aligned. Raises SystemExit: none."""
    profiled = {profile.trial_id for profile in storage.list_profiles(study_id=study.id) if profile.status == "ok"}
    answers = [found.body for found in storage.list_recommendations() if found.study_id == study.id]
    recommended = {int(trial_id) for body in answers for trial_id in body.get("evidence", {}).get("trial_ids", [])}
    cells: dict[tuple[int, int], list[Trial]] = {}
    for trial in storage.list_trials(study.id):
        if trial.id in profiled:
            cells.setdefault((trial.block_size, trial.max_num_batched_tokens), []).append(trial)
    if not cells:
        raise SystemExit(f"study {study.name} has no profile: search with --profile finalists")
    best = max(cells.values(), key=lambda arms: (any(trial.id in recommended for trial in arms), len(arms)))
    return sorted(best, key=lambda trial: trial.arm)


def tuner(*arguments: str) -> str:
    """What the command prints. Raises SystemExit with its error."""
    done = subprocess.run([*_TUNER, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def last_screen(study: Study, storage_url: str, logdir: str) -> str:
    """What the search printed at its end: a resumed one with nothing left prints it again."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(json.dumps(dict(StoredStudy.from_record(study).given)))
        file.flush()
        printed = tuner("search", file.name, "--resume", "--storage", storage_url, "--logdir", logdir)
    return without_folders(printed.rpartition("\nprofiles: ")[0])


def without_folders(text: str) -> str:
    return text.replace(str(Path.cwd()), "~/tuner").replace(str(Path.home()), "~")


def terminal_svg(command: str, text: str) -> str:
    """A terminal window with the command and what it printed; no font is fetched."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    console.print(Text(f"$ {command}", style="bold"))
    for line in text.splitlines():
        strong = line.startswith(("answer: ", "recommendation: "))
        console.print(Text(line, style="bold green" if strong else ""))
    svg = console.export_svg(title="make demo", theme=MONOKAI, unique_id="screen")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code", "ui-monospace")


@contextmanager
def service(storage_url: str, logdir: str) -> Iterator[str]:
    """`tuner serve` on a free port of loopback: its address."""
    command = [*_TUNER, "serve", "--port", "0", "--json", "--storage", storage_url, "--logdir", logdir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        document = ""
        try:
            while not document.endswith("}\n"):
                line = process.stdout.readline()
                if not line:
                    raise SystemExit("tuner serve did not start: run it by hand to see why")
                document += line
            yield str(json.loads(document)["url"]).rstrip("/")
        finally:
            process.terminate()


def screenshot(browser: Browser, address: str, target: Path) -> None:
    """The upper part of a page as a small PNG, without the names of this machine's folders."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page.goto(address, wait_until="networkidle")
    page.locator("#command").evaluate(
        "(element, home) => { element.textContent = element.textContent.replaceAll(home, '~'); }", str(Path.home())
    )
    raw = page.screenshot()
    page.close()
    Image.open(io.BytesIO(raw)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)


def draw(storage_url: str, logdir: str, name: str | None, target: Path) -> list[Path]:
    """The pictures' paths. Raises SystemExit with the reason where one cannot be drawn or is too large for a README."""
    storage = open_storage(storage_url, create=False)
    study = newest_study(storage, name)
    targets = [f"{study.name}:{trial.number}" for trial in profiled_arms(storage, study)]
    storage.close()
    target.mkdir(parents=True, exist_ok=True)
    screen = target / "search.svg"
    screen.write_text(terminal_svg("make demo", last_screen(study, storage_url, logdir)))
    paths = [screen, target / "study.png", target / "profile.svg"]
    with service(storage_url, logdir) as url, launch_chromium() as browser:
        screenshot(browser, f"{url}/studies/{study.name}", paths[1])
    tuner("profile", "show", *targets, "--svg", str(paths[2]), "--storage", storage_url, "--logdir", logdir)
    for path in paths:
        if path.stat().st_size > MOST_BYTES:
            raise SystemExit(f"{path.name} has {path.stat().st_size} bytes, more than {MOST_BYTES}")
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", help="default: the newest that is complete")
    parser.add_argument("--storage", default="sqlite:///tuner.db")
    parser.add_argument("--logdir", default="tuner-profiles")
    given = parser.parse_args()
    if chromium_path() is None:
        raise SystemExit("headless Chromium is needed: apt-get install chromium")
    for path in draw(given.storage, given.logdir, given.study, PICTURES):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
