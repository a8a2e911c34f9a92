from __future__ import annotations

import pytest

from tests.tuner.foresight.tables import real_table
from tuner.core.errors import BadInput
from tuner.foresight.fitted import FITTED, V6E, step_times_for
from tuner.foresight.layer_table import read_layer_table
from tuner.foresight.step_time import fit_step_times


@pytest.mark.parametrize("chip", ["TPU v5e", "TPU v5p", "TPU v7x", "TPU v4"])
def test_a_chip_without_data_has_no_prediction(chip: str) -> None:
    with pytest.raises(BadInput, match=rf"accelerator {chip} has no prediction: .* --borrow v6e"):
        step_times_for(chip)


def test_another_chips_times_are_borrowed_only_when_asked() -> None:
    assert step_times_for("TPU v5e", borrow="v6e") is V6E
    assert step_times_for("TPU v6e") is V6E
    with pytest.raises(BadInput, match="borrow v5p has no prediction"):
        step_times_for("TPU v6e", borrow="v5p")
    with pytest.raises(BadInput, match="'v9'"):
        step_times_for("TPU v6e", borrow="v9")


@pytest.mark.slow
def test_what_is_kept_is_what_the_table_gives() -> None:
    table, _ = read_layer_table(real_table())
    anew = fit_step_times(V6E.chip, V6E.source, table)
    assert anew.kinds.keys() == V6E.kinds.keys()
    for kept, made in [*((V6E.kinds[kind][1], item) for kind, (_, item) in anew.kinds.items())] + [
        (V6E.families[name], item) for name, item in anew.families.items()
    ]:
        assert kept.curve.weights == pytest.approx(made.curve.weights, rel=2e-3), "python -m bench.step_time --write"
        assert (kept.band.low, kept.band.high) == pytest.approx((made.band.low, made.band.high), rel=2e-3)
    assert FITTED == {"TPU v6e": V6E}
