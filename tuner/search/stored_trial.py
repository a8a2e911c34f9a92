"""A trial out of the database, runnable again: its study's settings, its own engine, its workload."""

from __future__ import annotations

from storage.base import Storage
from storage.records import Trial
from tuner.core.contract import EngineSession, EngineSettings, Launcher
from tuner.core.errors import BadInput
from tuner.serving.stored_settings import measured_kv_write
from tuner.setup.config import WITHOUT_AN_ENGINE, check_config
from tuner.setup.space import Configuration
from tuner.setup.stored_study import StoredStudy
from tuner.setup.study_setup import StudySetup, prepare_study
from tuner.trials.engines import launcher_errors
from tuner.trials.trial import TrialRun


def setup_of(storage: Storage, trial: Trial, storage_url: str, logdir: str | None) -> StudySetup:
    """The setup of the trial's study, from its stored configuration. Raises BadInput where it no longer fits what is here."""
    study = storage.get_study_by_id(trial.study_id)
    config = StoredStudy.from_record(study).config(storage=storage_url, **({"logdir": logdir} if logdir is not None else {}))
    check_config(config)
    if config.launcher in WITHOUT_AN_ENGINE:
        how = "measured from a table" if config.launcher == "table" else "simulated"
        raise BadInput(f"was {how}", setting="study", value=repr(study.name), fix="there is no engine to profile")
    setup = prepare_study(config)
    if setup.workload.content_hash != trial.workload_hash:
        raise BadInput(
            "its workload is not what it was",
            setting="study",
            value=f"{study.name!r}:",
            fix="restore the files that it was made from",
        )
    return setup


def run_of(trial: Trial) -> TrialRun:
    return TrialRun(trial, Configuration.of_trial(trial))


def open_engine(setup: StudySetup, launcher: Launcher, run: TrialRun) -> EngineSession:
    """An engine with exactly the trial's flags and the KV write implementations that it ran with, warmed up. Raises TrialFailed."""
    cold = setup.cold_engine(run.configuration)
    engine: EngineSettings = cold.with_changes(kv_write=measured_kv_write(run.trial) or cold.kv_write)
    with launcher_errors("starting the engine"):
        setup.model.prepare()
        session = launcher.open(engine, setup.config.engine_start_timeout)
        try:
            session.warm_up(run.configuration.live, setup.plan, setup.config.trial_timeout)
        except BaseException:
            session.close()
            raise
    return session
