"""Values of the benches' command-line options."""

from __future__ import annotations


def numbers(text: str) -> list[int]:
    """Whole numbers from "1,2,3". Raises ValueError, which argparse turns into an error that names the option."""
    return [int(word) for word in text.split(",")]
