"""One trial's way: created, started, its windows stored the moment they are made, finished through one gate, told to Optuna."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from profiles.session_plan import composition
from storage.base import Storage, StorageUnavailable
from storage.records import FINISHED, Environment, Json, Measurement, Stage, Study, Trial, TrialState
from tuner.core.contract import EngineSettings, LoadPlan, StartReport, WindowResult
from tuner.core.errors import FailureClass, TrialFailed
from tuner.engine.cpu_contention import CONTENTION
from tuner.engine.startup import STARTUP
from tuner.metrics.objective import constraint_values, is_feasible, median_metrics, objective_values
from tuner.metrics.window import RECOMPILED, SATURATED, window_fault, window_metrics
from tuner.setup.space import Configuration, EngineKey
from tuner.trials.context import RunContext
from tuner.trials.guard import canary_metrics
from tuner.trials.idle import is_busy
from tuner.trials.optuna_record import OptunaRecord
from tuner.trials.stored import require_stored, store_kept
from tuner.verdict.evidence import HOST, PRIOR, TWIN_OF, Origin, origin_of
from tuner.verdict.guard_words import NOTE

FIRST_ROUND = "first_round"
BUSY = "busy"  # Measurement.invalid_reason of a window during which other processes used the machine (tuner.trials.idle)
REPEATED = frozenset({RECOMPILED, BUSY})  # what another window of the same round may put right


class ResultListener(Protocol):
    """Who wants to know of finished search trials: the proposer."""

    def __call__(self, configuration: Configuration, values: Sequence[float] | None, constraints: dict[str, float]) -> None: ...


@dataclass
class TrialRun:
    """A trial as it runs: the stored record, and its measurements so far in the order they were made."""

    trial: Trial
    configuration: Configuration
    measurements: list[Measurement] = field(default_factory=list)
    of_engine: dict[str, float] = field(default_factory=dict)  # metrics that the engine start gives to each of its windows

    @property
    def first_round(self) -> int:
        return int(self.trial.notes.get(FIRST_ROUND, 0))

    @property
    def finished(self) -> bool:
        return self.trial.state in FINISHED

    @property
    def valid(self) -> list[Measurement]:
        return [item for item in self.measurements if item.valid]

    @property
    def saturated_windows(self) -> int:
        """Windows that ended early because the engine could not keep up (tuner.workload.saturation)."""
        return sum(item.invalid_reason == SATURATED for item in self.measurements)

    def values_by_round(self, metric: str) -> dict[int, float]:
        return {item.round: float(item.metrics[metric]) for item in self.valid if metric in item.metrics}

    def positions_by_round(self) -> dict[int, int]:
        """The place of each round's valid window in the order of its round."""
        return {item.round: item.position for item in self.valid}

    def origins_by_round(self) -> dict[int, Origin]:
        """The engine of each round's valid window."""
        return {item.round: origin_of(item) for item in self.valid}

    def tried(self, round_number: int) -> bool:
        """Whether this round needs no (further) window of this trial: it has a valid one, or one that no repetition puts right."""
        return any(item.round == round_number and (item.valid or item.invalid_reason not in REPEATED) for item in self.measurements)


class TrialBook:
    """All trials of a study. The only place that creates, starts and finishes them."""

    def __init__(self, context: RunContext, study: Study, record: OptunaRecord) -> None:
        self._storage = context.storage
        self._at_once = context.at_once or context.storage
        self._spool = context.spool
        self._host = context.retries.host
        self._setup = context.setup
        self._progress = context.progress
        self._study = study
        self._record = record
        self._environments: set[str] = set()
        self.listener: ResultListener | None = None
        self.prior: str | None = None  # stands in the notes of every search trial from now on
        self.contentions: list[float] = []  # of this run's windows, in order
        self.runs: list[TrialRun] = []
        self._last_number = -1
        self._latest: dict[tuple[Configuration, Stage], TrialRun] = {}
        self._unfinished: list[TrialRun] = []  # of the search; those that finished since are dropped when it is looked through
        self._last_round: dict[EngineKey, int] = {}  # the last round of the search that has a window
        self._store_what_was_kept(self._storage)  # by a run that ended while the database was away
        for trial in self._storage.list_trials(study.id):
            self._keep(TrialRun(trial, Configuration.of_trial(trial)))
        by_id = {run.trial.id: run for run in self.runs}
        for measurement in sorted(self._storage.list_measurements(study_id=study.id), key=lambda item: item.id):
            self._keep_window(by_id[measurement.trial_id], measurement)

    @property
    def record(self) -> OptunaRecord:
        return self._record

    def find(self, configuration: Configuration, stage: Stage = Stage.SEARCH) -> TrialRun | None:
        """The latest trial of this configuration."""
        return self._latest.get((configuration, stage))

    def staged(self, stage: Stage) -> list[TrialRun]:
        return [run for run in self.runs if run.trial.stage is stage]

    def unfinished(self) -> list[TrialRun]:
        """Of the search."""
        self._unfinished = [run for run in self._unfinished if not run.finished]
        return self._unfinished

    def next_round(self, engine: EngineKey) -> int:
        """The first round number that nothing of this engine has used: pairs never span two batches."""
        planned = [run.first_round for run in self.unfinished() if run.configuration.engine == engine]
        return max([0, self._last_round.get(engine, -1) + 1, *planned])

    def _keep(self, run: TrialRun) -> None:
        self.runs.append(run)
        self._last_number = max(run.trial.number, self._last_number)
        self._latest[run.configuration, run.trial.stage] = run
        if run.trial.stage is Stage.SEARCH:
            self._unfinished.append(run)

    def _keep_window(self, run: TrialRun, measurement: Measurement) -> None:
        run.measurements.append(measurement)
        if run.trial.stage is Stage.SEARCH:
            engine = run.configuration.engine
            self._last_round[engine] = max(measurement.round, self._last_round.get(engine, -1))

    def create(
        self, configuration: Configuration, engine: EngineSettings, stage: Stage, first_round: int, *, twin_of: int | None = None
    ) -> TrialRun:
        """A WAITING trial. Search trials are Optuna trials as well. `twin_of`: the number of the one that is the same in effect."""
        self._store_what_was_kept(self._storage)
        run = TrialRun(self._storage.create_trial(self._made(configuration, engine, stage, first_round, twin_of)), configuration)
        self._keep(run)
        return run

    def _made(self, item: Configuration, engine: EngineSettings, stage: Stage, first_round: int, twin_of: int | None = None) -> Trial:
        """Begun in Optuna, not stored yet."""
        notes: Json = {FIRST_ROUND: first_round} | ({PRIOR: self.prior} if self.prior is not None and stage is Stage.SEARCH else {})
        optuna_id: int | None = None
        if stage is Stage.SEARCH:
            optuna_id = self._record.begin(item.params)
        return Trial(
            study_id=self._study.id,
            number=self._last_number + 1,
            arm=item.arm,
            block_size=item.block_size,
            max_num_batched_tokens=item.max_num_batched_tokens,
            requested=self._setup.requested(item, engine),
            workload_hash=self._setup.workload.content_hash,
            stage=stage,
            optuna_trial_id=optuna_id,
            notes=notes if twin_of is None else {**notes, TWIN_OF: twin_of},
            factors=dict(item.factors),
        )

    def start(self, run: TrialRun, environment: Environment, report: StartReport) -> None:
        """RUNNING, under this environment. A finished trial that is measured again as a baseline stays what it is."""
        run.of_engine = {name: float(seconds) for name, seconds in report.details.get(STARTUP, {}).items()}
        if run.finished:
            return
        self._store_what_was_kept(self._storage)
        if environment.fingerprint not in self._environments:
            self._storage.put_environment(environment)
            self._environments.add(environment.fingerprint)
        run.trial = self._storage.start_trial(run.trial.id, environment=environment.fingerprint, effective=report.effective)

    def store_notes(self, run: TrialRun) -> None:
        """Before the trial is finished, which stores them as well."""
        self._store_what_was_kept(self._storage)
        run.trial = self._storage.note_trial(run.trial.id, run.trial.notes)

    def answered(self, run: TrialRun, note: Json) -> None:
        """Keep what the guard says of the answers in the engine that runs now."""
        run.of_engine |= canary_metrics(note)
        if not run.finished:
            run.trial = replace(run.trial, notes={**run.trial.notes, NOTE: note})  # stored when the trial is finished

    def answered_wrong(self, run: TrialRun, engine: EngineSettings, error: TrialFailed) -> None:
        """Of a finished trial that was measured along: it stays what it is, and a failed one beside it keeps its configuration from being
        recommended (tuner.verdict.evidence)."""
        self.fail(self.create(run.configuration, engine, run.trial.stage, run.first_round), error)

    def add_window(
        self, run: TrialRun, result: WindowResult, round_number: int, position: int, origin: Origin, *, accept_busy: bool = False
    ) -> Measurement:
        """Store one window; where the database is away, keep it in the spool. Raises TrialFailed where nothing can be computed from it
        (then nothing is stored)."""
        metrics = run.of_engine | window_metrics(result, limits=self._setup.request_limits, open_loop=self._setup.open_loop)
        reason = window_fault(result, metrics)
        contention = result.details.get(CONTENTION)
        if reason is None and not accept_busy and is_busy(contention, self.contentions):
            reason = BUSY
        if contention is not None:
            self.contentions.append(float(contention))
        measurement = self._stored(
            run.trial,
            Measurement(
                trial_id=run.trial.id,
                round=round_number,
                position=position,
                started_at=result.started_at,
                duration_s=result.duration_s,
                metrics=metrics,
                valid=reason is None,
                invalid_reason=reason,
                details={**_window_details(result, self._setup.plan, origin), HOST: self._host},
            ),
        )
        self._keep_window(run, measurement)
        return measurement

    def _stored(self, trial: Trial, measurement: Measurement) -> Measurement:
        """In the database, or in the spool where that is away."""
        if self._spool is None or not self._spool.resting:
            asked = time.monotonic()
            try:
                self._store_what_was_kept(self._at_once)
                return self._at_once.add_measurement(measurement)
            except StorageUnavailable as error:
                if self._spool is None:
                    raise
                self._spool.was_away(time.monotonic() - asked)
                if self._spool.empty:
                    self._progress.note(f"the database is away, windows are kept in {self._spool.path}: {error.reason}")
        return self._spool.append(measurement, trial)

    def _store_what_was_kept(self, storage: Storage) -> None:
        """Before anything else is written."""
        if self._spool is not None and not self._spool.empty:
            self._progress.note(store_kept(self._spool, storage, self.runs))

    def check_stored(self, run: TrialRun | None = None) -> None:
        """Raises StorageFault where the database does not hold what was measured and finished, of this trial or of all."""
        self._store_what_was_kept(self._storage)
        require_stored(self._storage, self._study.id, self.runs, run)

    def invalidate(self, run: TrialRun, rounds: frozenset[int], reason: str) -> None:
        """Take the valid windows of these rounds out of the trial's value."""
        self._store_what_was_kept(self._storage)
        run.measurements = [
            self._storage.invalidate_measurement(item.id, reason) if item.valid and item.round in rounds else item
            for item in run.measurements
        ]

    def complete(self, run: TrialRun) -> None:
        """COMPLETE with the value of its valid windows, in storage and then in Optuna; FAIL where there is no value.

        PRUNED where the engine could not keep up in most windows: what the others measured says nothing about it.
        """
        self.check_stored(run)
        if run.saturated_windows > len(run.valid):
            self.give_up_saturated(run)
            return
        try:
            values = objective_values(self._setup.objectives, run.measurements)
            metrics = median_metrics(run.measurements)
            constraints = dict(zip(map(str, self._setup.slos), constraint_values(self._setup.slos, metrics), strict=True))
        except TrialFailed as error:
            self.fail(run, TrialFailed(error.failure, _why_no_value(run, error), error.log_excerpt))
            return
        notes = {**run.trial.notes, "rounds": len({item.round for item in run.valid})}
        if self._setup.slos:
            notes["feasible"] = is_feasible(self._setup.slos, metrics)
        run.trial = self._storage.finish_trial(run.trial.id, TrialState.COMPLETE, values=values, notes=notes)
        if run.trial.optuna_trial_id is not None:
            self._record.complete(run.trial.optuna_trial_id, list(values.values()), constraints)
        self._finished(run, list(values.values()), constraints)

    def finish_twin(self, run: TrialRun, first: TrialRun) -> None:
        """With the result of a finished trial that is the same in effect; nothing is measured."""
        values, constraints = self.result_of(first)
        if values is None:
            self.skip(run, f"the same in effect as trial {first.trial.number}, which has no value")
            return
        self._store_what_was_kept(self._storage)
        notes = run.trial.notes | {name: first.trial.notes[name] for name in ("feasible",) if name in first.trial.notes}
        run.trial = self._storage.finish_trial(run.trial.id, TrialState.COMPLETE, values=first.trial.values, notes=notes)
        if run.trial.optuna_trial_id is not None:
            self._record.complete(run.trial.optuna_trial_id, values, constraints)
        self._progress.note(
            f"trial {run.trial.number} ({run.configuration}) is the same in effect as trial {first.trial.number}: not measured"
        )
        self._finished(run, values, constraints)

    def give_up_saturated(self, run: TrialRun) -> None:
        """PRUNED: infeasible under the load that the study's SLOs are asked for."""
        self._prune(run, "infeasible", f"{SATURATED}: the engine could not keep up with the arrivals in {run.saturated_windows} windows")

    def skip(self, run: TrialRun, reason: str) -> None:
        """PRUNED without having been tried, because it cannot run."""
        self._prune(run, "skipped", reason)

    def _prune(self, run: TrialRun, note: str, reason: str) -> None:
        """PRUNED, never with a value; the reason stands in the notes."""
        self._store_what_was_kept(self._storage)
        notes = {**run.trial.notes, note: reason}
        run.trial = self._storage.finish_trial(run.trial.id, TrialState.PRUNED, error_message=f"{note}: {reason}", notes=notes)
        if run.trial.optuna_trial_id is not None:
            self._record.prune(run.trial.optuna_trial_id)
        self._progress.note(f"trial {run.trial.number} ({run.configuration}) {note}: {reason}")
        self._finished(run, None, {})

    def fail(self, run: TrialRun, error: TrialFailed) -> None:
        """FAIL with class and log excerpt, never with a value."""
        self._store_what_was_kept(self._storage)
        said: Json = {"error_class": error.failure.value, "error_message": str(error), "log_excerpt": error.log_excerpt or None}
        run.trial = self._storage.finish_trial(run.trial.id, TrialState.FAIL, notes=run.trial.notes, **said)
        if run.trial.optuna_trial_id is not None:
            self._record.fail(run.trial.optuna_trial_id)
        self._progress.failed_trials += 1
        self._progress.note(f"trial {run.trial.number} ({run.configuration}) failed: {error.failure}: {error}")
        self._finished(run, None, {})

    def settle_with_optuna(self) -> None:
        """After a crash: tell Optuna what storage knows already, and fail Optuna's trials that never became ours."""
        ours = {run.trial.optuna_trial_id: run for run in self.runs if run.trial.optuna_trial_id is not None}
        for optuna_id in self._record.running():
            run = ours.get(optuna_id)
            if run is None or run.trial.state is TrialState.FAIL:
                self._record.fail(optuna_id)
            elif run.trial.state is TrialState.PRUNED:
                self._record.prune(optuna_id)
            elif run.trial.state is TrialState.COMPLETE:
                values, constraints = self.result_of(run)
                self._record.complete(optuna_id, values or [], constraints)

    def result_of(self, run: TrialRun) -> tuple[list[float] | None, dict[str, float]]:
        """(values in the order of the objectives, constraints) of a finished trial; None for one that failed."""
        if run.trial.state is not TrialState.COMPLETE or run.trial.values is None:
            return None, {}
        first = run.trial.notes.get(TWIN_OF)
        measured = run if first is None else next(item for item in self.runs if item.trial.number == first)
        metrics = median_metrics(measured.measurements)
        constraints = dict(zip(map(str, self._setup.slos), constraint_values(self._setup.slos, metrics), strict=True))
        return [float(run.trial.values[objective.name]) for objective in self._setup.objectives], constraints

    def _finished(self, run: TrialRun, values: list[float] | None, constraints: dict[str, float]) -> None:
        self._progress.done_trials += 1
        if run.trial.stage is Stage.SEARCH:
            objective = self._setup.objectives[0]
            feasible = all(value <= 0 for value in constraints.values())
            best = self._progress.best
            if values is not None and feasible and (best is None or objective.is_better(values[0], best[1])):
                self._progress.best = (str(run.configuration), values[0])
            if self.listener is not None:
                self.listener(run.configuration, values, constraints)
        self._progress.note()


def _window_details(result: WindowResult, plan: LoadPlan, origin: Origin) -> Json:
    launcher, engine_start = origin
    details: Json = {
        **result.details,
        "compilations": result.compilations,
        "launcher": launcher,
        "engine_start": engine_start,
        "workload_hash": plan.content_hash,
    }
    if result.steps:
        details["phases"] = _steps_by_phase(result)
    if result.output_digest:
        details["output_digest"] = result.output_digest
    return details


def _steps_by_phase(result: WindowResult) -> Json:
    """{phase: [steps, their summed ms]}: what a profile of one phase has to explain."""
    found: dict[str, list[float]] = {}
    for step in result.steps:
        if step.scheduled_tokens:
            entry = found.setdefault(composition(step).phase, [0, 0.0])
            entry[0] += 1
            entry[1] += step.duration_s * 1e3
    return found


def _why_no_value(run: TrialRun, error: TrialFailed) -> str:
    """Which windows were invalid, where that is the reason."""
    reasons = Counter(item.invalid_reason for item in run.measurements if not item.valid)
    if error.failure is FailureClass.INVALID_MEASUREMENT and reasons and not run.valid:
        return "no valid measurement: " + ", ".join(f"{count} x {reason}" for reason, count in sorted(reasons.items(), key=str))
    return str(error)
