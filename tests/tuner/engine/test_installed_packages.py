"""Python's own answer, about all that is installed here."""

from __future__ import annotations

import importlib.metadata

import pytest

from tuner.engine.installed_packages import packages_distributions, quickly_listed


@pytest.mark.slow  # Python's takes two seconds
def test_the_answer_is_pythons_own() -> None:
    expected = importlib.metadata.packages_distributions()
    assert {"numpy", "pytest", "yaml"} <= expected.keys()
    found = packages_distributions()
    assert {name: sorted(set(brought)) for name, brought in found.items()} == {name: sorted(set(given)) for name, given in expected.items()}


def test_it_stands_in_for_pythons_only_meanwhile() -> None:
    original = importlib.metadata.packages_distributions
    with quickly_listed():
        assert importlib.metadata.packages_distributions is packages_distributions
    assert importlib.metadata.packages_distributions is original
