"""`tuner doctor`: what was found, and how to fix what is missing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from storage.records import Study
from tests.storage.builders import a_measurement, a_trial
from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tuner.engine.devices import Devices
from tuner.trials.spool import Spool

TPU = Devices("tpu", "TPU v6 lite", 4)
CPU = Devices("cpu", "cpu", 1)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with a TPU; a test changes what it wants to see missing."""
    monkeypatch.setattr("tuner.engine.devices.find_devices", lambda *_arguments, **_named: TPU)
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    return monkeypatch


def checks_of(terminal: Terminal, *arguments: str | Path) -> dict[str, dict[str, str | bool]]:
    return {check["name"]: check for check in terminal.run("doctor", "--json", *arguments).json["checks"]}


def test_it_tells_what_it_found(terminal: Terminal, found: pytest.MonkeyPatch) -> None:
    result = terminal.run("doctor", "--storage", terminal.url, "--logdir", str(terminal.folder / "profiles"), "--json")
    checks = {check["name"]: check for check in result.json["checks"]}
    assert set(checks) == {
        *("python", "engine", "tested", "plugin", "devices", "tpu"),
        *("storage", "logdir", "spool", "service", "tensorboard"),
    }
    assert checks["devices"]["found"] == "4 x TPU v6 lite (tpu)"
    assert checks["tpu"] == {"name": "tpu", "ok": True, "found": "JAX runs on TPU v6 lite", "fix": "", "needed": False}
    for name in ("storage", "logdir"):
        assert "does not exist yet" in checks[name]["found"]
    assert result.code == (0 if result.json["ready"] else 1)
    assert not (terminal.folder / "tuner.db").exists() and not (terminal.folder / "profiles").exists()


def test_not_ready_without_devices(terminal: Terminal, found: pytest.MonkeyPatch) -> None:
    found.setattr("tuner.engine.devices.find_devices", lambda *_arguments, **_named: Devices(error="libtpu is locked"))
    result = terminal.run("doctor", "--storage", "nonsense")
    assert result.code == 1
    assert "libtpu is locked" in result.out and "  storage: did you mean sqlite:///nonsense?" in result.out
    assert result.out.splitlines()[-1] == "not ready for tuner search: devices, storage"


def test_without_a_tpu_it_says_what_results_are_worth(terminal: Terminal, found: pytest.MonkeyPatch) -> None:
    found.setattr("tuner.engine.devices.find_devices", lambda *_arguments, **_named: CPU)
    found.setattr("tuner.engine.environment.tpu_present", lambda: False)
    assert "results hold for this host only" in str(checks_of(terminal)["tpu"]["found"])
    found.setattr("tuner.engine.environment.tpu_present", lambda: True)
    found.setenv("JAX_PLATFORMS", "cpu")
    check = checks_of(terminal)["tpu"]
    assert "JAX does not use them (JAX_PLATFORMS=cpu)" in str(check["found"]) and check["fix"] == "unset JAX_PLATFORMS"


def test_it_asks_the_engines_python(terminal: Terminal, found: pytest.MonkeyPatch) -> None:
    python = terminal.folder / "python"
    python.write_text(
        '#!/bin/sh\ncase "$2" in *entry_points*) echo tuner.vllm_plugin:register ;;\n'
        "*) echo vllm-tpu 0.31.0; echo tpu-inference 0.32.0 ;; esac\n"
    )
    python.chmod(0o755)
    result = terminal.run("doctor", "--engine-python", str(python), "--storage", terminal.url, "--json")
    assert result.code == 0
    assert result.json["versions"] == {"vllm-tpu": "0.31.0", "tpu-inference": "0.32.0"}
    tested = next(check for check in result.json["checks"] if check["name"] == "tested")
    assert (tested["ok"], tested["found"]) == (False, "vllm-tpu 0.31.0, tested with 0.32.0")


def test_an_engine_without_our_plugin(terminal: Terminal, found: pytest.MonkeyPatch) -> None:
    python = terminal.folder / "python"
    python.write_text('#!/bin/sh\ncase "$2" in *entry_points*) ;; *) echo vllm-tpu 0.32.0; echo tpu-inference 0.32.0;; esac\n')
    python.chmod(0o755)
    result = terminal.run("doctor", "--engine-python", str(python), "--storage", terminal.url)
    assert result.code == 1 and "  plugin: install vllm-tpu-tuner into the engine's Python, too" in result.out


def test_vllm_plugins_may_leave_ours_out(terminal: Terminal, found: pytest.MonkeyPatch) -> None:
    found.setenv("VLLM_PLUGINS", "tuner,other")
    assert checks_of(terminal)["plugin"]["ok"] is True
    found.setenv("VLLM_PLUGINS", "other")
    assert checks_of(terminal)["plugin"]["fix"] == "unset VLLM_PLUGINS, or add tuner to it"


@pytest.mark.parametrize("python", ["/nowhere/python", __file__])
def test_a_python_that_is_none(terminal: Terminal, python: str) -> None:
    result = terminal.run("doctor", "--engine-python", python)
    assert result.code == 2 and is_one_line_error(result) and "name the Python that has vLLM" in result.err


@pytest.mark.slow
def test_a_newer_database_is_not_to_be_upgraded(searched: Terminal, found: pytest.MonkeyPatch) -> None:
    connection = sqlite3.connect(searched.folder / "tuner.db")
    with connection:
        connection.execute("UPDATE tuner_alembic_version SET version_num = '9999'")
    connection.close()
    assert checks_of(searched)["storage"]["fix"] == "upgrade vllm-tpu-tuner"
    checked = searched.run("db", "check")
    assert checked.code == 1 and "made by a newer tuner: upgrade vllm-tpu-tuner" in checked.out


def test_a_logdir_that_is_a_file(terminal: Terminal, found: pytest.MonkeyPatch) -> None:
    check = checks_of(terminal, "--logdir", str(Path(terminal.table)))["logdir"]
    assert (check["ok"], check["fix"]) == (False, "name another with --logdir")


def test_what_the_service_lacks(terminal: Terminal, found: pytest.MonkeyPatch) -> None:
    found.setattr("tuner.cli.doctor._SERVICE_PACKAGES", ("fastapi", "not_installed_anywhere"))
    check = checks_of(terminal)["service"]
    assert check["found"] == "not_installed_anywhere not installed" and "[ui]" in str(check["fix"])


def test_windows_that_wait_for_their_database_are_told(terminal: Terminal, found: pytest.MonkeyPatch) -> None:
    folder = terminal.folder / "spool"
    assert checks_of(terminal, "--spool", folder)["spool"]["ok"]
    spool = Spool(folder, Study("night", "tiny-qwen3", {}, "throughput", id=7, created_at=1.5))
    for number in range(2):
        spool.append(a_measurement(3, round=number), a_trial(7, id=3, created_at=2.5))
    with spool.path.open("ab") as file:
        file.write(b"0123 cut sho")
    check = checks_of(terminal, "--spool", folder)["spool"]
    assert not check["ok"] and not check["needed"]
    assert check["found"] == f"{folder}: 2 windows of study 'night', 1 damaged lines in {spool.path.name}"
