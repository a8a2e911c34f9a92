"""The documents: what they link to, name and tell people to type is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tuner.cli.command_lines import fenced, parse, tuner_lines

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCES = [path for folder in ("tuner", "profiles", "service", "storage", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]

LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED_FILE = re.compile(r"\b(?:docs|bench|tuner|profiles|service|storage|tests|docker)/[\w./-]+\.(?:md|py|yaml|sh)\b")
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
    linked = {target.partition("#")[0] for target in LINK.findall((ROOT / "README.md").read_text())}
    assert {str(path.relative_to(ROOT)) for path in DOCUMENTS} - {"README.md"} <= linked


def test_every_bench_is_in_the_table_and_every_named_one_is_there() -> None:
    programs = {f"bench.{path.stem}" for path in (ROOT / "bench").glob("*.py") if "if __name__ ==" in path.read_text()}
    helpers = {"bench.hlo_stats"}  # a program of its own so that its memory can be measured; bench.profile_reader starts it
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


def test_make_targets_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for code in [*fenced(document.read_text()), *re.findall(r"`(make [a-z-]+)`", document.read_text())]:
            for target in re.findall(r"^make ([a-z-]+)", code, re.MULTILINE):
                assert target in targets, (document.name, target)
