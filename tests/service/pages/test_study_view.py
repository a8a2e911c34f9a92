"""The study's page says what `tuner compare` and the API say."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from service.pages.answer_view import headline
from service.pages.format import percent
from service.pages.study_view import effects_of
from tests.service.pages.gallery import FINISHED, Gallery
from tuner.verdict.conclude import compare_stored
from tuner.verdict.evidence import look_plan


def test_the_effect_over_all_cells_is_the_answers_own(pages: TestClient, gallery: Gallery) -> None:
    study = gallery.storage.get_study(FINISHED)
    judged = compare_stored(gallery.storage, study)
    stored = gallery.storage.list_comparisons(study.id)
    shown = pages.get(f"/studies/{FINISHED}").text
    for metric, answer in judged.answers.items():
        effects = effects_of(stored, metric, look_plan(study))
        assert answer.pooled is not None and effects.pooled is not None
        ends = (answer.pooled.ratio, answer.pooled.low, answer.pooled.high)
        assert (effects.pooled.change, effects.pooled.low, effects.pooled.high) == pytest.approx([100 * (end - 1) for end in ends])
        assert (effects.answer, effects.pooled.verdict, effects.counts) == (answer.answer, answer.pooled.verdict, answer.counts)
        assert answer.sentence.startswith(effects.sentence)
        assert percent(effects.pooled.low) in shown and percent(effects.pooled.high) in shown
    first = effects_of(stored, next(iter(judged.answers)), look_plan(study))
    assert headline(first) in shown and headline(first) in pages.get("/studies").text
