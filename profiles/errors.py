"""The one error of this package."""

from __future__ import annotations


class ProfileError(Exception):
    """A capture, summary or logdir that cannot be used. The message is one line that names the file and the mend."""
