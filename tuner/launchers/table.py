"""The `table` launcher: a CSV of measured configurations as the engine, so that a search runs without one and can be judged.

The columns are settings (`block_size`, `max_num_batched_tokens`, `arm`, any further field of EngineSettings, and what a study names as its
factors), metrics of the catalogue, `start_s` and `measure_s` (accounted in a virtual clock, never slept), `wait_s` (slept in each window,
for what is about several workers at once) and `error_class` for configurations that fail; see table_files.py.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import override

from tuner.core.contract import (
    ARMS,
    LIVE_SETTINGS,
    SETTINGS,
    EngineSession,
    EngineSettings,
    Json,
    LiveSettings,
    LoadPlan,
    ProfileResult,
    ProfileTarget,
    StartReport,
    WindowResult,
)
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.core.factors import LONG_PREFILL, UNSET
from tuner.core.numbers import number
from tuner.engine.environment import fingerprint
from tuner.launchers.measured_table import NO_NOISE, MeasuredTable, Noise, TablePoint, Value, describe
from tuner.launchers.table_files import load_for_search
from tuner.metrics.catalog import metric_info

SEARCHED_COLUMNS = ("block_size", "max_num_batched_tokens", "arm")  # needed, but in a table of other factors
_START_FAILURES = frozenset(
    {
        FailureClass.STARTUP,
        FailureClass.OUT_OF_MEMORY,
        FailureClass.INVALID_CONFIG,
        FailureClass.TIMEOUT,
        FailureClass.COMPILE_ERROR,
        FailureClass.IN_USE,
    }
)


@dataclass
class VirtualClock:
    """The time that the table says has passed, in seconds."""

    now_s: float = 0.0

    def advance(self, seconds: float, timeout_s: float, what: str) -> None:
        """Raises TrialFailed (TIMEOUT), after `timeout_s` have passed, for what takes longer than that."""
        self.now_s += min(seconds, timeout_s)
        if seconds > timeout_s:
            raise TrialFailed(
                FailureClass.TIMEOUT, f"{what} takes {number(seconds)} s by the table, more than the time-out of {number(timeout_s)} s"
            )


class TableLauncher:
    """Answers from a file of measured configurations. `seed` fixes the noise: the n-th measurement of a configuration is the same in every
    run."""

    name = "table"
    live_fields = LIVE_SETTINGS

    def __init__(self, path: Path, *, noise: Noise = NO_NOISE, seed: int = 0, factors: Collection[str] = ()) -> None:
        """`factors`: columns that are neither a setting nor a metric. With any, the columns of page size, chunk budget and arm may be
        missing: then these change nothing. Raises BadInput."""
        self.table = load_for_search(path)
        self.clock = VirtualClock()
        self._noise = noise
        self._seed = seed
        self._measured: Counter[str] = Counter()
        _check_columns(self.table, factors)

    def open(self, settings: EngineSettings, timeout_s: float) -> TableSession:
        """Raises BadInput for cold settings that are not in the table, TrialFailed where all configurations under them fail to start."""
        cold = {name: _setting(settings, name) for name in self.table.parameters if name not in LIVE_SETTINGS}
        rows = [row for row in self.table.configurations if all(row.params[name] == value for name, value in cold.items())]
        if not rows:
            nearest = {name: value for name, value in self.table.nearest(cold).params.items() if name in cold}
            raise BadInput(f"table {self.table.name} has no engine with {describe(cold)}; the nearest is {describe(nearest)}")
        start_s = max(row.start_s for row in rows)
        self.clock.advance(start_s, timeout_s, f"starting {describe(cold)}")
        if all(row.failure in _START_FAILURES for row in rows):
            raise _failed(rows[0])
        return TableSession(self, settings, cold, start_s)

    def close(self) -> None:
        """Nothing to release."""

    def sample(self, params: dict[str, Value]) -> Json:
        """The metrics of the next measurement of a configuration that does not fail."""
        nth = self._measured[describe(params)]
        self._measured[describe(params)] += 1
        return dict(self.table.evaluate(params, self._seed + nth * 2**32, self._noise).values)


class TableSession(EngineSession):
    """One engine of the table; see tuner.core.contract.EngineSession. Ends like a real one when a configuration crashes it."""

    def __init__(self, launcher: TableLauncher, settings: EngineSettings, cold: dict[str, Value], start_s: float) -> None:
        self._launcher = launcher
        self._settings = settings
        self._cold = cold
        self._lost: str | None = None
        found = {"platform": "table", "accelerator": f"table {launcher.table.name}", "device_count": 1, "versions": {}, "details": {}}
        environment = {"fingerprint": fingerprint(found), **found}
        effective = {"max_num_batched_tokens": settings.max_num_batched_tokens, "max_num_seqs": settings.max_num_seqs, **cold}
        self._report = StartReport(effective, environment, start_s)

    @property
    @override
    def report(self) -> StartReport:
        return self._report

    @override
    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        self._configuration(live)
        return {"seconds": 0.0, "compilations": 0}

    @override
    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        """`reported_metrics` holds the table's metrics; there are no requests and no steps. Raises TrialFailed, EngineLost, BadInput."""
        configuration = self._configuration(live)
        started_at = time.time()
        clock = self._launcher.clock
        clock.advance(configuration.measure_s, timeout_s, f"measuring {describe(configuration.params)}")
        time.sleep(min(configuration.wait_s, timeout_s))
        if configuration.failure:
            error = _failed(configuration)
            if isinstance(error, EngineLost):
                self._lost = str(error)
            raise error
        return WindowResult(
            requests=(),
            steps=(),
            started_at=started_at,
            duration_s=configuration.measure_s,
            reported_metrics=self._launcher.sample(configuration.params),
            details={"table": self._launcher.table.name, "virtual_time_s": clock.now_s, "content_hash": plan.content_hash},
        )

    @property
    @override
    def profile_phases(self) -> tuple[str, ...]:
        return ()

    @override
    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str, timeout_s: float
    ) -> Sequence[ProfileResult]:
        """A table has no profiles."""
        self._configuration(live)
        return ()

    @override
    def close(self) -> None:
        self._lost = self._lost or "the session was closed"

    def _configuration(self, live: LiveSettings) -> TablePoint:
        if self._lost is not None:
            raise EngineLost(FailureClass.ENGINE_CRASH, f"this engine is gone: {self._lost}")
        if live.arm not in ARMS:
            raise TrialFailed(FailureClass.INVALID_CONFIG, f"arm must be one of {', '.join(ARMS)}, got {live.arm!r}")
        budget, maximum = live.max_num_batched_tokens, self._settings.max_num_batched_tokens
        if budget > maximum:
            raise TrialFailed(FailureClass.INVALID_CONFIG, f"max_num_batched_tokens {budget} is above the engine's maximum of {maximum}")
        asked: dict[str, Value] = {
            "arm": live.arm,
            "max_num_batched_tokens": budget,
            "max_num_seqs": live.max_num_seqs or self._settings.max_num_seqs,
            LONG_PREFILL: self._settings.extra_engine_args.get(LONG_PREFILL, UNSET),
            **self._cold,
        }
        if live.long_prefill_token_threshold is not None:
            asked[LONG_PREFILL] = live.long_prefill_token_threshold
        return self._launcher.table.find({name: asked[name] for name in self._launcher.table.parameters})


def _setting(settings: EngineSettings, name: str) -> Value:
    """What is no field of EngineSettings is a factor."""
    found: Value = getattr(settings, name) if name in SETTINGS else settings.extra_engine_args.get(name, UNSET)
    return found


def _check_columns(table: MeasuredTable, factors: Collection[str]) -> None:
    missing = [name for name in SEARCHED_COLUMNS if name not in table.parameters]
    if missing and not factors:
        raise BadInput(f"table {table.name} has no column {missing[0]}; the table launcher needs {', '.join(SEARCHED_COLUMNS)}")
    if unknown := [name for name in table.parameters if name not in SETTINGS and name not in factors]:
        name, ways = unknown[0], f"search it with --factor '{unknown[0]}=*', remove it or fix its name"
        raise BadInput(f"table {table.name}: column {name!r} is neither a setting nor a metric; {ways}")
    for metric in table.directions:
        metric_info(metric)


def _failed(configuration: TablePoint) -> TrialFailed:
    failure = configuration.failure or FailureClass.INTERNAL
    message = f"{describe(configuration.params)}: {configuration.message or f'fails with {failure} by the table'}"
    kind = EngineLost if failure is FailureClass.ENGINE_CRASH else TrialFailed
    return kind(failure, message, log_excerpt=configuration.message)
