"""The TPU that is compiled for: what people call it, and the topology that libtpu knows it by. Pure.

Topologies, tried with libtpu 0.0.48: a host has 2x2 chips, so a single chip is one device of such a host (1x1 is refused). Not here:
v4, whose two cores the engine runs as one device but a topology shows as two, and 8i, which this libtpu does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner.core.errors import BadInput
from tuner.setup.hardware import Limits, hardware_of, named_limits

# Generation -> libtpu's name, the name in TPU_ACCELERATOR_TYPE, what that counts per chip, and chips -> shape.
_FLAT = {4: "2x2", 8: "2x4", 16: "4x4"}
_TOPOLOGIES = {
    "TPU v5e": ("v5e", "v5litepod", 1, _FLAT),
    "TPU v5p": ("v5p", "v5p", 2, {4: "2x2x1", 8: "2x2x2"}),
    "TPU v6e": ("v6e", "v6e", 1, _FLAT),
    "TPU v7x": ("tpu7x", "tpu7x", 2, {4: "2x2x1", 8: "2x2x2"}),
}


@dataclass(frozen=True)
class Target:
    """`name`: what the user called it. `devices`: JAX devices that the user has of it; the topology may hold more."""

    name: str
    chip: str  # tuner.setup.hardware.Limits.name
    devices: int
    topology: str  # libtpu's name
    accelerator_type: str  # as in TPU_ACCELERATOR_TYPE


def target_of(name: str, tensor_parallel_size: int) -> Target:
    """From any spelling, such as v6e-4, "TPU v6 lite" or v5p-8 (Cloud counts TensorCores there); without a count: as many devices as the
    engine needs. Raises BadInput for what is no TPU, is not known here, or has fewer devices."""
    limits = named_limits(name)
    if limits is None:
        raise BadInput("is no TPU", setting="accelerator", value=name, fix="use for instance v5e-1, v6e-4 or 7x-8")
    if limits.name not in _TOPOLOGIES:
        raise BadInput(
            f"cannot be compiled for: libtpu has no topology of a {limits.name} as the engine sees it",
            setting="accelerator",
            value=name,
            fix=f"use one of {', '.join(chip.removeprefix('TPU ') for chip in _TOPOLOGIES)}",
        )
    prefix, kind, counted, shapes = _TOPOLOGIES[limits.name]
    count = devices_in(name, limits) or tensor_parallel_size
    if tensor_parallel_size > count:
        raise BadInput(
            f"is above the {count} devices of {name}",
            setting="tensor_parallel_size",
            value=tensor_parallel_size,
            fix="lower it or name a larger accelerator",
        )
    chips = next((size for size in shapes if size * limits.devices_per_chip >= count), None)
    if chips is None:
        largest = max(shapes) * limits.devices_per_chip
        raise BadInput(f"has more than {largest} devices", setting="accelerator", value=name, fix=f"use at most {largest}")
    return Target(name, limits.name, count, f"{prefix}:{shapes[chips]}", f"{kind}-{chips * counted}")


def devices_in(name: str, limits: Limits) -> int | None:
    """JAX devices of a name that named_limits takes; None where it has no count."""
    found = hardware_of(name).device_count
    if found is not None:
        return found
    number = name.rpartition("-")[2]
    return max(1, int(number) // limits.cores_per_chip) * limits.devices_per_chip if number.isdecimal() else None
