"""Running requests that vLLM's scheduler is not shown for a while, so that a step costs what changes in it and not what is running.

A request may be parked while it decodes, everything before it in the running list decodes too, and its next steps neither take a page nor
fill one nor end it. schedule() walks the running list in order; such a request gets one token of the budget there, no page, and leaves all
that comes after it with one token and one place less. So a scheduler that is not shown it, but has one token and one place less, decides
the same for all others. Only a preemption could reach a parked request; therefore all are shown whenever the pages that the shown ones
could ask for in a step are not free. No decision of schedule() is made here; tests/tuner/engine/test_real_schedule.py holds that none
changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any

_KNOWN = ("vllm.v1.core.sched.scheduler.Scheduler", "tuner.vllm_plugin.scheduler.PageAlignedScheduler")
type _Parked = tuple[int, bool, int, Any, int]
"""First step it is shown in, whether it fills a page in it, place in the running list, request, first step it was not shown in."""
WORTH_IT = 2  # steps: parking a request for one costs as much as showing it


class Parking:
    """Counts steps as well: `now` is the number of those that are past. `context`: tokens computed so far, of all parked requests;
    `allowed`: whether the argument above holds for this scheduler."""

    def __init__(self, scheduler: Any, token: int) -> None:
        """`token`: what every request generates."""
        self._scheduler = scheduler
        self._token = token
        self._page: int = scheduler.block_size
        self.allowed = _may_park(scheduler)
        self.enabled = True
        self.reset()

    def reset(self) -> None:
        """Of a scheduler without requests."""
        self.now = self.context = self._placed = 0
        self._places: dict[str, int] = {}  # in the running list
        self._waking: list[_Parked] = []  # a heap
        self._rested: list[tuple[str, int, int]] = []

    @property
    def count(self) -> int:
        return len(self._waking)

    def quiet_steps(self, *, alone: bool) -> int:
        """How many steps pass, nobody being shown, before the scheduler has to be. A last token is given in the last of them. `alone`:
        where nobody waits, nobody looks for a page in the step that fills it, and so it may be named in the next."""
        if not self._waking:
            return 0
        step, fills, *_ = self._waking[0]
        return step - self.now + (alone or not fills)

    def take_rested(self) -> list[tuple[str, int, int]]:
        """(request, step, count) of the requests that are shown again: each of these steps, one after the other, gave it a token."""
        found, self._rested = self._rested, []
        return found

    def before_step(self) -> None:
        """Show whom the next step could change."""
        if self._waking and self._waking[0][0] <= self.now:
            self._show(self.now)
        if self._waking and (self._pages_wanted() > self._scheduler.kv_cache_manager.block_pool.get_num_free_blocks() or self._crowded()):
            self.show_all()

    def schedule(self) -> Any:
        """What vLLM's schedule() says, with the tokens and places that the parked requests leave."""
        scheduler, count = self._scheduler, len(self._waking)
        if not count:
            return scheduler.schedule()
        ledger: Any = getattr(scheduler, "_ledger", None)  # of page-aligned scheduling
        buckets = ledger.buckets if ledger is not None else ()
        scheduler.max_num_scheduled_tokens -= count
        scheduler.max_num_active_reqs -= count
        if buckets:
            ledger.buckets = [bucket - count for bucket in buckets]  # they count tokens from the first that is shown
        try:
            return scheduler.schedule()
        finally:
            scheduler.max_num_scheduled_tokens += count
            scheduler.max_num_active_reqs += count
            if buckets:
                ledger.buckets = buckets

    def after_step(self, preempted: Iterable[str], finished: Iterable[str]) -> None:
        """Once the step's tokens have been added; park whom the next steps cannot change."""
        self.pass_by(1)
        for name in (*preempted, *finished):
            self._places.pop(name, None)
        running = self._scheduler.running
        fresh = []
        for request in reversed(running):  # new ones are at the end
            if request.request_id in self._places:
                break
            fresh.append(request)
        for request in reversed(fresh):
            self._places[request.request_id] = self._placed
            self._placed += 1
        if self.allowed and self.enabled and not self._cut_by_others() and not self._crowded():
            self._park(running)

    def pass_by(self, steps: int) -> None:
        """Steps in which every parked request got a token."""
        self.now += steps
        self.context += steps * len(self._waking)

    def done(self) -> list[Any]:
        """The parked requests that have got their last token in the steps just passed, which are parked no more, in their order."""
        found = []
        while self._waking and self._waking[0][0] < self.now and not self._waking[0][1]:
            request = self._unpark()
            self._name_filled(request)
            del self._places[request.request_id]
            found.append(request)
        return found

    def show_all(self) -> None:
        self._show(1 << 62)

    def _park(self, running: list[Any]) -> None:
        shown = []
        for index, request in enumerate(running):
            computed: int = request.num_computed_tokens
            if request.num_tokens != computed + 1:
                shown += running[index:]
                break
            before_full, before_last = self._quiet_steps(request, computed)
            steps = min(before_full, before_last)
            if steps < WORTH_IT or computed < request.num_prompt_tokens:  # the prompt's last token is no decode
                shown.append(request)
                continue
            fills = before_full < before_last
            heappush(self._waking, (self.now + steps, fills, self._places[request.request_id], request, self.now))
            self.context += computed
        self._scheduler.running = shown

    def _quiet_steps(self, request: Any, computed: int) -> tuple[int, int]:
        """How many until it needs or fills a page, and until it gets its last token."""
        place = computed % self._page
        left = min(request.max_tokens - request.num_output_tokens, self._scheduler.max_model_len - computed - 1)
        return self._page - 1 - place if place else 0, left - 1

    def _show(self, until: int) -> None:
        """Those whose time comes up to step `until`."""
        running, shown = list(self._scheduler.running), []
        waking, places = self._waking, self._places
        while waking and waking[0][0] <= until:
            shown.append(self._unpark())
        shown.sort(key=lambda request: places[request.request_id])
        for request in shown:
            self._name_filled(request)
        self._scheduler.running = sorted(running + shown, key=lambda request: places.get(request.request_id, self._placed))

    def _name_filled(self, request: Any) -> None:
        """As the step would have that filled its last page."""
        if not request.num_computed_tokens % self._page:
            self._scheduler.kv_cache_manager.cache_blocks(request, request.num_computed_tokens)

    def _unpark(self) -> Any:
        """The next one, as far as it has come."""
        *_, request, since = heappop(self._waking)
        steps = self.now - since
        self.context -= request.num_computed_tokens + steps
        request.num_computed_tokens += steps
        request.append_output_token_ids([self._token] * steps)
        if steps:
            self._rested.append((request.request_id, since, steps))
        return request

    def _pages_wanted(self) -> int:
        """At most, by those that are shown and run."""
        page, budget = self._page, self._scheduler.max_num_scheduled_tokens
        pages = 0
        for request in self._scheduler.running:
            computed: int = request.num_computed_tokens
            pages += -(-min(request.num_tokens, computed + budget) // page) - -(-computed // page)
        return pages

    def _cut_by_others(self) -> bool:
        """Whether how many requests there are decides how much of a prompt a step takes."""
        return bool(self._scheduler.scheduler_config.long_prefill_token_threshold)

    def _crowded(self) -> bool:
        """More run than a step has tokens, so that some get none."""
        scheduler = self._scheduler
        return bool(len(scheduler.running) + len(self._waking) > scheduler.max_num_scheduled_tokens)


def _may_park(scheduler: Any) -> bool:
    """Whether `scheduler` is one that the argument above holds for: its class is known, and no setting makes more of a running request
    than its place and its tokens."""
    found = type(scheduler)
    return bool(
        f"{found.__module__}.{found.__qualname__}" in _KNOWN
        and scheduler.policy.value == "fcfs"
        and scheduler.num_spec_tokens == scheduler.num_lookahead_tokens == 0
        and scheduler.kv_cache_manager.watermark_blocks == 0
        and scheduler.connector is None
        and not scheduler.lora_config
    )
