"""A vLLM LLMEngine as the load driver's stepped engine: adds requests, steps, and keeps a record of every step. Runs inside the engine
process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tuner.core.contract import Answered, PlannedRequest, StepRecord
from tuner.workload.client import TokenBatch

CHOICES = 4  # tokens of a position whose probabilities are asked for, beside the generated one


class CompileCounter:
    """Counts the programs that XLA built (or fetched from the persistent cache) in this process, through JAX's own events."""

    EVENT = "/jax/core/compile/backend_compile_duration"

    def __init__(self) -> None:
        import jax

        self.count = 0
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._on_event)

    def _on_event(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == self.EVENT:
            self.count += 1
            self.seconds += duration_secs


class Progress(Protocol):
    """How far a request is: the part of vLLM's Request (vllm/v1/request.py) that is needed here."""

    @property
    def num_prompt_tokens(self) -> int: ...
    @property
    def num_computed_tokens(self) -> int: ...


@dataclass(frozen=True)
class Batch:
    """What the scheduler put into one step."""

    scheduled_tokens: int
    prefill_tokens: int
    prefill_requests: int
    decode_requests: int


def batch_of(scheduled: Mapping[str, int], requests: Mapping[str, Progress]) -> Batch:
    """`scheduled`: tokens by request id, each 1 or more; `requests` as they stand right after vLLM's schedule(), which has counted these
    tokens as computed already.

    A prefill computes prompt tokens, however few: a prompt of one token and the last token of a long one are prefills, too. So is a
    segment of several tokens behind the prompt: a request that was preempted computes its own output again.
    """
    prefills = [
        tokens
        for name, tokens in scheduled.items()
        if tokens > 1 or requests[name].num_computed_tokens - tokens < requests[name].num_prompt_tokens
    ]
    return Batch(
        scheduled_tokens=sum(scheduled.values()),
        prefill_tokens=sum(prefills),
        prefill_requests=len(prefills),
        decode_requests=len(scheduled) - len(prefills),
    )


class SteppedLlmEngine:
    """`steps` holds the records since begin()."""

    def __init__(self, engine: Any) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._engine = engine
        self._sampling = SamplingParams
        self._delta = RequestOutputKind.DELTA
        self.core = engine.engine_core.engine_core
        self._buckets: list[int] = self.core.tuner_describe()["token_buckets"]
        self._scheduled: list[Batch] = []
        self._unfinished: set[str] = set()
        self._heard: dict[str, list[dict[int, float]]] | None = None
        self.steps: list[StepRecord] = []
        self.preemptions: dict[str, int] = {}
        self._origin = time.perf_counter()
        self._watch_scheduler()

    def begin(self) -> None:
        """Forget earlier records; times count from now."""
        self.steps = []
        self.preemptions = {}
        self._scheduled.clear()
        self._origin = time.perf_counter()

    def listen(self) -> None:
        """From now on requests are asked for log-probabilities as well, until heard()."""
        self._heard = {}

    def heard(self) -> dict[str, Answered]:
        """What was generated since listen(), by request."""
        heard, self._heard = self._heard or {}, None
        return {
            name: Answered(name, tuple(tuple(position) for position in found), tuple(tuple(position.values()) for position in found))
            for name, found in heard.items()
        }

    def add(self, request: PlannedRequest) -> None:
        params = self._sampling(
            temperature=0.0,
            max_tokens=request.max_tokens,
            ignore_eos=True,
            detokenize=False,
            output_kind=self._delta,
            logprobs=None if self._heard is None else CHOICES,
        )
        self._unfinished.add(request.request_id)
        self._engine.add_request(request.request_id, {"prompt_token_ids": list(request.prompt_token_ids)}, params)

    def abort(self, request_ids: Sequence[str]) -> None:
        self._engine.abort_request(list(request_ids))
        while self._engine.has_unfinished_requests():
            self._engine.step()
        self._unfinished.clear()

    def forget_unfinished(self) -> None:
        """After a step that raised: take its requests back without another step, so that the next configuration finds an engine that is
        idle, and not the reason why this one failed. Raises RuntimeError where that is not possible."""
        self._engine.abort_request(sorted(self._unfinished))
        self._unfinished.clear()
        if self.core.scheduler.has_unfinished_requests():
            raise RuntimeError("the engine keeps requests of a step that failed")

    def step(self) -> list[TokenBatch]:
        start = time.perf_counter()
        outputs = self._engine.step()
        duration_s = time.perf_counter() - start
        self.steps += [self._record(batch, start - self._origin, duration_s) for batch in self._scheduled]
        self._scheduled.clear()
        self._unfinished -= {output.request_id for output in outputs if output.finished}
        if self._heard is not None:
            for output in outputs:
                self._heard.setdefault(output.request_id, []).extend(_choices(output.outputs[0]))
        return [
            TokenBatch(
                request_id=output.request_id,
                token_ids=list(output.outputs[0].token_ids),
                finished=output.finished,
                cached_tokens=output.num_cached_tokens or 0,
                error=_error_of(output),
            )
            for output in outputs
        ]

    def _watch_scheduler(self) -> None:
        scheduler = self.core.scheduler
        schedule, preempt = scheduler.schedule, scheduler._preempt_request

        def watched_schedule(*args: Any, **kwargs: Any) -> Any:
            output = schedule(*args, **kwargs)
            if output.total_num_scheduled_tokens:
                self._scheduled.append(batch_of(output.num_scheduled_tokens, scheduler.requests))
            return output

        def watched_preempt(request: Any, *args: Any, **kwargs: Any) -> Any:
            name = request.request_id.rpartition("-")[0]  # vLLM appends a random part to the id it was given
            self.preemptions[name] = self.preemptions.get(name, 0) + 1
            return preempt(request, *args, **kwargs)

        scheduler.schedule = watched_schedule
        scheduler._preempt_request = watched_preempt

    def _record(self, batch: Batch, start_s: float, duration_s: float) -> StepRecord:
        total = batch.scheduled_tokens
        return StepRecord(
            start_s=start_s,
            duration_s=duration_s,
            scheduled_tokens=total,
            padded_tokens=next((bucket for bucket in self._buckets if bucket >= total), total),
            prefill_tokens=batch.prefill_tokens,
            prefill_requests=batch.prefill_requests,
            decode_requests=batch.decode_requests,
        )


def _choices(completion: Any) -> list[dict[int, float]]:
    """Token -> log-probability at each new position, the generated one first."""
    return [
        {token: float(found[token].logprob), **{other: float(item.logprob) for other, item in found.items()}}
        for token, found in zip(completion.token_ids, completion.logprobs or (), strict=True)
    ]


def _error_of(output: Any) -> str | None:
    reason = output.outputs[0].finish_reason if output.finished else None
    return reason if reason in ("error", "abort") else None
