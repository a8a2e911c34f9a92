"""Answers in memory: one look-up for all that ask at once, renewal in the background, errors, and what a new version does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.answers.cache import AnswerCache, Kept
from service.web.errors import Problem
from service.web.metrics import Metrics
from storage.base import StorageUnavailable

FRESH_S, LONGEST_S = 50.0, 240.0


@dataclass
class World:
    """A cache with a clock of the test's, and look-ups that end when the test says so."""

    seconds: float = 0.0
    fresh_for: Iterator[float] = field(default_factory=lambda: cycle([FRESH_S]))
    most: int = 10
    error: Exception | None = None
    looked_up: list[str] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        self.gate = asyncio.Event()
        self.gate.set()
        self.cache = AnswerCache(self.most, self.metrics, now=lambda: self.seconds, fresh_for=lambda: next(self.fresh_for))

    async def ask(self, question: str, version: int = 1, *, keep: bool = True) -> str:
        """What a route does."""
        kept = self.cache.get(version, question)
        if kept is None:
            kept = await self.cache.look_up(version, question, lambda: self._look_up(question), keep=keep)
        return kept.body.decode()

    async def _look_up(self, question: str) -> Kept:
        self.looked_up.append(question)
        body = f"{question}{len(self.looked_up)}"
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if self.error is not None:
            raise self.error
        return Kept(body.encode(), {"etag": f'"{body}"', "content-type": "text/plain"}, ("recommended", "exact", False))

    async def settle(self) -> None:
        """Lets everything run that does not wait for the gate."""
        for _ in range(20):
            await asyncio.sleep(0)

    def counted(self, name: str) -> dict[str, int]:
        found = re.findall(rf'^{name}_total{{result="(\w+)"}} (\d+)', self.metrics.exposition().decode(), re.MULTILINE)
        return {result: int(count) for result, count in found}

    @property
    def sources(self) -> dict[str, int]:
        return self.counted("tuner_cache")

    @property
    def renewals(self) -> dict[str, int]:
        return self.counted("tuner_cache_renewals")


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Fails where a task is left, or died of an error that nobody looked at."""
    complaints: list[str] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(str(context)))
        await work
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched())
    assert complaints == []


def test_all_that_ask_the_same_at_once_share_one_look_up() -> None:
    async def work() -> None:
        world = World()
        world.gate.clear()
        asking = [asyncio.create_task(world.ask(question)) for question in "aaaba"]
        await world.settle()
        assert world.looked_up == ["a", "b"]
        asking[0].cancel()  # the first one goes away: the others get their answer all the same
        world.gate.set()
        assert await asyncio.gather(*asking[1:]) == ["a1", "a1", "b2", "a1"]
        assert await world.ask("a") == "a1"
        assert world.sources == {"miss": 2, "shared": 3, "hit": 1}
        await world.cache.close()

    _run(work())


def test_an_error_is_shared_and_not_kept() -> None:
    async def work() -> None:
        world = World(error=Problem(409, "no"))
        world.gate.clear()
        asking = [asyncio.create_task(world.ask("a")) for _ in range(3)]
        await world.settle()
        world.gate.set()
        assert [str(error) for error in await asyncio.gather(*asking, return_exceptions=True)] == ["no"] * 3
        world.error = None
        assert await world.ask("a") == "a2"

    _run(work())


def test_an_old_answer_is_given_while_one_renewal_at_a_time_runs() -> None:
    async def work() -> None:
        world = World()
        for question in "abc":
            await world.ask(question)
        world.seconds = FRESH_S
        assert await world.ask("a") == "a1"
        await world.settle()
        assert len(world.looked_up) == 3  # not yet too old
        world.seconds = FRESH_S + 1
        world.gate.clear()
        assert [await world.ask(question) for question in "abcabc"] == ["a1", "b2", "c3"] * 2
        await world.settle()
        assert world.looked_up[3:] == ["a"]
        world.gate.set()
        await world.settle()
        assert world.looked_up[3:] == ["a", "b", "c"]
        assert (world.most_running, world.renewals) == (1, {"done": 3})
        assert [await world.ask(question) for question in "abc"] == ["a4", "b5", "c6"]
        assert world.sources == {"miss": 3, "hit": 4, "stale": 6}

    _run(work())


def test_past_the_hard_maximum_the_client_waits() -> None:
    async def work() -> None:
        world = World()
        await world.ask("a")
        world.seconds = LONGEST_S + 1
        assert await world.ask("a") == "a2"
        assert world.sources == {"miss": 2}

    _run(work())


def test_answers_that_were_made_together_do_not_end_together() -> None:
    """With the service's own spread: some are due after 90 s, some not; all after 120 s, none after 60 s."""

    async def work() -> None:
        clock = [0.0]
        cache = AnswerCache(100, metrics := Metrics(), now=lambda: clock[0])

        async def made() -> Kept:
            return Kept(b"", {}, ("recommended", "exact", False))

        async def due(at: float) -> int:
            before = _stale(metrics)
            clock[0] = at
            for question in range(100):
                assert cache.get(1, question) is not None
            found = _stale(metrics) - before
            await cache.close()  # what was to be renewed stays as old as it is
            return found

        for question in range(100):
            await cache.look_up(1, question, made)
        assert await due(60.0) == 0
        assert 20 < await due(90.0) < 80  # of 100 fair coins; outside once in 10^9
        assert await due(120.1) == 100

    _run(work())


def _stale(metrics: Metrics) -> int:
    found = re.search(r'^tuner_cache_total{result="stale"} (\d+)', metrics.exposition().decode(), re.MULTILINE)
    return 0 if found is None else int(found[1])


@pytest.mark.parametrize("error", [StorageUnavailable("away"), RuntimeError("a fault of ours")])
def test_a_renewal_that_fails_keeps_the_old_answer_and_is_logged(error: Exception) -> None:
    async def work() -> None:
        world = World()
        await world.ask("a")
        world.seconds, world.error = FRESH_S + 1, error
        with capture_logs() as logged:
            assert [await world.ask("a"), await world.ask("a")] == ["a1", "a1"]
            await world.settle()
            assert await world.ask("a") == "a1"  # not tried again at once
            await world.settle()
        assert [(line["event"], line["log_level"], line["reason"]) for line in logged] == [("renewal_failed", "warning", str(error))]
        assert (len(world.looked_up), world.renewals) == (2, {"failed": 1})
        world.seconds, world.error = FRESH_S + 10, None
        assert await world.ask("a") == "a1"
        await world.settle()
        assert await world.ask("a") == "a3"

    _run(work())


def test_after_failed_renewals_the_hard_maximum_holds() -> None:
    async def work() -> None:
        world = World()
        await world.ask("a")
        world.error = StorageUnavailable("away")
        for world.seconds in (60.0, 150.0, LONGEST_S):
            assert await world.ask("a") == "a1"
            await world.settle()
        world.seconds = LONGEST_S + 1
        with pytest.raises(StorageUnavailable):
            await world.ask("a")

    _run(work())


def test_a_renewal_that_is_refused_ends_the_old_answer() -> None:
    """For instance settings that no longer are as strong as the question asks: the next one is told so."""

    async def work() -> None:
        world = World()
        await world.ask("a")
        world.seconds, world.error = FRESH_S + 1, Problem(409, "weaker now")
        assert await world.ask("a") == "a1"
        await world.settle()
        with pytest.raises(Problem, match="weaker now"):
            await world.ask("a")

    _run(work())


def test_a_new_version_empties_everything() -> None:
    async def work() -> None:
        world = World()
        await world.ask("a")
        world.gate.clear()
        old = asyncio.create_task(world.ask("b"))
        await world.settle()
        fresh = [asyncio.create_task(world.ask(question, version=2)) for question in "abab"]
        await world.settle()
        assert world.looked_up == ["a", "b", "a", "b"]  # one each, and none joins the look-up in the old state
        world.gate.set()
        assert await asyncio.gather(*fresh) == ["a3", "b4", "a3", "b4"]
        assert await old == "b2"
        assert await world.ask("b", version=2) == "b4"  # not what was made for the old version

    _run(work())


def test_a_renewal_of_the_old_version_is_not_kept() -> None:
    async def work() -> None:
        world = World()
        await world.ask("a")
        world.seconds = FRESH_S + 1
        world.gate.clear()
        await world.ask("a")
        await world.settle()
        asking = asyncio.create_task(world.ask("a", version=2))
        await world.settle()
        world.gate.set()
        assert await asking == "a3"
        await world.settle()
        assert await world.ask("a", version=2) == "a3"

    _run(work())


def test_the_least_used_answer_goes_first() -> None:
    async def work() -> None:
        world = World(most=2)
        for question in "abac":
            await world.ask(question)
        assert [question for question in "abc" if world.cache.get(1, question) is not None] == ["a", "c"]

    _run(work())


def test_what_is_not_to_be_kept_is_shared_only() -> None:
    async def work() -> None:
        world = World()
        assert await asyncio.gather(*(world.ask("a", keep=False) for _ in range(2))) == ["a1", "a1"]
        assert await world.ask("a", keep=False) == "a2"

    _run(work())


def test_closing_leaves_no_task() -> None:
    async def work() -> None:
        world = World()
        await world.ask("a")
        world.seconds = FRESH_S + 1
        world.gate.clear()
        await world.ask("a")
        asking = asyncio.create_task(world.ask("b"))
        await world.settle()
        assert world.running == 2
        await world.cache.close()
        assert world.running == 0
        with pytest.raises(asyncio.CancelledError):
            await asking

    _run(work())


def test_an_answer_is_sent_as_it_was_made() -> None:
    kept = Kept(b"x", {"etag": '"e"', "x-tuner-match": "exact", "content-type": "text/plain"}, ("recommended", "exact", False))
    response = kept.response()
    assert response.body == b"x"
    assert dict(response.headers) == {"etag": '"e"', "x-tuner-match": "exact", "content-type": "text/plain", "content-length": "1"}
