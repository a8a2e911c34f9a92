"""Watches a folder for whoever opens, reads or changes anything in it (Linux' inotify, man 7 inotify)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ACCESS, _MODIFY, _OPEN, _CREATE, _DELETE = 0x1, 0x2, 0x20, 0x100, 0x200
_HEAD = struct.Struct("iIII")


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """The names of what was touched, filled when the context ends: the folder, those below it, and their files."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0
    touched: list[str] = []
    try:
        for each in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            assert libc.inotify_add_watch(descriptor, os.fsencode(each), _ACCESS | _MODIFY | _OPEN | _CREATE | _DELETE) >= 0
        yield touched
        try:
            events = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            events = b""
        while events:
            *_, length = _HEAD.unpack_from(events)
            touched.append(events[_HEAD.size : _HEAD.size + length].rstrip(b"\0").decode())
            events = events[_HEAD.size + length :]
    finally:
        os.close(descriptor)
