"""The options of `tuner search` are the settings, and what --help says of a default is true."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest

from tests.tuner.cli.terminal import Terminal
from tuner.cli.search import search
from tuner.cli.search_options import SECTIONS
from tuner.setup.config import StudyConfig, parse_duration

OF_THIS_RUN = {
    "resume",
    "dry_run",
    "as_json",
    "gates",
    "spool",
    "patience",
    "hang_factor",
    "retries",
    "no_guard",
}  # no settings of a study; the last is one of --guard
DECIDED_LATER = {"from the workload", "the engine decides", "this one", "made from the date", "where it is possible"}
OPTIONS = {str(item.name): item for item in search.params if isinstance(item, click.Option)}


def stated_default(name: str) -> str | None:
    found = re.search(r"default:? ([^\]]+)\]", OPTIONS[name].help or "")
    return found[1] if found else None


def default_of(name: str) -> Any:
    return StudyConfig.model_fields[name].get_default(call_default_factory=True)


def test_every_setting_has_an_option_and_every_option_a_setting() -> None:
    assert set(OPTIONS) - OF_THIS_RUN == set(StudyConfig.model_fields) - {"when"}  # written behind the levels of --factor


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - OF_THIS_RUN))
def test_a_default_is_said_as_it_is(name: str) -> None:
    stated, default = stated_default(name), default_of(name)
    if stated is None:
        assert default in (None, (), {}) or name == "model", f"--{name} has the default {default!r}"
    elif stated in DECIDED_LATER:
        assert default is None or name == "study"
    elif name == "arms":
        assert (stated, set(default)) == ("both", {"default", "page_aligned"})
    elif name == "rounds":
        assert stated == f"{default.min}-{default.max}"
    elif name.endswith("timeout"):
        assert parse_duration(stated) == default
    elif isinstance(default, bool):
        assert stated == ("on" if default else "off")
    elif isinstance(default, tuple):
        assert stated == ",".join(map(str, default))
    else:
        assert type(default)(stated) == default


def test_help_shows_each_option_once_under_its_heading(terminal: Terminal) -> None:
    text = terminal.run("search", "--help").out
    headings = [line[:-1] for line in text.splitlines() if re.fullmatch(r"[A-Z].*:", line)]
    assert headings == [*SECTIONS, "This run"]
    for option in OPTIONS.values():
        assert len(re.findall(rf"^  {option.opts[0]}\b(?!-)", text, re.MULTILINE)) == 1, option.opts[0]
    last = text.partition("This run:")[2]
    assert all(f"  {option}" in last for option in ("--resume", "--dry-run", "--json", "-h, --help"))
