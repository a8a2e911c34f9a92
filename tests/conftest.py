"""Plugins with shared fixtures; each part of the house brings its own."""

import os
import sys

from tests.quick import register_profiles

# The process that shares tests out among workers runs none: it need not load what they use, while they wait.
SHARES_OUT = "PYTEST_XDIST_WORKER" not in os.environ and "--numprocesses" in sys.argv

_FIXTURES = [
    "tests.plugins.browser",
    "tests.plugins.cli",
    "tests.plugins.compiler",
    "tests.plugins.engine",
    "tests.plugins.programs",
    "tests.plugins.server",
    "tests.plugins.simulation",
    "tests.plugins.storage",
    "tests.plugins.study",
]
pytest_plugins = ["tests.plugins.tiers", "tests.plugins.workers", *([] if SHARES_OUT else _FIXTURES)]

register_profiles()
