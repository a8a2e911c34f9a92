"""Reading source trees for tests/test_architecture.py: modules, what they import, and the rules as functions that list violations."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_BY_POSITION = 6


@dataclass(frozen=True)
class Import:
    """`target` is absolute and may name something inside a module. Lazy: inside a function. Typing: under `if TYPE_CHECKING`."""

    target: str
    line: int
    lazy: bool = False
    typing: bool = False


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    tree: ast.Module
    lines: int
    imports: tuple[Import, ...]

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Of the whole tree; several rules look at each."""
        return tuple(ast.walk(self.tree))


def load_modules(root: Path, packages: Collection[str]) -> dict[str, Module]:
    """All modules of the packages by dotted name; a package's __init__ has the package's name."""
    modules = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text, filename=str(path))
            home = name if is_package else name.rpartition(".")[0]
            modules[name] = Module(name, path.relative_to(root), tree, len(text.splitlines()), tuple(_imports(tree, home)))
    return modules


def _imports(node: ast.AST, home: str, lazy: bool = False, typing: bool = False) -> Iterator[Import]:
    """`home` is the package that relative imports start from."""
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, lazy, typing) for alias in node.names)
        return
    if isinstance(node, ast.ImportFrom):
        start = ".".join(home.split(".")[: len(home.split(".")) - node.level + 1]) if node.level else ""
        base = ".".join(part for part in (start, node.module or "") if part)
        yield from (Import(f"{base}.{alias.name}", node.lineno, lazy, typing) for alias in node.names)
        return
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for statement in node.body:
            yield from _imports(statement, home, lazy, typing=True)
        for statement in node.orelse:
            yield from _imports(statement, home, lazy, typing)
        return
    inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):  # which holds no statement
            yield from _imports(child, home, inside, typing)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All in it, also those inside others; expressions, which hold none, are not looked into."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):
            yield child
            yield from statements(child)


def functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods in it, also those inside others."""
    yield from (child for child in statements(node) if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def top(name: str) -> str:
    return name.partition(".")[0]


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def module_of(target: str, modules: Mapping[str, Module]) -> str | None:
    """The known module that an import's target names or lies in."""
    while target:
        if target in modules:
            return target
        target = target.rpartition(".")[0]
    return None


def loaded_with(name: str, modules: Mapping[str, Module]) -> dict[str, str]:
    """Everything that importing a module can pull in, also late: our modules and outside targets -> the module that imports it."""
    found: dict[str, str] = {}
    todo = [(name, "")]
    while todo:
        target, importer = todo.pop()
        ours = module_of(target, modules)
        key = ours or target
        if key in found:
            continue
        found[key] = importer
        if ours is None:
            continue
        parent = ours.rpartition(".")[0]
        if parent in modules:
            todo.append((parent, ours))
        todo += [(item.target, ours) for item in modules[ours].imports if not item.typing]
    return found


def forbidden_directions(
    modules: Mapping[str, Module], allowed: Mapping[str, Collection[str]], lazily: Mapping[str, Collection[str]]
) -> list[str]:
    """Imports between our top-level packages that are not `allowed`. `lazily`: module -> packages it may import inside functions."""
    return [
        f"{module.path}:{item.line} imports {item.target}"
        for module in modules.values()
        for item in module.imports
        if top(item.target) in allowed
        and top(item.target) not in {top(module.name), *allowed[top(module.name)]}
        and not (item.lazy and top(item.target) in lazily.get(module.name, ()))
    ]


def imports_of_package(modules: Mapping[str, Module], package: str) -> list[str]:
    """Imports of `package` from outside it."""
    return [
        f"{module.path}:{item.line} imports {item.target}"
        for module in modules.values()
        for item in module.imports
        if is_in(item.target, package) and not is_in(module.name, package)
    ]


def imports_beyond(modules: Mapping[str, Module], package: str, outside: Collection[str]) -> list[str]:
    """Imports of `package` that are neither its own, nor the standard library's, nor from `outside`."""
    known = {*outside, *sys.stdlib_module_names}
    return [
        f"{module.path}:{item.line} imports {item.target}"
        for module in modules.values()
        if is_in(module.name, package)
        for item in module.imports
        if not is_in(item.target, package) and top(item.target) not in known
    ]


def loads_forbidden(modules: Mapping[str, Module], name: str, forbidden: Collection[str]) -> list[str]:
    """What of `forbidden` (packages, or modules with all whose names start so) can be loaded with module `name`, and who imports it."""
    return [
        f"{name} loads {target} (imported by {importer})"
        for target, importer in loaded_with(name, modules).items()
        if any(is_in(target, word) or (word in modules and target.startswith(f"{word}_")) for word in forbidden)
    ]


def unused_modules(modules: Mapping[str, Module], entry_points: Collection[str], text: str) -> list[str]:
    """Modules that no other module imports, that are no entry point, and that no string of ours (docstrings aside) and not `text` names."""
    used = set(entry_points)
    for module in modules.values():
        used |= {found for item in module.imports if (found := module_of(item.target, modules)) not in {None, module.name}}
        used |= {part for value in _strings(module.nodes) for part in _dotted_prefixes(value)}
    used |= {part for word in text.replace('"', " ").replace(":", " ").split() for part in _dotted_prefixes(word)}
    return [str(module.path) for name, module in modules.items() if module.path.name != "__init__.py" and name not in used]


def _dotted_prefixes(value: str) -> list[str]:
    parts = value.split(".")
    return [".".join(parts[:end]) for end in range(2, len(parts) + 1)]


def _strings(nodes: Sequence[ast.AST]) -> Iterator[str]:
    docstrings = {id(statement.value) for statement in nodes if isinstance(statement, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def long_functions(modules: Mapping[str, Module]) -> list[str]:
    """Functions of more than MAX_FUNCTION_LINES lines, from `def` to the end, without the docstring."""
    return [
        f"{module.path}:{node.lineno} {node.name}: {lines} lines"
        for module in modules.values()
        for node in functions(module.tree)
        if (lines := _body_lines(node)) > MAX_FUNCTION_LINES
    ]


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    end = node.end_lineno or node.lineno
    first = node.body[0]
    has_docstring = ast.get_docstring(node, clean=False) is not None
    docstring_lines = (first.end_lineno or first.lineno) - first.lineno + 1 if has_docstring else 0
    return end - node.lineno + 1 - docstring_lines


def long_files(modules: Mapping[str, Module]) -> list[str]:
    return [f"{module.path}: {module.lines} lines" for module in modules.values() if module.lines > MAX_FILE_LINES]


def prints(modules: Mapping[str, Module], allowed: Collection[str]) -> list[str]:
    """Calls of print() outside the `allowed` packages."""
    return [
        f"{module.path}:{node.lineno} calls print()"
        for module in modules.values()
        if not any(is_in(module.name, package) for package in allowed)
        for node in module.nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def room_of(name: str, package: str) -> str | None:
    """The folder right below `package` that a module lies in; None for what stands in the root and for other packages."""
    parts = name.split(".")
    return parts[1] if parts[0] == package and len(parts) > 2 else None


def rooms_of(modules: Mapping[str, Module], package: str) -> set[str]:
    return {room for name in modules if (room := room_of(name, package)) is not None}


def against_the_order(modules: Mapping[str, Module], order: Sequence[str], package: str = "tuner") -> list[str]:
    """Imports from a room of `package` into one that comes later in `order`, or into one that the order does not know."""
    level = {room: index for index, room in enumerate(order)}
    found = []
    for module in modules.values():
        here = room_of(module.name, package)
        for item in module.imports:
            target = module_of(item.target, modules)
            there = room_of(target, package) if target is not None else None
            if here in level and there is not None and level.get(there, len(order)) > level[here]:
                found.append(f"{module.path}:{item.line} imports {item.target}")
    return found


def strangers_in_the_root(modules: Mapping[str, Module], package: str, allowed: Collection[str]) -> list[str]:
    """Files right in a package's folder that are not `allowed` there."""
    return [str(module.path) for module in modules.values() if module.path.parent == Path(package) and module.path.name not in allowed]


_CLAIM = re.compile(r"\bpure\b", re.IGNORECASE)
_NOT_EVEN_THROUGH_OTHERS = ("storage.sql", "sqlalchemy", "alembic", "optuna", "subprocess")
_NOT_ITSELF = (
    *("vllm", "jax", "torch", "httpx", "socket", "multiprocessing", "threading", "concurrent", "urllib.request", "http.client"),
    *("tempfile", "shutil", "signal", "secrets"),
)
_DESCRIBES_ONLY = ("optuna.distributions",)  # data classes for a setting's range
_IMPURE_CALLS = {
    *("open", "input", "print", "exec", "eval"),
    *("os.getenv", "os.environ.get", "os.listdir", "os.stat", "os.getpid", "Path.cwd", "Path.home"),
    *("time.time", "time.monotonic", "time.perf_counter", "time.sleep", "datetime.now", "datetime.utcnow", "date.today"),
    *("random.random", "random.randint", "random.choice", "random.shuffle", "random.sample", "random.gauss", "random.uniform"),
}
_FILE_METHODS = {"read_text", "write_text", "read_bytes", "write_bytes", "mkdir", "unlink", "iterdir", "glob", "rglob", "touch", "rmdir"}


def claims_to_be_pure(module: Module) -> bool:
    """A module says so in its docstring."""
    return _CLAIM.search(ast.get_docstring(module.tree) or "") is not None


def impurities(modules: Mapping[str, Module], name: str) -> list[str]:
    """What a module that claims to be pure does beside computing.

    A database, a process or an optimiser that it can load (through others, too); imports of its own for threads, sockets and temporary
    files; calls of its own that read a clock, the environment, a file or unseeded chance.
    """
    module = modules[name]
    loads = [line for line in loads_forbidden(modules, name, _NOT_EVEN_THROUGH_OTHERS) if not any(word in line for word in _DESCRIBES_ONLY)]
    imports = [
        f"{module.path}:{item.line} imports {item.target}"
        for item in module.imports
        if any(is_in(item.target, package) for package in _NOT_ITSELF)
    ]
    calls = [
        f"{module.path}:{node.lineno} calls {called}"
        for node in module.nodes
        if isinstance(node, ast.Call)
        and ((called := ast.unparse(node.func)) in _IMPURE_CALLS or called.rpartition(".")[2] in _FILE_METHODS)
    ]
    return loads + imports + calls


def many_parameters(modules: Mapping[str, Module], most: int) -> list[str]:
    """Functions that take more than `most` arguments by position (self and cls aside)."""
    return [
        f"{module.path}:{node.lineno} {node.name}: {count} parameters without keywords"
        for module in modules.values()
        for node in functions(module.tree)
        if (count := _positional(node.args)) > most
    ]


def _positional(arguments: ast.arguments) -> int:
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def many_arguments(modules: Mapping[str, Module], most: int, lists: Collection[str]) -> list[str]:
    """Calls that hand over more than `most` arguments by position, except to functions that take a list that way (`lists`)."""
    return [
        f"{module.path}:{node.lineno} {called}: {len(node.args)} arguments without keywords"
        for module in modules.values()
        for node in module.nodes
        if isinstance(node, ast.Call) and len(node.args) > most and (called := ast.unparse(node.func)) not in lists
    ]
