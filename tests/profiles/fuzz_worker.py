"""Run as a program: feed damaged profiles to the reader. `python -m tests.profiles.fuzz_worker SEED COUNT FILE...`

Memory is capped at 1 GiB of data, each input at 10 seconds. Prints one JSON document; anything but a result or a ProfileError is a crash
and ends the program with its traceback.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.hlo_stats import peak_mb
from profiles.errors import ProfileError
from profiles.summary import summarise

MEMORY_CAP = 1 << 30
SECONDS = 10


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A profile that was cut, overwritten, spliced or bit-flipped; a few damages at most, so that some still parse."""
    kind = rng.randrange(6)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    mutable = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(mutable))
        if kind == 1:
            mutable[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            mutable[at] = rng.choice((0x00, 0x7F, 0x80, 0xFF))
        elif kind == 3:
            mutable[at : at + rng.randrange(1, 40)] = rng.randbytes(rng.randrange(40))
        elif kind == 4:
            mutable[at:at] = mutable[: rng.randrange(200)]
        else:
            mutable[at : at + 10] = b"\xff" * 9 + b"\x01"  # the largest number
    return bytes(mutable)


def main(seed: int, count: int, sources: list[Path]) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_CAP, MEMORY_CAP))
    rng = random.Random(seed)
    originals = [source.read_bytes() for source in sources]
    refused, accepted, slowest = 0, 0, 0.0
    reasons: set[str] = set()
    shared_memory = Path("/dev/shm")  # overwriting a file on a disk takes longer than reading it
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as folder:
        path = Path(folder) / "fuzzed.xplane.pb"
        for index in range(count):
            path.write_bytes(damaged(originals[index % len(originals)], rng))
            started = time.perf_counter()
            signal.alarm(SECONDS)  # no handler: the program dies of it
            try:
                summarise(path)
                accepted += 1
            except ProfileError as error:
                refused += 1
                message = str(error)
                reasons.add(message.removeprefix(str(path))[:40] if message.isprintable() else "not one line")
            signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - started)
    json.dump(
        {"refused": refused, "accepted": accepted, "slowest_s": slowest, "peak_mb": peak_mb(), "reasons": sorted(reasons)}, sys.stdout
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [Path(each) for each in sys.argv[3:]])
