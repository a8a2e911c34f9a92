"""--launcher: checked before anything is made."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.launchers.tables import write_table
from tests.tuner.workbench import config_of
from tuner.core.errors import BadInput
from tuner.engine.devices import Devices
from tuner.launchers import choice
from tuner.launchers.choice import check_launcher, make_launcher, with_measured_sizes
from tuner.setup.hardware import TPU_LIMITS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"launcher": "rocket"}, "launcher 'rocket' is unknown; use one of local, serve, ray, table"),
        ({"launcher": "table"}, "add --table FILE.csv"),
        ({"table": "x.csv"}, "table x.csv is only for --launcher table"),
        ({"table_noise": 0.1}, "table_noise 0.1 is only for --launcher table"),
        ({"engine_python": "/nowhere/python"}, "engine_python /nowhere/python does not exist"),
        ({"engine_python": __file__}, "is not a program; name the Python that has vLLM"),
        ({"tensor_parallel_size": 2, "platform": "cpu"}, "tensor_parallel_size 2 needs a TPU"),
        ({"launcher": "simulate"}, "add --accelerator v6e-1, or --step-time FILE"),
        ({"launcher": "simulate", "accelerator": "v5e-1"}, "accelerator TPU v5e has no prediction"),
        ({"launcher": "simulate", "accelerator": "v6e-0"}, "accelerator 'v6e-0' names no slice of a TPU v6e"),
        ({"launcher": "simulate", "step_time": "/nowhere/steps.yaml"}, "/nowhere/steps.yaml"),
        ({"launcher": "simulate", "accelerator": "v6e-1", "table": "x.csv"}, "table x.csv is only for --launcher table"),
        ({"accelerator": "v6e-1"}, "accelerator v6e-1 is only for --launcher simulate"),
        ({"launcher": "table", "table": "x.csv", "step_noise": 0.1}, "step_noise 0.1 is only for --launcher simulate"),
        ({"launcher": "simulate", "accelerator": "v6e-1", "objective": "startup_s"}, "objective: a simulation starts no engine"),
        ({"launcher": "simulate", "accelerator": "v6e-1", "slos": ("startup_s<=9",)}, "slos: a simulation starts no engine"),
        ({"guard": False, "objective": "canary_match"}, "objective: canary_match comes from the canary prompts, and guard is off"),
        ({"guard": False, "slos": ("canary_match>=0.9",)}, "slos: canary_match comes from the canary prompts"),
        ({"borrow": "v6e"}, "borrow v6e is only for --launcher simulate"),
        ({"ray_resources": "TPU=4"}, "ray_resources {'TPU': 4.0} is only for --launcher ray"),
        (
            {"launcher": "ray", "ray_address": "127.0.0.1:1"},
            r"^ray_address 127\.0\.0\.1:1: nobody answers there \(Connection refused\)",
        ),
        ({"launcher": "ray", "ray_address": "here:there"}, "^ray_address here:there is no address; "),
        ({"launcher": "ray", "ray_runtime_env": "/nowhere.yaml"}, "^ray_runtime_env /nowhere.yaml cannot be read: No such file"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_launcher(config_of(**changes))


def test_no_tpu_device_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "tpu_present", lambda: False)
    with pytest.raises(BadInput, match="platform tpu: no TPU found on this machine"):
        check_launcher(config_of(platform="tpu"))


@pytest.mark.parametrize(
    ("found", "message"), [(Devices(error="libtpu is locked"), "libtpu is locked"), (Devices("cpu", "cpu", 1), "only cpu")]
)
def test_a_device_file_that_jax_makes_nothing_of(monkeypatch: pytest.MonkeyPatch, found: Devices, message: str) -> None:
    monkeypatch.setattr(choice, "tpu_present", lambda: True)
    monkeypatch.setattr(choice, "find_devices", lambda *_arguments, **_named: found)
    with pytest.raises(BadInput, match=message):
        check_launcher(config_of(platform="tpu"))


def test_a_tpu_that_jax_finds_is_accepted_and_its_limits_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def find(_python: str, platform: str) -> Devices:
        asked.append(platform)
        return Devices("tpu", "TPU v6 lite", 4)

    monkeypatch.setattr(choice, "tpu_present", lambda: True)
    monkeypatch.setattr(choice, "find_devices", find)
    config = config_of(platform="tpu")
    check_launcher(config)
    assert asked == ["tpu"]
    monkeypatch.setattr(choice, "resolve_platform", lambda _asked: "tpu")
    assert choice.device_limits(config) == TPU_LIMITS["TPU v6e"]


def test_a_table(tmp_path: Path) -> None:
    config = config_of(launcher="table", table=str(write_table(tmp_path)), table_noise=0.02)
    check_launcher(config)
    assert make_launcher(config).name == "table"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"page_sizes": (16, 512), "chunk_budgets": (512,)}, "page_sizes: table .* has no row with block_size 512; it has 16, 32"),
        ({"chunk_budgets": (384,)}, "chunk_budgets: table .* has no row with max_num_batched_tokens 384; it has 128, 256"),
    ],
)
def test_a_size_that_the_table_does_not_have(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    config = config_of(launcher="table", table=str(write_table(tmp_path)), **changes)
    with pytest.raises(BadInput, match=message):
        check_launcher(config)


@pytest.mark.parametrize("name", ["local", "serve"])
def test_a_launcher_is_made_without_starting_or_writing_anything(tmp_path: Path, name: str) -> None:
    config = config_of(logdir=str(tmp_path / "profiles"), platform="cpu", launcher=name)
    check_launcher(config)
    launcher = make_launcher(config)
    assert launcher.name == name
    launcher.close()
    assert list(tmp_path.iterdir()) == []


def test_page_sizes_that_nobody_named_are_those_of_the_table(tmp_path: Path) -> None:
    table = str(write_table(tmp_path))
    unnamed = config_of(launcher="table", table=table, page_sizes=None)
    assert with_measured_sizes(unnamed).page_sizes == (16, 32, 128)
    check_launcher(with_measured_sizes(unnamed))
    assert with_measured_sizes(config_of(launcher="table", table=table)).page_sizes == (16, 32)
    assert with_measured_sizes(config_of(page_sizes=None)).page_sizes is None
    with pytest.raises(BadInput, match="page_sizes: 128 is above the chunk budget 64"):
        with_measured_sizes(config_of(launcher="table", table=table, page_sizes=None, chunk_budgets=[64]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"kv_cache_dtyp": "fp8"}, "vLLM has no kv_cache_dtyp; did you mean kv_cache_dtype?"),
        ({"kv_cache_dtype": "fp9"}, "kv_cache_dtype: fp9 is not one of auto, float16"),
        ({"gpu_memory_utilization": "0.9,1.5"}, "gpu_memory_utilization: 1.5 is not at most 1"),
        ({"tensor_parallel_size": "1,2"}, "tensor_parallel_size 2 needs a TPU"),
        ({"env:USE_BATCHED_RPA_KERNEL": "unset,1"}, "is also set in this environment, to '0'; unset USE_BATCHED_RPA_KERNEL"),
    ],
)
def test_a_factor_that_vllm_or_this_machine_does_not_take(factors: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_BATCHED_RPA_KERNEL", "0")
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("no vLLM here whose source could be read")
    with pytest.raises(BadInput) as caught:
        check_launcher(config_of(platform="cpu", factors=factors))
    assert message in str(caught.value) and "\n" not in str(caught.value)
