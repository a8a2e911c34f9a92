"""What is recommended reads the same on pages, API, command line and report: reason, settings against vLLM's defaults, stage."""

from __future__ import annotations

import html
import re

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from service.pages.format import typeset
from tests.service.pages.gallery import FINISHED, Gallery
from tuner.cli.command_line import cli
from tuner.report.evidence_html import evidence_html
from tuner.report.evidence_report import evidence_markdown
from tuner.verdict.answer import answer_of
from tuner.verdict.changes import change_lines
from tuner.verdict.conclude import compare_stored, load_evidence

EXPONENT = re.compile(r"\d(\.\d+)?e[+-]\d")


def words(page: str) -> str:
    """What a reader sees."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


@pytest.mark.slow
def test_everywhere(pages: TestClient, gallery: Gallery) -> None:
    answer = answer_of(gallery.recommendation)
    lines = change_lines(answer.changes)
    assert len(lines) == 3 and any("vLLM's default: " in line for line in lines)
    study = gallery.storage.get_study(FINISHED)
    evidence, comparison = load_evidence(gallery.storage, study), compare_stored(gallery.storage, study)
    command = CliRunner().invoke(cli, ["recommend", FINISHED, "--storage", gallery.url]).output
    for text in (command, evidence_markdown(evidence, comparison), words(evidence_html(evidence, comparison))):
        assert all(line in text for line in (answer.reason, *lines))
        assert re.search(r"expected total_token_throughput [\d,.]+ tokens/s \([\d,.]+ to [\d,.]+\), after a cold start", text)
        assert not EXPONENT.search(text)
    for address in (f"/studies/{FINISHED}", f"/recommendations/{gallery.recommendation.id}"):
        page = words(pages.get(address).text)
        assert all(line in page for line in (typeset(answer.reason).replace("\xa0", " "), *lines)), address
        assert "after a cold start" in page and not EXPONENT.search(page)
    served = pages.get(f"/v1/recommendations/{gallery.recommendation.id}").json()
    assert (served["reason"], served["changes"]) == (answer.reason, [dict(item) for item in answer.changes])


@pytest.mark.parametrize(
    ("text", "typeset_text"),
    [
        ("1,234,567 tokens/s, -3.5 %", "1\xa0234\xa0567 tokens/s, \N{MINUS SIGN}3.5 %"),
        ("(-1.0 % to +2.0 %)", "(\N{MINUS SIGN}1.0 % to +2.0 %)"),
        ("TPU v6e-4, rounds 3-24, --seed 7", "TPU v6e-4, rounds 3-24, --seed 7"),
        ("page sizes 16,32", "page sizes 16,32"),
    ],
)
def test_a_sentence_is_set_with_true_signs(text: str, typeset_text: str) -> None:
    assert typeset(text) == typeset_text
