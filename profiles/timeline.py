"""What the reader returns: ops and program runs of each device as columns, and the host's markers and compilations.

All times are picoseconds. `clock` says whose: "device" is the accelerator's own counter (TPU: stats device_offset_ps and
device_duration_ps), "aligned" the same events mapped onto the host's clock, "host" the host's clock itself (XLA:CPU). Self times and
steps use the device clock where there is one: the alignment stretches single ops by factors of 0.2 to 13 in a real TPU file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class OpType:
    """What all executions of one HLO instruction share."""

    program_id: int
    module: str  # "jit_step_fun"
    name: str  # the instruction's name: changes with every compilation
    scope: str  # op_name: jitted functions, named scopes and primitive; "" where the compiler dropped it
    context: str  # scope of the nearest producer that names a part of the model
    hlo_category: str  # XLA's category
    container: bool = False  # its time is spent in other ops (while, call)
    in_loop: bool = False  # may run any number of times in one run of its program, also none
    flops: int = 0  # of one execution, as XLA's cost model says; 0 where unknown (XLA:CPU, kernels without an estimate)
    hbm_bytes: int = 0  # read and written in HBM by one execution, likewise


@dataclass(frozen=True)
class Peaks:
    """What one device can do at most; None where the file does not say."""

    tflops_per_s: float | None = None  # in the chip's fastest number format
    hbm_gb_per_s: float | None = None


@dataclass(frozen=True)
class ProgramRuns:
    """Executions of compiled programs on one device, each array [runs], in order of their start on the timeline's clock.

    [start_ps, end_ps] spans the first to the last op; `run_id` is XLA's.
    """

    program_id: NDArray[np.uint64]
    run_id: Ints
    start_ps: Ints
    end_ps: Ints
    ops: Ints  # number of op executions

    def select(self, which: Ints) -> ProgramRuns:
        return ProgramRuns(self.program_id[which], self.run_id[which], self.start_ps[which], self.end_ps[which], self.ops[which])


@dataclass(frozen=True)
class DeviceTimeline:
    """One device. Op columns are [executions]; `op` indexes HostProfile.op_types, `run` indexes `runs` (-1: outside any program)."""

    name: str
    clock: str  # "device", "aligned" or "host"
    op: NDArray[np.int32]
    run: NDArray[np.int32]
    lane: NDArray[np.int32]  # ops of one lane nest; lanes run at the same time
    start_ps: Ints
    end_ps: Ints
    aligned_start_ps: Ints
    aligned_end_ps: Ints
    runs: ProgramRuns


@dataclass(frozen=True)
class Marker:
    """An annotation of the host around one engine step, e.g. `execute_model: 3 reqs, 131 toks` (written by tpu-inference)."""

    start_ps: int
    duration_ps: int
    requests: int
    tokens: int


@dataclass(frozen=True)
class HostEvents:
    """What the host noted during the session."""

    markers: tuple[Marker, ...] = ()  # in order of their start
    compilations: int = 0
    compile_ps: int = 0


class TypeTable:
    """Collects op types while planes are read; the scope and context of an op may be filled in later from its HLO module."""

    def __init__(self) -> None:
        self.types: list[OpType] = []
        self._index: dict[tuple[int, str], int] = {}

    def add(self, kind: OpType) -> int:
        """The index of this type; the first one seen with its program and name stays."""
        key = (kind.program_id, kind.name)
        if key not in self._index:
            self._index[key] = len(self.types)
            self.types.append(kind)
        return self._index[key]


def runs_of(program_id: NDArray[np.uint64], run_id: Ints, run: NDArray[np.int32], start: Ints, end: Ints) -> ProgramRuns:
    """Spans and counts of the runs whose ids are given ([runs]), from their ops ([executions]); a run without ops spans 0 to 0."""
    count = len(run_id)
    inside = run >= 0
    index = run[inside]
    far = np.iinfo(np.int64).max
    first, last = np.full(count, far), np.full(count, -far)
    np.minimum.at(first, index, start[inside])
    np.maximum.at(last, index, end[inside])
    ops = np.bincount(index, minlength=count)
    empty = ops == 0
    first[empty], last[empty] = 0, 0
    return ProgramRuns(program_id, run_id, first, last, ops)


def timeline(
    name: str,
    clock: str,
    *,
    op: NDArray[np.int32],
    run: NDArray[np.int32],
    lane: NDArray[np.int32],
    times: tuple[Ints, Ints],
    aligned: tuple[Ints, Ints],
    run_keys: tuple[NDArray[np.uint64], Ints],
) -> DeviceTimeline:
    """Put one device together: runs that hold ops, numbered in order of their start. `times` and `aligned` are (start, end) columns."""
    runs = runs_of(*run_keys, run, *times)
    order = np.flatnonzero(runs.ops > 0)
    order = order[np.argsort(runs.start_ps[order], kind="stable")]
    renumber = np.full(len(runs.ops) + 1, -1, np.int32)  # the last place answers for run -1
    renumber[order] = np.arange(len(order), dtype=np.int32)
    return DeviceTimeline(
        name=name,
        clock=clock,
        op=op,
        run=renumber[run],
        lane=lane,
        start_ps=times[0],
        end_ps=times[1],
        aligned_start_ps=aligned[0],
        aligned_end_ps=aligned[1],
        runs=runs.select(order),
    )
