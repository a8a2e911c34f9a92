"""Which limits a search is held to: those of the TPU that JAX finds, none elsewhere, and never those of a chip nobody knows."""

from __future__ import annotations

import pytest

from tests.tuner.workbench import config_of
from tuner.core.errors import BadInput
from tuner.engine.devices import Devices
from tuner.launchers import choice
from tuner.setup.hardware import TPU_LIMITS


def on_a_tpu_host(monkeypatch: pytest.MonkeyPatch, found: Devices) -> None:
    monkeypatch.setattr(choice, "resolve_platform", lambda _asked: "tpu")
    monkeypatch.setattr(choice, "find_devices", lambda _python, platform: found)


def test_the_chip_that_jax_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_tpu_host(monkeypatch, Devices("tpu", "TPU v6 lite", 4))
    assert choice.device_limits(config_of()) is TPU_LIMITS["TPU v6e"]
    assert choice.device_limits(config_of(launcher="table", table="t.csv")) is None


def test_an_unknown_chip_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_tpu_host(monkeypatch, Devices("tpu", "TPU v9x", 4))
    with pytest.raises(BadInput, match="'TPU v9x' is unknown; known are TPU v4"):
        choice.device_limits(config_of())


def test_a_tpu_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_tpu_host(monkeypatch, Devices(error="JAX did not answer within 90 s; another process may hold the accelerator"))
    with pytest.raises(BadInput, match=r"JAX finds no TPU \(JAX did not answer .*; use --platform cpu"):
        choice.device_limits(config_of())


def test_without_a_tpu_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_devices", lambda *_arguments, **_named: pytest.fail("asked"))
    assert choice.device_limits(config_of(platform="cpu")) is None
