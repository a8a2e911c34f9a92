from __future__ import annotations

import numpy as np
import pytest

from tests.tuner.foresight.tables import decodes, product_of, real_table
from tuner.foresight.layer_table import read_layer_table
from tuner.foresight.operations import elementwise, matmul
from tuner.foresight.step_time import fit_step_times, kinds_left_out, ranges_left_out

PRODUCTS = [product_of("q_proj", 4096, 4096), product_of("gate_proj", 4096, 14336), product_of("down_proj", 14336, 4096)]


@pytest.mark.slow
def test_a_kind_that_was_never_measured_is_predicted_from_its_family() -> None:
    found = fit_step_times("chip", "planted", PRODUCTS)
    operation = matmul("qkv_proj", 300, 4096, 6144)
    true = product_of("qkv_proj", 4096, 6144)
    expected = np.interp(300, true.tokens, true.seconds)
    assert found.step([operation]).seconds == pytest.approx(expected, rel=0.03)


@pytest.mark.slow
def test_a_kind_in_another_shape_is_not_taken_for_the_measured_one() -> None:
    slow = product_of("q_proj", 4096, 4096)
    slow = type(slow)(slow.kind, slow.family, slow.shape, slow.tokens, slow.terms, 3 * slow.seconds)
    found = fit_step_times("chip", "planted", [slow, *PRODUCTS[1:], product_of("o_proj", 4096, 4096)])
    assert found.of(matmul("q_proj", 64, 4096, 4096)) is found.kinds["q_proj"][1]
    assert found.of(matmul("q_proj", 64, 2048, 2048)) is found.families["matmul"]


@pytest.mark.slow
def test_what_has_no_relative_in_the_table_has_no_prediction_and_is_named() -> None:
    found = fit_step_times("chip", "planted", PRODUCTS)
    both = found.step([matmul("q_proj", 64, 4096, 4096), elementwise("rope", 64, 4096)])
    assert both.missing == ("rope",)
    assert both.seconds == found.step([matmul("q_proj", 64, 4096, 4096)]).seconds
    assert kinds_left_out([decodes(), *PRODUCTS])[0].ratios is None


@pytest.mark.slow
def test_a_step_of_many_layers_is_the_sum_of_its_layers() -> None:
    found = fit_step_times("chip", "planted", [*PRODUCTS, decodes()])
    once, often = (found.step([matmul("q_proj", 64, 4096, 4096, times=times)]) for times in (1, 36))
    assert often.seconds == pytest.approx(36 * once.seconds)
    assert often.low <= often.seconds <= often.high


@pytest.mark.slow
def test_intervals_hold_what_was_held_out_of_a_noisy_table() -> None:
    noisy = [product_of(name, *shape, noise=0.1, seed=seed) for seed, (name, shape) in enumerate(SHAPES.items())]
    folds = kinds_left_out(noisy)
    assert len(folds) == len(SHAPES)
    assert np.mean([fold.inside.mean() for fold in folds]) >= 0.9
    assert all(fold.median_error < 0.15 for fold in folds)


SHAPES = {"q_proj": (4096, 4096), "k_proj": (4096, 1024), "gate_proj": (4096, 14336), "down_proj": (14336, 4096), "lm_head": (4096, 32000)}


@pytest.mark.slow
def test_every_range_of_tokens_is_held_out_once() -> None:
    item = PRODUCTS[0]
    folds = ranges_left_out([item])
    assert [fold.what for fold in folds] == ["1 to 31", "32 to 127", "128 to 511", "512 to 1023", "1024 and more"]
    assert sum(fold.points for fold in folds) == len(item.seconds)


@pytest.mark.slow
def test_the_measured_v6e_table_is_predicted_as_docs_foresight_says() -> None:
    """By how much, `python -m bench.step_time` prints."""
    table, _ = read_layer_table(real_table())
    products = [fold for fold in kinds_left_out(table) if fold.kind in ("q_proj", "gate_proj", "up_proj", "down_proj", "lm_head")]
    assert max(fold.median_error for fold in products) <= 0.15
    ranges = [fold for fold in ranges_left_out(table) if fold.ratios is not None]
    pooled = np.concatenate([fold.ratios for fold in ranges if fold.ratios is not None])
    assert np.median(np.abs(1 / pooled - 1)) <= 0.15
    assert np.concatenate([fold.inside for fold in ranges if fold.band is not None]).mean() >= 0.9
