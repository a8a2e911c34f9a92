"""What vLLM takes for an engine argument, and what it takes by itself, read from its source: a value that it refuses costs an engine start,
and importing it ten seconds.

An argument of `EngineArgs` is declared with a type and a default, mostly that of a field of one of vLLM's configuration classes, which may
have bounds. What cannot be read from there is not known, and then vLLM has the last word.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tuner.core.factors import ADDITIONAL, UNSET, Level
from tuner.serving.additional_config_facts import additional_config_facts
from tuner.serving.arg_facts import BOUNDS, PLAIN, ArgFacts
from tuner.serving.engine_arg_names import package_folder


def engine_arg_facts(python: str | None) -> dict[str, ArgFacts]:
    """Name -> what is known of it, of every engine argument of the vLLM in that Python (None: this one); {} where it is not found."""
    package = package_folder("vllm", python)
    if package is None:
        return {}
    source = _Source(package)
    return {name: source.facts(annotation, default) for name, annotation, default in source.engine_args()}


def factor_facts(names: Iterable[str], python: str | None) -> dict[str, ArgFacts]:
    """Of what factors of these names may be: every engine argument, and keys of `additional_config` where one is among them."""
    keys = any(name.startswith(ADDITIONAL) for name in names)
    return engine_arg_facts(python) | (additional_config_facts(python) if keys else {})


class _Source:
    """The parts of vLLM's source that declare arguments."""

    def __init__(self, package: Path) -> None:
        self._arguments = _parsed(package / "engine" / "arg_utils.py")
        self._classes: dict[str, dict[str, tuple[ast.expr, ast.expr | None]]] = {}
        self._aliases: dict[str, ast.expr] = {}
        for path in sorted((package / "config").glob("*.py")):
            self._read(_parsed(path))

    def _read(self, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                self._classes[node.name] = {name: (annotation, default) for name, annotation, default in _fields(node)}
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._aliases[node.targets[0].id] = node.value

    def engine_args(self) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
        for node in self._arguments.body:
            if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
                yield from _fields(node)

    def facts(self, annotation: ast.expr, default: ast.expr | None) -> ArgFacts:
        bounds: dict[str, float] = {}
        place = _field_named(default)
        if place is not None:
            _, default = self._classes.get(place[0], {}).get(place[1], (annotation, None))
        if isinstance(default, ast.Call) and isinstance(default.func, ast.Name) and default.func.id == "Field":
            given = {word.arg: word.value for word in default.keywords if word.arg}
            bounds = {name: limit for name in BOUNDS if (limit := _number(given.get(name))) is not None}
            default = given.get("default")
        types, words = self._taken(annotation)
        return ArgFacts(_level(default), types, words, bounds)

    def _taken(self, annotation: ast.expr) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(plain types, words); two empty ones where a part is something else."""
        types: list[str] = []
        words: list[str] = []
        for part in _parts(annotation):
            part = self._aliases.get(part.id, part) if isinstance(part, ast.Name) else part
            if isinstance(part, ast.Name) and part.id in PLAIN:
                types.append(part.id)
            elif isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name) and part.value.id == "Literal":
                words += [item.value for item in ast.walk(part.slice) if isinstance(item, ast.Constant) and isinstance(item.value, str)]
            elif not (isinstance(part, ast.Constant) and part.value is None):
                return (), ()
        return tuple(types), tuple(words)


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return ast.Module([], [])


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id, item.annotation, item.value


def _field_named(default: ast.expr | None) -> tuple[str, str] | None:
    """(class, field) of `SomeConfig.some_field` and of get_field(SomeConfig, "some_field")."""
    if isinstance(default, ast.Attribute) and isinstance(default.value, ast.Name):
        return default.value.id, default.attr
    if isinstance(default, ast.Call) and isinstance(default.func, ast.Name) and default.func.id == "get_field":
        match default.args:
            case [ast.Name(id=owner), ast.Constant(value=str(name))]:
                return owner, name
    return None


def _parts(annotation: ast.expr) -> Iterator[ast.expr]:
    """Of a union."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        yield from _parts(annotation.left)
        yield from _parts(annotation.right)
    else:
        yield annotation


def _number(node: ast.expr | None) -> float | None:
    return float(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else None


def _level(default: ast.expr | None) -> Level | None:
    if not isinstance(default, ast.Constant) or not isinstance(default.value, str | int | float | None):
        return None
    return UNSET if default.value is None else default.value
