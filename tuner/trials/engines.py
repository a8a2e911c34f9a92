"""At most one engine at a time, reused as long as the cold settings stay the same; every start is counted and its cost kept."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from storage.base import StorageFault
from storage.records import Environment
from tuner.core.contract import EngineSession, EngineSettings, Launcher
from tuner.core.errors import BadInput, EngineLost, FailureClass, Interrupted, TrialFailed, is_in_use, is_no_space
from tuner.core.factors import Factors, further
from tuner.core.settings import Difference, declared_settings
from tuner.core.spans import span
from tuner.setup.space import EngineKey
from tuner.trials.context import RunContext
from tuner.trials.watchdog import Watchdog
from tuner.verdict.evidence import Origin

_COORDINATES = tuple(name for name, setting in declared_settings(EngineSettings).items() if setting.difference is Difference.CELL)


class EnginePool:
    """A pool of one engine: an accelerator holds no second. It owns the launcher.

    `on_start` is called after every start that was tried, also a failed one. `earlier_starts` are those of former runs of the study;
    where other processes start engines of the study too, `number` gives each start its number among all.
    """

    def __init__(
        self,
        context: RunContext,
        launcher: Launcher,
        on_start: Callable[[], None],
        *,
        earlier_starts: int = 0,
        number: Callable[[], int] | None = None,
    ) -> None:
        self._context = context
        self._launcher = launcher
        self._on_start = on_start
        self._earlier_starts = earlier_starts
        self._settings: EngineSettings | None = None
        self._session: EngineSession | None = None
        self._key: EngineKey = (0, ())
        self.watchdog = self._watchdog()
        self.starts = 0  # of this run
        self._number = number or (lambda: self.total_starts)
        self._running_number = earlier_starts

    @property
    def all_live(self) -> bool:
        """Whether arm and budget change inside a running engine; else every configuration needs an engine of its own."""
        return {"arm", "max_num_batched_tokens"} <= self._launcher.live_fields

    @property
    def total_starts(self) -> int:
        return self._earlier_starts + self.starts

    @property
    def origin(self) -> Origin:
        """What a window that is measured now comes from."""
        return self._launcher.name, self._running_number

    @property
    def running(self) -> EngineSession | None:
        return self._session

    @property
    def running_engine(self) -> EngineKey | None:
        """Page size and cold factors of the engine that runs now."""
        return self._key if self._settings is not None else None

    def session(self, settings: EngineSettings, factors: Factors = ()) -> tuple[EngineSession, bool]:
        """(a running engine with these settings, whether it was started just now). Raises TrialFailed where it does not start. `factors`:
        the cold ones among its settings."""
        if self._session is not None and self._settings == settings:
            return self._session, False
        self.drop()
        self.starts += 1
        self._running_number = self._number()
        clock, progress = self._context.clock, self._context.progress
        progress.engine_starts += 1
        what = f"page size {settings.block_size}, budget up to {settings.max_num_batched_tokens}"
        progress.doing(f"starting engine: {what}{further(factors)}")
        begun = clock.now()
        try:
            with clock.phase("start"), launcher_errors("starting the engine"), span("engine_start", block_size=settings.block_size):
                session = self._launcher.open(settings, self._context.setup.config.engine_start_timeout)
        finally:
            self._on_start()
        self._session, self._settings, self._key = session, settings, (settings.block_size, factors)
        self._context.costs.engine_started(clock.now() - begun)
        self.watchdog = self._watchdog()
        with launcher_errors("starting the engine"):
            check_effective(settings, session)
        return session, True

    def _watchdog(self) -> Watchdog:
        """Each engine start begins anew: what is usual depends on its settings."""
        return Watchdog(self._context.hang_factor, self._context.setup.config.trial_timeout)

    def switch(self, launcher: Launcher) -> None:
        """Go on with another launcher; the first one is closed, so that it holds no accelerator. Starts are counted on."""
        if launcher is self._launcher:
            return
        self.close()
        self._launcher = launcher

    def drop(self) -> None:
        """Close the running engine, if there is one."""
        session, self._session, self._settings = self._session, None, None
        if session is not None:
            session.close()

    def close(self) -> None:
        """Leaves no process behind. Idempotent."""
        try:
            self.drop()
        finally:
            self._launcher.close()


def check_effective(settings: EngineSettings, session: EngineSession) -> None:
    """Raises TrialFailed (INVALID_CONFIG) where the engine runs another page size or budget than it was asked for.

    A platform may change a page size behind the user's back; measuring it would credit the result to a setting that never ran, and
    measure the same engine under two names.
    """
    for name in _COORDINATES:
        asked, found = getattr(settings, name), session.report.effective.get(name)
        if found is not None and found != asked:
            raise TrialFailed(
                FailureClass.INVALID_CONFIG,
                f"asked for {name} {asked} but the engine runs {found}: the platform changed it; ask for {found}",
            )


def environment_of(session: EngineSession) -> Environment:
    """The environment that the engine reports."""
    return Environment(**session.report.environment)


@contextmanager
def launcher_errors(what: str) -> Iterator[None]:
    """Whatever a launcher raises becomes a TrialFailed; only an interruption and the storage's own errors pass.

    An exception that no launcher should raise leaves the engine in an unknown state, so it counts as lost.
    """
    try:
        yield
    except (TrialFailed, Interrupted, StorageFault):
        raise
    except BadInput as error:
        raise TrialFailed(FailureClass.INVALID_CONFIG, str(error)) from error
    except Exception as error:
        message = f"{what}: {type(error).__name__}: {error}".split("\n")[0]
        failure = FailureClass.INTERNAL
        if is_no_space(error) or is_in_use(error):
            failure = FailureClass.NO_SPACE if is_no_space(error) else FailureClass.IN_USE
        raise EngineLost(failure, message, traceback.format_exc(limit=-8)) from error
