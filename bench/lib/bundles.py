"""Reads the VLIW bundles that libtpu's compiler made of a kernel, from its dump. The flags and the form are libtpu's own and undocumented.

A loop's bundles stand once, whatever the trip count; each takes at least one cycle, and waiting for a copy as long as the copy takes.
"""

from __future__ import annotations

import re
from pathlib import Path

DUMP_FLAGS = "--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"  # in LIBTPU_INIT_ARGS, before libtpu is loaded

_BUNDLE = re.compile(r"^ *(0x[0-9a-f]+|0) +(?:([A-Z]{2}))?: *(>*)")
_STARTS_COPY = re.compile(r"\bdma\.(?!done)")


def copying_loops(listing: str) -> list[int]:
    """Bundles of one turn, for each loop of a kernel's "final_bundles" that waits for a copy and starts another, in their order: the loops
    that run all the time where there are many copies. The branch's delay slots count, since they are spent in every turn."""
    found: list[int] = []
    begun: int | None = None
    waits = starts = False
    for line in listing.splitlines():
        bundle = _BUNDLE.match(line)
        if bundle is None:
            continue
        address, label, inside = int(bundle[1], 16), bundle[2], bundle[3]
        if begun is not None and label is not None and not inside:
            if waits and starts:
                found.append(address - begun)
            begun = None
        if label == "LB" and begun is None:
            begun, waits, starts = address, False, False
        waits |= "dma.done.wait" in line
        starts |= _STARTS_COPY.search(line) is not None
    return found


def listing_of(folder: Path, kernel: str) -> str | None:
    """The final bundles of the kernel of this name in a dump; None where the dump has none (another libtpu, which knows no such flags)."""
    files = sorted(path for path in folder.glob(f"*-{kernel}.*-final_bundles.txt") if "schedule-analysis" not in path.name)
    return files[-1].read_text(encoding="utf-8") if files else None
