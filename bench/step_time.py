"""How well step times of a TPU are predicted: each kind of layer, and each range of tokens, is left out of the fit in turn.

    python -m bench.step_time [--table ../shared/data/tables/tpu_v6e1_layers]
    python -m bench.step_time --storage sqlite:///tuner.db --study NAME      # the same for an engine's own mean steps, any device

Printed for each: the median absolute error (of prediction / measurement - 1) beside the roofline's alone, and how many of the held-out
points lie in the 90 % interval. `--write` prints what tuner/foresight/fitted.py keeps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from storage.upgrade import open_storage
from tuner.core.defaults import DEFAULT_STORAGE
from tuner.foresight.engine_windows import window_table
from tuner.foresight.fitted import FITTED
from tuner.foresight.layer_table import PEAK_BYTES, PEAK_FLOPS, anomalies, read_layer_table
from tuner.foresight.operations import MATMUL
from tuner.foresight.step_time import Band, Fitted, HeldOut, Measured, StepTimes, fit_step_times, kinds_left_out, ranges_left_out

TABLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables" / "tpu_v6e1_layers"
CHIP, SOURCE = "TPU v6e", "Llama-3.1-8B on one v6e (casys-kaist/LLMServingSim@5daddb21)"


@dataclass(frozen=True)
class Row:
    """Errors and coverage are fractions; None: no prediction, or nothing to compare with."""

    left_out: str
    points: int
    error: float | None
    roofline: float | None
    inside: float | None


def rows_of(folds: Sequence[HeldOut], table: Sequence[Measured]) -> list[Row]:
    """One row a kind, over all of its folds, and one for all points that have a prediction."""
    by_kind = {item.kind: item for item in table}
    found = []
    for kind in by_kind:
        mine = [fold for fold in folds if fold.kind == kind]
        found.append(_row(kind, mine, [by_kind[kind]]))
    predicted = [fold for fold in folds if fold.ratios is not None]
    for name, family in (("all that have a prediction", None), ("of these the matrix products", MATMUL)):
        some = [fold for fold in predicted if family in (None, by_kind[fold.kind].family)]
        found.append(_row(name, some, [item for item in table if any(fold.kind == item.kind for fold in some)]))
    return found


def _row(name: str, folds: Sequence[HeldOut], items: Sequence[Measured]) -> Row:
    points = sum(fold.points for fold in folds)
    ratios = [fold.ratios for fold in folds if fold.ratios is not None]
    inside = [fold.inside for fold in folds if fold.ratios is not None and fold.band is not None]
    bounds = [_roofline_errors(item) for item in items if item.family == MATMUL]
    return Row(
        name,
        points,
        float(np.median(np.abs(1 / np.concatenate(ratios) - 1))) if ratios else None,
        float(np.median(np.concatenate(bounds))) if len(bounds) == len(items) else None,
        float(np.concatenate(inside).mean()) if inside else None,
    )


def _roofline_errors(item: Measured) -> np.ndarray:
    return np.abs(np.maximum(item.terms[:, 0] / PEAK_FLOPS, item.terms[:, 1] / PEAK_BYTES) / item.seconds - 1)


def rounded(found: StepTimes) -> StepTimes:
    """To four digits: no fit is better than that."""

    def short(value: float) -> float:
        return float(f"{value:.4g}")

    def shortened(item: Fitted) -> Fitted:
        weights = tuple(map(short, item.curve.weights))
        return replace(item, curve=replace(item.curve, weights=weights), band=Band(short(item.band.low), short(item.band.high)))

    kinds = {kind: (shape, shortened(item)) for kind, (shape, item) in found.kinds.items()}
    return replace(found, kinds=kinds, families={name: shortened(item) for name, item in found.families.items()})


def print_table(title: str, rows: Sequence[Row]) -> None:
    print(f"\n{title}\n")
    print("| left out | points | median error | roofline alone | inside the 90 % interval |")
    print("|---|---|---|---|---|")
    for row in rows:
        cells = ("no prediction" if row.error is None else f"{row.error:.1%}", _share(row.roofline), _share(row.inside))
        print(f"| {row.left_out} | {row.points:,} | {' | '.join(cells)} |")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def measured_study(url: str, name: str) -> list[Measured]:
    """The mean steps of a study's valid windows, by configuration."""
    storage = open_storage(url, create=False, read_only=True)
    try:
        study = storage.get_study(name)
        trials = {trial.id: trial for trial in storage.list_trials(study.id)}
        windows = [item for item in storage.list_measurements(study_id=study.id) if item.valid]
    finally:
        storage.close()
    places = ((trials[item.trial_id], item.metrics) for item in windows)
    return window_table((f"p{trial.block_size} b{trial.max_num_batched_tokens} {trial.arm}", metrics) for trial, metrics in places)


def print_study(table: Sequence[Measured]) -> None:
    folds = kinds_left_out(table)
    print("\nOne configuration left out: its mean step predicted from the other configurations' windows\n")
    print("| left out | windows | measured, ms | predicted, ms | median error | inside the 90 % interval |")
    print("|---|---|---|---|---|---|")
    for item, fold in zip(table, folds, strict=True):
        assert fold.ratios is not None
        measured = 1000 * float(np.median(item.seconds))
        predicted = 1000 * float(np.median(item.seconds / fold.ratios))
        share = _share(None if fold.band is None else float(fold.inside.mean()))
        print(f"| {fold.kind} | {fold.points} | {measured:.2f} | {predicted:.2f} | {fold.median_error:.1%} | {share} |")
    ratios = np.concatenate([fold.ratios for fold in folds if fold.ratios is not None])
    inside = np.concatenate([fold.inside for fold in folds if fold.band is not None])
    print(f"\nall {len(ratios)} windows: median error {np.median(np.abs(1 / ratios - 1)):.1%}, inside {inside.mean():.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--write", action="store_true", help="print the fitted coefficients instead")
    parser.add_argument("--storage", help="database of --study")
    parser.add_argument("--study", help="leave each configuration of this measured study out, instead of the table's layers")
    args = parser.parse_args()
    if args.study is not None:
        print_study(measured_study(args.storage or DEFAULT_STORAGE, args.study))
        return
    table, few = read_layer_table(args.table)
    if args.write:
        print(f"{CHIP.rpartition(' ')[2].upper()} = {rounded(fit_step_times(CHIP, SOURCE, table))!r}")
        return
    print_table("One kind of layer left out: predicted from the other kinds of its family", rows_of(kinds_left_out(table), table))
    print_table("One range of tokens left out: predicted from the rest of that kind", rows_of(ranges_left_out(table), table))
    print("\nNot smoothed over:\n")
    for line in (*few, *anomalies(table)):
        print(f"- {line}")
    if rounded(fit_step_times(CHIP, SOURCE, table)) != FITTED[CHIP]:
        print("\ntuner/foresight/fitted.py holds other numbers than this table gives: --write")


if __name__ == "__main__":
    main()
