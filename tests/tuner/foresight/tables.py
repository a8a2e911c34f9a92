"""Tables of operations whose times are known, and the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.shared_data import shared_data
from tuner.foresight.curve import ROOFLINE, Curve
from tuner.foresight.operations import MATMUL, decode, matmul
from tuner.foresight.step_time import Measured

TOKENS = np.unique(np.geomspace(1, 2048, 120).astype(int)).astype(float)


def real_table() -> Path:
    """The folder, or a skip."""
    return shared_data("tables/tpu_v6e1_layers/layers.csv").parent


def product_of(kind: str, width_in: int, width_out: int, noise: float = 0.0, seed: int = 0) -> Measured:
    """A matrix product on a chip of 600 TFLOP/s and 1.5 TB/s; `noise`: standard deviation of the log times."""
    terms = np.array([matmul(kind, int(tokens), width_in, width_out).terms for tokens in TOKENS])
    factors = np.exp(np.random.default_rng(seed).normal(0, noise, len(TOKENS)))
    return Measured(kind, MATMUL, (width_in, width_out), TOKENS, terms, Curve(ROOFLINE, (4e-6, 6e14, 1.5e12, 2.0)).seconds(terms) * factors)


def decodes() -> Measured:
    requests = np.arange(1, 129, dtype=float)
    operations = [decode((32, 8, 128), int(count), int(count) * 512) for count in requests]
    terms = np.array([operation.terms for operation in operations])
    return Measured(operations[0].kind, operations[0].family, (32, 8, 128), requests, terms, terms @ np.array([5e-6, 2e-6, 8e-9]))
