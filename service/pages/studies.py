"""The list of studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.answers.deps import StorageDep
from service.pages.answer_view import headline
from service.pages.facts import FactsReader
from service.pages.next_step import NextStep, study_steps
from service.pages.parts import FactsDep, PageNumber, PageRoute, chosen
from service.pages.recommendation_view import ExpectedRow, first_expected
from service.pages.templating import page
from storage.base import Storage
from storage.records import FINISHED, Study, StudyContext, StudyFilter, StudyState, TrialState
from tuner.search.life import Life, life_of
from tuner.verdict.answer import Answer, readable_answers
from tuner.verdict.study_answer import StudyAnswer

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_ON_A_PAGE = 25


@dataclass(frozen=True)
class StudyRow:
    """`contexts`: what its trials ran on, the most frequent first."""

    study: Study
    counts: dict[TrialState, int]
    contexts: Sequence[StudyContext]
    answer: Answer | None
    said: StudyAnswer | None
    life: Life | None

    @property
    def headline(self) -> str:
        """The answer in a few words; "" where nothing was judged."""
        return headline(self.said) if self.said is not None else ""

    @property
    def running(self) -> bool:
        return self.life is not None and not self.life.note

    @property
    def workload(self) -> str:
        """Its name; before the first trial, what the study was begun with where that is a name."""
        if self.contexts:
            return self.contexts[0].workload
        asked = self._asked("workload")
        return asked if isinstance(asked, str) else ""

    @property
    def machines(self) -> list[str]:
        """Accelerators that something ran on, each once."""
        counted = [(item.accelerator, item.device_count or 1) for item in self.contexts if item.accelerator is not None]
        named = [name if count == 1 or name.endswith(f"-{count}") else f"{name} \N{MULTIPLICATION SIGN} {count}" for name, count in counted]
        return list(dict.fromkeys(named))

    @property
    def slos(self) -> list[str]:
        asked = self._asked("slos")
        return [str(limit) for limit in asked] if isinstance(asked, list) else []

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def finished(self) -> int:
        return sum(self.counts[state] for state in FINISHED)

    @property
    def best(self) -> ExpectedRow | None:
        """The objective's expected value."""
        return first_expected(self.answer)

    @property
    def steps(self) -> list[NextStep]:
        return study_steps(self.study, self.counts, self.life)

    def _asked(self, setting: str) -> object:
        """As it is stored, also of a study that cannot be read any more."""
        return self.study.config.get(setting) if isinstance(self.study.config, dict) else None


@router.get("/studies")
def studies(
    *,
    request: Request,
    storage: StorageDep,
    facts: FactsDep,
    q: str = "",
    model: str = "",
    state: str = "",
    accelerator: str = "",
    archived: str = "",
    number: PageNumber = 1,
) -> Response:
    """Newest first. `model` is what `q` was called before."""
    wanted_state = chosen(StudyState, "state", state)
    text, machine, put_away = (q or model).strip(), accelerator.strip(), chosen(("1",), "archived", archived) is not None
    wanted: StudyFilter = {"state": wanted_state, "text": text or None, "accelerator": machine or None, "archived": put_away}
    others: StudyFilter = {**wanted, "archived": True}
    total = storage.count_studies(**wanted)
    found = storage.list_studies(**wanted, limit=_ON_A_PAGE, offset=(number - 1) * _ON_A_PAGE)
    ids = [study.id for study in found]
    counts, contexts = storage.count_trials_of(ids), storage.contexts_of(ids)
    filters: dict[str, Any] = {"q": text, "state": wanted_state or "", "accelerator": machine, "archived": "1" if put_away else ""}
    kept = {name: value for name, value in filters.items() if value}
    return page(
        request,
        "studies.html",
        rows=[_row(storage, facts, study, counts[study.id], contexts[study.id]) for study in found],
        total=total,
        number=number,
        pages=max(1, -(-total // _ON_A_PAGE)),
        states=list(StudyState),
        accelerators=storage.list_accelerators(),
        **filters,
        filtered=bool(kept.keys() - {"archived"}),
        address=f"/studies?{urlencode(kept)}" if kept else "/studies",
        put_away=0 if put_away else storage.count_studies(**others),
        put_away_address=f"/studies?{urlencode({**kept, 'archived': '1'})}",
    )


def _row(storage: Storage, facts: FactsReader, study: Study, counts: dict[TrialState, int], contexts: Sequence[StudyContext]) -> StudyRow:
    recommendations = storage.list_recommendations(study_id=study.id, limit=1)
    life = life_of(storage, study)
    answer = next((answer for _, answer in readable_answers(recommendations)), None)
    return StudyRow(study, counts, contexts, answer, said=facts.comparison(storage, study, life).answer, life=life)
