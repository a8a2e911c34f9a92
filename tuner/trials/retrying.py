"""Tries again what tuner.trials.retry allows: notes each attempt with the trial before the next begins, and waits where waiting helps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tuner.core.errors import TrialFailed
from tuner.core.numbers import number
from tuner.trials.context import Retries
from tuner.trials.retry import ATTEMPTS, Attempt, Next, attempts_of, next_step, wait_before
from tuner.trials.trial import TrialRun

_LONGEST_PAUSE_S = 1.0


class Retrying:
    """Of one engine's worth of work. `store` writes the notes of a trial; `say` tells people; `still_ours` is asked while it waits, and
    raises where the run has to stop."""

    def __init__(
        self, retries: Retries, *, store: Callable[[TrialRun], None], say: Callable[[str], None], still_ours: Callable[[], None]
    ) -> None:
        self._retries = retries
        self._store = store
        self._say = say
        self._still_ours = still_ours

    def after(self, runs: Sequence[TrialRun], error: TrialFailed, engine_start: int, *, may: bool, may_leave: bool) -> Next:
        """What becomes of these unfinished trials, which failed together. `may`: whether they may be tried again at all, `may_leave`: by
        another host. Returns when the next attempt may begin. Attempts are noted where there are several; the last one is stored when the
        trial is finished."""
        earlier = max((attempts_of(run.trial.notes) for run in runs), key=len, default=[])
        retries, found = self._retries, Next.GIVE_UP
        if may and runs and retries.most > 0:
            elsewhere = may_leave and retries.elsewhere(0.0)
            found = next_step(error.failure, earlier, most=retries.most, elsewhere=elsewhere)
        if found is not Next.GIVE_UP or earlier:
            for run in runs:
                self._note(run, error, engine_start, found)
        if found is Next.GIVE_UP:
            return found
        for run in runs:
            self._store(run)
        wait_s = wait_before(error.failure, earlier, retries.wait_s)
        numbers = ", ".join(str(run.trial.number) for run in runs)
        waits = f" in {number(wait_s, 3)} s" if wait_s and found is Next.HERE else ""
        self._say(f"{'trial' if len(runs) == 1 else 'trials'} {numbers}: {error.failure}: {error}; {found}{waits}")
        if found is Next.HERE:
            self._wait(wait_s)
        return found

    def _note(self, run: TrialRun, error: TrialFailed, engine_start: int, then: Next) -> None:
        notes, earlier = run.trial.notes, attempts_of(run.trial.notes)
        attempt = Attempt(
            number=len(earlier) + 1,
            error_class=error.failure.value,
            message=str(error),
            host=self._retries.host,
            engine_start=engine_start,
            at=time.time(),
            then=then.value,
        )
        run.trial = replace(run.trial, notes={**notes, ATTEMPTS: [*(item.to_json() for item in earlier), attempt.to_json()]})

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._still_ours()
            time.sleep(min(left, _LONGEST_PAUSE_S))
