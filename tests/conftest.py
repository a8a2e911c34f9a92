"""Plugins with shared fixtures; each part of the house brings its own."""

from tests.quick import register_profiles

pytest_plugins = [
    "tests.plugins.browser",
    "tests.plugins.cli",
    "tests.plugins.engine",
    "tests.plugins.server",
    "tests.plugins.storage",
    "tests.plugins.study",
    "tests.plugins.tiers",
    "tests.plugins.workers",
]

register_profiles()
