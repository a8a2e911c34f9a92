"""Hypothesis' profiles: `house`, and `quick` for `make test-fast`."""

from __future__ import annotations

from hypothesis import settings

EXAMPLES, QUICK_EXAMPLES = 50, 10


def register_profiles() -> None:
    """No deadline: the machine is shared, and a slow example is not a wrong one."""
    settings.register_profile("house", deadline=None, max_examples=EXAMPLES)
    settings.register_profile("quick", deadline=None, max_examples=QUICK_EXAMPLES)
    settings.load_profile("house")


def examples(count: int) -> settings:
    """So many examples of a property; in the quick tests as many times fewer as everywhere."""
    return settings(max_examples=count * settings().max_examples // EXAMPLES)
