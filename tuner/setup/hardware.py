"""What a TPU holds: memory limits per generation, each number with its source. Pure; nothing is asked of a device.

Sources, read in November 2026:
- HBM per JAX device: tpu_inference 0.32.0, `utils.get_device_hbm_limit`; v4, v5e, v5p, v6e and 7x agree with the package tpu_info 0.7.1
  (`TpuChip`: GiB per chip and devices per chip).
- Usable HBM: what the compiler of libtpu 0.0.48 lets a program have (docs/foresight.md); 8i, which that one does not know, as if all.
- VMEM, SMEM and TensorCores: JAX 0.11.2, `jax._src.tpu_info` (per TensorCore; docs.jax.dev/en/latest/pallas/tpu/hardware.html).
- Slices: the chips of a Pod, from Cloud's page of each generation (docs.cloud.google.com/tpu/docs), for 8i Google's announcement of April
  2026; tori of three dimensions are made of cubes of 4x4x4 chips. Every power of two counts as a slice, since an engine can be given two
  of a host's four chips.
- Names: `chip_version_from_device_kind` there, and Cloud's accelerator types ("v5litepod-8").

v2 and v3 (16 KiB of SMEM) and 8t are missing because tpu_inference has no HBM limit for them and refuses to run.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from tuner.core.errors import BadInput

KIB, MIB, GIB = 1024, 1024**2, 1024**3


@dataclass(frozen=True)
class Limits:
    """One TPU generation. A JAX device is what tensor parallelism counts: a whole chip up to v6e, half a chip (one core) from 7x on."""

    name: str
    hbm_bytes: int  # per JAX device
    vmem_bytes: int  # per TensorCore
    smem_bytes: int  # per TensorCore
    cores_per_chip: int  # TensorCores
    devices_per_chip: int  # JAX devices
    usable_hbm_bytes: int  # per JAX device: the rest is the runtime's own


_GENERATIONS = (
    Limits("TPU v4", 32 * GIB, 16 * MIB, 1024 * KIB, 2, 1, usable_hbm_bytes=int(30.5 * GIB)),
    Limits("TPU v5e", 16 * GIB, 128 * MIB, 1024 * KIB, 1, 1, usable_hbm_bytes=int(15.75 * GIB)),
    Limits("TPU v5p", 95 * GIB, 64 * MIB, 1024 * KIB, 2, 1, usable_hbm_bytes=int(95.73 * GIB)),
    Limits("TPU v6e", 32 * GIB, 128 * MIB, 1024 * KIB, 1, 1, usable_hbm_bytes=int(31.24 * GIB)),
    Limits("TPU v7x", 96 * GIB, 64 * MIB, 1024 * KIB, 2, 2, usable_hbm_bytes=int(94.74 * GIB)),
    Limits("TPU v8i", 144 * GIB, 192 * MIB, 1024 * KIB, 2, 2, usable_hbm_bytes=144 * GIB),
)
TPU_LIMITS = {limits.name: limits for limits in _GENERATIONS}

# The part of a name after "TPU", in lower case -> generation.
_ALIASES = {
    "v4": "TPU v4",
    "v5e": "TPU v5e",
    "v5 lite": "TPU v5e",
    "v5litepod": "TPU v5e",
    "v5": "TPU v5p",
    "v5p": "TPU v5p",
    "v6e": "TPU v6e",
    "v6 lite": "TPU v6e",
    "trillium": "TPU v6e",
    "7": "TPU v7x",
    "7x": "TPU v7x",
    "v7": "TPU v7x",
    "v7x": "TPU v7x",
    "ironwood": "TPU v7x",
    "8i": "TPU v8i",
    "v8i": "TPU v8i",
}
_WITHOUT_LIMITS = ("cpu", "gpu", "cuda", "rocm", "nvidia", "amd ")
_COUNT = re.compile(r"-[0-9]{1,9}(x[0-9]{1,9})*$")  # "-4" devices, or a topology "-2x4"


def accelerator_limits(name: str) -> Limits | None:
    """The limits of an accelerator by JAX's device kind, our own name for it ("TPU v6e-4") or Cloud's type ("v5litepod-8").

    None for CPUs and GPUs, which have no such limits here. Raises BadInput for any other name: an unknown chip never gets another chip's
    limits.
    """
    plain = " ".join(name.lower().split())
    if plain.startswith(_WITHOUT_LIMITS):
        return None
    kind = _COUNT.sub("", plain).removeprefix("tpu").strip()
    if kind not in _ALIASES:
        raise BadInput(f"accelerator {name!r} is unknown; known are {', '.join(TPU_LIMITS)}, and any CPU or GPU by its name")
    return TPU_LIMITS[_ALIASES[kind]]


_LARGEST_SLICE = {"TPU v4": 4096, "TPU v5e": 256, "TPU v5p": 8960, "TPU v6e": 256, "TPU v7x": 9216, "TPU v8i": 1152}  # chips
_FLAT = ("TPU v5e", "TPU v6e")  # tori of two dimensions
_CUBE = 64  # chips
_ASKED_COUNT = re.compile(r"[1-9][0-9]*(x[1-9][0-9]*)*")


def named_limits(name: str, setting: str = "accelerator") -> Limits | None:
    """accelerator_limits of what a user names in `setting`, where a count that no slice of that generation has is refused, too. What is
    stored, or what JAX says, is not asked for its count: anything may have run there. Raises BadInput."""
    kind, dash, count = " ".join(name.lower().split()).partition("-")
    if not dash or kind.removeprefix("tpu").strip() not in _ALIASES:
        return accelerator_limits(name)
    limits = TPU_LIMITS[_ALIASES[kind.removeprefix("tpu").strip()]]
    most = _LARGEST_SLICE[limits.name] * limits.cores_per_chip
    if (
        len(count) <= _LONGEST_COUNT
        and _ASKED_COUNT.fullmatch(count)
        and _is_slice(limits.name, math.prod(map(int, count.split("x"))), most)
    ):
        return limits
    counts = f"a power of two up to {most}" if limits.name in _FLAT else f"a power of two, or a multiple of {_CUBE} up to {most}"
    raise BadInput(
        f"names no slice of a {limits.name}",
        setting=setting,
        value=repr(name[:60]),
        fix=f"end it in {counts}, for instance {limits.name.removeprefix('TPU ')}-8",
    )


_LONGEST_COUNT = 20  # characters


def _is_slice(name: str, count: int, most: int) -> bool:
    """`count`: of chips, devices or TensorCores, whichever the name counts."""
    return count <= most and (count & (count - 1) == 0 or (name not in _FLAT and count % _CUBE == 0))


@dataclass(frozen=True)
class Hardware:
    """An accelerator by which stored results are found: a TPU's generation, or the full name of anything else. `device_count`: JAX devices;
    None: not known."""

    name: str
    device_count: int | None

    @property
    def is_one_machine(self) -> bool:
        """Whether the number of devices is known; for anything but a TPU the full name is enough."""
        return self.device_count is not None or self.name not in TPU_LIMITS


_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


_MOST_DEVICES = 65_536


@lru_cache
def hardware_of(name: str, device_count: int | None = None) -> Hardware:
    """Hardware from any spelling of its name. `device_count` goes before a count in the name; a chip that is not known keeps its name.

    "TPU v6e-4" and "v5litepod-8" hold JAX devices, a topology ("-2x4") chips. Cloud's "v4-8" and "v5p-8" count TensorCores: such a count is
    not taken, since ours ("TPU v5p-8") look alike.
    """
    try:
        limits = accelerator_limits(name)
    except BadInput:
        limits = None
    if limits is None:
        return Hardware(name, device_count)
    plain = " ".join(name.lower().split())
    found = _COUNT.search(plain)
    if device_count is None and found is not None:
        sizes = [int(part) for part in found.group()[1:].split("x")]
        if math.prod(sizes) > _MOST_DEVICES:
            return Hardware(name, None)  # of no machine
        if len(sizes) > 1:
            device_count = math.prod(sizes) * limits.devices_per_chip
        elif plain.startswith("tpu") or limits.cores_per_chip == 1:
            device_count = sizes[0]
    return Hardware(limits.name, device_count)


def spellings(hardware: Hardware) -> tuple[str, ...]:
    """All names under which results of this hardware may be stored: JAX's device kinds, with and without the count."""
    if hardware.name not in TPU_LIMITS:
        return (hardware.name,)
    kinds = [f"{prefix}{alias}" for alias, name in _ALIASES.items() if name == hardware.name for prefix in ("TPU ", "TPU")]
    counts = _COUNTS if hardware.device_count is None else (hardware.device_count,)
    return tuple(f"{kind}{suffix}" for kind in kinds for suffix in ("", *(f"-{count}" for count in counts)))
