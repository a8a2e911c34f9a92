"""Page-aligned against default, from an exported CSV and nothing but the standard library.

tuner export STUDY --output study.csv
python analyse_csv.py study.csv output_token_throughput

A pair is one round of one cell: the ratio of its two windows. For each cell it prints the geometric mean of the ratios and how far single
ratios spread. Intervals and verdicts, corrected for interim analyses, come from `tuner compare STUDY`; this is for questions of your own.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
from collections.abc import Iterable, Mapping

Cell = tuple[int, int]  # page size, chunk budget, in tokens


def log_ratios(rows: Iterable[Mapping[str, str]], metric: str) -> dict[Cell, list[float]]:
    """log(page_aligned / default) of each round of the search in which both arms have a valid window. Raises KeyError: no such metric."""
    windows: dict[tuple[Cell, str], dict[str, float]] = {}
    for row in rows:
        if row["stage"] != "search" or row["valid"] != "1" or not row[metric]:
            continue
        cell = (int(row["block_size"]), int(row["max_num_batched_tokens"]))
        windows.setdefault((cell, row["round"]), {})[row["arm"]] = float(row[metric])
    found: dict[Cell, list[float]] = {}
    for (cell, _round), values in windows.items():
        if {"default", "page_aligned"} <= values.keys():
            found.setdefault(cell, []).append(math.log(values["page_aligned"] / values["default"]))
    return found


def main(path: str, metric: str) -> None:
    with open(path, newline="") as file:  # noqa: PTH123
        cells = log_ratios(csv.DictReader(file), metric)
    if not cells:
        sys.exit(f"{path} holds no pair with {metric}")
    print(f"{metric}, page_aligned / default\n{'page':>6} {'budget':>6} {'pairs':>5} {'ratio':>7} {'spread':>7}")
    for (page, budget), logs in sorted(cells.items()):
        spread = f"{statistics.stdev(logs):7.3f}" if len(logs) > 1 else f"{'':>7}"
        print(f"{page:>6} {budget:>6} {len(logs):>5} {math.exp(statistics.fmean(logs)):>7.3f} {spread}")


if __name__ == "__main__":
    main(*sys.argv[1:])
