"""The one error of this package."""

from __future__ import annotations


class ProfileError(Exception):
    """A profile, summary or logdir that cannot be used. The message is one line that names the file and the fix; line breaks
    and control characters that a hostile file put into it become spaces."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(character if character.isprintable() else " " for character in message))
