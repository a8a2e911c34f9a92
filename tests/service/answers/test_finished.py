from __future__ import annotations

from dataclasses import replace

from service.answers.finished import FinishedStudies
from storage.records import StudyState
from tests.storage.builders import a_study


def test_kept_until_the_study_changes() -> None:
    kept, made = FinishedStudies[int](2), iter(range(100))

    def get(number: int, at: float = 1.0, state: StudyState = StudyState.COMPLETE) -> int:
        return kept.get(replace(a_study(), id=number, state=state, updated_at=at), lambda: next(made))

    assert [get(1), get(1), get(1, at=2.0), get(1, at=2.0)] == [0, 0, 1, 1]
    assert [get(1, at=3.0, state=StudyState.RUNNING), get(1, at=3.0, state=StudyState.RUNNING)] == [2, 3]
    assert [get(2), get(1, at=2.0), get(3), get(1, at=2.0), get(2)] == [4, 1, 5, 1, 6]  # the least used went first
