from __future__ import annotations

import math
from statistics import fmean

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, IntDistribution

from tests.quick import examples
from tests.shared_data import shared_data
from tuner.core.errors import BadInput, FailureClass
from tuner.launchers.measured_table import MeasuredTable, Noise, TablePoint, Value
from tuner.launchers.table_files import load_table
from tuner.metrics.catalog import Direction


def _table() -> MeasuredTable:
    samples = {("a", 1): (10.0, 12.0), ("a", 2): (20.0, 22.0), ("a", 4): (15.0, 15.0), ("b", 1): (5.0, 7.0), ("b", 2): (30.0, 10.0)}
    working = [TablePoint({"kind": kind, "size": size}, {"speed": values}) for (kind, size), values in samples.items()]
    failing = TablePoint({"kind": "b", "size": 4}, {}, start_s=2.0, measure_s=0.0, failure=FailureClass.OUT_OF_MEMORY, message="full")
    return MeasuredTable("toy", ("kind", "size"), {"speed": Direction.MAXIMIZE}, (*working, failing))


def test_truth_is_the_mean_and_the_best_is_the_best_of_them() -> None:
    table = _table()
    assert table.truth({"kind": "a", "size": 2}, "speed") == 21.0
    assert table.truth({"kind": "b", "size": 4}, "speed") is None
    assert table.best("speed") == ({"kind": "a", "size": 2}, 21.0)


def test_a_failure_has_a_class_and_a_cost_and_no_value() -> None:
    evaluation = _table().evaluate({"kind": "b", "size": 4}, seed=0)
    assert (evaluation.values, evaluation.cost_s, evaluation.failure, evaluation.message) == ({}, 2.0, FailureClass.OUT_OF_MEMORY, "full")


def test_distributions() -> None:
    assert _table().distributions() == {"kind": CategoricalDistribution(("a", "b")), "size": CategoricalDistribution((1, 2, 4))}
    even = MeasuredTable("even", ("n",), {"v": Direction.MINIMIZE}, tuple(TablePoint({"n": n}, {"v": (1.0,)}) for n in (16, 48, 32)))
    assert even.distributions() == {"n": IntDistribution(16, 48, step=16)}


def test_exact_look_up_or_the_nearest_by_name() -> None:
    table = _table()
    assert table.find({"size": 4.0, "kind": "a"}).samples["speed"] == (15.0, 15.0)
    with pytest.raises(BadInput, match="toy has no configuration kind=a size=3; the nearest is kind=a size="):
        table.find({"kind": "a", "size": 3})
    with pytest.raises(BadInput, match="the nearest is kind=b size=4"):
        table.find({"kind": "b", "size": 100})
    with pytest.raises(BadInput, match="parameter 'size' is missing or unknown; give exactly kind, size"):
        table.find({"kind": "a"})
    with pytest.raises(BadInput, match="has no metric 'weight'; use one of speed"):
        table.best("weight")
    assert not table.contains({"kind": "c", "size": 1})
    assert table.contains({"kind": "a", "size": 1})


def test_a_table_without_a_success_has_no_best() -> None:
    failing = TablePoint({"n": 1}, {}, failure=FailureClass.TIMEOUT)
    with pytest.raises(BadInput, match="every configuration fails"):
        MeasuredTable("bad", ("n",), {"v": Direction.MINIMIZE}, (failing,)).best("v")


@examples(50)
@given(seed=st.integers(0, 2**40), sigma=st.floats(0, 0.2), kind=st.sampled_from(["none", "resample", "multiplicative"]))
def test_an_evaluation_depends_on_its_seed_and_nothing_else(seed: int, sigma: float, kind: str) -> None:
    noise = Noise(kind, sigma)  # type: ignore[arg-type]
    params: dict[str, Value] = {"kind": "b", "size": 2}
    table = _table()
    first = table.evaluate(params, seed, noise)
    table.evaluate({"kind": "a", "size": 1}, seed, noise)
    assert table.evaluate(params, seed, noise) == first == _table().evaluate(params, seed, noise)
    assert first.cost_s == 1.0
    if kind == "resample":
        assert first.values["speed"] in (30.0, 10.0)
    if kind == "none" or (kind == "multiplicative" and sigma == 0):
        assert first.values["speed"] == pytest.approx(20.0)


@pytest.mark.slow
def test_noise_keeps_the_mean_and_has_the_asked_spread() -> None:
    table = _table()
    params: dict[str, Value] = {"kind": "a", "size": 4}
    values = [table.evaluate(params, seed, Noise("multiplicative", 0.05)).values["speed"] / 15 for seed in range(2000)]
    assert fmean(values) == pytest.approx(1.0, abs=0.005)
    assert fmean((value - 1) ** 2 for value in values) ** 0.5 == pytest.approx(0.05, rel=0.1)
    drawn = [table.evaluate({"kind": "b", "size": 2}, seed, Noise("resample")).values["speed"] for seed in range(1000)]
    assert fmean(drawn) == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
def test_nonsense_noise_is_refused(sigma: float) -> None:
    with pytest.raises(BadInput, match="noise sigma"):
        Noise("multiplicative", sigma)


def test_two_rows_for_one_configuration_are_refused() -> None:
    row = TablePoint({"n": 1}, {"v": (1.0,)})
    with pytest.raises(ValueError, match="there twice"):
        MeasuredTable("bad", ("n",), {"v": Direction.MINIMIZE}, (row, row))


@pytest.mark.parametrize(("name", "points", "parameters"), [("SS-C", 1512, 3), ("SS-D", 196, 3), ("SS-I", 1080, 5)])
def test_the_real_moot_grids_are_complete(name: str, points: int, parameters: int) -> None:
    table = load_table(shared_data(f"search/moot/{name}.csv"))
    assert len(table.configurations) == points == math.prod(len(table.values_of(parameter)) for parameter in table.parameters)
    assert len(table.parameters) == parameters
    assert table.directions == {"Throughput": Direction.MAXIMIZE, "Latency": Direction.MINIMIZE}
    params, best = table.best("Throughput")
    assert best == max(configuration.samples["Throughput"][0] for configuration in table.configurations)
    assert table.truth(params, "Throughput") == best


@pytest.mark.slow
def test_the_real_benchmark_hub_table() -> None:
    table = load_table(shared_data("search/benchmark_hub/convolution_milo__A100.json.gz"))
    assert len(table.configurations) == 4362
    failures = [configuration.failure for configuration in table.configurations if configuration.failure]
    assert len(failures) == 161
    assert failures.count(FailureClass.COMPILE_ERROR) == 6
    params, best = table.best("time")
    assert best == pytest.approx(0.5536000076681376)
    repeats = table.find(params).samples["time"]
    assert len(repeats) == 32
    assert {table.evaluate(params, seed, Noise("resample")).values["time"] for seed in range(50)} <= set(repeats)
    assert table.find(params).start_s > 0.5
    assert table.evaluate(params, 0).cost_s > table.find(params).start_s


def test_optuna_searches_a_table() -> None:
    table = load_table(shared_data("search/moot/SS-D.csv"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        trial = study.ask(table.distributions())
        study.tell(trial, table.evaluate(trial.params, trial.number).values["Throughput"])
    found = table.truth(study.best_params, "Throughput")
    assert found is not None and found > 0.5 * table.best("Throughput")[1]
