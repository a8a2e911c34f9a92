"""A study to take away: its trials as CSV, and the evidence report as one file."""

from __future__ import annotations

import re
from enum import StrEnum

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.answers.deps import StorageDep
from service.answers.state import state_of
from service.pages.parts import PageRoute
from service.web.caching import conditional
from tuner.report.evidence_html import evidence_html
from tuner.report.evidence_report import evidence_markdown
from tuner.report.study_export import study_csv
from tuner.verdict.conclude import compare_stored, load_evidence, trials_and_windows

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


class ReportForm(StrEnum):
    HTML = "html"
    MARKDOWN = "md"


_MEDIA = {ReportForm.HTML: "text/html", ReportForm.MARKDOWN: "text/markdown"}


@router.get("/studies/{name}/trials.csv")
def trials_csv(request: Request, storage: StorageDep, name: str) -> Response:
    """As `tuner export` writes it: one row a window, failed trials too, without values."""
    study = storage.get_study(name)
    text = study_csv(*trials_and_windows(storage, study.id))
    return _download(request, text, "text/csv", f"{study.name}-trials.csv")


@router.get("/studies/{name}/report.{form}")
def report(request: Request, storage: StorageDep, name: str, form: ReportForm) -> Response:
    """As `tuner compare --format html` or `markdown` writes it."""
    study = storage.get_study(name)
    evidence = load_evidence(storage, study)
    comparison = state_of(request).judged.get(study, lambda: compare_stored(storage, study))
    text = evidence_html(evidence, comparison) if form is ReportForm.HTML else evidence_markdown(evidence, comparison)
    return _download(request, text, _MEDIA[form], f"{study.name}-report.{form.value}")


def _download(request: Request, text: str, media_type: str, filename: str) -> Response:
    """Never shown as a page of this service: the report brings styles of its own, which our policy forbids."""
    plain = _PLAIN.sub("-", filename).strip("-.")
    headers = {"content-disposition": f'attachment; filename="{plain}"'}
    return conditional(request, Response(text, media_type=media_type, headers=headers))
