"""TensorBoard over the trials' profiles: its command line, and the HParams tab with every trial's settings and results.

HParams are written as TensorBoard's own summary protos into event files beside the profiles, so no TensorFlow is needed. TensorBoard
itself is optional and imported when a function is called.
"""

from __future__ import annotations

import ipaddress
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles.errors import ProfileError

Scalar = bool | int | float | str
_EVENTS = "events.out.tfevents"
_OURS = ".tuner-hparams"


@dataclass(frozen=True)
class HParamsTrial:
    """One row of the HParams tab. `run` is the folder below the logdir that also holds the trial's profiles."""

    run: str
    settings: Mapping[str, Scalar | None]
    results: Mapping[str, float]  # empty for a failed trial
    started_at: float  # Unix seconds
    finished_at: float | None = None
    failed: bool = False


def command(logdir: Path, port: int, host: str = "127.0.0.1", path_prefix: str = "") -> list[str]:
    """The command line of TensorBoard on a loopback address: it has no access control. Raises ProfileError for another address."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ProfileError(f"host {host} is not a loopback address: TensorBoard has no access control; use 127.0.0.1 and an SSH tunnel")
    prefix = [f"--path_prefix={path_prefix}"] if path_prefix else []
    return [sys.executable, "-m", "profiles.tensorboard_main", f"--logdir={logdir.absolute()}", f"--host={host}", f"--port={port}", *prefix]


def write_hparams(logdir: Path, trials: Sequence[HParamsTrial]) -> list[Path]:
    """Write the experiment and one session a trial; what an earlier call wrote is replaced. Returns the files.

    Raises ProfileError where TensorBoard is not installed, a run leaves the logdir or the folder cannot be written.
    """
    _hparams_api()
    metrics = sorted({name for trial in trials for name in trial.results})
    settings = sorted({name for trial in trials for name, value in trial.settings.items() if value is not None})
    try:
        written = [_write_events(logdir, [_experiment(settings, metrics)])]
        written += [_write_events(_run_folder(logdir, trial.run), _session(trial)) for trial in trials]
    except OSError as error:
        raise ProfileError(f"{logdir}: cannot be written ({error.strerror}); choose another --logdir") from None
    return written


def _run_folder(logdir: Path, run: str) -> Path:
    parts = run.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise ProfileError(f"run {run!r}: use plain folder names below the logdir")
    return logdir.joinpath(*parts)


def _hparams_api() -> Any:
    try:
        from tensorboard.plugins.hparams import api_pb2
    except ImportError:
        raise ProfileError("TensorBoard is not installed; install vllm-tpu-tuner[ui]") from None
    return api_pb2


def _experiment(settings: Iterable[str], metrics: Iterable[str]) -> Any:
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    api = _hparams_api()
    experiment = api.Experiment(
        hparam_infos=[api.HParamInfo(name=name) for name in settings],
        metric_infos=[api.MetricInfo(name=api.MetricName(tag=name)) for name in metrics],
    )
    return _plugin_summary(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=experiment))


def _session(trial: HParamsTrial) -> list[Any]:
    """Start, results and end of one trial."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    api = _hparams_api()
    start = plugin_data_pb2.SessionStartInfo(group_name=trial.run, start_time_secs=trial.started_at)
    for name, value in trial.settings.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        elif value is not None:
            start.hparams[name].string_value = value
    status = api.STATUS_FAILURE if trial.failed else api.STATUS_SUCCESS if trial.finished_at is not None else api.STATUS_RUNNING
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=trial.finished_at or 0.0)
    return [
        _plugin_summary(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start)),
        *(scalar_pb(name, value) for name, value in trial.results.items()),
        _plugin_summary(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end)),
    ]


def _plugin_summary(tag: str, data: Any) -> Any:
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import metadata

    summary = summary_pb2.Summary()
    summary.value.add(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
    return summary


def _write_events(folder: Path, summaries: Iterable[Any]) -> Path:
    """One event file, complete or not at all; our earlier ones in the folder go."""
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    target = folder / f"{_EVENTS}.{time.time_ns()}{_OURS}"
    draft = folder / f".{target.name}"
    with draft.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(event_pb2.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for summary in summaries:
            writer.write(event_pb2.Event(wall_time=now, summary=summary).SerializeToString())
        writer.flush()
        os.fsync(file.fileno())
    for old in folder.glob(f"{_EVENTS}.*{_OURS}"):
        old.unlink(missing_ok=True)
    return draft.replace(target)
