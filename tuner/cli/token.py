"""`tuner token`: who may use the API, and with what scope."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from tuner.access.api_tokens import SCOPES, new_token, successor
from tuner.cli.options import examples, json_option, operator, print_json, reading, reason_option, storage_option, writing

if TYPE_CHECKING:
    from storage.records import ApiToken

_DAY_S = 24 * 3600.0

name_argument = click.argument("name")
days_option = click.option("--expires-days", type=click.IntRange(1, 3650), help="Days until it expires.  [default: never, or as before]")


@click.group(
    epilog=examples(
        "tuner token create ci --scope read --scope publish --expires-days 90", "tuner token rotate ci --grace-hours 24", "tuner token list"
    )
)
def token() -> None:
    """Create, list, rotate or revoke tokens of the REST API, and who did; a token is shown once and kept as a hash."""


@token.command(epilog=examples("tuner token create ci --scope publish", "tuner token create dashboard --expires-days 30"))
@name_argument
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), default=("read",), show_default=True)
@days_option
@reason_option
@storage_option
@json_option
def create(name: str, scopes: tuple[str, ...], expires_days: int | None, reason: str, storage: str, as_json: bool) -> None:
    """Create the token NAME and print it, this once."""
    record, text = new_token(name, scopes, now=time.time(), lifetime_s=_seconds(expires_days))
    with writing(storage, create=True) as opened:
        _show_once(opened.add_token(record, by=operator(reason)), text, as_json)


@token.command(epilog=examples("tuner token rotate ci --grace-hours 24"))
@name_argument
@click.option("--grace-hours", type=click.FloatRange(0, 24 * 30), default=0.0, show_default=True, help="How long the old one lives on.")
@days_option
@reason_option
@storage_option
@json_option
def rotate(name: str, grace_hours: float, expires_days: int | None, reason: str, storage: str, as_json: bool) -> None:
    """Replace the token NAME by a fresh one with the same scopes and lifetime, printed this once."""
    from tuner.core.errors import BadInput

    now = time.time()
    with writing(storage) as opened:
        old = next((item for item in opened.list_tokens() if item.name == name and item.revoked_at is None), None)
        if old is None:
            raise BadInput(f"token {name!r} does not exist or is revoked; see tuner token list")
        record, text = successor(old, now=now, lifetime_s=_seconds(expires_days))
        _show_once(opened.rotate_token(record, old_until=now + grace_hours * 3600, by=operator(reason)), text, as_json)


@token.command(epilog=examples("tuner token revoke ci --reason 'left the team'"))
@name_argument
@reason_option
@storage_option
@json_option
def revoke(name: str, reason: str, storage: str, as_json: bool) -> None:
    """Revoke the token NAME at once, rotated ones of that name included."""
    with writing(storage) as opened:
        revoked = opened.revoke_token(name, by=operator(reason))
    if as_json:
        print_json({"revoked": [_described(item) for item in revoked]})
    else:
        print(f"revoked {name} ({len(revoked)} token{'s' if len(revoked) > 1 else ''})")


@token.command(name="list", epilog=examples("tuner token list --json"))
@storage_option
@json_option
def list_tokens(storage: str, as_json: bool) -> None:
    """All tokens, without their secrets."""
    from tuner.cli.tables import text_table

    with reading(storage) as opened:
        rows = [_described(item) for item in opened.list_tokens()]
    if as_json:
        print_json({"tokens": rows})
    elif rows:
        headers = ("name", "key", "scopes", "state", "created", "ends")
        print(text_table(headers, [[_cell(row[header]) for header in headers] for row in rows]))
    else:
        print("no token yet: see tuner token create --help")


@token.command(epilog=examples("tuner token history", "tuner token history ci --json"))
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Entries, newest first.")
@storage_option
@json_option
def history(name: str | None, limit: int, storage: str, as_json: bool) -> None:
    """Who created, rotated or revoked tokens, or the token NAME, when and why."""
    from tuner.cli.tables import text_table

    with reading(storage) as opened:
        found = opened.list_audit(kind="token", subject=name, limit=limit)
    rows = [{"at": item.at, "actor": item.actor, "action": item.action, "token": item.subject, "reason": item.reason} for item in found]
    if as_json:
        print_json({"history": rows})
    elif rows:
        print(text_table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows]))
    else:
        print("nothing happened to that token yet" if name is not None else "no token yet: see tuner token create --help")


def _seconds(days: int | None) -> float | None:
    return None if days is None else days * _DAY_S


def _described(item: ApiToken) -> dict[str, Any]:
    ends = [end for end in (item.expires_at, item.revoked_at) if end is not None]
    state = "in force" if item.in_force(time.time()) else "revoked" if item.revoked_at is not None else "expired"
    values = {"name": item.name, "key": item.key, "scopes": item.scopes, "state": state, "created": item.created_at}
    return {**values, "ends": min(ends, default=None)}


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(value))
    return " ".join(value) if isinstance(value, list) else str(value or "")


def _show_once(item: ApiToken, text: str, as_json: bool) -> None:
    if as_json:
        print_json({**_described(item), "token": text})
    else:
        click.echo(f"token {item.name} ({', '.join(item.scopes)}); it is not shown again:", err=True)
        print(text)
