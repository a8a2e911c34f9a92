"""Reading a large TPU profile: our reader against xprof's hlo_stats, in turns, each in its own process.

    python -m bench.profile_reader                              the real file beside the repository, repeated to more than 100 MB
    python -m bench.profile_reader --profile FILE --megabytes 120 --rounds 7

Bars: at most half of xprof's time and a quarter of its peak memory, and the same self times to 0.001 us. Times are those of reading and
adding up, without start-up; memory is the process's peak. Ratios are medians over the rounds with 95 % bootstrap intervals. Exit status 1
if missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.lib.repeat_events import repeat_events

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_PROFILE = ROOT.parent / "shared" / "data" / "profiles" / "tpu_v6e_host_offload.xplane.pb"
TIME_BAR, MEMORY_BAR, SELF_TIME_BAR_US = 0.5, 0.25, 0.001
RESAMPLES = 10_000


def measure(reader: str, profile: Path) -> dict[str, Any]:
    """One run in a fresh process on a fresh copy: xprof leaves caches beside the file."""
    with tempfile.TemporaryDirectory(dir=profile.parent) as folder:
        session = Path(folder) / "plugins" / "profile" / "session"
        session.mkdir(parents=True)
        copy = session / "host.xplane.pb"
        shutil.copyfile(profile, copy)
        command = [sys.executable, "-m", "bench.hlo_stats", reader, str(copy)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"{reader} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """(median of the rounds' ratios, low, high)."""
    ratios = np.array(ours) / np.array(theirs)
    rng = np.random.default_rng(0)
    medians = np.median(ratios[rng.integers(0, len(ratios), (RESAMPLES, len(ratios)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def worst_self_time_us(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The largest difference of an op's self time, over all executions; infinite where the two do not name the same ops."""
    columns = [{(row["program_id"], row["op"]): row["self_us"] for row in result["rows"]} for result in (ours, theirs)]
    if columns[0].keys() != columns[1].keys():
        return float("inf")
    return float(max(abs(columns[0][key] - columns[1][key]) for key in columns[0]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", "--capture", type=Path, default=DEFAULT_PROFILE)
    parser.add_argument("--megabytes", type=float, default=110.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not options.profile.exists():
        print(f"{options.profile}: no such file; name a TPU profile with --profile", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.xplane.pb"
        times = int(options.megabytes * 1e6 / options.profile.stat().st_size) + 1
        size = repeat_events(options.profile, large, times)
        print(f"{options.profile.name} x {times}: {size / 1e6:.1f} MB, {options.rounds} rounds")
        rounds = []
        for index in range(options.rounds):
            order = ("ours", "xprof") if index % 2 else ("xprof", "ours")
            rounds.append({reader: measure(reader, large) for reader in order})
            print(
                f"  round {index}: "
                + ", ".join(f"{name} {run['seconds']:.2f} s {run['peak_mb']:.0f} MB" for name, run in sorted(rounds[-1].items()))
            )
    return report(rounds)


def report(rounds: Sequence[dict[str, Any]]) -> int:
    """Print the table; returns the exit status."""
    print(f"{'':<12}{'ours':>10}{'xprof':>10}{'ratio':>9}  {'95 % interval':<18}{'bar':>6}")
    met = True
    for name, unit, bar in (("seconds", "s", TIME_BAR), ("peak_mb", "MB", MEMORY_BAR)):
        ours, theirs = ([each[reader][name] for each in rounds] for reader in ("ours", "xprof"))
        middle, low, high = ratio(ours, theirs)
        met &= middle <= bar
        print(f"{name:<12}{np.median(ours):>8.2f} {unit}{np.median(theirs):>8.2f} {unit}{middle:>9.3f}  [{low:.3f}, {high:.3f}]{bar:>10}")
    worst = max(worst_self_time_us(each["ours"], each["xprof"]) for each in rounds)
    ops = len(rounds[0]["xprof"]["rows"])
    print(f"self times of {ops} ops: largest difference {worst:.6f} us (bar {SELF_TIME_BAR_US})")
    met &= worst <= SELF_TIME_BAR_US
    print("all bars met" if met else "a bar was missed")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
