"""`tuner profile capture`: of a stored trial, in an engine started for it, or of a `vllm serve` that runs already."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import LOGDIR_HELP, examples, json_option, print_json, storage_option
from tuner.cli.profile_targets import find_trial, readable
from tuner.core.defaults import DEFAULT_LOGDIR
from tuner.core.errors import BadInput

if TYPE_CHECKING:
    from profiles.summary import Summary
    from storage.records import Profile
    from tuner.launchers.remote_profile import RemoteLoad, RunningServer

_count = click.IntRange(1, 100_000)


@click.command(
    epilog=examples(
        "tuner profile capture first:3",
        "tuner profile capture first:3 --phase decode --repeat 3",
        "tuner profile capture --url http://127.0.0.1:8000 --profiler-dir /tmp/traces --run my-server",
        "tuner profile capture --url http://127.0.0.1:8000 --profiler-dir /tmp/traces --output-tokens 1   # prefill only",
    )
)
@click.argument("trial", required=False, metavar="[STUDY:TRIAL]")
@click.option("--phase", "phases", multiple=True, type=click.Choice(["prefill", "decode", "mixed", "all"]), help="Of a trial; repeatable.")
@click.option(
    "--repeat", type=click.IntRange(1, 20), default=1, show_default=True, help="Sessions of each phase; with 2, a diff knows their spread."
)
@click.option("--url", metavar="URL", help="A running vllm serve that was started with --profiler-config.")
@click.option("--profiler-dir", type=click.Path(path_type=Path), metavar="DIR", help="Its torch_profiler_dir, on this machine.")
@click.option("--run", default="vllm-serve", show_default=True, help="The run's name in TensorBoard, with --url.")
@click.option("--requests", type=_count, default=16, show_default=True, help="With --url.")
@click.option("--concurrency", type=_count, default=4, show_default=True, help="With --url.")
@click.option("--prompt-tokens", type=_count, default=128, show_default=True, help="With --url.")
@click.option("--output-tokens", type=_count, default=16, show_default=True, help="With --url.")
@click.option("--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds for one answer, with --url.")
@storage_option
@click.option("--logdir", envvar="TUNER_LOGDIR", metavar="DIR", help=LOGDIR_HELP)
@json_option
def capture(
    *,
    trial: str | None,
    phases: tuple[str, ...],
    repeat: int,
    url: str | None,
    profiler_dir: Path | None,
    run: str,
    requests: int,
    concurrency: int,
    prompt_tokens: int,
    output_tokens: int,
    timeout: float,
    storage: str,
    logdir: str | None,
    as_json: bool,
) -> None:
    """Capture XLA profiles of STUDY:TRIAL in an engine started for it, or of a running server with --url."""
    from tuner.launchers.remote_profile import RemoteLoad, RunningServer

    if (trial is None) == (url is None):
        raise BadInput("name one thing to profile: STUDY:TRIAL, or --url of a running vllm serve")
    if trial is not None:
        _trial(trial, phases, repeat, storage, logdir, as_json)
        return
    if phases:
        raise BadInput("--phase is for trials; shape the load of a server with --prompt-tokens and --output-tokens")
    if profiler_dir is None:
        raise BadInput("--url needs --profiler-dir, the server's torch_profiler_dir on this machine")
    assert url is not None
    load = RemoteLoad(requests, concurrency, prompt_tokens, output_tokens)
    with readable():
        logs = Path(logdir or DEFAULT_LOGDIR).expanduser()
        _server(RunningServer(url, timeout), load, profiler_dir, (logs, run), repeat=repeat, as_json=as_json)


def _trial(text: str, phases: Sequence[str], repeat: int, storage_url: str, logdir: str | None, as_json: bool) -> None:
    from storage.upgrade import open_storage
    from tuner.cli.interrupts import interruptible
    from tuner.launchers.choice import check_launcher, make_launcher
    from tuner.search.stored_trial import open_engine, run_of, setup_of
    from tuner.setup.study_setup import check_places
    from tuner.trials.context import RunContext
    from tuner.trials.profiling import Profiler
    from tuner.verdict.profile_sessions import MISSING, profile_json

    storage = open_storage(storage_url, create=False)
    try:
        run = run_of(find_trial(storage, text))
        setup = setup_of(storage, run.trial, storage_url, logdir)
        check_launcher(setup.config)
        check_places(setup.config)
        launcher = make_launcher(setup.config)
        with interruptible():
            try:
                print(f"starting an engine for trial {text}", file=sys.stderr)
                session = open_engine(setup, launcher, run)
                unknown = [phase for phase in phases if phase not in session.profile_phases]
                if unknown:
                    raise BadInput(f"--phase {unknown[0]}: this engine can be profiled in {', '.join(session.profile_phases)}")
                profiler = Profiler(RunContext(storage, setup), session)
                profiles = [profile for _ in range(repeat) for profile in profiler.capture(run, phases or None)]
            finally:
                launcher.close()
    finally:
        storage.close()
    if as_json:
        print_json({"trial": text, "profiles": [profile_json(profile) for profile in profiles]})
    else:
        _print_profiles(text, profiles)
    if all(profile.status == MISSING for profile in profiles):
        raise click.exceptions.Exit(1)


def _print_profiles(text: str, profiles: Sequence[Profile]) -> None:
    from tuner.verdict.profile_sessions import MISSING, TENSORBOARD, link

    for profile in profiles:
        doubts = ", ".join(profile.quality.get("problems", [])) or str(profile.quality.get("error", ""))
        print(f"{profile.phase}: {profile.status}" + (f" ({doubts})" if doubts else f", {profile.size_bytes / 1e6:.1f} MB"))
        if profile.status != MISSING:
            print(f"  {link(profile, TENSORBOARD)}")
    print(f"see: tuner profile show {text}")


def _server(server: RunningServer, load: RemoteLoad, profiler_dir: Path, place: tuple[Path, str], *, repeat: int, as_json: bool) -> None:
    """`place` is (logdir, run). Like a trial's, a bad session is kept, said to be bad, and tried once more."""
    from profiles.links import deep_link, find_profile_files, new_session
    from tuner.cli.profile_view import print_summary
    from tuner.core.contract import ProfileTarget
    from tuner.launchers.remote_profile import capture_running
    from tuner.trials.profiling import ATTEMPTS
    from tuner.verdict.profile_sessions import TENSORBOARD

    def say(what: str) -> None:
        print(f"{what} {server.url}", file=sys.stderr)

    found: list[tuple[Path, Summary]] = []
    sessions: list[str] = []
    for _ in range(repeat):
        for attempt in range(1, ATTEMPTS + 1):
            sessions.append(new_session(*place, "" if attempt == 1 else "-again"))
            paths = capture_running(server, load, profiler_dir, ProfileTarget(*place, sessions[-1]), say, len(sessions))
            fresh = [(path, _summary(path)) for path in paths]
            found += fresh
            if not any(summary.quality["retry"] for _, summary in fresh):
                break
    links = [deep_link(TENSORBOARD, each) for each in find_profile_files(place[0]) if each.run == place[1] and each.session in sessions]
    if as_json:
        profiles = [summary.to_json() for _, summary in found]
        print_json({"captures": [str(path) for path, _ in found], "links": links, "profiles": profiles})
        return
    for path, summary in found:
        print(path)
        print_summary(summary)
    for link in links:
        print(f"  {link}")


def _summary(path: Path) -> Summary:
    from profiles.summary import summarise, write_summary

    summary = summarise(path)
    write_summary(summary, path)
    return summary
