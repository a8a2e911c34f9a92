"""Backend TUNER_RPA: the stock kernel's cache as the stock kernel would have written it, compiled for TPUs, refused where it cannot run."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from tests.plugins.programs import Programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

if importlib.util.find_spec("tpu_inference") is None or importlib.util.find_spec("libtpu") is None:
    pytest.skip("needs tpu-inference and libtpu", allow_module_level=True)


def probe(programs: Programs, *names: str) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(programs.run("tests.tuner.vllm_plugin.rpa_probe", *names))
    return answers


@pytest.fixture(scope="module")
def on_the_cpu(programs: Programs) -> dict[str, Any]:
    return probe(programs, "write", "guard")


def test_its_write_leaves_the_cache_of_tpu_inferences_own_reference(on_the_cpu: dict[str, Any]) -> None:
    """On two devices, each with half of the heads. A later step then attends to the same bytes as with the stock backend."""
    forms = {f"{dtype} {form}" for dtype in ("float32", "bfloat16", "float8_e4m3fn") for form in ("token", "page")}
    assert on_the_cpu["write"] == dict.fromkeys(forms, True)


def test_it_compiles_for_three_chips_and_the_cache_is_written_in_place(programs: Programs) -> None:
    """Neither form takes a copy of the cache, and the stock kernels are in both programs."""
    found = probe(programs, "compile")["compile"]
    assert set(found) == {f"{chip} {form}" for chip in ("v5e-4", "v6e-4", "7x-8") for form in ("token", "page")}
    for name, program in found.items():
        assert program["alias_bytes"] == program["cache_bytes"], name
        assert program["temporary_bytes"] < program["cache_bytes"] / 50, name
        assert program["kernels"] == [f"tuner_{name.split()[1]}_kernel", "RPAd-", "RPAm-"], name


def test_what_it_cannot_do_is_refused_before_an_engine_starts(on_the_cpu: dict[str, Any]) -> None:
    found = on_the_cpu["guard"]
    fine = {name for name, line in found.items() if line == ""}
    assert fine == {"nothing", "fp8", "bfloat16"}
    assert all(line.startswith("--attention-backend TUNER_RPA ") and "\n" not in line for name, line in found.items() if name not in fine)
    for name, words in {
        "without a TPU": "needs a TPU, since only that runs Pallas TPU kernels: use --attention-backend TUNER_XLA",
        "heads of 64": "does not support heads of 64",
        "int8": "does not support kv_cache_dtype int8",
        "kv_write": "drop additional_config tuner.kv_write",
        "native model": "set MODEL_IMPL_TYPE=vllm",
        "batched kernel": "unset USE_BATCHED_RPA_KERNEL",
    }.items():
        assert words in found[name]
