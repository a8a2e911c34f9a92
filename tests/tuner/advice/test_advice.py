"""The one door to recommendations, over a real database: exact, nearest, default, none, and when an answer is stale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage.base import Storage
from storage.records import Actor
from tests.tuner.advice.models import QWEN
from tests.tuner.advice.recommendations import ASKED, NOW, SUMMARY, stored
from tuner.advice.advice import advise
from tuner.advice.lookup import MAX_AGE_S
from tuner.core.errors import BadInput
from tuner.metrics.objective import parse_slo

ADMIN = Actor("anna")


@pytest.mark.slow
def test_published_then_newest_and_never_withdrawn(each_storage: Storage) -> None:
    old, new, newest = (stored(each_storage, name, created_at=NOW - age) for name, age in (("old", 30), ("new", 20), ("newest", 10)))
    assert advise(each_storage, ASKED).id == newest.id
    each_storage.mark_recommendation(newest.id, published=False, by=ADMIN)
    answer = advise(each_storage, ASKED)
    assert (answer.id, answer.match) == (new.id, {"kind": "exact", "distance": 0.0, "parts": {}})
    each_storage.mark_recommendation(old.id, published=True, by=ADMIN)
    assert advise(each_storage, ASKED).id == old.id
    assert advise(each_storage, ASKED).stale == {"stale": False, "reasons": []}  # the newer one says the same


@pytest.mark.parametrize("spelling", ["TPU v6e-4", "TPU v6 lite-4", "v6e-4", "trillium-2x2"])
def test_any_spelling_of_the_accelerator(storage: Storage, spelling: str) -> None:
    found = stored(storage, "s", accelerator="TPU v6 lite-4")
    assert advise(storage, replace(ASKED, accelerator=spelling, device_count=None)).id == found.id


@pytest.mark.parametrize(
    "changes",
    [{"accelerator": "v5e"}, {"device_count": 8}, {"objective": "ttft_p99_ms"}, {"model": "other"}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_machine_objective_or_unknown_model_gets_the_default(storage: Storage, changes: dict[str, Any]) -> None:
    stored(storage, "s")
    answer = advise(storage, replace(ASKED, **changes))
    assert (answer.status, answer.match["kind"], answer.vllm_args, answer.id) == ("default", "none", [], None)


def test_the_nearest_is_for_the_model_asked_for(each_storage: Storage) -> None:
    """Among several the nearest, with its parts; what names the other model's files is gone; beyond the threshold nothing."""
    stored(each_storage, "far", model="far", features={**QWEN, "layers": 50})
    near = stored(each_storage, "near", model="near", features={**QWEN, "layers": 36})
    asked = replace(ASKED, model="mine", model_features=QWEN)
    answer = advise(each_storage, asked)
    assert (answer.id, answer.match["kind"]) == (near.id, "nearest")
    assert list(answer.match["parts"]) == ["layers"]
    assert answer.match["parts"]["layers"]["asked"] == 28
    assert answer.config == {"model": "mine", "block_size": 32}
    assert answer.vllm_args == ["--block-size", "32"]
    assert any("measure before" in note for note in answer.caveats)
    nothing = advise(each_storage, replace(asked, model_features={**QWEN, "head_size": 64}))
    assert nothing.status == "default"
    assert "head_size 64 against 128" in nothing.reason


def test_another_workload_of_the_same_model_is_near(storage: Storage) -> None:
    stored(storage, "s", workload="mine", summary={**SUMMARY, "max_concurrency": 40})
    answer = advise(storage, ASKED)  # "chat" is not stored here: the built-in one is meant
    assert answer.match["kind"] == "nearest"
    assert answer.match["parts"]["max_concurrency"] == {"asked": 32, "measured": 40, "distance": pytest.approx(0.3219, abs=1e-3)}
    given = {"input_p50": 300.0, "input_p99": 1900.0, "output_p50": 150.0, "output_p99": 800.0, "prefix_share": 0.5, "max_concurrency": 40}
    assert advise(storage, replace(ASKED, workload=None, workload_features=given)).match["kind"] == "exact"
    assert advise(storage, replace(ASKED, workload="nobody knows")).status == "default"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"input_p50": 300, "output_p50": 150}, "exact"),
        ({"max_concurrency": 32.0}, "exact"),
        ({"input_p50": 310}, "nearest"),
        ({"max_concurrency": 40}, "nearest"),
        ({"prefix_share": 0.6}, "nearest"),
        ({"input_p50": 9000}, "none"),
        ({"request_rate": 5.0}, "none"),  # measured as a closed loop
    ],
    ids=str,
)
def test_lengths_beside_a_workloads_name_are_not_passed_over(each_storage: Storage, said: dict[str, float], kind: str) -> None:
    """What is not said is as in the workload of that name."""
    stored(each_storage, "s")
    answer = advise(each_storage, replace(ASKED, workload_features=said))
    assert answer.match["kind"] == kind
    if kind == "nearest":
        assert list(answer.match["parts"]) == list(said), "nothing else differs"


def test_an_slo_is_met_by_the_study_or_by_the_interval(storage: Storage) -> None:
    slo = (parse_slo("ttft_p99_ms<=500"),)
    stored(storage, "free", expected={"ttft_p99_ms": {"low": 450.0, "high": 550.0}})
    unmet = advise(storage, replace(ASKED, slos=slo))
    assert (unmet.status, unmet.config, unmet.changes, unmet.match["kind"]) == ("none", {}, [], "exact")
    assert "ttft_p99_ms<=500 is not shown to be met: ttft_p99_ms was 450 to 550" in unmet.reason
    met = advise(storage, replace(ASKED, slos=(parse_slo("ttft_p99_ms<=600"),)))
    assert met.status == "recommended"
    assert any("measurements meet it" in note for note in met.caveats)
    kept = stored(storage, "kept", slos=["ttft_p99_ms<=500"], created_at=NOW - 200)
    assert advise(storage, replace(ASKED, slos=slo)).id == kept.id
    assert advise(storage, replace(ASKED, slos=(parse_slo("ttft_p99_ms<=700"),))).status == "recommended"
    assert advise(storage, replace(ASKED, slos=(parse_slo("ttft_p99_ms<=100"),))).status == "none"


def test_none_answers_only_who_asks_for_as_much(storage: Storage) -> None:
    stored(storage, "strict", status="none", slos=["ttft_p99_ms<=100"])
    assert advise(storage, replace(ASKED, slos=(parse_slo("ttft_p99_ms<=50"),))).reason == "says strict"
    assert advise(storage, ASKED).status == "default"


def test_an_slo_that_only_an_older_version_took_breaks_no_look_up(storage: Storage) -> None:
    found = stored(storage, "old", slos=["ttft_p99_ms>=5"])
    assert advise(storage, ASKED).id == found.id
    stored(storage, "nothing", status="none", slos=["ttft_p99_ms>=5"], model="other")
    assert advise(storage, replace(ASKED, model="other")).match["kind"] == "nearest"  # the other's "nothing" answers nobody


@pytest.mark.slow
def test_stale_by_versions_age_and_newer_evidence(each_storage: Storage) -> None:
    published = stored(each_storage, "s")
    each_storage.mark_recommendation(published.id, published=True, by=ADMIN)
    assert advise(each_storage, ASKED).stale["stale"] is False
    stored(each_storage, "newer", block_size=64, created_at=NOW - 1)
    changed = replace(ASKED, versions={"vllm": "2"}, now=NOW + MAX_AGE_S)
    answer = advise(each_storage, changed)
    assert answer.id == published.id
    assert answer.stale["stale"] is True
    versions, newer, age = answer.stale["reasons"]
    assert versions == "vllm was 1, is 2"
    assert newer == "newer evidence disagrees: study newer recommends block_size 64 instead of 32"
    assert age == "measured 90 days ago, at most 90 are trusted"


def test_another_python_or_an_unknown_version_is_not_stale(storage: Storage) -> None:
    stored(storage, "s", versions={"jax": "1", "python": "3.12"})
    assert advise(storage, replace(ASKED, versions={"python": "3.13", "vllm": "9"})).stale == {"stale": False, "reasons": []}
    assert advise(storage, replace(ASKED, versions={"jax": "2"})).stale["reasons"] == ["jax was 1, is 2"]


def _measured(throughput: float, ttft: float) -> dict[str, Any]:
    """What a study expects of its recommendation, with intervals of a per cent."""
    values = {"total_token_throughput": throughput, "ttft_p99_ms": ttft}
    return {name: {"value": value, "low": 0.99 * value, "high": 1.01 * value} for name, value in values.items()}


UNDER_500 = replace(ASKED, slos=(parse_slo("ttft_p99_ms<=500"),))


def test_the_best_that_meets_the_slo_is_the_answer_and_not_the_newest(each_storage: Storage) -> None:
    best = stored(each_storage, "best", expected=_measured(900, 400), created_at=NOW - 50)
    stored(each_storage, "asked-for-it", expected=_measured(800, 300), slos=["ttft_p99_ms<=500"], created_at=NOW - 40)
    stored(each_storage, "too-slow", expected=_measured(2000, 700), created_at=NOW - 30)
    newest = stored(each_storage, "newest", expected=_measured(500, 100), created_at=NOW - 20)
    stored(each_storage, "not-measured", slos=["ttft_p99_ms<=500"], created_at=NOW - 10)
    assert advise(each_storage, UNDER_500).id == best.id
    assert advise(each_storage, replace(UNDER_500, slos=(parse_slo("ttft_p99_ms<=150"),))).id == newest.id
    each_storage.mark_recommendation(newest.id, published=True, by=ADMIN)
    assert advise(each_storage, UNDER_500).id == newest.id  # somebody decided


def test_of_a_latency_the_least_is_the_best(storage: Storage) -> None:
    wanted = replace(ASKED, objective="ttft_p99_ms", slos=(parse_slo("total_token_throughput>=400"),))
    quick = stored(storage, "quick", objective="ttft_p99_ms", expected=_measured(500, 100), created_at=NOW - 50)
    stored(storage, "slow", objective="ttft_p99_ms", expected=_measured(900, 200), created_at=NOW - 10)
    assert advise(storage, wanted).id == quick.id


@pytest.mark.slow
def test_the_best_is_found_among_many_newer_ones(storage: Storage) -> None:
    best = stored(storage, "best", expected=_measured(900, 400), created_at=NOW - 99)
    for number in range(30):
        stored(storage, f"later-{number}", expected=_measured(100 + number, 400), created_at=NOW - number)
    assert advise(storage, UNDER_500).id == best.id


def test_who_names_no_objective_gets_no_other_objectives_study(each_storage: Storage) -> None:
    open_question = replace(ASKED, objective=None)
    latency = stored(each_storage, "latency", objective="ttft_p99_ms", block_size=64, created_at=NOW - 10)
    answer = advise(each_storage, open_question)
    assert answer.id == latency.id  # there is nothing else, and it says so
    assert "not asked, so the newest was taken: objective ttft_p99_ms" in answer.caveats
    both = stored(each_storage, "both", objective="total_token_throughput,ttft_p99_ms", created_at=NOW - 20)
    throughput = stored(each_storage, "throughput", created_at=NOW - 90)
    answer = advise(each_storage, open_question)
    assert (answer.id, answer.stale["stale"]) == (throughput.id, False)  # neither do they make it stale
    for other in (latency, both):
        each_storage.mark_recommendation(other.id, published=True, by=ADMIN)
    assert advise(each_storage, open_question).id == throughput.id
    asked_near = replace(open_question, model="other", model_features=QWEN)
    assert advise(each_storage, asked_near).id == throughput.id


def test_who_names_no_accelerator_or_workload_gets_one_of_them(storage: Storage) -> None:
    """Values of two machines, or of two loads, are not compared: the greater one is not the better one."""
    stored(storage, "larger", accelerator="TPU v6e-8", device_count=8, expected=_measured(2000, 400), created_at=NOW - 90)
    here = stored(storage, "here", expected=_measured(900, 400), created_at=NOW - 20)
    stored(storage, "short", workload="short", expected=_measured(9000, 40), block_size=64, created_at=NOW - 30)
    answer = advise(storage, replace(UNDER_500, accelerator=None, device_count=None, workload=None))
    assert (answer.id, answer.stale["stale"]) == (here.id, False)
    assert any("accelerator TPU v6e-4, workload chat" in note for note in answer.caveats)
    only_there = replace(UNDER_500, accelerator=None, device_count=None, workload=None, slos=(parse_slo("ttft_p99_ms<=50"),))
    assert advise(storage, only_there).evidence["study"] == "short"


def test_newer_evidence_that_misses_the_slo_makes_nothing_stale(storage: Storage) -> None:
    chosen = stored(storage, "chosen", expected=_measured(900, 400), created_at=NOW - 50)
    stored(storage, "misses", expected=_measured(2000, 700), block_size=64, created_at=NOW - 10)
    answer = advise(storage, UNDER_500)
    assert (answer.id, answer.stale) == (chosen.id, {"stale": False, "reasons": []})
    stored(storage, "other-objective", objective="ttft_p99_ms", expected=_measured(500, 100), block_size=128, created_at=NOW - 8)
    assert advise(storage, UNDER_500).stale["stale"] is False
    assert advise(storage, replace(UNDER_500, objective=None)).stale["stale"] is False
    stored(storage, "disagrees", expected=_measured(600, 300), block_size=64, created_at=NOW - 5)
    assert advise(storage, UNDER_500).stale["reasons"] == [
        "newer evidence disagrees: study disagrees recommends block_size 64 instead of 32"
    ]


def test_impossible_questions_are_refused(storage: Storage) -> None:
    for changes in ({"objective": "speed"}, {"model_features": {"size": 3}}, {"workload_features": {"input_p50": -1}}):
        with pytest.raises(BadInput):
            advise(storage, replace(ASKED, **changes))
