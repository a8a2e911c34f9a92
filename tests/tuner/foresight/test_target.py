"""Which topology an accelerator's name stands for."""

from __future__ import annotations

import pytest

from tuner.core.errors import BadInput
from tuner.foresight.target import Target, target_of


@pytest.mark.parametrize(
    ("name", "parallel", "expected"),
    [
        ("v6e-1", 1, Target("v6e-1", "TPU v6e", 1, "v6e:2x2", "v6e-4")),
        ("v6e-4", 4, Target("v6e-4", "TPU v6e", 4, "v6e:2x2", "v6e-4")),
        ("v6e-8", 2, Target("v6e-8", "TPU v6e", 8, "v6e:2x4", "v6e-8")),
        ("TPU v6 lite", 8, Target("TPU v6 lite", "TPU v6e", 8, "v6e:2x4", "v6e-8")),
        ("v5litepod-8", 1, Target("v5litepod-8", "TPU v5e", 8, "v5e:2x4", "v5litepod-8")),
        ("v5p-8", 4, Target("v5p-8", "TPU v5p", 4, "v5p:2x2x1", "v5p-8")),  # Cloud counts TensorCores
        ("7x", 2, Target("7x", "TPU v7x", 2, "tpu7x:2x2x1", "tpu7x-8")),
        ("TPU7x-8", 8, Target("TPU7x-8", "TPU v7x", 8, "tpu7x:2x2x1", "tpu7x-8")),
    ],
)
def test_names_and_counts(name: str, parallel: int, expected: Target) -> None:
    assert target_of(name, parallel) == expected


@pytest.mark.parametrize(
    ("name", "parallel", "words"),
    [
        ("v9e-4", 1, "accelerator 'v9e-4' is unknown; known are TPU v4"),
        ("H100", 1, "accelerator 'H100' is unknown"),
        ("cpu x86_64", 1, "accelerator cpu x86_64 is no TPU; use for instance v5e-1"),
        ("v4-8", 1, "accelerator v4-8 cannot be compiled for: libtpu has no topology of a TPU v4"),
        ("8i", 1, "accelerator 8i cannot be compiled for"),
        ("v6e-1", 4, "tensor_parallel_size 4 is above the 1 devices of v6e-1; lower it"),
        ("v6e-0", 1, "accelerator 'v6e-0' names no slice of a TPU v6e; end it in a power of two up to 256"),
        ("v6e-3", 1, "accelerator 'v6e-3' names no slice"),
        ("v5p-0", 1, "accelerator 'v5p-0' names no slice"),
        ("v6e-64", 1, "accelerator v6e-64 has more than 16 devices; use at most 16"),
    ],
)
def test_what_cannot_be_compiled_for(name: str, parallel: int, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        target_of(name, parallel)
    assert words in str(caught.value) and "\n" not in str(caught.value)
