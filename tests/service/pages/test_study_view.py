"""The study's page says what the search concluded: out of storage, or of the stored comparisons where an older version left no answer."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from service.pages.answer_view import headline
from storage.base import Storage
from storage.records import Comparison, StudyState, TrialState
from tests.service.conftest import MakeClient
from tests.storage.builders import FINGERPRINT, a_comparison, a_measurement, a_recommendation, a_study, a_trial, stored_study
from tests.storage.raw import url_of
from tests.tuner.evidence_builder import answered
from tuner.cli.command_line import run
from tuner.report.effects import effects_of
from tuner.stats.intervals import Verdict
from tuner.stats.pooling import PooledEffect
from tuner.verdict.study_answer import StudyAnswer, with_answer

METRIC = "total_token_throughput"
T_3 = 3.182446  # Student's t, two-sided 95 %, 3 degrees of freedom
OF_ANOTHER_MIND = StudyAnswer(
    metric=METRIC,
    answer="on",
    sentence="on: page-aligned scheduling wins in the only cell (page size 32, chunk budget 256: +12 % throughput)",
    pooled=PooledEffect(cells=1, pairs=4, ratio=1.1234, low=1.1111, high=1.1357, verdict=Verdict.BETTER, method="mean_of_cells"),
    counts={"better": 1, "worse": 0, "equivalent": 0, "inconclusive": 0},
    caveats=("of this study alone",),
    average="average over 1 cell: +12 % throughput",
    wins=((32, 256),),
)


def judged(study_id: int, **changes: object) -> Comparison:
    """Four pairs with a mean log-ratio of 0.02 and a standard deviation of 0.01."""
    half = T_3 * 0.01 / 2
    ends = {"ratio": math.exp(0.02), "low": math.exp(0.02 - half), "high": math.exp(0.02 + half)}
    details = {"log_ratio_sd": 0.01}
    return replace(a_comparison(study_id, metric=METRIC, verdict="better", pairs=4, details=details, **ends), **changes)  # type: ignore[arg-type]


def test_one_cell_is_all_cells_and_two_are_their_mean() -> None:
    one = effects_of(answered([judged(1)]), METRIC)
    assert one.answer is not None and one.pooled is not None
    half = T_3 * 0.01 / math.sqrt(4)
    expected = [100 * math.expm1(at) for at in (0.02, 0.02 - half, 0.02 + half)]
    assert [one.pooled.change, one.pooled.low, one.pooled.high] == pytest.approx(expected, abs=1e-4)
    assert (one.answer.answer, headline(one.answer)) == ("on", "Yes: turn it on")
    two = effects_of(answered([judged(1), judged(1, block_size=64, ratio=math.exp(-0.02), verdict="worse")]), METRIC)
    assert two.pooled is not None and two.pooled.change == pytest.approx(0.0, abs=1e-9)
    assert two.answer is not None and two.answer.counts == {"better": 1, "worse": 1, "equivalent": 0, "inconclusive": 0}
    assert headline(two.answer) == "Not decided"  # 2.8 % each: good enough for a cell alone, not for a sentence about both
    assert "1 worse and 1 better by the own interval alone, which is not sure over the whole study" in two.answer.sentence


@pytest.mark.slow
def test_the_stored_answer_is_the_one_that_everybody_shows(
    storage: Storage, make_client: MakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer that the comparisons themselves do not give: +12 % where they say +2.02 %."""
    study = storage.create_study(a_study(name="kept", objective="throughput"))
    storage.replace_comparisons(study.id, with_answer([judged(study.id)], OF_ANOTHER_MIND))
    storage.update_study(study.id, state=StudyState.COMPLETE)
    client = make_client(storage)
    page = client.get("/studies/kept").text
    assert "+12.3 %" in page and "+11.1 % to +13.6 %" in page and OF_ANOTHER_MIND.sentence in page
    assert "Yes: turn it on" in client.get("/studies").text
    expected = json.loads(json.dumps(OF_ANOTHER_MIND.to_json()))
    assert client.get("/v1/studies/kept/comparison").json()["answer"] == expected
    assert f"**{OF_ANOTHER_MIND.sentence}**" in client.get("/studies/kept/report.md").text
    assert run(["compare", "kept", "--json", "--storage", url_of(storage)]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == expected


def test_a_study_of_an_older_version_is_judged_again_for_everybody(
    storage: Storage, make_client: MakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its comparisons carry no answer, so what was measured counts: here nothing."""
    study = storage.create_study(a_study(name="older", objective="throughput"))
    storage.replace_comparisons(study.id, [judged(study.id)])
    storage.update_study(study.id, state=StudyState.COMPLETE)
    page = make_client(storage).get("/studies/older").text
    assert "older" in page and "+2.0" not in page and "turn it on" not in page
    assert run(["compare", "older", "--json", "--storage", url_of(storage)]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"] == []


def test_a_search_that_goes_on_is_judged_by_what_was_measured_since(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    study = storage.create_study(a_study(name="resumed", objective="throughput"))
    storage.replace_comparisons(study.id, with_answer([judged(study.id)], OF_ANOTHER_MIND))
    storage.update_study(study.id, state=StudyState.RUNNING)
    assert run(["compare", "resumed", "--json", "--storage", url_of(storage)]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"] == []  # nothing is measured here


@pytest.mark.slow
def test_four_percent_of_throughput_stood_on_every_page_without_the_ttft_they_cost(storage: Storage, make_client: MakeClient) -> None:
    study = stored_study(storage, name="paid", objective="throughput")
    other = answered([judged(study.id, metric="ttft_p99_ms", ratio=1.28, low=1.2, high=1.36, verdict="worse")])
    storage.replace_comparisons(study.id, [*with_answer([judged(study.id)], OF_ANOTHER_MIND), *other])
    arms = {"metric": METRIC, "verdict": "better", "ratio": 1.04, "low": 1.03, "high": 1.05, "pairs": 6}
    both = [{"metric": METRIC, "verdict": "better", "ratio": 1.04}, {"metric": "ttft_p99_ms", "verdict": "worse", "ratio": 1.28}]
    body = {
        "reason": "the best",
        "settings": {"arm": "page_aligned", "block_size": 32, "max_num_batched_tokens": 256},
        "evidence": {"study": "paid", "arms": arms, "comparisons": both, "trial_ids": []},
    }
    stored = storage.add_recommendation(a_recommendation(study.id, body=body))
    storage.update_study(study.id, state=StudyState.COMPLETE)
    client = make_client(storage)
    for address in ("/studies/paid", f"/recommendations/{stored.id}", "/recommendations"):
        assert "at +28 % TTFT (p99)" in client.get(address).text, address
    picture = client.get(f"/studies/paid/charts/forest.svg?metric={METRIC}").text
    assert "\N{BLACK STAR} 32 \N{MULTIPLICATION SIGN} 256" in picture


@pytest.mark.slow
@pytest.mark.parametrize(("slo", "missed"), [("ttft_p99_ms<=80", [90.0]), ("ttft_p99_ms<=8", [70.0, 90.0]), ("ttft_p99_ms<=700", [])])
def test_which_cells_miss_the_slo_was_nowhere_to_be_seen(storage: Storage, make_client: MakeClient, slo: str, missed: list[float]) -> None:
    study = stored_study(storage, name="limited", objective="throughput", config={"slos": [slo]})
    for number, ttft in enumerate((70.0, 90.0)):
        running = a_trial(study.id, number, block_size=16 * 2**number, state=TrialState.RUNNING, environment=FINGERPRINT)
        trial = storage.create_trial(running)
        for window in range(3):
            metrics = {METRIC: 100.0, "ttft_p99_ms": ttft + window - 1}
            storage.add_measurement(a_measurement(trial.id, round=window, metrics=metrics))
        storage.finish_trial(trial.id, TrialState.COMPLETE, values={"throughput": 100.0})
    storage.update_study(study.id, state=StudyState.COMPLETE)
    client = make_client(storage)
    page = client.get("/studies/limited").text
    rows = page[page.rindex('<table class="trials">') :]
    limit = float(slo.partition("<=")[2])
    assert rows.count('<strong class="bad">\N{BALLOT X}') == len(missed)
    assert f"{100 * (limit - 70) / limit:.1f} %".lstrip("-") in rows and f"70 ms, limit {limit:g}" in rows
    assert page.count(f'<span class="bad">\N{BALLOT X} {slo.replace("<", "&lt;")}') == len(missed), "in the table of the heat map"
    assert client.get("/studies/limited/charts/heat-map.svg").text.count("\N{BALLOT X}") == len(missed)
    assert client.get("/studies/limited/trade-off").text.count("\N{BALLOT X}") == len(missed)
