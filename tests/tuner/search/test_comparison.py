"""Studies that compare another factor than page alignment: side by side in one engine, or over engine starts in turn."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from storage.records import Comparison, Stage, StudyState
from tests.tuner.fake_engine import FakeLauncher, value_of
from tests.tuner.workbench import Workbench, config_of
from tuner.core.errors import BadInput
from tuner.core.factors import LONG_PREFILL
from tuner.report.evidence_report import evidence_markdown
from tuner.search.plan import plan_search
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study
from tuner.verdict.answer import answer_of
from tuner.verdict.conclude import compare_measured, compare_stored, load_evidence

SEQS: dict[str, Any] = {"factors": {"max_num_seqs": "8,16,32"}, "compare": "max_num_seqs", "arms": ["default"]}
COLD: dict[str, Any] = {
    "factors": {"offload_group_size": [0, 64]},
    "compare": "offload_group_size",
    "arms": ["default"],
    "page_sizes": [16],
    "starts": 5,
    "rounds": 2,
}


def by_seqs(configuration: Configuration) -> float:
    """8 requests are 10 % slower than 16, 32 are 5 % faster."""
    gain = {8: 0.9, 16: 1.0, 32: 1.05}[int(dict(configuration.factors)["max_num_seqs"])]
    return gain * value_of(Configuration(*configuration.cell[:2], configuration.arm))


class NoisyStarts(FakeLauncher):
    """Each start is slower or faster by itself, for as long as it runs."""

    def __init__(self, sd: float, gain: float = 1.0, name: str = COLD["compare"]) -> None:
        self.compared = name
        self.random = random.Random(3)
        self.of_start = 1.0
        self.sd = sd
        self.gain = gain
        super().__init__(value=self.worth)

    def open(self, *given: Any) -> Any:
        self.of_start = math.exp(self.random.gauss(0, self.sd))
        return super().open(*given)

    def worth(self, configuration: Configuration) -> float:
        gain = self.gain if dict(configuration.factors)[self.compared] == 64 else 1.0
        return 100 * gain * self.of_start


def first(bench: Workbench, study_id: int) -> list[Comparison]:
    return [item for item in bench.storage.list_comparisons(study_id) if item.metric == "total_token_throughput"]


@pytest.mark.slow
def test_the_levels_of_a_live_factor_are_compared_side_by_side(bench: Workbench) -> None:
    launcher = FakeLauncher(value=by_seqs)
    outcome = bench.run(launcher, **SEQS)
    found = first(bench, outcome.study.id)
    ratios = {(item.block_size, item.max_num_batched_tokens, item.factors["max_num_seqs"]): item.ratio for item in found}
    assert len(ratios) == 8 and all(item.pairs == 3 for item in found), "two levels against the first named, in four cells"
    assert all(ratio == pytest.approx({16: 1 / 0.9, 32: 1.05 / 0.9}[int(str(key[2]))]) for key, ratio in ratios.items())
    assert found[0].details["compared"] == {"factor": "max_num_seqs", "level": 16, "baseline": 8, "unit": "round"}
    answer = outcome.comparison.answer
    assert answer is not None and answer.answer == "on" and len(answer.wins) == 8
    assert answer.sentence.startswith("better: another max_num_seqs than 8 wins in 8 of 8 cells (best: page size")
    assert compare_stored(bench.storage, outcome.study).answers == compare_measured(bench.storage, outcome.study).answers
    body = outcome.recommendation.body
    assert body["settings"]["max_num_seqs"] == 32 and body["evidence"]["arms"] is None
    compared = body["evidence"]["compared"]
    assert (compared["factor"], compared["baseline"], compared["recommended"]) == ("max_num_seqs", 8, 32)
    assert {item["level"]: item["verdict"] for item in compared["levels"]} == {16: "better", 32: "better"}
    finalists = {trial.factors["max_num_seqs"] for trial in bench.trials(Stage.CONFIRM)}
    assert finalists >= {8, 32}, "the best, and what it is to be compared with"
    report = evidence_markdown(load_evidence(bench.storage, outcome.study), outcome.comparison)
    assert report.startswith("# max_num_seqs: study s\n\nIs another max_num_seqs than 8 better?")
    assert "| ratio to max_num_seqs 8 |" in report and "all levels of max_num_seqs are live settings of that engine" in report
    assert not any(words in report for words in ("Page-aligned", "aligned / default", "both arms", "Why each cell"))


@pytest.mark.slow
def test_a_sampled_search_measures_every_level_beside_its_baseline(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(value=by_seqs), sampler="random", trials=7, **SEQS)
    found = first(bench, outcome.study.id)
    assert len(found) >= 4 and all(item.pairs >= 3 for item in found)


@pytest.mark.slow
def test_chunk_budgets_can_be_compared(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(), compare="chunk_budget")
    found = first(bench, outcome.study.id)
    assert {(item.block_size, item.max_num_batched_tokens, item.factors.get("arm")) for item in found} == {
        (page, 256, arm) for page in (16, 32) for arm in (None, "page_aligned")
    }
    assert all(item.pairs == 3 for item in found)


@pytest.mark.slow
def test_cold_levels_are_started_in_turn_and_a_start_is_one_value(bench: Workbench) -> None:
    launcher = NoisyStarts(0.05)
    outcome = bench.run(launcher, **COLD)
    levels = [settings.extra_engine_args["offload_group_size"] for settings in launcher.opened[:10]]
    pairs = [levels[at : at + 2] for at in range(0, 10, 2)]
    assert all(sorted(pair) == [0, 64] for pair in pairs) and pairs[1] == pairs[0][::-1] and pairs[3] == pairs[2][::-1]
    found = first(bench, outcome.study.id)
    assert len(found) == 2 and all(item.pairs == 5 and item.details["compared"]["unit"] == "engine start" for item in found)
    assert {item.verdict for item in found} == {"inconclusive"}, "two windows in each of five starts are five values, not ten"
    assert all(item.low is not None and item.high is not None and item.high / item.low > 1.05 for item in found)
    assert outcome.comparison.answer is not None and "engine starts a level" in outcome.comparison.answer.sentence
    report = evidence_markdown(load_evidence(bench.storage, outcome.study), outcome.comparison)
    assert "started in turn (A B B A ...): 5 starts of each (2 windows in each" in report and "analysed after each" not in report


@pytest.mark.slow
def test_a_cold_difference_is_found_and_too_few_starts_decide_nothing(bench: Workbench) -> None:
    found = bench.run(NoisyStarts(0.002, gain=1.1), **COLD)
    assert {item.verdict for item in first(bench, found.study.id)} == {"better"}
    few = bench.run(NoisyStarts(0.0, gain=1.1), study="few", **{**COLD, "starts": 3})
    items = first(bench, few.study.id)
    assert {(item.verdict, item.low, item.pairs) for item in items} == {("inconclusive", None, 3)}
    assert "nothing is decided below 4" in items[0].details["reason"]


@pytest.mark.slow
def test_a_key_of_additional_config_is_compared_and_recommended(bench: Workbench) -> None:
    key = "additional_config.max_decode_steps"

    class ByKey(FakeLauncher):
        def open(self, settings: Any, timeout_s: float) -> Any:
            steps = settings.extra_engine_args["additional_config"]["max_decode_steps"]
            self.value = lambda item: 100.0 + steps
            return super().open(settings, timeout_s)

    outcome = bench.run(ByKey(), factors={key: [4, 16]}, compare=key, arms=["default"], page_sizes=[16], starts=5, rounds=2)
    assert {(item.verdict, item.pairs) for item in first(bench, outcome.study.id)} == {("better", 5)}
    body = outcome.recommendation.body
    assert body["config"]["additional_config"] == {"max_decode_steps": 16} and body["settings"][key] == 16
    assert "--additional-config" in body["vllm_args"] and '{"max_decode_steps":16}' in body["vllm_args"]


@pytest.mark.slow
def test_an_interrupted_cold_comparison_goes_on(bench: Workbench) -> None:
    class Stopped(NoisyStarts):
        def open(self, *given: Any) -> Any:
            if len(self.opened) == 5:
                raise KeyboardInterrupt
            return super().open(*given)

    with pytest.raises(BaseException, match="--resume"):
        bench.run(Stopped(0.0, gain=1.1), **COLD)
    assert bench.storage.get_study("s").state is StudyState.INTERRUPTED
    launcher = NoisyStarts(0.0, gain=1.1)
    outcome = bench.run(launcher, resume=True, **COLD)
    assert all(item.pairs == 5 for item in first(bench, outcome.study.id))
    assert sum(settings.alignable for settings in launcher.opened) == 5, "what was missing; finalists are compiled for themselves"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compare": "max_num_seq", "factors": {"max_num_seqs": "8,16"}}, "did you mean max_num_seqs?"),
        ({"compare": "kv_cache_dtype"}, "compare kv_cache_dtype is not searched"),
        ({"compare": "max_num_seqs", "factors": {"max_num_seqs": [8]}}, "has one level, 8: nothing to compare it with"),
        ({"compare": "chunk_budget", "chunk_budgets": [256]}, "has one level, 256"),
        ({**COLD, "sampler": "tpe"}, "tpe leaves configurations out"),
        ({**COLD, "trials": 3}, "3 may leave a level out"),
        ({"starts": 6}, "starts 6 is only for a factor that is cold"),
        ({"compare": "chunk_budget", "launcher": "serve"}, "--launcher serve"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as found:
        config_of(**changes)
    assert message in str(found.value) and "\n" not in str(found.value)


@pytest.mark.slow
def test_the_plan_counts_every_start_and_a_study_of_the_arms_is_stored_as_before() -> None:
    plan = plan_search(prepare_study(config_of(**COLD)))
    assert plan.sampler == "grid" and plan.engine_starts == 10 + plan.finalists and plan.windows >= 4 * 10
    assert plan.to_json()["compare"]["starts"] == 5
    assert not {"compare", "starts"} & config_of().to_json().keys()
    assert config_of(compare="page_alignment").compare == "arm"


@pytest.mark.slow
def test_a_level_whose_value_is_luck_is_not_recommended(bench: Workbench) -> None:
    """Both levels are the same; the start of the finalist with 16 happened to be 4 % faster."""

    class Lucky(FakeLauncher):
        def open(self, settings: Any, timeout_s: float) -> Any:
            self.value = lambda item: 100.0 * (1.04 if not settings.alignable and settings.max_num_seqs == 16 else 1.0)
            return super().open(settings, timeout_s)

    outcome = bench.run(Lucky(), **{**SEQS, "factors": {"max_num_seqs": "8,16"}, "page_sizes": [16], "chunk_budgets": [256]})
    body = outcome.recommendation.body
    assert body["settings"]["max_num_seqs"] == 8
    assert "between max_num_seqs 16 and 8 of its cell the pairs decide (16 +0.0 %, equivalent)" in body["reason"]


LONG: dict[str, Any] = {**COLD, "factors": {LONG_PREFILL: [0, 64]}, "compare": LONG_PREFILL, "starts": 10}


@pytest.mark.slow
def test_a_threshold_is_compared_in_one_engine_and_a_study_that_took_an_engine_for_each_level_answers_as_it_did(bench: Workbench) -> None:
    """Until it became live: its comparisons say engine starts, and nothing in the study's configuration says that engines change it."""
    launcher = FakeLauncher(value=lambda item: 110.0 if dict(item.factors)[LONG_PREFILL] == 64 else 100.0)
    now = bench.run(launcher, **LONG)
    assert {item.details["compared"]["unit"] for item in first(bench, now.study.id)} == {"round"}
    assert len(launcher.opened) == 1 + 3, "one engine and the finalists"
    assert not launcher.opened[0].extra_engine_args and answer_of(now.recommendation).config[LONG_PREFILL] == 64
    assert compare_stored(bench.storage, now.study).comparisons == tuple(bench.storage.list_comparisons(now.study.id))

    patched = pytest.MonkeyPatch()
    with patched.context() as patch:  # as the version before
        for module in ("core.contrast", "core.factors", "setup.space"):
            patch.setattr(f"tuner.{module}.LIVE_FACTORS", frozenset({"max_num_seqs"}))
        patch.setattr("tuner.search.opening.LONG_PREFILL", "")
        then = bench.run(NoisyStarts(0.002, gain=1.1, name=LONG_PREFILL), study="then", **LONG)
    assert "compared_live" not in then.study.config["resolved"]
    assert {item.details["compared"]["unit"] for item in first(bench, then.study.id)} == {"engine start"}
    assert compare_measured(bench.storage, then.study) == then.comparison
    with pytest.raises(BadInput, match="needed an engine for each level"):
        plan_search(prepare_study(config_of("then", **LONG)), bench.storage, resume=True)
