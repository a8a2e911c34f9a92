from __future__ import annotations

from tuner.workload.sources import AzureSource, LengthsSource
from tuner.workload.trace import RecordedRequest, candidates, fitting

REQUESTS = [RecordedRequest(float(second), 100 * (second + 1), 10 * (second + 1)) for second in range(6)]


def test_candidates_apply_duration_before_scaling_and_then_count() -> None:
    source = AzureSource(path="x", max_duration_s=4.0, time_scale=0.5, max_requests=3)
    assert [request.arrival_s for request in candidates(REQUESTS, source)] == [0.0, 0.5, 1.0]
    assert len(candidates(REQUESTS, source.model_copy(update={"max_requests": None}))) == 5


def test_too_long_is_skipped_or_clipped_and_what_the_engine_cannot_hold_is_always_skipped() -> None:
    skip = LengthsSource(path="x", max_input_tokens=300, max_output_tokens=20)
    assert [(r.input_tokens, r.output_tokens) for r in fitting(REQUESTS, skip, 10_000)] == [(100, 10), (200, 20)]
    clip = skip.model_copy(update={"too_long": "clip"})
    assert [(r.input_tokens, r.output_tokens) for r in fitting(REQUESTS, clip, 10_000)] == [(100, 10), (200, 20), *[(300, 20)] * 4]
    assert [(r.input_tokens, r.output_tokens) for r in fitting(REQUESTS, clip, 319)] == [(100, 10), (200, 20)]
    assert fitting(REQUESTS, LengthsSource(path="x"), 110) == REQUESTS[:1]
