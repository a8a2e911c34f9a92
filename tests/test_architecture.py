"""The house rules, enforced from the syntax trees: who may import whom, and how long things may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import house
from tests.architecture_rules import (
    MAX_BY_POSITION,
    MAX_FILE_LINES,
    MAX_FUNCTION_LINES,
    Module,
    against_the_order,
    claims_to_be_pure,
    forbidden_directions,
    imports_beyond,
    imports_of_package,
    impurities,
    load_modules,
    loads_forbidden,
    long_files,
    long_functions,
    many_arguments,
    many_parameters,
    prints,
    rooms_of,
    strangers_in_the_root,
    unused_modules,
)

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("service", "tuner", "profiles", "storage")

ALLOWED = {
    "service": ("tuner", "profiles", "storage"),
    "tuner": ("profiles", "storage"),
    "profiles": (),
    "storage": (),
    "bench": (*PACKAGES, "tests"),  # benches judge with the tests' independent oracles
    "tests": (),
}
LAZILY = {"tuner.cli.serve": ("service",)}

# The rooms of tuner/, each of which imports only rooms before it; what they are for stands in ARCHITECTURE.md.
ORDER = (
    *("core", "metrics", "stats", "workload", "engine", "serving", "setup", "foresight", "launchers", "verdict", "trials", "capacity"),
    *("sampler", "search", "fleet", "advice", "upkeep", "report", "access", "cli"),
)
APART = {"vllm_plugin"}  # the engine finds it by name
SERVICE_ORDER = ("web", "schemas", "answers", "pages", "routes")
IN_THE_ROOT = ("__init__.py", "__main__.py")
LEAST_PURE = 50  # modules that say so; fewer would mean that the claim is no longer found

NOT_IN_THE_ENGINE = ("optuna", "sqlalchemy", "alembic", "pydantic", "storage.sql")

# Callables that take a list of like things by position: columns, rules, the words of a command.
TAKE_LISTS = ("Table", "op.create_table", "_finite", "_re", "tuner")
CALLED_BY_TPU_INFERENCE = "tuner/vllm_plugin/attention.py"  # its signature is given, arguments by position

PLUGIN = "tuner.vllm_plugin"
PLUGIN_MAY_IMPORT = ("vllm", "jax", "tpu_inference", "numpy")

ENTRY_POINTS = ("tuner.engine.host", "tuner.engine.simulated_host", "tuner.foresight.host", "tuner.__main__")  # started as programs
FOUND_BY_FOLDER = "storage.sql.migrations."  # Alembic looks for its files itself
# A scheduler class that the engine finds by name, like the plugin itself; and the benches of the plugin's arithmetic, outside any engine.
ON_THE_PLUGINS_SIDE = ("bench/lib/planted.py", "bench/kv_write_kernel.py", "bench/kv_write_in_step.py", "bench/kv_write_tpu.py")


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return load_modules(ROOT, [*PACKAGES, "bench"])


@pytest.fixture(scope="module")
def product(modules: dict[str, Module]) -> dict[str, Module]:
    return {name: module for name, module in modules.items() if not name.startswith("bench")}


def test_imports_go_in_one_direction(modules: dict[str, Module]) -> None:
    assert forbidden_directions(modules, ALLOWED, LAZILY) == []


def test_the_tuner_package_is_empty_so_that_the_engine_loads_nothing_else() -> None:
    assert (ROOT / "tuner" / "__init__.py").read_text() == ""


def test_nobody_imports_the_plugin(modules: dict[str, Module]) -> None:
    assert [line for line in imports_of_package(modules, PLUGIN) if not line.startswith(ON_THE_PLUGINS_SIDE)] == []


def test_the_plugin_imports_only_the_engine_and_the_standard_library(modules: dict[str, Module]) -> None:
    assert imports_beyond(modules, PLUGIN, PLUGIN_MAY_IMPORT) == []


def test_every_room_imports_only_rooms_before_it(modules: dict[str, Module]) -> None:
    assert against_the_order(modules, ORDER) == []


def test_every_room_has_its_place_in_the_order(modules: dict[str, Module]) -> None:
    assert rooms_of(modules, "tuner") == {*ORDER} | APART
    assert rooms_of(modules, "service") == {*SERVICE_ORDER}


def test_the_services_rooms_import_only_rooms_before_them(modules: dict[str, Module]) -> None:
    assert against_the_order(modules, SERVICE_ORDER, package="service") == []


def test_the_root_of_the_tuner_holds_rooms_only(modules: dict[str, Module]) -> None:
    assert strangers_in_the_root(modules, "tuner", IN_THE_ROOT) == []


def test_a_module_that_says_that_it_is_pure_is(product: dict[str, Module]) -> None:
    pure = [name for name, module in product.items() if claims_to_be_pure(module)]
    assert len(pure) >= LEAST_PURE
    assert [line for name in pure for line in impurities(product, name)] == []


def test_the_picture_of_the_rooms_is_drawn_from_the_imports(product: dict[str, Module]) -> None:
    assert house.drawn((ROOT / "ARCHITECTURE.md").read_text()) == house.drawing(product), "python -m tests.house --write draws it anew"


def test_what_takes_many_arguments_takes_them_by_keyword(modules: dict[str, Module]) -> None:
    found = many_parameters(modules, MAX_BY_POSITION) + many_arguments(modules, MAX_BY_POSITION, TAKE_LISTS)
    assert [line for line in found if not line.startswith(CALLED_BY_TPU_INFERENCE)] == []


def test_the_engine_host_loads_no_optimiser_and_no_database(modules: dict[str, Module]) -> None:
    assert loads_forbidden(modules, "tuner.engine.host", NOT_IN_THE_ENGINE) == []


def test_a_ray_node_needs_what_the_engines_python_has(modules: dict[str, Module]) -> None:
    beside_vllm = [name for name in NOT_IN_THE_ENGINE if name != "pydantic"]  # which vLLM itself needs
    assert loads_forbidden(modules, "tuner.launchers.ray_actor", beside_vllm) == []


def test_every_module_is_used(modules: dict[str, Module], product: dict[str, Module]) -> None:
    unused = unused_modules(modules, ENTRY_POINTS, (ROOT / "pyproject.toml").read_text())
    names = {str(module.path): name for name, module in product.items()}
    left = [path for path in unused if path in names and not names[path].startswith(FOUND_BY_FOLDER)]
    assert left == []


def test_functions_and_files_are_short(modules: dict[str, Module]) -> None:
    assert long_functions(modules) + long_files(modules) == []


@pytest.mark.slow
def test_functions_and_files_of_tests_are_short() -> None:
    tests = load_modules(ROOT, ["tests"])
    assert long_functions(tests) + long_files(tests) == []


def test_only_the_command_line_prints(modules: dict[str, Module]) -> None:
    assert prints(modules, ("tuner.cli", "bench")) == []


# The rules themselves: each must see what it is there for.


def _tree(root: Path, files: dict[str, str]) -> dict[str, Module]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load_modules(root, sorted({name.split("/")[0] for name in files}))


def test_a_wrong_direction_is_seen_however_it_is_written(tmp_path: Path) -> None:
    tree = _tree(
        tmp_path,
        {
            "storage/sql.py": "import tuner.errors\n",
            "storage/late.py": "def f():\n    from tuner import errors\n",
            "storage/typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from profiles.planes import X\n",
            "tuner/errors.py": "import storage.sql\n",
            "tuner/cli/serve.py": "import service\ndef f():\n    import service.app\n",
            "tuner/cli/show.py": "def f():\n    import service.app\n",
        },
    )
    assert forbidden_directions(tree, ALLOWED, LAZILY) == [
        "storage/late.py:2 imports tuner.errors",
        "storage/sql.py:1 imports tuner.errors",
        "storage/typed.py:3 imports profiles.planes.X",
        "tuner/cli/serve.py:1 imports service",
        "tuner/cli/show.py:2 imports service.app",
    ]


def test_an_import_against_the_order_of_the_rooms_is_seen(tmp_path: Path) -> None:
    tree = _tree(
        tmp_path,
        {
            "tuner/core/errors.py": "def f():\n    from tuner.stats.intervals import x\n",
            "tuner/stats/intervals.py": "import tuner.core.errors\nfrom tuner.attic.old import y\n",
            "tuner/attic/old.py": "",
            "tuner/loose.py": "",
        },
    )
    assert against_the_order(tree, ("core", "stats")) == [
        "tuner/core/errors.py:2 imports tuner.stats.intervals.x",
        "tuner/stats/intervals.py:2 imports tuner.attic.old.y",
    ]
    assert rooms_of(tree, "tuner") == {"core", "stats", "attic"}
    assert strangers_in_the_root(tree, "tuner", IN_THE_ROOT) == ["tuner/loose.py"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import time\ndef f():\n    return time.monotonic()\n", "time.monotonic"),
        ("def f(path):\n    return path.read_text()\n", "path.read_text"),
        ("def f():\n    return open('x')\n", "open"),
        ("import random\nx = random.random()\n", "random.random"),
        ("import os\nx = os.environ.get('HOME')\n", "os.environ.get"),
        ("import threading\n", "threading"),
        ("def f():\n    from tuner.other import late\n", "sqlalchemy"),
    ],
)
def test_a_module_that_says_pure_and_is_not_is_seen(tmp_path: Path, text: str, what: str) -> None:
    tree = _tree(tmp_path, {"tuner/claims.py": f'"""Sums. Pure."""\n{text}', "tuner/other.py": "import sqlalchemy\n"})
    assert [name for name, module in tree.items() if claims_to_be_pure(module)] == ["tuner.claims"]
    (seen,) = impurities(tree, "tuner.claims")
    assert what in seen


def test_seeded_chance_and_other_modules_files_leave_a_module_pure(tmp_path: Path) -> None:
    text = '"""Pure."""\nimport random\nfrom tuner.other import x\nrng = random.Random(7)\n'
    tree = _tree(tmp_path, {"tuner/claims.py": text, "tuner/other.py": "import tempfile\nx = open\n"})
    assert impurities(tree, "tuner.claims") == []


def test_long_lists_of_arguments_are_seen(tmp_path: Path) -> None:
    text = "class A:\n    def f(self, a, b, c, d, e, g): ...\n    def h(self, a, b, c, d, e, g, i): ...\n"
    text += "    def k(self, *, a, b, c, d, e, g, i): ...\n"
    tree = _tree(tmp_path, {"tuner/a.py": text + "A().f(1, 2, 3, 4, 5, 6)\nA().h(1, 2, 3, 4, 5, 6, 7)\nTable(1, 2, 3, 4, 5, 6, 7)\n"})
    assert many_parameters(tree, MAX_BY_POSITION) == ["tuner/a.py:3 h: 7 parameters without keywords"]
    assert many_arguments(tree, MAX_BY_POSITION, ("Table",)) == ["tuner/a.py:6 A().h: 7 arguments without keywords"]


def test_the_picture_leaves_out_arrows_that_follow_from_others(tmp_path: Path) -> None:
    tree = _tree(
        tmp_path,
        {
            "tuner/core/a.py": "",
            "tuner/stats/b.py": "import tuner.core.a\n",
            "tuner/cli/c.py": "import tuner.core.a\nimport tuner.stats.b\n",
        },
    )
    assert house.drawing(tree) == "```mermaid\nflowchart TD\n    cli --> stats\n    stats --> core\n```\n"


def test_imports_of_and_beyond_the_plugin_are_seen(tmp_path: Path) -> None:
    tree = _tree(
        tmp_path,
        {
            "tuner/vllm_plugin/__init__.py": "from . import cpu\n",
            "tuner/vllm_plugin/cpu.py": "import os\nimport jax.numpy\nfrom .cpu import x\nfrom ..errors import y\nimport optuna\n",
            "tuner/errors.py": "from tuner import vllm_plugin\n",
        },
    )
    assert imports_of_package(tree, PLUGIN) == ["tuner/errors.py:1 imports tuner.vllm_plugin"]
    assert imports_beyond(tree, PLUGIN, PLUGIN_MAY_IMPORT) == [
        "tuner/vllm_plugin/cpu.py:4 imports tuner.errors.y",
        "tuner/vllm_plugin/cpu.py:5 imports optuna",
    ]


def test_what_is_loaded_through_others_is_seen(tmp_path: Path) -> None:
    tree = _tree(
        tmp_path,
        {
            "tuner/__init__.py": "",
            "tuner/metrics.py": "from tuner.helpers import deep\n",
            "tuner/helpers/__init__.py": "def f():\n    import optuna.samplers\n",
            "tuner/helpers/deep.py": "from storage import sql_core\n",
            "storage/sql.py": "",
            "storage/sql_core.py": "",
        },
    )
    assert sorted(loads_forbidden(tree, "tuner.metrics", ("storage.sql", "optuna"))) == [
        "tuner.metrics loads optuna.samplers (imported by tuner.helpers)",
        "tuner.metrics loads storage.sql_core (imported by tuner.helpers.deep)",
    ]


def test_an_unused_module_is_seen_and_a_named_one_is_used(tmp_path: Path) -> None:
    tree = _tree(
        tmp_path,
        {
            "tuner/a.py": '"""Says tuner.dead."""\nfrom tuner.b import x\nSCHEDULER = "tuner.named.Class"\n',
            "tuner/b.py": "from tuner.b import y\n",
            "tuner/named.py": "",
            "tuner/dead.py": "import tuner.dead\n",
            "tuner/main.py": "",
        },
    )
    assert unused_modules(tree, ["tuner.a"], 'tuner = "tuner.main:main"') == ["tuner/dead.py"]


def test_lengths_and_prints_are_seen(tmp_path: Path) -> None:
    body = "    x = 1\n"
    docstring = '    """' + "line\n" * 30 + '    """\n'
    tree = _tree(
        tmp_path,
        {
            "tuner/fits.py": "def f():\n" + docstring + body * (MAX_FUNCTION_LINES - 1),
            "tuner/long.py": "def f():\n" + docstring + body * MAX_FUNCTION_LINES,
            "tuner/big.py": "x = 1\n" * (MAX_FILE_LINES + 1),
            "tuner/cli/show.py": "print(1)\n",
            "tuner/loud.py": "print(1)\n",
        },
    )
    assert long_functions(tree) == [f"tuner/long.py:1 f: {MAX_FUNCTION_LINES + 1} lines"]
    assert long_files(tree) == [f"tuner/big.py: {MAX_FILE_LINES + 1} lines"]
    assert prints(tree, ("tuner.cli", "bench")) == ["tuner/loud.py:1 calls print()"]
