"""Comparisons of single cells whose answer is known."""

from __future__ import annotations

import math

from storage.records import Comparison
from tests.storage.builders import a_comparison
from tests.tuner.evidence_builder import answered
from tuner.report.effects import Effects, effects_of

METRIC = "total_token_throughput"


def cell(page: int, budget: int, low: float, high: float, verdict: str) -> Comparison:
    ratio = math.sqrt(low * high)
    place = {"metric": METRIC, "block_size": page, "max_num_batched_tokens": budget, "details": {"log_ratio_sd": 0.002}}
    return a_comparison(1, **place, ratio=ratio, low=low, high=high, verdict=verdict, pairs=9)


def effects(*cells: Comparison) -> Effects:
    return effects_of(answered(cells), METRIC)


BETTER = [cell(page, 256, 1.02, 1.04, "better") for page in (16, 32, 64)]
WORSE = [cell(page, 256, 0.95, 0.97, "worse") for page in (16, 32, 64)]
SAME = [cell(page, 256, 0.999, 1.001, "equivalent") for page in (16, 32, 64)]
