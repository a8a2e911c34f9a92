"""A search space whose best configuration is known."""

from __future__ import annotations

from typing import Any

from tests.tuner.workbench import Workbench, configuration_of
from tuner.setup.space import Configuration

SPACE: dict[str, Any] = {
    "page_sizes": [16, 32, 64, 128],
    "chunk_budgets": [128, 256, 512, 1024],
    "arms": ["default"],
    "rounds": 2,
}
BEST = Configuration(64, 512, "default")


def value(configuration: Configuration) -> float:
    """Best at page size 64 and budget 512."""
    page, budget = configuration.block_size.bit_length() - 7, configuration.max_num_batched_tokens.bit_length() - 10
    return 1000.0 - 50 * page**2 - 30 * budget**2


def measured(bench: Workbench, study: str) -> list[Configuration]:
    """The configurations of its search, in order."""
    return [configuration_of(trial) for trial in bench.trials(study=study)]
