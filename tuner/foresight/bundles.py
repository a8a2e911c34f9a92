"""What libtpu's static bundle profile says of the code of each HLO instruction: bundles by unit. Pure.

A bundle is what a TPU core issues in one cycle. The text (libtpu 0.0.48; undocumented) has blocks, one or more for each instruction,
"HLO: %NAME = ..." and then a line " - LABEL: (USED/SLOTS) - FRACTION" for each unit. What can be used once in each bundle has as many slots
as there are bundles. Counts are static: a loop's body stands once, whatever its trips.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_BLOCK = re.compile(r"^HLO: %?(\S+)")
_COUNT = re.compile(r"^ - (\S[^:]*): \((\d+)/(\d+)\)")
_EVERY_BUNDLE = "VMEM_SPILL_COUNT"  # one slot a bundle
NO_INSTRUCTION = "<no-hlo-instruction>"  # the program's frame: what belongs to no instruction

Counts = dict[str, float]
Used = dict[str, int]  # libtpu's label -> used slots

BUNDLES, MATMULS, SCALAR, SPILLS, FILLS = "bundles", "matmuls", "scalar", "vmem_spills", "vmem_fills"
# Name -> what people call it: what tables and charts show.
COLUMNS = {
    BUNDLES: "bundles",
    MATMULS: "MXU packed",
    "matmuls_unpacked": "MXU unpacked",
    "mxu_pushes": "MXU pushes",
    "vpu": "VPU",
    "eup": "EUP",
    "xlu": "XLU",
    SCALAR: "scalar",
    "loads": "loads",
    "stores": "stores",
    SPILLS: "VMEM spills",
    FILLS: "VMEM fills",
    "smem_spills": "SMEM spills",
    "smem_fills": "SMEM fills",
}
_MATMUL = re.compile(r"MXU_\d+ matmul_(x8_)?packed$")
_UNPACKED = re.compile(r"MXU_\d+ matmul$")
_PUSH = re.compile(r"MXU_\d+ matpush")
_XLU = re.compile(r"XLU_\d+ all")


def _all(pattern: re.Pattern[str]) -> Callable[[Used], int]:
    return lambda used: sum(count for label, count in used.items() if pattern.match(label))


def _one(label: str) -> Callable[[Used], int]:
    return lambda used: used.get(label, 0)


def _without_misc(label: str) -> Callable[[Used], int]:
    """Some chips count stores alone (v5e), others with what else goes through the same slot."""
    return lambda used: used.get(label, max(used.get(f"{label}_AND_MISC", 0) - used.get("VECTOR_MISC", 0), 0))


_NAMED: dict[str, Callable[[Used], int]] = {
    MATMULS: _all(_MATMUL),
    "matmuls_unpacked": _all(_UNPACKED),
    "mxu_pushes": _all(_PUSH),
    "vpu": _one("VECTOR_ALU"),
    "eup": _one("VECTOR_EUP"),
    "xlu": _all(_XLU),
    SCALAR: _one("SCALAR_ALU"),
    "loads": _without_misc("VECTOR_LOAD"),
    "stores": _without_misc("VECTOR_STORE"),
    SPILLS: _one("VMEM_SPILL_COUNT"),
    FILLS: _one("VMEM_FILL_COUNT"),
    "smem_spills": _one("SMEM_SPILL_COUNT"),
    "smem_fills": _one("SMEM_FILL_COUNT"),
}


def parse(texts: Iterable[str]) -> dict[str, Counts]:
    """HLO instruction -> BUNDLES and the other names in COLUMNS -> count, over all blocks."""
    used: dict[str, Used] = {}
    bundles: dict[str, int] = {}
    for text in texts:
        block = None
        for line in text.splitlines():
            if (begun := _BLOCK.match(line)) is not None:
                block = begun.group(1)
                used.setdefault(block, {})
            elif block is not None and (count := _COUNT.match(line)) is not None:
                label, number, slots = count.group(1), int(count.group(2)), int(count.group(3))
                used[block][label] = used[block].get(label, 0) + number
                if label == _EVERY_BUNDLE:
                    bundles[block] = bundles.get(block, 0) + slots
    return {name: {BUNDLES: float(bundles[name]), **_counts(used[name])} for name in used if name in bundles}


def _counts(used: Used) -> Counts:
    return {name: float(count(used)) for name, count in _NAMED.items()}
