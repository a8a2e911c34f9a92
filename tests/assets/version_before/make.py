"""Makes the other files of this folder with the version before; README.md says how to call it.

It uses only names that every version has: the command itself, the table launcher's session, the fake engine of the tests.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, get_type_hints

from fastapi.testclient import TestClient

import tuner.launchers.choice
from service.app import create_app
from tests.tuner.fake_engine import FakeLauncher
from tuner.cli.command_line import run
from tuner.launchers.table import TableSession

HERE = Path(__file__).resolve().parent
URL = "sqlite:///tuner.db"
STOPPED_IN_WINDOW = 16

BASIC = ["search", "--model", "tiny-qwen3", "--workload", "demo", "--rounds", "3", "--logdir", "profiles"]
TABLE = [
    *BASIC,
    "--page-sizes",
    "16,32,64",
    "--chunk-budgets",
    "128,256",
    "--launcher",
    "table",
    "--table",
    "table.csv",
    "--table-noise",
    "0.01",
]
SEARCHES = {
    "complete": [*TABLE, "--study", "complete", "--slo", "ttft_p99_ms<=58"],
    "few": [*TABLE, "--study", "few", "--trials", "4", "--sampler", "ordinal", "--warm-start", "complete", "--seed", "3"],
    "engine": [*BASIC, "--page-sizes", "16,32", "--chunk-budgets", "128,256", "--study", "engine", "--objective", "total_token_throughput"],
    "interrupted": [*TABLE, "--study", "interrupted", "--slo", "ttft_p99_ms<=58"],
}
SHOWN = ("complete", "engine", "interrupted")
COMMANDS = [
    ["show", "--json"],
    ["show", "engine", "--json"],
    ["show", "interrupted", "--json"],
    *(["compare", study, "--json"] for study in SHOWN),
    *(["recommend", study, "--json"] for study in SEARCHES),
    *(["recommend", "complete", "--format", form] for form in ("yaml", "flags", "env")),
    ["recommend", "--model", "tiny-qwen3", "--accelerator", "table table.csv", "--workload", "demo", "--json"],
    ["export", "complete", "--format", "csv"],
    ["token", "list", "--json"],
]
PATHS = [
    "/v1/studies",
    *(f"/v1/studies/{study}{part}" for study in SHOWN for part in ("", "/trials", "/comparison")),
    "/v1/recommendations?model=tiny-qwen3&accelerator=table%20table.csv&workload=demo",
    "/v1/recommendations?model=tiny-qwen3&accelerator=fake%20engine&workload=demo",
    "/v1/recommendations?model=tiny-qwen3&accelerator=TPU%20v6e-1&workload=chat",
    "/v1/recommendations/stored?model=tiny-qwen3&limit=1",
    "/v1/recommendations/1",
    "/v1/recommendations/1/config",
    "/v1/trials/1",
    "/v1/trials/29",
    "/v1/trials/29/profile",
]


def stop_in(window: int) -> None:
    """From here on the table's session is interrupted in its n-th window (from 1)."""
    measure, count = TableSession.measure, 0

    def interrupted(self: TableSession, *arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == window:
            raise KeyboardInterrupt
        return measure(self, *arguments, **named)

    TableSession.measure = interrupted  # type: ignore[method-assign]


def answer(arguments: list[str]) -> dict[str, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run(arguments)
    text = out.getvalue()
    as_json = "--json" in arguments or arguments[-1] == "json"
    return {"command": arguments, "code": code, "out": json.loads(text) if as_json else text}


def search(study: str) -> None:
    make = tuner.launchers.choice.make_launcher
    if study == "engine":
        vars(tuner.launchers.choice)["make_launcher"] = lambda _config: FakeLauncher()
    if study == "interrupted":
        stop_in(STOPPED_IN_WINDOW)
    code = answer([*SEARCHES[study], "--storage", URL])["code"]
    vars(tuner.launchers.choice)["make_launcher"] = make
    assert code == (130 if study == "interrupted" else 0), (study, code)


def rest_answers() -> list[dict[str, Any]]:
    settings = get_type_hints(create_app)["settings"]  # its module has moved since
    app = create_app(settings(storage_url=URL, logdir=Path("profiles")))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
        replies = [(path, client.get(path)) for path in PATHS]
    return [{"path": path, "status": reply.status_code, "body": body_of(reply)} for path, reply in replies]


def body_of(reply: Any) -> Any:
    return reply.json() if "json" in reply.headers["content-type"] else reply.text


def main() -> None:
    os.environ["TUNER_CACHE"] = str(Path(tempfile.mkdtemp()) / "cache")
    os.environ["TUNER_STORAGE"] = URL
    os.chdir(tempfile.mkdtemp())
    shutil.copyfile(HERE / "table.csv", "table.csv")
    for study in SEARCHES:
        search(study)
    shutil.rmtree("profiles")  # what is asked of the database must not need them
    token = answer(["token", "create", "dashboard", "--scope", "read", "--json"])["out"]["token"]
    made = {"made_at": time.time(), "token": token, "searches": SEARCHES}
    lines = [json.dumps(item, separators=(",", ":")) for item in (made, *map(answer, COMMANDS), *rest_answers())]
    (HERE / "answers.jsonl").write_text("\n".join(lines) + "\n")
    with closing(sqlite3.connect("tuner.db")) as connection:
        (HERE / "database.sqlite.sql").write_text("\n".join(connection.iterdump()) + "\n")


if __name__ == "__main__":
    main()
