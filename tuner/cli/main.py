"""The console script. It imports nothing until a Ctrl-C is looked after: loading the command takes a quarter of a second."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process and exit."""
    try:
        from tuner.cli.command_line import run
    except KeyboardInterrupt:
        print("interrupted: stopped by the user", file=sys.stderr)
        sys.exit(130)
    sys.exit(run())
