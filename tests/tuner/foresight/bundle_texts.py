"""Static bundle profiles, written by hand in libtpu's form."""

from __future__ import annotations

from collections.abc import Mapping

_LABELS = {"scalar": "SCALAR_ALU", "vmem_spills": "VMEM_SPILL_COUNT", "vmem_fills": "VMEM_FILL_COUNT", "matmuls": "MXU_0 matmul_packed"}


def bundle_profile(code: Mapping[str, Mapping[str, int]]) -> str:
    """HLO instruction -> "bundles", "scalar" and so on -> count."""
    return "\n".join(_block(name, counts) for name, counts in code.items())


def _block(name: str, counts: Mapping[str, int]) -> str:
    used = {"vmem_spills": 0, **counts}
    bundles = used.pop("bundles")
    lines = [f" - {_LABELS[what]}: ({count}/{bundles}) - {count / bundles:g}" for what, count in used.items()]
    return "\n".join([f"HLO: %{name} = f32[8]{{0:T(128)}} fusion(%left), kind=kLoop", *lines, ""])
