"""The evidence report says what was asked, found and left out, and nothing that was not measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, override

import pytest

from storage.records import Study, TrialState
from tests.storage.builders import a_comparison
from tests.tuner.fake_engine import FakeLauncher, crash
from tests.tuner.workbench import FinishedStudy, Workbench
from tuner.core.contract import EngineSettings, WindowResult
from tuner.core.contrast import ALIGNMENT
from tuner.core.errors import FailureClass, TrialFailed
from tuner.report.asked import question_text
from tuner.report.evidence_html import evidence_html
from tuner.report.evidence_report import caveat_lines, cell_rows, evidence_markdown, failure_lines, host_lines, method_text
from tuner.report.repeat import repeat_command
from tuner.setup.space import Configuration
from tuner.verdict.compare import StudyComparison
from tuner.verdict.conclude import compare_stored, load_evidence
from tuner.verdict.evidence import Evidence


def report_of(bench: Workbench, study: Study | None = None) -> str:
    found = study or bench.storage.get_study("s")
    return evidence_markdown(load_evidence(bench.storage, found), compare_stored(bench.storage, found))


@pytest.mark.slow
def test_every_part_is_there(grid: FinishedStudy) -> None:
    text = report_of(grid.bench)
    for heading in ("Answer", "Method", "Environment", "What failed", "Caveats", "How to repeat", "total_token_throughput"):
        assert f"\n## {heading}" in text
    assert "**on: page-aligned scheduling wins in 4 of 4 cells" in text and "not the answer: average over 4 cells: +10" in text
    assert "| 32 | 256 | +10.00 % |" in text
    assert "(3 windows per configuration, order from seed 0)" in text
    assert "--page-sizes 16,32" in text and "--workload demo" in text


@pytest.mark.slow
def test_every_comparison_has_its_row(grid: FinishedStudy) -> None:
    rows = [line for line in report_of(grid.bench).splitlines() if line.startswith("| ") and line.endswith("better |")]
    assert len(rows) == len(grid.outcome.comparison.comparisons)


@pytest.mark.slow
def test_failures_are_told(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if configuration == Configuration(16, 128, "default"):
            raise crash("bus | error")
        return result

    bench.run(FakeLauncher(on_measure=hook))
    (failed,) = [trial for trial in bench.trials() if trial.state is TrialState.FAIL]
    text = report_of(bench)
    assert f"- trial {failed.number} (search, default, page size 16, budget 128): engine_crash: bus | error" in text
    assert "1 of 10 trials (8 search trials) failed; 0 invalid windows" in text


@pytest.mark.slow
def test_what_was_skipped_is_told_with_its_reason(bench: Workbench) -> None:
    def hook(settings: EngineSettings, nth: int) -> None:
        if settings.block_size == 32:
            raise TrialFailed(FailureClass.OUT_OF_MEMORY, "Ran out of memory in memory space hbm.")

    bench.run(FakeLauncher(on_open=hook))
    text = report_of(bench)
    assert "budget 256): skipped: needs at least the memory with which trial 0 ran out of HBM" in text
    assert "4 of 8 trials (8 search trials) failed, 4 skipped or given up; 0 invalid windows" in text


@pytest.mark.slow
def test_the_method_is_the_one_that_was_used(bench: Workbench) -> None:
    """Interim analyses are told where there were any; servers of their own give no pairs; a table is no engine."""

    def method(**config: Any) -> str:
        study = Study("s", "m", {"rounds": {"min": 3, "max": 24}, "seed": 0, **config}, "throughput")
        return method_text(Evidence(study, (), ()))

    assert "after each of the rounds 3 to 24" in method() and "One engine per page size" in method()
    assert "looked at after" not in method(rounds={"min": 5, "max": 5})
    assert "so there is none here" in method(launcher="serve") and "One engine per page size" not in method(launcher="serve")
    assert method(launcher="table", table="t.csv").startswith("No engine ran: values were drawn from the table t.csv.")


def test_a_study_without_measurements_has_no_answer(bench: Workbench) -> None:
    study = bench.storage.create_study(Study("empty", "m", {"slos": []}, "throughput"))
    assert "**undecided: nothing was measured**" in report_of(bench, study)


class Page(HTMLParser):
    """What a page holds: its tags, what it would load, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.words = ""
        self.feed(html)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.links += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "xlink:href", "onload")]

    @override
    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.slow
def test_the_page_says_what_the_markdown_says_and_loads_nothing(grid: FinishedStudy) -> None:
    study = grid.bench.storage.get_study("s")
    evidence, comparison = load_evidence(grid.bench.storage, study), compare_stored(grid.bench.storage, study)
    page = Page(evidence_html(evidence, comparison))
    metrics = len({item.metric for item in comparison.comparisons})
    assert page.tags["svg"] == 4 * metrics + 2 and page.tags["table"] == 3 + metrics  # environment, cells, by setting, and why they are so
    assert not page.links and not page.tags.keys() & {"script", "link", "img", "iframe", "object"}
    for row in cell_rows(comparison.comparisons):
        assert all(cell in page.words for cell in row)
    for line in (question_text(ALIGNMENT), repeat_command(evidence), *caveat_lines(comparison), *failure_lines(evidence)):
        assert line in page.words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "says"), [(30, ""), (33, "The 30 largest effects and the recommended cell; 3 more cells are in the table below.")]
)
def test_a_forest_plot_that_leaves_cells_out_says_so(grid: FinishedStudy, cells: int, says: str) -> None:
    study = grid.bench.storage.get_study("s")
    many = tuple(a_comparison(study.id, metric="goodput", block_size=16, max_num_batched_tokens=128 + number) for number in range(cells))
    page = Page(evidence_html(load_evidence(grid.bench.storage, study), StudyComparison(many)))
    assert ("largest effects" in page.words) is bool(says) and says in page.words


def test_names_in_the_page_are_text(bench: Workbench) -> None:
    study = bench.storage.create_study(Study("empty", "<script>alert(1)</script>", {"slos": []}, "throughput"))
    html = evidence_html(load_evidence(bench.storage, study), compare_stored(bench.storage, study))
    assert "<script" not in html and "&lt;script&gt;" in html


@pytest.mark.slow
def test_windows_of_a_host_in_quarantine_are_marked_and_verdicts_stay(grid: FinishedStudy) -> None:
    """A pair is one engine on one host: what the host has in common cancels."""
    study = grid.bench.storage.get_study("s")
    evidence, comparison = load_evidence(grid.bench.storage, study), compare_stored(grid.bench.storage, study)
    host = evidence.measurements[0].details["host"]
    marked = replace(evidence, quarantined={host: "-12.0 % beside its peers", "elsewhere": "hot"})
    count = len(evidence.measurements)
    (line,) = host_lines(marked)
    assert line.startswith(f"{count} of {count} windows were measured on {host}, which is in quarantine (-12.0 % beside its peers)")
    text, before = evidence_markdown(marked, comparison), evidence_markdown(evidence, comparison)
    assert text.replace(f"- {line}\n", "") == before
    assert host_lines(evidence) == []
