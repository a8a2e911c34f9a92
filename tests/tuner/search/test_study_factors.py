"""Studies over further factors on a fake engine: what shares an engine, what is stored, judged and recommended, and how they go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.records import Stage, StudyState, TrialState
from tests.tuner.fake_engine import FakeLauncher, crash, value_of
from tests.tuner.workbench import FinishedStudy, Workbench, config_of, configuration_of
from tuner.core.contract import EngineSettings, WindowResult
from tuner.core.errors import BadInput, FailureClass, Interrupted, TrialFailed
from tuner.launchers.table_files import read_csv
from tuner.report.report import serve_command
from tuner.report.study_export import study_csv
from tuner.search.plan import plan_search
from tuner.search.warm_start import load_earlier
from tuner.serving.serve_formats import FORMATS
from tuner.serving.stored_settings import measured_engine_of, settings_of
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study
from tuner.verdict.answer import answer_of
from tuner.verdict.conclude import compare_stored

ENV = "env:USE_BATCHED_RPA_KERNEL"
LIVE = {"max_num_seqs": "8,16"}
COLD = {"kv_cache_dtype": "auto,fp8", ENV: "unset,1"}


def value_with(configuration: Configuration) -> float:
    """As value_of; 3 % more for fp8, 5 % for 16 requests, 7 % for the other kernel."""
    levels = dict(configuration.factors)
    gains = (
        1.03 if levels.get("kv_cache_dtype") == "fp8" else 1.0,
        1 + 0.05 * (levels.get("max_num_seqs") == 16),
        1.07 if ENV in levels else 1.0,
    )
    return value_of(Configuration(*configuration.cell[:2], configuration.arm)) * gains[0] * gains[1] * gains[2]


@pytest.fixture
def live(bench: Workbench) -> FinishedStudy:
    launcher = FakeLauncher(value=value_with)
    return FinishedStudy(bench, launcher, bench.run(launcher, factors=LIVE))


@pytest.fixture
def cold(bench: Workbench) -> FinishedStudy:
    launcher = FakeLauncher(value=value_with)
    small: dict[str, Any] = {"page_sizes": [16], "chunk_budgets": [256]}
    return FinishedStudy(bench, launcher, bench.run(launcher, factors=COLD, platform="tpu", **small))


@pytest.fixture(autouse=True)
def _any_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags of a TPU's engine take every level; nothing is asked of a device."""
    monkeypatch.setattr("tuner.setup.study_setup.resolve_platform", lambda asked: "tpu" if asked == "tpu" else "cpu")


@pytest.mark.slow
def test_a_live_factor_shares_its_engine_and_is_paired_in_every_cell(live: FinishedStudy) -> None:
    trials, space = live.bench.trials(), prepare_study(config_of(factors=LIVE)).space
    assert [configuration_of(trial) for trial in trials] == list(space.configurations) and len(trials) == 16
    assert [settings.block_size for settings in live.launcher.opened[:2]] == [32, 16] and len(live.launcher.opened) == 4
    assert {settings.max_num_seqs for settings in live.launcher.opened[:2]} == {16}, "compiled for the most"
    comparisons = live.bench.storage.list_comparisons(live.outcome.study.id)
    first = [item for item in comparisons if item.metric == "total_token_throughput"]
    cells = [(item.block_size, item.max_num_batched_tokens, item.factors["max_num_seqs"]) for item in first]
    assert cells == sorted(cells) and len(set(cells)) == 8
    assert all(item.pairs == 3 and item.ratio == pytest.approx(1.1) for item in first)
    answer = live.outcome.comparison.answer
    assert answer is not None and len(answer.wins) == 8 and "max_num_seqs" in answer.sentence
    assert compare_stored(live.bench.storage, live.outcome.study).answer == answer, "stored and read again"


@pytest.mark.slow
def test_a_live_factor_is_recommended_with_flags_of_its_own(live: FinishedStudy) -> None:
    answer = answer_of(live.outcome.recommendation)
    assert answer.settings["max_num_seqs"] == 16  # type: ignore[typeddict-item]
    assert answer.place == ("page_aligned", 32, 256, (("max_num_seqs", 16),)) and answer.config["max_num_seqs"] == 16
    assert {"setting": "max_num_seqs", "default": 256, "recommended": 16} in answer.changes
    finalists = live.bench.trials(Stage.CONFIRM)
    assert [(settings_of(trial).max_num_seqs, trial.factors["max_num_seqs"]) for trial in finalists] == [(16, 16), (16, 16)]
    assert measured_engine_of(live.bench.trials()[-1]).max_num_seqs == 16


@pytest.mark.slow
def test_cold_factors_have_engines_of_their_own(cold: FinishedStudy) -> None:
    searched = cold.launcher.opened[:4]
    assert [(item.extra_engine_args, item.env) for item in searched] == [
        ({"kv_cache_dtype": "auto"}, {}),
        ({"kv_cache_dtype": "auto"}, {"USE_BATCHED_RPA_KERNEL": "1"}),
        ({"kv_cache_dtype": "fp8"}, {}),
        ({"kv_cache_dtype": "fp8"}, {"USE_BATCHED_RPA_KERNEL": "1"}),
    ]
    assert [trial.factors for trial in cold.bench.trials()][::2] == [
        {ENV: variable, "kv_cache_dtype": dtype} for dtype in ("auto", "fp8") for variable in ("unset", "1")
    ]
    assert all(item.pairs == 3 for item in cold.bench.storage.list_comparisons(cold.outcome.study.id))


@pytest.mark.slow
def test_cold_factors_are_recommended_in_every_format(cold: FinishedStudy) -> None:
    answer = answer_of(cold.outcome.recommendation)
    assert answer.config["kv_cache_dtype"] == "fp8" and answer.env["USE_BATCHED_RPA_KERNEL"] == "1"
    assert "--kv-cache-dtype fp8" in serve_command(answer) and serve_command(answer).startswith("USE_BATCHED_RPA_KERNEL=1 ")
    forms = {name: form(answer.served()) for name, form in FORMATS.items()}
    assert "kv-cache-dtype: fp8" in forms["yaml"] and "USE_BATCHED_RPA_KERNEL=1" in forms["env"] and "fp8" in forms["flags"]
    assert "fp8" in forms["kubernetes"] and "USE_BATCHED_RPA_KERNEL" in forms["kubernetes"]
    assert {"setting": ENV, "default": "unset", "recommended": "1"} in answer.changes


@pytest.mark.slow
def test_what_was_unset_is_not_said_to_vllm(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(), factors={"quantization": "unset"})
    answer = answer_of(outcome.recommendation)
    assert "quantization" not in answer.config and answer.settings["quantization"] == "unset"  # type: ignore[typeddict-item]


@pytest.mark.slow
def test_the_plan_names_factors_with_their_kind_and_vllms_default() -> None:
    plan = plan_search(prepare_study(config_of(factors={**LIVE, "offload_group_size": "0,64", THRESHOLD: "0,64"}))).to_json()
    assert plan["factors"] == [
        {"factor": THRESHOLD, "kind": "live", "levels": [0, 64], "default": 0},
        {"factor": "max_num_seqs", "kind": "live", "levels": [8, 16], "default": 256},
        {"factor": "offload_group_size", "kind": "cold", "levels": [0, 64], "default": 0},
    ]
    assert [group["factors"] for group in plan["cold_groups"]] == [{"offload_group_size": level} for level in (0, 64)] * 2
    assert plan["cells"] == 32 and plan["trials"] == 64
    without = plan_search(prepare_study(config_of())).to_json()
    assert "factors" not in without and all("factors" not in group for group in without["cold_groups"])


@pytest.mark.slow
def test_an_interrupted_study_goes_on_where_it_was(bench: Workbench) -> None:
    def stopped(_configuration: Configuration, _nth: int, result: WindowResult) -> WindowResult:
        if len(launcher.measured) == 20:
            raise KeyboardInterrupt
        return result

    launcher, rest, whole = (
        FakeLauncher(value=value_with, on_measure=stopped),
        FakeLauncher(value=value_with),
        FakeLauncher(value=value_with),
    )
    with pytest.raises(Interrupted):
        bench.run(launcher, factors=LIVE)
    with pytest.raises(BadInput, match="was begun with factors"):
        bench.run(FakeLauncher(), factors={"max_num_seqs": "8,32"}, resume=True)
    outcome = bench.run(rest, factors=LIVE, resume=True)
    bench.run(whole, factors=LIVE, study="t")
    assert outcome.study.state is StudyState.COMPLETE and [*launcher.measured, *rest.measured] == whole.measured


@pytest.mark.slow
def test_a_level_that_does_not_start_fails_alone(bench: Workbench) -> None:
    def refuses(settings: EngineSettings, _nth: int) -> None:
        if settings.extra_engine_args.get("kv_cache_dtype") == "auto":
            raise TrialFailed(FailureClass.STARTUP, "no such type here")

    bench.run(FakeLauncher(value=value_with, on_open=refuses), factors={"kv_cache_dtype": "auto,bfloat16"})
    ended = {(trial.factors["kv_cache_dtype"], trial.state, trial.values is None) for trial in bench.trials()}
    assert ended == {("auto", TrialState.FAIL, True), ("bfloat16", TrialState.COMPLETE, False)}


@pytest.mark.slow
def test_more_requests_than_ran_out_of_memory_are_not_tried_and_fewer_are(bench: Workbench) -> None:
    def full(configuration: Configuration, _nth: int) -> None:
        if int(dict(configuration.factors)["max_num_seqs"]) >= 16:
            raise TrialFailed(FailureClass.OUT_OF_MEMORY, "RESOURCE_EXHAUSTED: HBM")

    bench.run(FakeLauncher(on_warm_up=full), factors={"max_num_seqs": "8,16,32"}, arms=["default"], chunk_budgets=[256], page_sizes=[16])
    states = {trial.factors["max_num_seqs"]: trial.state for trial in bench.trials()}
    assert states[8] is TrialState.COMPLETE and all(trial.values is None for trial in bench.trials() if trial.factors["max_num_seqs"] > 8)
    assert states[16] is TrialState.FAIL and states[32] in (TrialState.PRUNED, TrialState.FAIL)


@pytest.mark.slow
def test_a_lost_engine_costs_one_configuration_of_its_factors(bench: Workbench) -> None:
    bad = Configuration(32, 256, "default", (("max_num_seqs", 8),))

    def lost(configuration: Configuration, _nth: int, result: WindowResult) -> WindowResult:
        if configuration == bad:
            raise crash()
        return result

    bench.run(FakeLauncher(on_measure=lost), factors=LIVE)
    assert [configuration_of(trial) for trial in bench.trials() if trial.state is TrialState.FAIL] == [bad]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ordinal", "tpe", "random"])
def test_a_sampler_proposes_levels_and_never_one_twice(bench: Workbench, sampler: str) -> None:
    bench.run(FakeLauncher(value=value_with), factors=LIVE, sampler=sampler, trials=8, rounds=1)
    found = [configuration_of(trial) for trial in bench.trials()]
    assert len(found) == len(set(found)) == 8 and all(item.twin in found for item in found)
    params = [trial.params for trial in bench.optuna_trials()]
    assert all(set(item) == {"arm", "block_size", "max_num_batched_tokens", "max_num_seqs"} for item in params)


@pytest.mark.slow
def test_earlier_results_are_priors_by_their_levels(bench: Workbench) -> None:
    bench.run(FakeLauncher(value=value_with), factors=LIVE, study="earlier")
    bench.run(FakeLauncher(value=value_with), factors=LIVE, sampler="ordinal", trials=4, warm_start="earlier")
    assert any("16 results" in line for line in bench.lines), bench.lines


@pytest.mark.slow
def test_every_launcher_without_live_settings_starts_each_level(bench: Workbench) -> None:
    launcher = FakeLauncher(value=value_with, live_fields=frozenset())
    bench.run(launcher, factors=LIVE, page_sizes=[16], chunk_budgets=[128], rounds=1)
    assert [(item.max_num_seqs, item.alignable) for item in launcher.opened[:4]] == [(16, False), (16, True), (8, False), (8, True)]


@pytest.mark.slow
def test_an_export_has_a_column_for_each_factor_and_can_be_searched_again(live: FinishedStudy, tmp_path: Path) -> None:
    text = study_csv(live.bench.trials(None), live.bench.storage.list_measurements(study_id=live.outcome.study.id))
    assert ",error_class,max_num_seqs,round," in text.splitlines()[0]
    (tmp_path / "export.csv").write_text(text)
    table = read_csv(tmp_path / "export.csv")
    assert set(table.parameters) == {"arm", "block_size", "max_num_batched_tokens", "max_num_seqs"} and len(table.configurations) == 16
    best = {"arm": "page_aligned", "block_size": 32, "max_num_batched_tokens": 256, "max_num_seqs": 16}
    assert table.best("total_token_throughput")[0] == best


@pytest.mark.slow
def test_a_study_without_factors_stores_none(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher())
    stored = json.dumps([trial.requested for trial in bench.trials()]) + json.dumps(outcome.recommendation.body)
    assert '"factors"' not in stored and '"env": {}' not in json.dumps(bench.trials()[0].requested), stored
    assert all(trial.factors == {} for trial in bench.trials())


CONDITIONED: dict[str, Any] = {
    "factors": {"max_num_seqs": "8,16", "long_prefill_token_threshold": "64,128 when page_size<=16 and max_num_seqs==16"},
    "arms": ["default"],
    "chunk_budgets": [256],
}
THRESHOLD = "long_prefill_token_threshold"


@pytest.mark.slow
def test_where_a_factor_is_inactive_nothing_is_measured_twice(bench: Workbench) -> None:
    plan = plan_search(prepare_study(config_of(**CONDITIONED))).to_json()
    assert (plan["cells"], plan["trials"]) == (5, 5)
    assert plan["factors"][0]["when"] == "page_size <= 16 and max_num_seqs == 16" and plan["factors"][0]["inactive"] == 0
    launcher = FakeLauncher(value=value_with)
    outcome = bench.run(launcher, **CONDITIONED)
    found = [(trial.block_size, trial.factors["max_num_seqs"], trial.factors[THRESHOLD]) for trial in bench.trials()]
    assert sorted(found) == [(16, 8, 0), (16, 16, 64), (16, 16, 128), (32, 8, 0), (32, 16, 0)]
    assert all(THRESHOLD not in settings.extra_engine_args for settings in launcher.opened[:2]), "one engine of each page size"
    assert all(THRESHOLD in settings.extra_engine_args for settings in launcher.opened[2:]), "finalists are started with their own"
    answer = answer_of(outcome.recommendation)
    assert answer.config[THRESHOLD] == 0 and {"setting": THRESHOLD, "default": 0, "recommended": 0} in answer.changes
    again = bench.run(FakeLauncher(value=value_with), resume=True, **CONDITIONED)
    assert again.windows == 0
    with pytest.raises(BadInput, match="was begun with when"):
        bench.run(resume=True, **{**CONDITIONED, "factors": {**CONDITIONED["factors"], THRESHOLD: "64,128 when page_size<=16"}})


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ordinal", "tpe"])
def test_samplers_propose_only_what_the_conditions_leave(bench: Workbench, sampler: str) -> None:
    bench.run(FakeLauncher(value=value_with), sampler=sampler, trials=4, **CONDITIONED)
    space = prepare_study(config_of(**CONDITIONED)).space
    assert len(bench.trials()) == 4 and all(configuration_of(trial) in space for trial in bench.trials())


TWICE: dict[str, Any] = {
    "factors": {THRESHOLD: [0, "unset", 128, 512]},
    "arms": ["default"],
    "page_sizes": [16],
    "chunk_budgets": [128, 256],
}


@pytest.mark.slow
def test_what_is_the_same_in_effect_is_not_measured_twice(bench: Workbench) -> None:
    """vLLM's own value said aloud, and a threshold that no chunk reaches."""
    launcher = FakeLauncher()
    outcome = bench.run(launcher, slos=["ttft_p99_ms<=5000"], **TWICE)
    trials = {(trial.max_num_batched_tokens, trial.factors[THRESHOLD]): trial for trial in bench.trials()}
    assert len(trials) == 8
    first = {budget: trials[budget, 0].number for budget in (128, 256)}
    twins = {place: trial.notes["twin_of"] for place, trial in trials.items() if "twin_of" in trial.notes}
    assert twins == {
        **{(budget, level): first[budget] for budget in (128, 256) for level in ("unset", 512)},
        (128, 128): first[128],
    }
    for place in twins:
        trial = trials[place]
        assert not bench.windows(trial) and trial.state is TrialState.COMPLETE
        assert trial.values == trials[place[0], 0].values and trial.notes["feasible"] is True
    assert {(item.max_num_batched_tokens, dict(item.factors).get(THRESHOLD)) for item in launcher.measured} == {
        (128, 0),
        (256, 0),
        (256, 128),
    }
    assert all(item.values for item in bench.optuna_trials()), "Optuna knows their results"
    assert outcome.recommendation.body["settings"][THRESHOLD] in (0, 128), "a twin has nothing of its own to recommend"
    again = bench.run(FakeLauncher(), resume=True, slos=["ttft_p99_ms<=5000"], **TWICE)
    assert again.windows == 0 and len(bench.trials()) == 8


@pytest.mark.slow
def test_a_twin_of_what_failed_has_no_value_and_one_that_was_left_is_settled_on_resuming(bench: Workbench) -> None:
    def stopped(item: Configuration, _nth: int, result: WindowResult) -> WindowResult:
        if item.max_num_batched_tokens == 256:
            raise KeyboardInterrupt
        raise crash()

    with pytest.raises(Interrupted):
        bench.run(FakeLauncher(on_measure=stopped), **TWICE)
    outcome = bench.run(
        FakeLauncher(on_measure=lambda item, nth, result: stopped(item, nth, result) if item.max_num_batched_tokens == 128 else result),
        resume=True,
        **TWICE,
    )
    assert outcome.study.state is StudyState.COMPLETE
    twins = [trial for trial in bench.trials() if "twin_of" in trial.notes]
    assert {(trial.max_num_batched_tokens, trial.state) for trial in twins} == {(128, TrialState.PRUNED), (256, TrialState.COMPLETE)}
    assert all("the same in effect as trial" in trial.notes["skipped"] for trial in twins if trial.state is TrialState.PRUNED)


@pytest.mark.slow
def test_samplers_are_told_what_a_twin_is_worth(bench: Workbench) -> None:
    launcher = FakeLauncher()
    bench.run(launcher, sampler="ordinal", trials=8, **TWICE)
    assert len(bench.trials()) == 8 and len({(item.max_num_batched_tokens, item.factors) for item in launcher.measured}) == 3


@pytest.mark.slow
def test_a_warm_start_finds_what_is_the_same_under_another_spelling(bench: Workbench) -> None:
    bench.run(FakeLauncher(), study="plain", max_num_seqs=16, arms=["default"])
    bench.run(FakeLauncher(), study="other", factors={"max_num_seqs": [16], THRESHOLD: [0, 64]}, arms=["default"])
    setup = prepare_study(config_of(factors={"max_num_seqs": [8, 16], THRESHOLD: ["unset", 64]}, arms=["default"]))
    plain, other = load_earlier(bench.storage, setup, ["plain", "other"])
    assert {dict(item.configuration.factors)[THRESHOLD] for item in plain.observations} == {"unset"}
    assert len(plain.observations) == 4 and all(dict(item.configuration.factors)["max_num_seqs"] == 16 for item in plain.observations)
    assert len(other.observations) == 8 and all(item.configuration in setup.space for item in other.observations)
    narrow = prepare_study(config_of(arms=["default"], max_num_seqs=16))
    (found,) = load_earlier(bench.storage, narrow, ["other"])
    assert len(found.observations) == 0, "which threshold a study without that factor has is not known to it"
