"""vLLM's real scheduler and KV cache manager without an engine: the scheduler class and the settings that an engine with these arguments
has, and nothing that computes. A request of which all tokens are scheduled gets a new one. Imports vLLM on first use.

`coming` and `repeat` take several steps at once where the scheduler has no choice: every running request decodes, none needs a new page or
gets its last token, and either nobody waits, or the last step was such a one and those who wait were passed over in it. What schedule()
decides is not copied; it is asked wherever its answer can differ from "one token for each".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Scheduled:
    """One step. `prefills`: (chunk, tokens computed before); `context`: tokens computed before, of all decodes together. `tokens_for`:
    requests that get a token; `finished`: those of them that are done -> how often they were preempted; `begun`: request -> prompt tokens
    found in the prefix cache."""

    scheduled_tokens: int
    prefills: tuple[tuple[int, int], ...]
    decodes: int
    context: int
    tokens_for: tuple[str, ...]
    finished: Mapping[str, int]
    begun: Mapping[str, int]

    @property
    def prefill_tokens(self) -> int:
        return sum(chunk for chunk, _ in self.prefills)


@dataclass(frozen=True)
class Coming:
    """The next `steps` steps, as long as no request is added: a token for each of `tokens_for`. `context`: of the first of them."""

    steps: int
    tokens_for: tuple[str, ...]
    context: int


class RealSchedule:
    """`buckets`: the sizes that steps are padded to, ascending."""

    def __init__(self, engine_args: Json) -> None:
        """Raises what vLLM raises for arguments that it refuses, and ValueError for what cannot be scheduled without an engine."""
        from vllm.engine.arg_utils import EngineArgs
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        self.config = EngineArgs(**engine_args).create_engine_config()
        self.scheduler = _scheduler(self.config)
        self.buckets = _token_buckets(self.config)
        self._page: int = self.scheduler.block_size
        self._request, self._sampling = Request, SamplingParams
        self._live: dict[str, Any] = {}
        self._caching = bool(self.config.cache_config.enable_prefix_caching)
        self._coming: Coming | None = None

    def reset(self) -> None:
        """Forget the prefix cache. Raises RuntimeError while requests are unfinished."""
        if self._live or not self.scheduler.reset_prefix_cache():
            raise RuntimeError(f"{len(self._live)} requests are unfinished")
        self._coming = None

    def add(self, prompt: Prompt) -> None:
        request = self._request(
            request_id=prompt.request_id,
            prompt_token_ids=[TOKEN] * prompt.tokens,
            sampling_params=self._sampling(temperature=0.0, max_tokens=prompt.max_tokens, ignore_eos=True),
            pooling_params=None,
            block_hasher=_hasher(prompt, self._page) if self._caching else None,
        )
        self._live[prompt.request_id] = request
        self._coming = None
        self.scheduler.add_request(request)

    def abort_all(self) -> None:
        from vllm.v1.request import RequestStatus

        self.scheduler.finish_requests(list(self._live), RequestStatus.FINISHED_ABORTED)
        while self.scheduler.has_requests():  # tells the finished ones to a runner that is not there
            output = self.scheduler.schedule()
            self.scheduler.update_from_output(output, _model_output([], set()))
        self._live.clear()
        self._coming = None

    def step(self) -> Scheduled | None:
        """None where nothing can be scheduled."""
        scheduler = self.scheduler
        output = scheduler.schedule()
        given: dict[str, int] = output.num_scheduled_tokens
        if not given:
            self._coming = None
            return None
        begun = {new.req_id: new.num_computed_tokens for new in output.scheduled_new_reqs}
        prefills, decodes, context, ready = self._parts(given)
        scheduler.update_from_output(output, _model_output(list(given), set(ready)))
        finished = {name: self._live[name].num_preemptions for name in ready if self._live[name].is_finished()}
        resumed = bool(output.scheduled_cached_reqs.resumed_req_ids)
        same_again = not prefills and not finished and not begun and not resumed and decodes == len(scheduler.running)
        self._coming = self._foreseen() if same_again or not scheduler.get_request_counts()[1] else None
        for name in finished:
            del self._live[name]
        return Scheduled(
            scheduled_tokens=sum(given.values()),
            prefills=tuple(prefills),
            decodes=decodes,
            context=context,
            tokens_for=tuple(ready),
            finished=finished,
            begun=begun,
        )

    @property
    def coming(self) -> Coming | None:
        """None where the scheduler has to be asked."""
        return self._coming

    def repeat(self, steps: int) -> None:
        """The first `steps` of `coming`, which is then past."""
        assert self._coming is not None and 0 < steps <= self._coming.steps
        for request in self.scheduler.running:
            request.num_computed_tokens += steps
            request.append_output_token_ids([TOKEN] * steps)
        self._coming = None

    def _parts(self, given: Mapping[str, int]) -> tuple[list[tuple[int, int]], int, int, list[str]]:
        """Prefill segments, decoding requests, their context, and who gets a token; as tuner.engine.stepping.batch_of tells them apart."""
        prefills: list[tuple[int, int]] = []
        decodes = context = 0
        ready = []
        for name, tokens in given.items():
            request = self._live[name]
            computed: int = request.num_computed_tokens
            if tokens > 1 or computed <= request.num_prompt_tokens:
                prefills.append((tokens, computed - tokens))
            else:
                decodes += 1
                context += computed - 1
            if computed >= request.num_tokens:
                ready.append(name)
        return prefills, decodes, context, ready

    def _foreseen(self) -> Coming | None:
        """Where each running request decodes and keeps its pages: until one needs a new page or gets its last token."""
        page, running = self._page, self.scheduler.running
        if not 0 < len(running) <= self.scheduler.max_num_scheduled_tokens:
            return None
        steps, context = 1 << 30, 0
        for request in running:
            computed: int = request.num_computed_tokens
            if request.num_tokens != computed + 1:
                return None
            steps = min(steps, -computed % page, request.max_tokens - request.num_output_tokens - 1)
            if steps <= 0:
                return None
            context += computed
        return Coming(steps, tuple(request.request_id for request in running), context)


def _hasher(prompt: Prompt, page: int) -> Callable[[Any], list[bytes]]:
    """Names of pages in place of hashes of their tokens. Generated pages follow from the prompt, as greedy tokens do."""

    def names(request: Any) -> list[bytes]:
        known = range(len(request.block_hashes), request.num_tokens // page)
        return [_name(0, prompt.pages[index]) if index < len(prompt.pages) else _name(1 + index, prompt.whole) for index in known]

    return names


def _name(place: int, number: int) -> bytes:
    return place.to_bytes(4, "little") + number.to_bytes(8, "little")


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
