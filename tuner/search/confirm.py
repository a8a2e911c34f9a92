"""Finalists, each started cold with exactly its own flags and measured afresh: the winner of a search is an overestimate."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Stage, Study, Trial, TrialState
from tuner.core.contract import EngineSettings, Launcher
from tuner.core.errors import FailureClass
from tuner.serving.stored_settings import measured_kv_write
from tuner.setup.space import Configuration
from tuner.trials.budget import TimeBudget
from tuner.trials.context import RunContext
from tuner.trials.engines import EnginePool
from tuner.trials.group import GroupRun
from tuner.trials.profiling import capture_profile
from tuner.trials.rounds import FixedRounds
from tuner.trials.trial import TrialBook, TrialRun
from tuner.verdict.candidates import Finalist, next_best, pick_finalists
from tuner.verdict.conclude import load_evidence
from tuner.verdict.evidence import Evidence

PROFILED_ROLES = frozenset({"best", "opposite_arm", "baseline", "next_best"})
NOT_ABOUT_SETTINGS = frozenset(
    item.value for item in (FailureClass.STARTUP, FailureClass.TIMEOUT, FailureClass.NO_SPACE, FailureClass.IN_USE, FailureClass.INTERNAL)
)
SESSIONS = 2  # of each phase, where the engine runs on: `profile diff` then knows how sessions of one setting differ (docs/profiles.md)
MORE_FINALISTS = 3  # tried one by one where none of the finalists holds: started cold they fail, or miss an SLO


class Confirmation:
    """Measures the finalists. `launcher` starts them; None: the launcher of the search.

    An accelerator holds one engine at a time, so finalists run one after the other. Their windows are not pairs: arms are compared with the
    search's windows alone (tuner.verdict.compare).
    """

    def __init__(
        self,
        context: RunContext,
        study: Study,
        book: TrialBook,
        pool: EnginePool,
        budget: TimeBudget,
        *,
        launcher: Launcher | None = None,
    ) -> None:
        self._context = context
        self._study = study
        self._book = book
        self._pool = pool
        self._budget = budget
        self._launcher = launcher

    def run(self) -> None:
        """Measure the finalists. Where each of them fails or misses an SLO, go on with the next best of the search.

        A finalist that the time budget leaves no time to begin stays WAITING: the recommendation says so, and --resume measures it.
        """
        objectives, slos = self._context.setup.objectives, self._context.setup.slos
        finalists = pick_finalists(self._evidence(), objectives, slos)
        if not self._confirm_missing(finalists):
            return
        tried = len(self._finished()) - len(finalists)  # in an earlier run of the study
        for number in range(tried, MORE_FINALISTS):
            following = next_best(self._evidence(), objectives, slos)
            if following is None or (number > 0 and self._nothing_starts()):
                return
            self._context.progress.note("none of the finalists holds when started cold: the next best of the search is tried")
            if not self._confirm_missing([following]):
                return

    def _finished(self) -> list[TrialRun]:
        return [run for run in self._book.staged(Stage.CONFIRM) if run.finished]

    def _nothing_starts(self) -> bool:
        """Whether every finalist failed for a reason that is probably not its settings."""
        return all(run.trial.error_class in NOT_ABOUT_SETTINGS for run in self._finished())

    def _evidence(self) -> Evidence:
        return load_evidence(self._context.storage, self._study)

    def _confirm_missing(self, finalists: Sequence[Finalist]) -> bool:
        """False where the time budget was over before the last of them began."""
        runs = [(finalist, self._run_of(finalist.trial)) for finalist in finalists]
        missing = [(finalist, run) for finalist, run in runs if not run.finished]
        rounds = self._context.setup.config.rounds.of_a_finalist
        self._context.progress.only(len(missing), sum(max(0, rounds - len(run.measurements)) for _, run in missing))
        if missing and self._launcher is not None:
            self._pool.switch(self._launcher)
        for finalist, run in missing:
            if self._budget.over:
                self._context.progress.note(f"the time budget is over: {run.configuration} is not started cold any more")
                return False
            self._confirm(finalist, run)
        return True

    def _run_of(self, trial: Trial) -> TrialRun:
        configuration = Configuration.of_trial(trial)
        known = self._book.find(configuration, Stage.CONFIRM)
        if known is not None:
            return known
        return self._book.create(configuration, self._engine_of(trial), Stage.CONFIRM, 0)

    def _engine_of(self, trial: Trial) -> EngineSettings:
        """Cold settings of a finalist. The KV write implementations that the search's engine chose stay: a new one might choose others."""
        cold = self._context.setup.cold_engine(Configuration.of_trial(trial))
        return cold.with_changes(kv_write=measured_kv_write(trial) or cold.kv_write)

    def _confirm(self, finalist: Finalist, run: TrialRun) -> None:
        setup = self._context.setup
        self._pool.drop()  # cold, also where the search's last engine has the same settings
        policy = FixedRounds(setup.config.rounds.of_a_finalist)
        GroupRun(
            self._context,
            self._book,
            self._pool,
            self._budget,
            engine=self._engine_of(finalist.trial),
            runs=[run],
            policy=policy,
            stage=Stage.CONFIRM,
        ).execute()
        if setup.config.profile != "none" and finalist.role in PROFILED_ROLES and run.trial.state is TrialState.COMPLETE:
            capture_profile(self._context, self._pool, run, SESSIONS if self._pool.all_live else 1)
