"""Snapshots: one reader at a time, nobody waits for it needlessly, nothing read before a change counts after it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from service.web.caching import Snapshot, matches


class Source:
    """What is read, in a moment of the test's choosing."""

    def __init__(self) -> None:
        self.value = 1
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> int:
        self.reads += 1
        value = self.value
        await self.gate.wait()
        if value < 0:
            raise RuntimeError("away")
        return value


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_many_that_wait_share_one_reading() -> None:
    async def work() -> None:
        source = Source()
        snapshot = Snapshot(source.read, 60.0)
        assert await asyncio.gather(*(snapshot.get() for _ in range(5))) == [1] * 5
        assert await snapshot.get() == 1
        assert source.reads == 1

    _run(work())


def test_the_old_value_is_given_while_the_new_one_is_read() -> None:
    async def work() -> None:
        source, seconds = Source(), [0.0]
        snapshot = Snapshot(source.read, 10.0, now=lambda: seconds[0])
        assert await snapshot.get() == 1
        source.value = 2
        source.gate.clear()
        seconds[0] = 11.0  # old, and not yet twice as old
        assert [await snapshot.get() for _ in range(3)] == [1, 1, 1]
        seconds[0] = 21.0
        waiting = asyncio.create_task(snapshot.get())
        await asyncio.sleep(0)
        assert not waiting.done()
        source.gate.set()
        assert (await waiting, source.reads) == (2, 2)

    _run(work())


def test_what_was_being_read_does_not_count_after_a_change() -> None:
    async def work() -> None:
        source = Source()
        snapshot = Snapshot(source.read, 60.0)
        source.gate.clear()
        before = asyncio.create_task(snapshot.get())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert source.reads == 1
        source.value = 2
        snapshot.forget()
        after = asyncio.create_task(snapshot.get())
        await asyncio.sleep(0)
        source.gate.set()
        assert (await before, await after, await snapshot.get()) == (1, 2, 2)
        assert source.reads == 2

    _run(work())


def test_all_who_wait_get_the_error_and_the_next_one_tries_again() -> None:
    async def work() -> None:
        source = Source()
        source.value = -1
        snapshot = Snapshot(source.read, 60.0)
        found = await asyncio.gather(*(snapshot.get() for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["away"] * 3
        source.value = 5
        assert (await snapshot.get(), source.reads) == (5, 2)

    _run(work())


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, False), ('"e"', True), ('W/"e"', True), ('"x", "e"', True), ("*", True), ('"x"', False), ("e", False), ("", False)],
)
def test_if_none_match(header: str | None, expected: bool) -> None:
    assert matches(header, '"e"') is expected
