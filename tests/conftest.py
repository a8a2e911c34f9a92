"""Plugins with shared fixtures; each part of the house brings its own."""

from hypothesis import settings

pytest_plugins = [
    "tests.plugins.browser",
    "tests.plugins.cli",
    "tests.plugins.engine",
    "tests.plugins.storage",
    "tests.plugins.study",
    "tests.plugins.workers",
]

# No deadline: the machine is shared, and a slow example is not a wrong one. Few examples: the quick tests are run often.
settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")
