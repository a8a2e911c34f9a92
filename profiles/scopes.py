"""Scopes as people read them: without the wrappers of jit, without layer numbers, without what changes between two compilations."""

from __future__ import annotations

import re
from functools import lru_cache

_WRAPPER = re.compile(r"^(?:jit|pjit|xla_call|vmap|remat|checkpoint|shard_map|core_call|custom_jvp|custom_vjp)\((.*)\)$")
_LAYER = re.compile(r"(?<![A-Za-z])(layers?|blocks?|h)([._/\[])\d+\]?(?![A-Za-z])")
_SUFFIX = re.compile(r"_\d+$")  # name_1, name_2: a second use of one name in one trace
_TYPE = re.compile(r"(?<!:):[A-Za-z0-9_]*$")  # TPU's tf_op ends in ":" and an op type
_PLUMBING = frozenset({"main", "while", "scan", "body", "cond", "closed_call", "branch_0_fun", "branch_1_fun"})
# Jitted helpers of jax.numpy: whether they show up depends on how they were inlined.
_HELPERS = frozenset(
    {"_where", "_pad", "_take", "_take_along_axis", "clip", "floor_divide", "remainder", "searchsorted", "_searchsorted_scan_impl"}
)


def clean(raw: str) -> str:
    """The op_name without TPU's trailing op type: `jit(f)/jit(main)/add:` -> `jit(f)/jit(main)/add`."""
    return _TYPE.sub("", raw)


@lru_cache(maxsize=65536)
def fold(scope: str) -> str:
    """The key under which two profiles are compared: jit wrappers become their function's name (`main` is dropped), layer numbers become
    `*`, and loop plumbing goes. `jit(step_fun)/jit(main)/layers.3/mlp/dot_general` -> `step_fun/layers.*/mlp/dot_general`.
    """
    parts: list[str] = []
    for part in _LAYER.sub(r"\1\2*", scope).split("/"):
        name = part
        while (match := _WRAPPER.match(name)) is not None:
            name = match.group(1)
        name = _SUFFIX.sub("", name)
        if name and name not in _PLUMBING and name not in _HELPERS and "->" not in name:
            parts.append(name)
    return "/".join(parts)


def group(scope: str) -> str:
    """The folded scope without the primitive at its end: which primitive a fusion is named after changes from compilation to compilation.

    Falls back on the whole scope where nothing else is left.
    """
    return fold(scope.rpartition("/")[0]) or fold(scope) or scope
