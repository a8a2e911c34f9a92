"""The table of TPU limits: against the installed packages it was read from, and by the names that people and JAX use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tuner.core.errors import BadInput
from tuner.setup.hardware import GIB, TPU_LIMITS, Hardware, accelerator_limits, hardware_of, named_limits, spellings

JAX_VERSIONS = {"TPU v4": "v4", "TPU v5e": "v5e", "TPU v5p": "v5p", "TPU v6e": "v6e", "TPU v7x": "7x", "TPU v8i": "8i"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TPU v6e-4", "TPU v6e"),
        ("TPU v6 lite-8", "TPU v6e"),
        ("TPU v5 lite", "TPU v5e"),
        ("v5litepod-8", "TPU v5e"),
        ("TPU v5", "TPU v5p"),
        ("TPU v5p-4", "TPU v5p"),
        ("TPU v4-8", "TPU v4"),
        ("TPU7x-8", "TPU v7x"),
        ("tpu  7x-2x2x1", "TPU v7x"),
        ("Ironwood", "TPU v7x"),
        ("TPU8i-2", "TPU v8i"),
    ],
)
def test_names(name: str, expected: str) -> None:
    limits = accelerator_limits(name)
    assert limits is not None and limits.name == expected


@pytest.mark.parametrize("name", ["cpu x86_64 AMD EPYC 7B13 x2", "CPU", "NVIDIA H200", "cuda", "gpu"])
def test_cpus_and_gpus_have_no_such_limits(name: str) -> None:
    assert accelerator_limits(name) is None


@pytest.mark.parametrize("name", ["TPU v9", "TPU v2", "TPU v3-8", "TPU8t", "TPU", "", "v6e-", "fake engine", "TPU v5x-4"])
def test_an_unknown_chip_gets_nobodys_limits(name: str) -> None:
    with pytest.raises(BadInput, match=r"is unknown; known are TPU v4, TPU v5e, .*TPU v8i") as caught:
        accelerator_limits(name)
    assert "\n" not in str(caught.value)


NO_SLICES = ["0", "01", "", "-1", "+1", "3", "2x3", "2x0", "2x", "512", "9223372036854775808", "9" * 5000, "4.0", "four", "\u0664"]


@pytest.mark.parametrize("count", NO_SLICES)
def test_a_count_that_no_slice_has_is_no_slice_of_one_chip(count: str) -> None:
    """`tuner simulate --accelerator v6e-0` answered for a v6e-1."""
    for prefix in ("v6e", "TPU v6 lite"):
        with pytest.raises(
            BadInput, match=r"^borrow '.*' names no slice of a TPU v6e; end it in a power of two up to 256, for instance v6e-8$"
        ):
            named_limits(f"{prefix}-{count}", "borrow")


@pytest.mark.parametrize("name", ["v5p-3", "v4-0", "7x-96", "v5p-17984", "8i-4x4x3", "ironwood-01"])
def test_a_torus_of_three_dimensions_is_made_of_whole_cubes(name: str) -> None:
    with pytest.raises(
        BadInput, match=r"^accelerator '.*' names no slice of a TPU .*; end it in a power of two, or a multiple of 64 up to"
    ):
        named_limits(name)


@pytest.mark.parametrize(
    "name", ["v6e-1", "v6e", "TPU v6 lite-4", "v5litepod-256", "v6e-2x4", "v5p-12288", "v4-4x4x12", "7x-2", "TPU7x-18432"]
)
def test_a_slice_that_is_there_is_taken(name: str) -> None:
    assert named_limits(name) == accelerator_limits(name) is not None


@pytest.mark.parametrize("name", ["v9-0", "TPU-4", "-4", "abacus-0"])
def test_a_chip_that_nobody_knows_is_unknown_whatever_its_count(name: str) -> None:
    with pytest.raises(BadInput, match="is unknown; known are"):
        named_limits(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", JAX_VERSIONS)
def test_vmem_smem_and_cores_are_jaxs(name: str) -> None:
    tpu_info = pytest.importorskip("jax._src.tpu_info", reason="needs JAX")
    version = tpu_info.ChipVersion(JAX_VERSIONS[name])
    limits = TPU_LIMITS[name]
    cores_per_device = limits.cores_per_chip // limits.devices_per_chip
    info = tpu_info.get_tpu_info_for_chip(version, cores_per_device)
    assert (limits.vmem_bytes, limits.smem_bytes) == (info.vmem_capacity_bytes, info.smem_capacity_bytes)
    assert limits.cores_per_chip == version.num_physical_tensor_cores_per_chip
    # JAX writes HBM in rounded decimal bytes per core
    assert limits.hbm_bytes == pytest.approx(info.hbm_capacity_bytes * cores_per_device, rel=0.011)


@pytest.mark.slow
def test_hbm_is_that_of_the_package_tpu_info() -> None:
    device = pytest.importorskip("tpu_info.device", reason="needs tpu_info")
    found = [device.TpuChip[name].value for name in ("V4", "V5E", "V5P", "V6E", "V7X")]
    for info in found:
        limits = TPU_LIMITS[f"TPU v{info.name.removeprefix('v')}"]
        assert (limits.hbm_bytes * limits.devices_per_chip, limits.devices_per_chip) == (info.hbm_gib * GIB, info.devices_per_chip)


def test_hbm_is_what_tpu_inference_budgets_with() -> None:
    """Read from its source: importing it would load an engine."""
    tpu_inference = pytest.importorskip("importlib.util").find_spec("tpu_inference")
    if tpu_inference is None or tpu_inference.origin is None:
        pytest.skip("needs tpu_inference")
    text = (Path(tpu_inference.origin).parent / "utils.py").read_text(encoding="utf-8")
    body = text[text.index("def get_device_hbm_limit") :].partition("\n\n\n")[0]
    found = {
        name: int(gib) * GIB
        for names, gib in re.findall(r"if (device_kind == .*?):\n(?:\s*#.*\n)*\s*return (\d+) \* GBYTES", body)
        for name in re.findall(r'"([^"]+)"', names)
    }
    assert len(found) == 7
    for name, hbm_bytes in found.items():
        limits = accelerator_limits(name)
        assert limits is not None and limits.hbm_bytes == hbm_bytes


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("TPU v6 lite-4", None, Hardware("TPU v6e", 4)),
        ("v5litepod-8", None, Hardware("TPU v5e", 8)),
        ("TPU7x-8", None, Hardware("TPU v7x", 8)),
        ("v7x-2x2x1", None, Hardware("TPU v7x", 8)),
        ("v5p-8", None, Hardware("TPU v5p", None)),  # Cloud counts TensorCores there
        ("TPU v5p-8", None, Hardware("TPU v5p", 8)),
        ("v6e", 4, Hardware("TPU v6e", 4)),
        ("cpu x86_64 Some CPU x2", None, Hardware("cpu x86_64 Some CPU x2", None)),
        ("abacus", 1, Hardware("abacus", 1)),
    ],
)
def test_hardware_by_any_name_finds_what_jax_calls_it(name: str, count: int | None, expected: Hardware) -> None:
    found = hardware_of(name, count)
    assert found == expected
    for spelling in spellings(found):
        assert hardware_of(spelling).name == expected.name
        assert hardware_of(spelling).device_count in (expected.device_count, None) or expected.device_count is None
    if found.name == "TPU v6e":
        assert f"TPU v6 lite-{found.device_count}" in spellings(found)
