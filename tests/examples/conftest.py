"""The terminal of the command line's tests."""

from tests.tuner.cli.conftest import searched, terminal

__all__ = ["searched", "terminal"]
