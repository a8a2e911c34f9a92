"""`python -m tuner` is the command `tuner`, for where the script is not on the PATH."""

from __future__ import annotations

from tuner.cli.main import main

if __name__ == "__main__":
    main()
