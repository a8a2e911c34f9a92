"""vLLM's real scheduler and KV cache manager without an engine: the scheduler class and the settings that an engine with these arguments
has, and nothing that computes. A request of which all tokens are scheduled gets a new one. Imports vLLM on first use.

Where a step can change nothing for a running request, the scheduler is not shown it (parking.py); and where it is shown nobody and either
nobody waits, or those who wait were passed over in the last step and nothing has changed since, it is not asked at all: `coming` says for
how many steps, `repeat` passes them. What schedule() decides is not copied; it is asked wherever its answer can differ from "one token for
each".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from tuner.engine.lone_pages import LonePages, Namer, none_shared
from tuner.engine.parking import Parking

Json = dict[str, Any]
TOKEN = 7  # what everything generates


@dataclass(frozen=True)
class Prompt:
    """A request's prompt without its tokens. `pages`: one number for each whole page, equal where the page and all before it are equal;
    `whole` likewise for the whole prompt."""

    request_id: str
    tokens: int
    max_tokens: int
    pages: tuple[int, ...]
    whole: int


class Scheduled(NamedTuple):
    """One step. `prefills`: (chunk, tokens computed before); `context`: tokens computed before, of all decodes together. `tokens_for`:
    requests that get a token, without the parked ones; `finished`: those of them that are done -> how often they were preempted; `begun`:
    request -> prompt tokens found in the prefix cache. `held_back`: tokens of the budget that were left although a prompt that has a place
    is not computed yet (a waiting one counts whole)."""

    scheduled_tokens: int
    prefills: tuple[tuple[int, int], ...]
    decodes: int
    context: int
    tokens_for: tuple[str, ...]
    finished: Mapping[str, int]
    begun: Mapping[str, int]
    held_back: int

    @property
    def prefill_tokens(self) -> int:
        return self.scheduled_tokens - self.decodes


class Coming(NamedTuple):
    """The next `steps` steps, as long as no request is added: a token for each of `decodes` parked requests. `context`: of the first;
    `held_back`: of each."""

    steps: int
    decodes: int
    context: int
    held_back: int


@dataclass
class _Parts:
    """Of the step that a scheduler was asked for: as Scheduled; `ready`: name -> who gets a token; `last`: whether anybody ends."""

    prefills: list[tuple[int, int]] = field(default_factory=list)
    decodes: int = 0
    context: int = 0
    ready: dict[str, Any] = field(default_factory=dict)
    last: bool = False


class RealSchedule:
    """`buckets`: the sizes that steps are padded to, ascending. `parking`: its `take_rested` has the tokens that steps do not name."""

    def __init__(self, engine_args: Json) -> None:
        """Raises what vLLM raises for arguments that it refuses, and ValueError for what cannot be scheduled without an engine."""
        from vllm.engine.arg_utils import EngineArgs
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request, RequestStatus

        self.config = EngineArgs(**engine_args).create_engine_config()
        self.scheduler = _scheduler(self.config)
        self.scheduler._make_cached_request_data = _cached_request_data
        self.buckets = _token_buckets(self.config)
        self.parking = Parking(self.scheduler, TOKEN)
        self._page: int = self.scheduler.block_size
        self._request = Request
        self._length_capped = RequestStatus.FINISHED_LENGTH_CAPPED
        self._sampling = cache(lambda tokens: SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True))
        self._live: dict[str, Any] = {}
        self._lone = LonePages(self.scheduler) if self.config.cache_config.enable_prefix_caching else None
        self._coming: Coming | None = None

    def reset(self, prompts: Sequence[Prompt] = ()) -> None:
        """Forget the prefix cache. `prompts`: all that will be added until the next reset, where that is known. Raises RuntimeError while
        requests are unfinished."""
        if self._live or not self.scheduler.reset_prefix_cache():
            raise RuntimeError(f"{len(self._live)} requests are unfinished")
        self.parking.reset()
        self._coming = None
        if self._lone is not None:
            self._lone.put_back()
            if prompts and self.parking.allowed and none_shared((prompt.pages, prompt.whole) for prompt in prompts):
                of_id = {prompt.request_id: prompt for prompt in prompts}
                self._lone.leave_out(self._live, lambda request_id: _hasher(of_id[request_id], self._page))

    def add(self, prompt: Prompt) -> None:
        names_pages = self._lone is not None and not self.prefix_cache_left_out
        request = self._request(
            request_id=prompt.request_id,
            prompt_token_ids=[TOKEN] * prompt.tokens,
            sampling_params=self._sampling(prompt.max_tokens),
            pooling_params=None,
            block_hasher=_hasher(prompt, self._page) if names_pages else None,
        )
        request.prefill_stats = None  # for a frontend that is not there
        self._live[prompt.request_id] = request
        self._coming = None
        self.scheduler.add_request(request)

    def abort_all(self) -> None:
        """The tokens of parked requests are to be taken after this."""
        from vllm.v1.request import RequestStatus

        self.parking.show_all()
        self.scheduler.finish_requests(list(self._live), RequestStatus.FINISHED_ABORTED)
        while self.scheduler.has_requests():  # tells the finished ones to a runner that is not there
            output = self.scheduler.schedule()
            self.scheduler.update_from_output(output, _model_output([], set()))
        self._live.clear()
        self._coming = None

    def step(self) -> Scheduled | None:
        """None where nothing can be scheduled."""
        scheduler, parking = self.scheduler, self.parking
        parking.before_step()
        decodes, context = parking.count, parking.context
        output = parking.schedule()
        given: dict[str, int] = output.num_scheduled_tokens
        if self._lone is not None:
            self._lone.after_schedule(given)
        if not given and not decodes:
            self._coming = None
            return None
        begun = {new.req_id: new.num_computed_tokens for new in output.scheduled_new_reqs}
        batch = self._parts(given)
        scheduled = output.total_num_scheduled_tokens + decodes
        held_back = self._held_back(scheduled)
        finished = self._give_tokens(output, batch)
        resumed = bool(output.scheduled_cached_reqs.resumed_req_ids)
        all_decode = not batch.prefills and batch.decodes == len(scheduler.running)
        parking.after_step(output.preempted_req_ids, finished)
        # Who was preempted waits without having been looked at.
        same_again = all_decode and not (finished or begun or resumed or output.preempted_req_ids)
        alone = self._nobody_waits()
        self._coming = self._foreseen(held_back, alone=alone) if same_again or alone else None
        return Scheduled(
            scheduled_tokens=scheduled,
            prefills=tuple(batch.prefills),
            decodes=decodes + batch.decodes,
            context=context + batch.context,
            tokens_for=tuple(batch.ready),
            finished=finished,
            begun=begun,
            held_back=held_back,
        )

    @property
    def prefix_cache_left_out(self) -> bool:
        """Since the last reset, because it could give nothing so far."""
        return self._lone is not None and self._lone.left_out

    @property
    def coming(self) -> Coming | None:
        """None where the scheduler has to be asked."""
        return self._coming

    def repeat(self, steps: int) -> dict[str, int]:
        """The first `steps` of `coming`, which is then past. Who is finished by them -> how often it was preempted."""
        assert self._coming is not None and 0 < steps <= self._coming.steps
        self.parking.pass_by(steps)
        finished = {}
        for request in self.parking.done():
            self.scheduler.finish_requests(request.request_id, self._length_capped)
            finished[request.request_id] = self._live.pop(request.request_id).num_preemptions
        self._coming = self._foreseen(0, alone=True) if self._nobody_waits() else None
        return finished

    def _nobody_waits(self) -> bool:
        return len(self._live) == len(self.scheduler.running) + self.parking.count

    def _parts(self, given: Mapping[str, int]) -> _Parts:
        """As tuner.engine.stepping.batch_of tells them apart."""
        found, live = _Parts(), self._live
        for name, tokens in given.items():
            request = live[name]
            computed: int = request.num_computed_tokens
            if tokens > 1 or computed <= request.num_prompt_tokens:
                found.prefills.append((tokens, computed - tokens))
            else:
                found.decodes += 1
                found.context += computed - 1
            if computed >= request.num_tokens:
                found.ready[name] = request
                found.last = found.last or self._ends(request)
        return found

    def _give_tokens(self, output: Any, batch: _Parts) -> dict[str, int]:
        """A token to each that is ready. Who is finished -> how often it was preempted. vLLM's update_from_output is needed where a request
        ends; in any other step all that it would do here is to count tokens."""
        given, live = output.num_scheduled_tokens, self._live
        if not self.parking.enabled or batch.last:
            self.scheduler.update_from_output(output, _model_output(list(given), set(batch.ready)))
            return {name: live.pop(name).num_preemptions for name, request in batch.ready.items() if request.is_finished()}
        for name, tokens in given.items():
            live[name].num_in_flight_tokens -= tokens
        for request in batch.ready.values():
            request.append_output_token_ids(TOKEN)
        return {}

    def _ends(self, request: Any) -> bool:
        """Whether its next token is its last."""
        return bool(request.num_output_tokens + 1 >= request.max_tokens or request.num_tokens + 1 >= self.scheduler.max_model_len)

    def _held_back(self, scheduled: int) -> int:
        """Of Scheduled, before anybody gets a token, ends or is parked anew."""
        scheduler = self.scheduler
        unused: int = scheduler.max_num_scheduled_tokens - scheduled
        if unused <= 0:
            return 0
        wanted = 0
        for request in scheduler.running:
            wanted += request.num_tokens - request.num_computed_tokens
        places = min(scheduler.max_num_active_reqs, scheduler.max_num_running_reqs) - len(scheduler.running) - self.parking.count
        for request in islice(scheduler.waiting, max(0, places)):
            if wanted >= unused:
                break
            wanted += request.num_tokens
        return min(unused, wanted)

    def _foreseen(self, held_back: int, *, alone: bool) -> Coming | None:
        """Where all that run are parked."""
        parking = self.parking
        if self.scheduler.running or not (steps := parking.quiet_steps(alone=alone)):
            return None
        return Coming(steps, parking.count, parking.context, held_back)


def _hasher(prompt: Prompt, page: int) -> Namer:
    """Names of pages in place of hashes of their tokens. Generated pages follow from the prompt, as greedy tokens do."""

    def names(request: Any) -> list[bytes]:
        known = range(len(request.block_hashes), request.num_tokens // page)
        if not known:
            return []
        return [_name(0, prompt.pages[index]) if index < len(prompt.pages) else _name(1 + index, prompt.whole) for index in known]

    return names


def _name(place: int, number: int) -> bytes:
    return (number << 32 | place).to_bytes(12, "little")


def _cached_request_data(running: Sequence[Any], resumed: Sequence[Any], *_: Any) -> Any:
    """What a runner is told of requests that it knows, without the token ids and pages: there is no runner."""
    from vllm.v1.core.sched.output import CachedRequestData

    requests = [*running, *resumed]
    return CachedRequestData(
        req_ids=[request.request_id for request in requests],
        resumed_req_ids={request.request_id for request in resumed},
        new_token_ids=[],
        all_token_ids={},
        new_block_ids=[],
        num_computed_tokens=[request.num_computed_tokens for request in requests],
        num_output_tokens=[],
    )


def _model_output(names: Sequence[str], ready: set[str]) -> Any:
    from vllm.v1.outputs import ModelRunnerOutput

    return ModelRunnerOutput(
        req_ids=list(names),
        req_id_to_index={name: index for index, name in enumerate(names)},
        sampled_token_ids=[[TOKEN] if name in ready else [] for name in names],
        logprobs=None,
        prompt_logprobs_dict={},
        pooler_output=[],
    )


def _token_buckets(config: Any) -> list[int]:
    """The sizes that tpu-inference's TPUModelRunner pads a step to, for one data-parallel rank."""
    from tpu_inference import envs
    from tpu_inference.runner.utils import build_token_paddings

    return list(
        build_token_paddings(
            min_token_size=envs.MIN_TOKEN_BUCKET,
            max_token_size=config.scheduler_config.max_num_batched_tokens,
            padding_gap=envs.VLLM_TPU_BUCKET_PADDING_GAP,
            additional_sizes=(config.additional_config or {}).get("compilation_sizes", []),
        )
    )


def _scheduler(config: Any) -> Any:
    """As vLLM's EngineCore makes it, with one group of full attention. Raises ValueError for what has other groups."""
    from vllm.v1.core.kv_cache_utils import resolve_kv_cache_block_sizes
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    model, cache = config.model_config, config.cache_config
    if model.is_hybrid or model.get_sliding_window() is not None:
        raise ValueError("only models with full attention in all layers can be simulated: others have several kinds of KV pages")
    if config.scheduler_config.async_scheduling:
        raise ValueError("asynchronous scheduling cannot be simulated: use async_scheduling false")
    if not cache.num_gpu_blocks_override:
        raise ValueError("num_gpu_blocks is needed: there is no engine that could find its own")
    cache.num_gpu_blocks = cache.num_gpu_blocks_override
    spec = FullAttentionSpec(
        block_size=cache.block_size,
        num_kv_heads=model.get_num_kv_heads(config.parallel_config),
        head_size=model.get_head_size(),
        dtype=model.dtype,
    )
    pool = KVCacheConfig(num_blocks=cache.num_gpu_blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["every layer"], spec)])
    scheduler_page, hash_page = resolve_kv_cache_block_sizes(pool, config)
    return config.scheduler_config.get_scheduler_cls()(
        vllm_config=config,
        kv_cache_config=pool,
        structured_output_manager=StructuredOutputManager(config),
        include_finished_set=False,
        log_stats=False,
        block_size=scheduler_page,
        hash_block_size=hash_page,
    )
