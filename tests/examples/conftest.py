"""A finished search, as the tests of the command line have it."""

from tests.tuner.cli.conftest import searched

__all__ = ["searched"]
