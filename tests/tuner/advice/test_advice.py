"""The one door to recommendations, over a real database: exact, nearest, default, none, and when an answer is stale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage.base import Storage
from storage.records import Actor, Recommendation
from tests.storage.builders import a_study, a_workload
from tests.tuner.advice.models import QWEN
from tuner.advice.advice import advise
from tuner.advice.lookup import MAX_AGE_S, Query
from tuner.core.errors import BadInput
from tuner.metrics.objective import parse_slo

NOW = 1_000_000_000.0
QUANTILES = {"input_quantiles": {"p50": 300.0, "p99": 1900.0}, "output_quantiles": {"p50": 150.0, "p99": 800.0}}
SUMMARY = {**QUANTILES, "prefix_share": 0.5, "max_concurrency": 32}
ASKED = Query(model="m", accelerator="v6e", device_count=4, workload="chat", objective="throughput", now=NOW, versions={"vllm": "1"})
ADMIN = Actor("anna")


def _stored(storage: Storage, name: str, **changes: Any) -> Recommendation:
    """A study with its recommendation; `block_size`, `slos`, `expected`, `features`, `summary`, `versions` shape the body."""
    options = {"block_size": 32, "slos": [], "expected": {}, "features": QWEN, "summary": SUMMARY, "versions": {"vllm": "1"}} | changes
    fields: dict[str, Any] = {"model": "m", "accelerator": "TPU v6e-4", "device_count": 4, "status": "recommended", "created_at": NOW - 100}
    fields |= {key: value for key, value in changes.items() if key in fields}
    workload = str(changes.get("workload", "chat"))
    storage.put_workload(a_workload(content_hash=f"hash-{workload}", name=workload, summary=options["summary"]))
    study = storage.create_study(a_study(name=name, model=fields["model"], model_features=options["features"]))
    config = {"model": f"/models/{fields['model']}", "load_format": "dummy", "block_size": options["block_size"]}
    scope = {"accelerator": fields["accelerator"], "device_count": fields["device_count"], "versions": options["versions"]}
    body = {
        "reason": f"says {name}",
        "objective": "throughput",
        "slos": options["slos"],
        "config": {} if fields["status"] == "none" else config,
        "vllm_args": ["--load-format", "dummy", "--block-size", str(options["block_size"])],
        "env": {},
        "settings": {"block_size": options["block_size"], "arm": "default"},
        "expected": options["expected"],
        "evidence": {"study": name},
        "scope": {**scope, "workload": {"content_hash": f"hash-{workload}", "name": workload}},
        "caveats": [],
    }
    return storage.add_recommendation(
        Recommendation(study_id=study.id, workload_hash=f"hash-{workload}", objective="total_token_throughput", body=body, **fields)
    )


def test_published_then_newest_and_never_withdrawn(each_storage: Storage) -> None:
    old, new, newest = (_stored(each_storage, name, created_at=NOW - age) for name, age in (("old", 30), ("new", 20), ("newest", 10)))
    assert advise(each_storage, ASKED).id == newest.id
    each_storage.mark_recommendation(newest.id, published=False, by=ADMIN)
    answer = advise(each_storage, ASKED)
    assert (answer.id, answer.match) == (new.id, {"kind": "exact", "distance": 0.0, "parts": {}})
    each_storage.mark_recommendation(old.id, published=True, by=ADMIN)
    assert advise(each_storage, ASKED).id == old.id
    assert advise(each_storage, ASKED).stale == {"stale": False, "reasons": []}  # the newer one says the same


@pytest.mark.parametrize("spelling", ["TPU v6e-4", "TPU v6 lite-4", "v6e-4", "trillium-2x2"])
def test_any_spelling_of_the_accelerator(storage: Storage, spelling: str) -> None:
    stored = _stored(storage, "s", accelerator="TPU v6 lite-4")
    assert advise(storage, replace(ASKED, accelerator=spelling, device_count=None)).id == stored.id


@pytest.mark.parametrize(
    "changes",
    [{"accelerator": "v5e"}, {"device_count": 8}, {"objective": "ttft_p99_ms"}, {"model": "other"}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_machine_objective_or_unknown_model_gets_the_default(storage: Storage, changes: dict[str, Any]) -> None:
    _stored(storage, "s")
    answer = advise(storage, replace(ASKED, **changes))
    assert (answer.status, answer.match["kind"], answer.vllm_args, answer.id) == ("default", "none", [], None)


def test_the_nearest_is_for_the_model_asked_for(each_storage: Storage) -> None:
    """Among several the nearest, with its parts; what names the other model's files is gone; beyond the threshold nothing."""
    _stored(each_storage, "far", model="far", features={**QWEN, "layers": 50})
    near = _stored(each_storage, "near", model="near", features={**QWEN, "layers": 36})
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
    _stored(storage, "s", workload="mine", summary={**SUMMARY, "max_concurrency": 40})
    answer = advise(storage, ASKED)  # "chat" is not stored here: the built-in one is meant
    assert answer.match["kind"] == "nearest"
    assert answer.match["parts"]["max_concurrency"] == {"asked": 32, "measured": 40, "distance": pytest.approx(0.3219, abs=1e-3)}
    given = {"input_p50": 300.0, "input_p99": 1900.0, "output_p50": 150.0, "output_p99": 800.0, "prefix_share": 0.5, "max_concurrency": 40}
    assert advise(storage, replace(ASKED, workload=None, workload_features=given)).match["kind"] == "exact"
    assert advise(storage, replace(ASKED, workload="nobody knows")).status == "default"


def test_an_slo_is_met_by_the_study_or_by_the_interval(storage: Storage) -> None:
    slo = (parse_slo("ttft_p99_ms<=500"),)
    _stored(storage, "free", expected={"ttft_p99_ms": {"low": 450.0, "high": 550.0}})
    unmet = advise(storage, replace(ASKED, slos=slo))
    assert (unmet.status, unmet.config, unmet.match["kind"]) == ("none", {}, "exact")
    assert "ttft_p99_ms<=500 is not shown to be met: ttft_p99_ms was 450 to 550" in unmet.reason
    met = advise(storage, replace(ASKED, slos=(parse_slo("ttft_p99_ms<=600"),)))
    assert met.status == "recommended"
    assert any("measurements meet it" in note for note in met.caveats)
    kept = _stored(storage, "kept", slos=["ttft_p99_ms<=500"], created_at=NOW - 200)
    assert advise(storage, replace(ASKED, slos=slo)).id == kept.id
    assert advise(storage, replace(ASKED, slos=(parse_slo("ttft_p99_ms<=700"),))).status == "recommended"
    assert advise(storage, replace(ASKED, slos=(parse_slo("ttft_p99_ms<=100"),))).status == "none"


def test_none_answers_only_who_asks_for_as_much(storage: Storage) -> None:
    _stored(storage, "strict", status="none", slos=["ttft_p99_ms<=100"])
    assert advise(storage, replace(ASKED, slos=(parse_slo("ttft_p99_ms<=50"),))).reason == "says strict"
    assert advise(storage, ASKED).status == "default"


def test_an_slo_that_only_an_older_version_took_breaks_no_look_up(storage: Storage) -> None:
    stored = _stored(storage, "old", slos=["ttft_p99_ms>=5"])
    assert advise(storage, ASKED).id == stored.id
    _stored(storage, "nothing", status="none", slos=["ttft_p99_ms>=5"], model="other")
    assert advise(storage, replace(ASKED, model="other")).match["kind"] == "nearest"  # the other's "nothing" answers nobody


def test_stale_by_versions_age_and_newer_evidence(each_storage: Storage) -> None:
    published = _stored(each_storage, "s")
    each_storage.mark_recommendation(published.id, published=True, by=ADMIN)
    assert advise(each_storage, ASKED).stale["stale"] is False
    _stored(each_storage, "newer", block_size=64, created_at=NOW - 1)
    changed = replace(ASKED, versions={"vllm": "2"}, now=NOW + MAX_AGE_S)
    answer = advise(each_storage, changed)
    assert answer.id == published.id
    assert answer.stale["stale"] is True
    versions, newer, age = answer.stale["reasons"]
    assert versions == "vllm was 1, is 2"
    assert newer == "newer evidence disagrees: study newer recommends block_size 64 instead of 32"
    assert age == "measured 90 days ago, at most 90 are trusted"


def test_another_python_or_an_unknown_version_is_not_stale(storage: Storage) -> None:
    _stored(storage, "s", versions={"jax": "1", "python": "3.12"})
    assert advise(storage, replace(ASKED, versions={"python": "3.13", "vllm": "9"})).stale == {"stale": False, "reasons": []}
    assert advise(storage, replace(ASKED, versions={"jax": "2"})).stale["reasons"] == ["jax was 1, is 2"]


def test_impossible_questions_are_refused(storage: Storage) -> None:
    for changes in ({"objective": "speed"}, {"model_features": {"size": 3}}, {"workload_features": {"input_p50": -1}}):
        with pytest.raises(BadInput):
            advise(storage, replace(ASKED, **changes))
