"""Rules for the tests themselves: each can fail, and none borrows from another test's module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))
CHECKS = re.compile(r"raises|warns|assert_|expect|fail$|^validate$")
# What must not raise is all that these say.
MUST_NOT_RAISE = {"test_close_is_idempotent", "test_harmless_values_of_refused_settings_pass", "test_a_free_port_can_be_bound"}
# Still to become builders; the list may only get shorter.
BORROWED = {
    *("profiles.test_diff", "profiles.test_quality", "profiles.test_reader", "profiles.test_tensorboard"),
    *("service.pages.test_answer_view", "service.test_server"),
    *("tuner.advice.test_distance", "tuner.launchers.test_remote_profile", "tuner.setup.test_model_memory"),
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def checks(function: ast.AST, helpers: set[str]) -> bool:
    """Whether it asserts or expects an error, itself or by one of `helpers`."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
            if CHECKS.search(name) or name in helpers:
                return True
    return False


def unchecked(trees: list[ast.Module]) -> set[str]:
    helpers: set[str] = set()
    for _ in range(2):  # a helper may call a helper
        helpers |= {f.name for tree in trees for f in functions(tree) if not f.name.startswith("test_") and checks(f, helpers)}
    return {f.name for tree in trees for f in functions(tree) if f.name.startswith("test_") and not checks(f, helpers)}


def borrowed(trees: list[ast.Module]) -> set[str]:
    modules = {node.module for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.removeprefix("tests.") for name in modules if re.fullmatch(r"tests\.(?:\w+\.)*test_\w+", name)}


@pytest.fixture(scope="module")
def trees() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in FILES]


def test_every_test_can_fail(trees: list[ast.Module]) -> None:
    assert unchecked(trees) <= MUST_NOT_RAISE


def test_no_further_test_borrows_from_another_tests_module(trees: list[ast.Module]) -> None:
    assert borrowed(trees) <= BORROWED


def test_the_rules_find_what_they_look_for() -> None:
    planted = ast.parse("from tests.a.test_b import c\ndef test_nothing():\n    c()\ndef test_something():\n    assert c()\n")
    assert unchecked([planted]) == {"test_nothing"}
    assert borrowed([planted]) == {"a.test_b"}
