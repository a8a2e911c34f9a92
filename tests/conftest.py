"""Plugins with shared fixtures; each part of the house brings its own."""

from hypothesis import settings

pytest_plugins = [
    "tests.plugins.browser",
    "tests.plugins.cli",
    "tests.plugins.engine",
    "tests.plugins.server",
    "tests.plugins.storage",
    "tests.plugins.study",
    "tests.plugins.workers",
]

# No deadline: the machine is shared, and a slow example is not a wrong one.
settings.register_profile("house", deadline=None, max_examples=50)
settings.register_profile("quick", deadline=None, max_examples=15)  # make test-fast
settings.load_profile("house")
