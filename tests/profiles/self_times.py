"""Self times as the reader and `self_time` find them, and the real TPU profile that they are compared with."""

from __future__ import annotations

from collections import Counter

import numpy as np

from profiles.reader import HostProfile
from profiles.selftime import self_time

TPU_FILE = "profiles/tpu_v6e_host_offload.xplane.pb"


def self_times(profile: HostProfile) -> dict[tuple[int, str], int]:
    """(program id, op) -> self time in picoseconds, over all devices and lanes."""
    total: Counter[tuple[int, str]] = Counter()
    for device in profile.devices:
        for lane in np.unique(device.lane):
            mine = device.lane == lane
            times = self_time(device.start_ps[mine], device.end_ps[mine]) if lane >= 0 else (device.end_ps - device.start_ps)[mine]
            for op, time in zip(device.op[mine].tolist(), times.tolist(), strict=True):
                total[profile.op_types[op].program_id, profile.op_types[op].name] += time
    return dict(total)
