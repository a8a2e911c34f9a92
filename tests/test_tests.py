"""Rules for the tests themselves: each can fail, none borrows from another test's module, and each file is named after what it tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path, PurePath

import pytest

from tests.architecture_rules import functions, statements

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))
CHECKS = re.compile(r"raises|warns|assert_|expect|fail$|^validate$")
# What must not raise is all that these say.
MUST_NOT_RAISE = {"test_harmless_values_of_refused_settings_pass", "test_a_free_port_can_be_bound"}
# Tests that a source file has: `x.py` those of `test_x.py`, and of `test_x_<what>.py` where one file would be too long.
MIRRORED = ("bench", "profiles", "service", "storage", "tuner")
# Files that test what no single module does, and what that is.
OF_NO_MODULE = {
    "profiles/test_hostile.py": "damaged files, through the whole reader",
    "profiles/test_real_engine.py": "profiles of the real engine, through the whole summary",
    "service/pages/test_browser.py": "all pages, in a browser",
    "service/pages/test_pages.py": "all pages, without one",
    "service/pages/test_recommended_everywhere.py": "a recommendation on all ways out",
    "service/pages/test_screenshots.py": "every page over what the real engine measured, at every width",
    "service/pages/test_walk.py": "all pages, by keyboard and without scripts",
    "service/test_beside_a_search.py": "readers beside a writing search",
    "service/test_campaign.py": "hostile bytes on real sockets",
    "service/test_config_understood.py": "an answer, to vLLM's own parser",
    "service/test_config_on_the_engine.py": "an answer, to the running server",
    "service/test_consumers.py": "what documents and examples tell others to do",
    "service/test_damaged_database.py": "a damaged database under the running service",
    "service/test_hostile.py": "hostile requests to every address",
    "service/test_hostile_tensorboard.py": "hostile requests to TensorBoard behind the service",
    "service/test_outage.py": "a database that goes away",
    "service/test_same_sentence.py": "one answer on all ways out",
    "service/test_same_why.py": "one cause of a cell on all ways out",
    "service/test_schemathesis.py": "every address of the OpenAPI document",
    "service/test_server.py": "the service as a process",
    "storage/sql/test_query_plans.py": "the statements of all look-ups",
    "storage/test_concurrency.py": "threads and processes at once",
    "storage/test_crash.py": "kill -9 of a writing process",
    "storage/test_damage.py": "rows and files that somebody else spoilt",
    "storage/test_new_asset.py": "the maker of dumps, tests/storage/new_asset.py",
    "storage/test_optuna_beside.py": "Optuna's tables beside ours",
    "tuner/cli/test_bad_input.py": "one line and exit code 2, of every verb",
    "tuner/cli/test_examples.py": "the examples that every --help prints",
    "tuner/cli/test_killed.py": "a search process that is killed",
    "tuner/cli/test_verbs.py": "the verbs that read a finished search",
    "tuner/foresight/test_compiling.py": "the real compiler, through the whole question",
    "tuner/report/charts/test_charts.py": "forest plot and heat map side by side",
    "tuner/sampler/test_beats_random.py": "our sampler against random search",
    "tuner/sampler/test_surrogate.py": "kernel, posterior and acquisition against brute force",
    "tuner/search/test_comparison.py": "any factor in pairs, to the verdict",
    "tuner/search/test_peers_bugs.py": "bugs that other tuners had",
    "tuner/search/test_planted_faults.py": "faulty measurements, to the recommendation",
    "tuner/search/test_ways_out.py": "all that ends a run",
    "tuner/vllm_plugin/test_tokens.py": "the plugin's tokens on the real engine",
}


def checks(function: ast.AST) -> tuple[bool, set[str]]:
    """(whether it asserts or expects an error itself, the names of all that it calls)."""
    asserts, called = False, set()
    for node in ast.walk(function):
        asserts |= isinstance(node, ast.Assert)
        if isinstance(node, ast.Call):
            called.add(node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else "")
    return asserts or any(map(CHECKS.search, called)), called


def unchecked(trees: list[ast.Module]) -> set[str]:
    """Tests that check nothing, neither themselves nor by a helper, nor by a helper's helper."""
    found = [(function.name, *checks(function)) for tree in trees for function in functions(tree)]
    helpers: set[str] = set()
    for _ in range(2):
        helpers |= {name for name, asserts, called in found if not name.startswith("test_") and (asserts or called & helpers)}
    return {name for name, asserts, called in found if name.startswith("test_") and not (asserts or called & helpers)}


def borrowed(trees: list[ast.Module]) -> set[str]:
    modules = {node.module for tree in trees for node in statements(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.removeprefix("tests.") for name in modules if re.fullmatch(r"tests\.(?:\w+\.)*test_\w+", name)}


def has_a_source(test: PurePath, sources: set[str]) -> bool:
    """Whether `test` (relative to tests/) is named after a module or package of the same folder, or begins with its name."""
    words = test.stem.removeprefix("test_").split("_")
    names = ("_".join(words[:count]) for count in range(1, len(words) + 1))
    return any(str(test.with_name(name)) in sources for name in names)


@pytest.fixture(scope="module")
def trees() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in FILES]


@pytest.mark.slow
def test_every_test_can_fail(trees: list[ast.Module]) -> None:
    assert unchecked(trees) <= MUST_NOT_RAISE


@pytest.mark.slow
def test_no_test_borrows_from_another_tests_module(trees: list[ast.Module]) -> None:
    assert not borrowed(trees), "what several tests use is a module without test_ in its name"


@pytest.mark.slow
def test_each_file_is_named_after_the_module_that_it_tests() -> None:
    root = TESTS.parent
    files = [path.relative_to(TESTS) for top in MIRRORED for path in (TESTS / top).rglob("test_*.py")]
    sources = {str(path.relative_to(root).with_suffix("")) for top in MIRRORED for path in (root / top).rglob("*")}
    assert {file.as_posix() for file in files if not has_a_source(file, sources)} == set(OF_NO_MODULE)


def test_the_rules_find_what_they_look_for() -> None:
    planted = ast.parse("from tests.a.test_b import c\ndef test_nothing():\n    c()\ndef test_something():\n    assert c()\n")
    assert unchecked([planted]) == {"test_nothing"}
    assert borrowed([planted]) == {"a.test_b"}
    sources = {"tuner/search/lease"}
    assert has_a_source(PurePath("tuner/search/test_lease.py"), sources) and has_a_source(PurePath("tuner/search/test_lease_x.py"), sources)
    assert not has_a_source(PurePath("tuner/search/test_leases.py"), sources) and not has_a_source(PurePath("tuner/test_lease.py"), sources)
