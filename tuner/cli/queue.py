"""`tuner queue`: what was submitted, how it stands, and limits of teams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.options import examples, json_option, operator, print_json, reading, reason_option, storage_option, writing
from tuner.cli.submit import submission_json

if TYPE_CHECKING:
    from storage.base import Storage
    from storage.queue_records import Submission


SEEN_S = 120.0  # two leases
_LONGEST_HOST = 255  # characters, as of a host name


@click.group(
    epilog=examples("tuner queue list", "tuner queue show 7", "tuner queue cancel 7 --reason 'wrong file'", "tuner queue limit chat 2")
)
def queue() -> None:
    """What was submitted (`tuner submit`), how it stands, and how many studies a team may run at once."""


@queue.command("list", epilog=examples("tuner queue list", "tuner queue list --all --team chat"))
@click.option("--all", "everything", is_flag=True, help="Also those that ended.")
@click.option("--team", metavar="NAME", help="Of this team only.")
@storage_option
@json_option
def list_(everything: bool, team: str | None, storage: str, as_json: bool) -> None:
    """List submissions in the order in which they are taken, the running ones first; and the workers that were seen of late."""
    from storage.queue_records import ENDED, SubmissionState
    from tuner.cli.tables import duration, text_table

    states = None if everything else frozenset(SubmissionState) - ENDED
    with reading(storage) as opened:
        found = sorted(opened.list_submissions(states=states, team=team, limit=1000), key=_order)
        workers, now = opened.list_workers(seen_within_s=SEEN_S), opened.database_now()
    if as_json:
        from dataclasses import asdict

        print_json({"submissions": [submission_json(item) for item in found], "workers": [asdict(worker) for worker in workers]})
        return
    if not found:
        print("nothing is queued or running")
    else:
        columns = ("id", "study", "state", "priority", "team", "since", "worker", "reason")
        rows = [_row(item, duration(max(0.0, now - item.submitted_at))) for item in found]
        print(text_table(columns, rows))
    for worker in workers:
        what = worker.state if worker.submission_id is None else f"{worker.state} submission {worker.submission_id}"
        print(f"worker {worker.name}: {what}, {worker.accelerator}, seen {duration(max(0.0, now - worker.seen_at))} ago")


@queue.command(epilog=examples("tuner queue show 7", "tuner queue show nightly --json"))
@click.argument("submission", metavar="ID|STUDY")
@storage_option
@json_option
def show(submission: str, storage: str, as_json: bool) -> None:
    """One submission with all that happened to it."""
    from dataclasses import asdict

    from tuner.core.numbers import utc
    from tuner.fleet.parts import parts_of

    with reading(storage) as opened:
        found = required_submission(opened, submission)
        events = opened.list_events(submission_id=found.id)
        parts = parts_of(opened, found)
    if as_json:
        shown = {"submission": submission_json(found), "events": [asdict(event) for event in events]}
        print_json({**shown, "parts": [part.to_json() for part in parts]})
        return
    needs = ", ".join(f"{name} {value}" for name, value in found.requirements.items()) or "nothing"
    print(f"submission {found.id}: study {found.study}, {found.state}, priority {found.priority}, team {found.team or '-'}, needs {needs}")
    if found.workers > 1:
        print(f"for up to {found.workers} workers; {len({part.worker for part in parts})} measure now")
    for part in parts:
        print(f"worker {part.worker} {part.what}")
    for event in events:
        print(f"{utc(event.at)}  {event.what:10}  {event.by}" + (f": {event.reason}" if event.reason else ""))


@queue.command(epilog=examples("tuner queue cancel 7", "tuner queue cancel nightly --reason 'wrong file'"))
@click.argument("submission", metavar="ID|STUDY")
@reason_option
@storage_option
@json_option
def cancel(submission: str, reason: str, storage: str, as_json: bool) -> None:
    """Cancel what waits; what runs stops after the window that is being measured, and keeps what was measured."""
    with writing(storage) as opened:
        found = required_submission(opened, submission)
        after = opened.cancel_submission(found.id, by=operator(reason).name, reason=reason)
    if as_json:
        print_json({"submission": submission_json(after)})
    else:
        print(f"submission {after.id}: study {after.study} is {after.state}")


@queue.command(epilog=examples("tuner queue limit", "tuner queue limit chat 2", "tuner queue limit chat none"))
@click.argument("team", required=False)
@click.argument("studies", required=False, metavar="[N|none]")
@storage_option
@json_option
def limit(team: str | None, studies: str | None, storage: str, as_json: bool) -> None:
    """How many studies of TEAM may run at once; alone: the limits that there are."""
    from tuner.core.errors import BadInput

    if team is not None:
        if studies is None or not (studies == "none" or (studies.isascii() and studies.isdecimal() and int(studies) < 2**31)):
            raise BadInput("is no number of studies", setting="limit", value=repr(studies), fix="name one, or none to lift the limit")
        with writing(storage) as opened:
            opened.set_team_limit(team, None if studies == "none" else int(studies))
    with reading(storage) as opened:
        limits = opened.team_limits()
    if as_json:
        print_json({"limits": limits})
    else:
        print("\n".join(f"{name}: {count} at once" for name, count in limits.items()) or "no team has a limit")


@queue.command(epilog=examples("tuner queue quarantine", "tuner queue quarantine tpu-7 --reason 'its fan is broken'"))
@click.argument("host", required=False)
@reason_option
@storage_option
@json_option
def quarantine(host: str | None, reason: str, storage: str, as_json: bool) -> None:
    """Hosts that claim nothing until they are released: their default arm measures something else than their peers', or somebody put them
    there. With HOST: put it there."""
    from contextlib import suppress
    from dataclasses import asdict

    from storage.base import Conflict
    from tuner.core.errors import BadInput
    from tuner.core.numbers import utc
    from tuner.fleet.quarantine import quarantine_by_hand

    if host is not None:
        if not host.strip() or len(host) > _LONGEST_HOST:
            raise BadInput(
                "is no name of a host", setting="quarantine", value=repr(host), fix="see `tuner queue list` and the workers' hosts"
            )
        with writing(storage) as opened, suppress(Conflict):  # it is there, as was asked
            quarantine_by_hand(opened, host, by=operator(reason).name, reason=reason)
    with reading(storage) as opened:
        held = opened.list_quarantines()
    if as_json:
        print_json({"quarantines": [asdict(item) for item in held]})
        return
    for item in held:
        print(f"{item.host}: since {utc(item.since)}, by {item.by}: {item.reason}")
    if not held:
        print("no host is in quarantine")


@queue.command(epilog=examples("tuner queue release tpu-7 --reason 'new fan'"))
@click.argument("host")
@reason_option
@storage_option
def release(host: str, reason: str, storage: str) -> None:
    """Let a host claim studies again. What it measured before counts no more when it is compared with its peers."""
    from storage.base import NotFound
    from tuner.core.errors import BadInput

    with writing(storage) as opened:
        try:
            opened.release_host(host, by=operator(reason).name, reason=reason)
        except NotFound as error:
            raise BadInput("is not in quarantine", setting="host", value=repr(host), fix="see `tuner queue quarantine`") from error
    print(f"{host} may claim studies again")


def required_submission(storage: Storage, asked: str) -> Submission:
    """By its id, or the newest one of a study. Raises BadInput."""
    from storage.base import NotFound
    from tuner.core.errors import BadInput

    found = next(iter(storage.list_submissions(study=asked, limit=1)), None)
    if found is None and asked.isascii() and asked.isdecimal() and int(asked) < 2**31:
        try:
            return storage.get_submission(int(asked))
        except NotFound:
            pass
    if found is None:
        raise BadInput("was never submitted to this database", setting="submission", value=repr(asked), fix="see `tuner queue list --all`")
    return found


def _row(item: Submission, since: str) -> list[str]:
    return [str(item.id), item.study, item.state, str(item.priority), item.team or "", since, item.claimed_by or "", item.reason or ""]


def _order(item: Submission) -> tuple[bool, int, int]:
    return item.state == "QUEUED", -item.priority, item.id
