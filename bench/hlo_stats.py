"""Self time of every HLO op, as a program of its own so that time and peak memory can be measured from outside.

    python -m bench.hlo_stats xprof FILE     by xprof's hlo_stats converter (give it a copy: it writes caches beside the file)
    python -m bench.hlo_stats ours FILE      by this project's reader

Prints one JSON document: {"rows": [{"program_id", "op", "self_us"}], "seconds", "peak_mb"}; xprof's rows hold its rates, too.
The address space is capped at 16 GiB.
"""

from __future__ import annotations

import importlib
import json
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

MEMORY_CAP = 16 << 30


def by_xprof(path: Path) -> list[dict[str, Any]]:
    importlib.import_module("duckdb")  # xprof 2.24 crashes if it loads duckdb later
    convert = importlib.import_module("xprof.convert.raw_to_tool_data")
    data, _ = convert.xspace_to_tool_data([str(path)], "hlo_stats", {})
    table = json.loads(data)
    column = {each["id"]: index for index, each in enumerate(table["cols"])}
    rows: list[list[Any]] = [[cell["v"] if cell else None for cell in row["c"]] for row in table["rows"]]
    return [
        {
            "program_id": int(row[column["program_id"]]),
            "op": row[column["hlo_op_name"]],
            "self_us": float(row[column["total_self_time"]]),
            "category": row[column["category"]],
            "gflops_per_s": float(row[column["model_flop_rate"]]),
            "hbm_gib_per_s": float(row[column["hbm_bw"]]),
        }
        for row in rows
    ]


def by_us(path: Path) -> list[dict[str, Any]]:
    import numpy as np

    from profiles.reader import read_profile
    from profiles.selftime import self_time

    profile = read_profile(path)
    total = np.zeros(len(profile.op_types))
    for device in profile.devices:
        total += np.bincount(device.op, self_time(device.start_ps, device.end_ps), minlength=len(total))
    return [
        {"program_id": kind.program_id, "op": kind.name, "self_us": picoseconds / 1e6}
        for kind, picoseconds in zip(profile.op_types, total.tolist(), strict=True)
    ]


def peak_mb() -> float:
    """This program's own peak of resident memory. getrusage would start from the parent's, which is kept over fork and exec."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[0]) / 1024


def main(reader: str, path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_CAP, MEMORY_CAP))
    started = time.perf_counter()
    rows = {"xprof": by_xprof, "ours": by_us}[reader](path)
    seconds = time.perf_counter() - started
    print(json.dumps({"rows": rows, "seconds": seconds, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
