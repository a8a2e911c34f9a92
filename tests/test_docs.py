"""The documents: what they link to, name and tell people to type is there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import override
from urllib.parse import urlsplit

import pytest

from tests.tuner.cli.command_lines import fenced, parse, tuner_lines

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"])
SOURCES = [path for folder in ("tuner", "profiles", "service", "storage", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]

LINK = re.compile(r"\]\(([^)\s]+)\)")
FOR_WORKERS = ("CONTRIBUTING.md", "RELEASE.md")  # whoever follows these types what they say
CODE = re.compile(r"`([\w./-]+)`")
FILE_OR_FOLDER = re.compile(r".*/.*|.*\.(?:md|py|yaml|toml|txt|db)")
NAMED_FILE = re.compile(r"\b(?:docs|bench|tuner|profiles|service|storage|tests|docker|examples)/[\w./-]+\.(?:md|py|yaml|sh)\b")
BENCH = re.compile(r"python -m (bench\.\w+)")
NAMED_TEST = re.compile(r"`(test_\w+)`")


def anchors(document: Path) -> set[str]:
    """GitHub's names of the headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    wrong = []
    for target in LINK.findall(document.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("path", [*DOCUMENTS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(path: Path) -> None:
    text = path.read_text()
    named = {name for name in NAMED_FILE.findall(text) if not (ROOT / name).exists() and not (path.parent / name).exists()}
    theirs = "vllm|tpu.inference|guidellm|jax"  # a path in another project's sources
    elsewhere = {name for name in named if re.search(rf"[\w-]/{re.escape(name)}|(?:{theirs}).*{re.escape(name)}", text)}
    assert named - elsewhere == set()


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        document = ahead.pop()
        reached.add(document)
        targets = {target.partition("#")[0] for target in LINK.findall(document.read_text()) if "://" not in target}
        found = {(document.parent / target).resolve() for target in targets if target.endswith(".md")}
        ahead += [path for path in found - reached if path.is_file()]
    assert set(DOCUMENTS) - reached == set()


@pytest.mark.parametrize("name", FOR_WORKERS)
def test_what_a_recipe_names_is_there(name: str) -> None:
    """Files and folders; `tests/test_docs.py` looks at make targets and command lines as well."""
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(), flags=re.MULTILINE | re.DOTALL)
    named = {code for code in CODE.findall(text) if FILE_OR_FOLDER.fullmatch(code)}
    assert len(named) > 3
    assert {code for code in named if not (ROOT / code).exists()} == set()


@pytest.mark.parametrize("name", FOR_WORKERS)
def test_what_a_command_of_a_recipe_names_is_there(name: str) -> None:
    """Programs of `python -m` and paths given to commands, except what a command makes or what lies outside."""
    made = ("dist", "../", "before.db", ".venv/bin/pre-commit")
    for block in fenced((ROOT / name).read_text()):
        for module in re.findall(r"python -m ([\w.]+)", block):
            assert module.startswith("pytest") or (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
        for word in re.findall(r"(?<=\s)[\w.-]+/[\w./-]+", block):
            assert word.startswith(made) or word.startswith("sqlite:") or (ROOT / word).exists(), word


def test_every_decision_is_in_the_index_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(folder.glob("0*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    index = (folder / "README.md").read_text()
    for path in records:
        text = path.read_text()
        title = text.splitlines()[0].removeprefix("# ")
        assert f"| [{path.name[:4]}]({path.name}) | {title} |" in index
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], path.name
        assert re.search(r"^Date: \d{4}-\d{2}\. State: ", text, re.MULTILINE), path.name
        assert 15 <= len(text.splitlines()) <= 30, path.name


def test_every_bench_is_in_the_table_and_every_named_one_is_there() -> None:
    programs = {f"bench.{path.stem}" for path in (ROOT / "bench").glob("*.py") if "if __name__ ==" in path.read_text()}
    # A program of its own so that its memory can be measured, which bench.profile_reader starts; one that draws and claims nothing.
    helpers = {"bench.hlo_stats", "bench.readme_pictures"}
    table = (ROOT / "docs" / "benchmarks.md").read_text().partition("\n## ")[0]
    assert set(BENCH.findall(table)) == programs - helpers
    for document in DOCUMENTS:
        assert set(BENCH.findall(document.read_text())) <= programs, document


def test_every_test_that_is_named_is_there() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for document in DOCUMENTS:
        for name in NAMED_TEST.findall(document.read_text()):
            assert f"def {name}(" in tests, (document.name, name)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_line_is_understood(document: Path) -> None:
    for line in tuner_lines(fenced(document.read_text())):
        parse(line)


def test_command_lines_of_documents_are_found() -> None:
    """The test above says nothing of a line that is not found."""
    found = {str(document.relative_to(ROOT)): len(list(tuner_lines(fenced(document.read_text())))) for document in DOCUMENTS}
    assert found["README.md"] >= 10 and sum(count > 0 for count in found.values()) >= 3, found


def test_make_targets_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for code in [*fenced(document.read_text()), *re.findall(r"`(make [a-z-]+)`", document.read_text())]:
            for target in re.findall(r"^make ([a-z-]+)", code, re.MULTILINE):
                assert target in targets, (document.name, target)


needs_mkdocs = pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed: run .ci/setup dev")


class _Addresses(HTMLParser):
    """What a page makes a browser fetch, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get("src") if tag in {"script", "img", "iframe", "source"} else given.get("href") if tag == "link" else None
        if address is not None and given.get("rel") != "canonical":
            self.fetched.append(address)


@needs_mkdocs
@pytest.mark.slow
def test_the_site_is_built_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Strictly: a link or an anchor that leads nowhere fails. Nothing of the network is used, nor by the pages."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list(tmp_path.rglob("*.html"))
    roots = {"README.md": "index.html"} | {path.name: f"{path.stem}.html" for path in ROOT.glob("*.md") if path.name != "README.md"}
    assert set(roots.values()) <= {path.name for path in pages}
    for page in pages:
        parser = _Addresses()
        parser.feed(page.read_text())
        assert {urlsplit(address).netloc for address in parser.fetched} == {""}, page
    styles = "".join(path.read_text() for path in tmp_path.rglob("*.css"))
    assert not re.search(r"(?:url\(|@import )[\"']?https?:", styles)


@needs_mkdocs
@pytest.mark.slow
def test_a_dead_link_fails_the_site(tmp_path: Path) -> None:
    """The hook turns paths in the repository into paths on the site; one that leads nowhere has to stay an error."""
    for name in ("docs", "examples", "docker"):
        (tmp_path / name).symlink_to(ROOT / name) if name != "docs" else (tmp_path / name).mkdir()
    for path in [*ROOT.glob("*.md"), ROOT / "LICENSE", ROOT / "mkdocs.yml"]:
        (tmp_path / path.name).write_text(path.read_text())
    for path in (ROOT / "docs").rglob("*"):
        copy = tmp_path / path.relative_to(ROOT)
        if path.is_file() and path.suffix in {".md", ".py", ".svg", ".png"}:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    metrics = tmp_path / "docs" / "metrics.md"
    metrics.write_text(metrics.read_text() + "\n[gone](../tuner/nothing.py)\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert built.returncode == 1 and "nothing.py" in built.stdout + built.stderr
