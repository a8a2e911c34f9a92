"""vLLM's prefix cache, left out as long as it can give nothing.

Where no page of any prompt is in another, only a preempted request can ever find pages in the cache: its own. Until the first preemption
vLLM's KV cache manager is therefore told that caching is off: it names no pages and looks for none, much of its work otherwise. At the
first preemption all that is in the pool is named, as it would have been. The free pages are then in another order, but all of them come
before those of the preempted request, and none can be found. This holds for schedulers that preempt the last of the running list, which
parking.py knows. tests/tuner/engine/test_real_schedule.py holds that no decision changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

type Namer = Callable[[Any], list[bytes]]  # a vLLM Request -> the names of its whole pages that have none yet
type Key = tuple[tuple[int, ...], int]
"""Of a prompt: `pages`, `whole` (tuner.engine.real_schedule.Prompt)."""


def none_shared(prompts: Iterable[Key]) -> bool:
    """Whether no page of a prompt is in another, nor any that is generated after one, for they follow from the whole prompt."""
    pages: list[int] = []
    wholes: list[int] = []
    for own, whole in prompts:
        pages += own
        wholes.append(whole)
    return len(set(pages)) == len(pages) and len(set(wholes)) == len(wholes)


class LonePages:
    """`left_out`: whether nothing is named now."""

    def __init__(self, scheduler: Any) -> None:
        """`scheduler`: with prefix caching, and idle."""
        self._scheduler = scheduler
        self._preempt: Callable[..., None] = scheduler._preempt_request
        self._live: Mapping[str, Any] = {}
        self._namer: Callable[[str], Namer] | None = None
        self._named_late = False
        self.left_out = False

    def leave_out(self, live: Mapping[str, Any], namer: Callable[[str], Namer]) -> None:
        """Until somebody is preempted. `live`: request id -> all that are unfinished, made without a hasher, kept true by the caller;
        `namer`: of a request's id, the hasher that it would have."""
        self._live, self._namer = live, namer
        self._scheduler._preempt_request = self._preempt_named
        self._switch(on=False)

    def put_back(self) -> None:
        """As vLLM has it."""
        self._scheduler._preempt_request = self._preempt
        self._switch(on=True)

    def after_schedule(self, scheduled: Iterable[str]) -> None:
        """Names the pages that this step fills, where somebody was preempted in it for the first time. `scheduled`: the ids in
        schedule()'s output."""
        if self._named_late:
            self._named_late = False
            self._name(self._live[request_id] for request_id in scheduled)

    def _preempt_named(self, request: Any, *arguments: Any, **options: Any) -> None:
        self.put_back()
        assert self._namer is not None
        for request_id, each in self._live.items():
            each._block_hasher = self._namer(request_id)
            each.update_block_hashes()
        self._name(self._live.values())
        self._named_late = True
        self._preempt(request, *arguments, **options)

    def _name(self, requests: Iterable[Any]) -> None:
        for request in requests:
            self._scheduler.kv_cache_manager.cache_blocks(request, request.num_computed_tokens)

    def _switch(self, *, on: bool) -> None:
        manager = self._scheduler.kv_cache_manager
        manager.enable_caching = manager.block_pool.enable_caching = on
        for of_group in manager.coordinator.single_type_managers:
            of_group.enable_caching = on
        self.left_out = not on
