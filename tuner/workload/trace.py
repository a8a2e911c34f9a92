"""Which recorded requests are replayed: the stretch of the trace, and what fits the engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.workload.sources import FileSource, TraceSource


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """Lengths in tokens. `arrival_s` counts from the first request (0 where the file has no times); `block_ids` only for block traces."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    block_ids: tuple[int, ...] = ()
    later: tuple[tuple[int, int], ...] = ()  # further turns of a conversation: tokens of the question and of the answer


def candidates(requests: Sequence[RecordedRequest], source: FileSource) -> list[RecordedRequest]:
    """The stretch of the trace to replay: `max_duration_s`, `time_scale`, `max_requests`, in this order; no length is looked at yet.

    So the chosen stretch does not depend on the engine, and its length minus the plan's is how many were skipped.
    """
    chosen = list(requests)
    if isinstance(source, TraceSource):
        limit_s = source.max_duration_s
        chosen = [
            replace(request, arrival_s=request.arrival_s * source.time_scale)
            for request in requests
            if limit_s is None or request.arrival_s <= limit_s
        ]
    return chosen[: source.max_requests]


def fitting(requests: Sequence[RecordedRequest], source: FileSource, max_model_len: int) -> list[RecordedRequest]:
    """Clip or skip what is over the source's length limits.

    What then does not fit `max_model_len` (input + output) is skipped, whatever `too_long` says.
    """
    shortened = [(request, _shortened(request, source)) for request in requests]
    allowed = [short for request, short in shortened if source.too_long == "clip" or short == request]
    return [request for request in allowed if request.input_tokens + request.output_tokens <= max_model_len]


def _shortened(request: RecordedRequest, source: FileSource) -> RecordedRequest:
    return replace(
        request,
        input_tokens=min(request.input_tokens, source.max_input_tokens or request.input_tokens),
        output_tokens=min(request.output_tokens, source.max_output_tokens or request.output_tokens),
    )
