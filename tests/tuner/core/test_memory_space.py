"""Which memory ran out, in the words of those who say so."""

from __future__ import annotations

import pytest

from tuner.core.memory_space import memory_space


@pytest.mark.parametrize(
    ("message", "space"),
    [
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 20.1M of 16.0M", "vmem"),
        ("XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 22.1G of 15.5G hbm.", "hbm"),
        ("RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required (22.12G) exceeds available HBM (15.75G)", "hbm"),
        (
            "Allocation (size=1310720) would exceed memory (size=1048576) :: [shape = 'u8[1310720]', space=smem, size = 0x]",
            "smem",
        ),
        ("Ran out of smem", "smem"),
        ("No available memory for the cache blocks. Try increasing", "hbm"),
        ("the kernel's out-of-memory killer ended the engine process during start", None),
        ("RESOURCE_EXHAUSTED", None),
        ("no space=x here, and a namespace=smem is none", None),
    ],
)
def test_which_memory(message: str, space: str | None) -> None:
    assert memory_space(message) == space
