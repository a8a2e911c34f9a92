"""Which keys of vLLM's `additional_config` tpu-inference reads, and what it takes where one is not given, read from its source.

vLLM passes any key on and tpu-inference looks for those that it knows, so a misspelt one changes nothing and says nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tuner.core.factors import ADDITIONAL, Level
from tuner.serving.arg_facts import ArgFacts
from tuner.serving.engine_arg_names import package_folder

_ATTRIBUTE = ADDITIONAL.rstrip(".")
_PACKAGE = "tpu_inference"


def additional_config_facts(python: str | None) -> dict[str, ArgFacts]:
    """`additional_config.KEY` -> what is known of it, of the tpu-inference in that Python (None: this one); {} where it is not found."""
    package = package_folder(_PACKAGE, python)
    found: dict[str, set[Level | None]] = {}
    for path in sorted(package.rglob("*.py")) if package is not None else ():
        for key, default in _read_in(path):
            found.setdefault(key, set()).add(default)
    return {f"{ADDITIONAL}{key}": _facts(defaults) for key, defaults in sorted(found.items())}


def _facts(defaults: set[Level | None]) -> ArgFacts:
    """Of one that is read in several places: nothing is known of its default where they differ."""
    default = next(iter(defaults)) if len(defaults) == 1 else None
    types = ("bool",) if isinstance(default, bool) else ("str",) if isinstance(default, str) else ()
    return ArgFacts(default, types)


def _read_in(path: Path) -> Iterator[tuple[str, Level | None]]:
    """(key, default) of `....additional_config.get("key", default)` and of `....additional_config["key"]`."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text) if _ATTRIBUTE in text else ast.Module([], [])
    except (OSError, ValueError, SyntaxError):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr="get"), args=[ast.Constant(value=str(key)), *further]) if _is_it(owner):
                yield key, _default(further)
            case ast.Subscript(value=owner, slice=ast.Constant(value=str(key))) if _is_it(owner):
                yield key, None


def _is_it(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == _ATTRIBUTE) or (isinstance(node, ast.Name) and node.id == _ATTRIBUTE)


def _default(further: list[ast.expr]) -> Level | None:
    match further:
        case [ast.Constant(value=str() | bool() | int() | float() as value)]:
            return value
    return None
