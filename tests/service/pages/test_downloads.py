"""What can be taken away from a study's page."""

from __future__ import annotations

import csv
import io
import re
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from storage.records import TrialState
from tests.service.conftest import MakeClient
from tests.service.pages.gallery import ALL_FAILED, EMPTY, FINISHED, HOSTILE, Gallery
from tests.storage.builders import FINGERPRINT, a_measurement, a_trial, stored_study
from tuner.report.evidence_html import evidence_html
from tuner.report.evidence_report import evidence_markdown
from tuner.verdict.conclude import compare_stored, load_evidence


@pytest.mark.slow
def test_the_csv_has_a_row_for_each_window_and_each_failure(pages: TestClient, gallery: Gallery) -> None:
    answer = pages.get(f"/studies/{FINISHED}/trials.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    study = gallery.storage.get_study(FINISHED)
    windows = gallery.storage.list_measurements(study_id=study.id)
    failed = [row for row in rows if row["state"] == "FAIL"]
    assert len(rows) == len(windows) + len(failed) and len(failed) == 6
    assert {row["total_token_throughput"] for row in failed} == {""}
    measured = [float(row["total_token_throughput"]) for row in rows if row not in failed]
    assert sorted(measured) == sorted(float(item.metrics["total_token_throughput"]) for item in windows)
    again = pages.get(f"/studies/{FINISHED}/trials.csv", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.slow
@pytest.mark.parametrize("name", [FINISHED, HOSTILE, EMPTY, ALL_FAILED])
def test_the_report_is_the_command_lines_and_is_never_shown_as_a_page(pages: TestClient, gallery: Gallery, name: str) -> None:
    study = gallery.storage.get_study(name)
    evidence, comparison = load_evidence(gallery.storage, study), compare_stored(gallery.storage, study)
    for form, text in (("html", evidence_html(evidence, comparison)), ("md", evidence_markdown(evidence, comparison))):
        answer = pages.get(f"/studies/{name}/report.{form}")
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}-report.{form}"'
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
        assert same_words(answer.text) == same_words(text)


def same_words(report: str) -> str:
    """Without the ids that each drawing numbers anew."""
    return re.sub(r"(?:clip|gradient|gen)[_-]?\d+", "", report)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["trials.csv", "report.html", "report.md", "report.pdf"])
def test_what_is_not_there_is_a_page_that_says_so(pages: TestClient, part: str) -> None:
    answer = pages.get(f"/studies/{quote('no such <study>')}/{part}")
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"].startswith("text/html") and "content-disposition" not in answer.headers


@pytest.mark.parametrize("form", ["trials.csv", "report.md", "report.html"])
def test_a_study_that_is_written_meanwhile_is_no_500(
    make_client: MakeClient, storage: Storage, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Around each read of an export another trial is measured, as a search beside the service does."""
    study = stored_study(storage, name="going", objective="throughput")
    client = make_client(storage)
    read: Any = client.app.state.storage  # type: ignore[attr-defined]
    trials, windows = read.list_trials, read.list_measurements

    def beside(method: Any) -> Any:
        def reading(*arguments: Any, **options: Any) -> Any:
            found = method(*arguments, **options)
            number = len(trials(study.id))
            trial = storage.create_trial(a_trial(study.id, number, state=TrialState.RUNNING, environment=FINGERPRINT))
            storage.add_measurement(a_measurement(trial.id, metrics={"total_token_throughput": 1.0}))
            return found

        return reading

    monkeypatch.setattr(read, "list_trials", beside(trials))
    monkeypatch.setattr(read, "list_measurements", beside(windows))
    assert client.get(f"/studies/going/{form}").status_code == 200
