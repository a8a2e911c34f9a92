"""Plugins with shared fixtures; each part of the house brings its own."""

pytest_plugins = ["tests.plugins.engine", "tests.plugins.storage"]
