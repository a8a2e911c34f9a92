"""How often do tpu-inference's tuned block sizes of RPA v3 come out of what is known without compiling or running?

    python -m bench.foresee_blocks [--table ../shared/data/tables/tpu_inference_tuned/rpa_v3_tuned.csv]

For each entry of the table the blocks that fit VMEM are ranked by the rounds of the kernel's loop, and by their buffers; the table says
which were fastest when measured. Beside it what drawing as many by chance would give. A ranking near chance is worth nothing.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from bench.foresee_table import CONFIGS
from tuner.cli.tables import text_table
from tuner.core.numbers import share
from tuner.foresight.tuned_blocks import among_best, by_trips, by_vmem, tuned

TABLE = CONFIGS.parent / "tables" / "tpu_inference_tuned" / "rpa_v3_tuned.csv"
BEST = (1, 3, 5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    with parser.parse_args().table.open(encoding="utf-8", newline="") as file:
        entries = tuned(csv.DictReader(file))
    rows = []
    for tpu in sorted({each.tpu for each in entries}):
        shapes = [each for each in entries if each.tpu == tpu]
        for words, rank in (("fewest rounds", by_trips), ("smallest buffers", by_vmem)):
            rankings = [rank(shape) for shape in shapes]
            found = [among_best(shapes, rankings, best) for best in BEST]
            rows.append([tpu, str(len(shapes)), words, *(f"{share(hit)} ({share(chance)})" for hit, chance in found)])
    print(text_table(["TPU", "entries", "ranked by", *(f"in the best {best} (by chance)" for best in BEST)], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
