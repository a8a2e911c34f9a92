"""Roofline rates: FLOP/s and HBM bytes/s of each category, as work by XLA's cost model divided by the time that the category took.

The estimates are XLA's: a custom kernel counts only where it declares its cost, and attention over a padded batch counts the padding. The
peak FLOP/s is that of the chip's fastest number format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.classify import CATEGORIES
from profiles.timeline import Peaks


@dataclass(frozen=True)
class Rates:
    """`work` [2, categories, steps]: floating point operations and bytes in HBM, see Steps.work."""

    work: NDArray[np.float64]
    peaks: Peaks

    def of(self, mask: NDArray[np.bool_], mean_ms: Mapping[str, float]) -> dict[str, dict[str, Any]]:
        """{category: its rates over the steps in `mask`, and what fraction of the device's peak they are (None where unknown)}.

        Categories without work are left out. `mean_ms` is the categories' mean time over those steps.
        """
        flops, hbm_bytes = self.work[:, :, mask].mean(axis=2).tolist()
        found = {}
        for index, category in enumerate(CATEGORIES):
            seconds = mean_ms[category] / 1e3
            if seconds > 0 and (flops[index] or hbm_bytes[index]):
                rates = flops[index] / seconds / 1e12, hbm_bytes[index] / seconds / 1e9
                found[str(category)] = {
                    "tflops_per_s": rates[0],
                    "hbm_gb_per_s": rates[1],
                    "of_peak_flops": rates[0] / self.peaks.tflops_per_s if self.peaks.tflops_per_s else None,
                    "of_peak_hbm": rates[1] / self.peaks.hbm_gb_per_s if self.peaks.hbm_gb_per_s else None,
                }
        return found
