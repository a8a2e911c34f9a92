"""A simulated study recommends nothing, and its every sentence says that it is simulated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.records import Recommendation, Study
from tests.tuner.evidence_builder import METRIC, STUDY, StudyBuilder, answered, comparison
from tuner.metrics.objective import parse_objectives
from tuner.verdict.answer import answer_of
from tuner.verdict.compare import StudyComparison
from tuner.verdict.predicted import MARK, is_simulated, marked
from tuner.verdict.recommend import recommend
from tuner.verdict.study_answer import stored_answer

SIMULATED = replace(STUDY, config={"launcher": "simulate"})


def _recommended(study: Study) -> Recommendation:
    builder = StudyBuilder()
    builder.cell(32, 256, 100.0, 1.2)
    builder.cell(64, 256, 90.0, 1.1)
    return recommend(builder.evidence(study=study), parse_objectives("throughput"), ())


def test_what_would_be_recommended_is_only_predicted() -> None:
    measured, simulated = answer_of(_recommended(STUDY)), answer_of(_recommended(SIMULATED))
    assert (measured.status, simulated.status) == ("recommended", "none")
    assert simulated.vllm_args == [] and simulated.config == {} and simulated.expected == {} and simulated.place is None
    assert simulated.reason.startswith("simulated, never measured: predicted best are page size 32, chunk budget 256, page_aligned")


def test_the_prediction_is_kept_to_be_measured() -> None:
    predicted = _recommended(SIMULATED).body["predicted"]
    assert predicted["settings"]["block_size"] == 32
    assert predicted["vllm_args"] == answer_of(_recommended(STUDY)).vllm_args
    assert predicted["expected"][METRIC]["value"] > 0


def test_every_sentence_is_marked_also_where_it_is_stored() -> None:
    cells = answered([replace(comparison(page, 256), details={"log_ratio_sd": 0.01}) for page in (32, 64)])
    plain = stored_answer(cells, METRIC)
    assert plain is not None and MARK not in plain.sentence
    found = marked(StudyComparison(tuple(cells), {METRIC: plain}))
    assert found.answer is not None
    assert found.answer.sentence == f"{MARK}: {plain.sentence}"
    assert stored_answer(found.comparisons, METRIC) == found.answer
    assert len(found.comparisons) == len(cells)


@pytest.mark.parametrize("config", [{}, {"launcher": "local"}, {"launcher": "table", "table": "x.csv"}, {"launcher": 3}])
def test_other_studies_are_not_taken_for_simulated(config: dict[str, object]) -> None:
    assert not is_simulated(replace(STUDY, config=config))
    assert is_simulated(SIMULATED)
