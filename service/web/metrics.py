"""Prometheus metrics of one application. Labels are route templates and status codes, never what a client made up."""

from __future__ import annotations

from functools import cache, lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED = "(unmatched)"
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("tuner_http_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry)
        self._duration = Histogram(
            "tuner_http_request_duration_seconds", "Time to the end of the answer.", ["route"], buckets=_BUCKETS_S, registry=self._registry
        )
        self._answers = Counter(
            "tuner_recommendation_answers", "Recommendations looked up.", ["status", "match", "stale"], registry=self._registry
        )
        self._cached = Counter("tuner_cache", "Where answers to questions came from.", ["result"], registry=self._registry)
        self._renewed = Counter("tuner_cache_renewals", "Answers renewed in the background.", ["result"], registry=self._registry)
        self.in_flight = Gauge("tuner_http_requests_in_flight", "Requests being answered.", registry=self._registry)
        # labels() costs more than counting does.
        self._children = lru_cache(maxsize=1024)(self._labelled)
        self._answers_of, self._cached_of = cache(self._answers.labels), cache(self._cached.labels)

    def _labelled(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(method, route, str(status)), self._duration.labels(route)

    def request(self, method: str, route: str, status: int, duration_s: float) -> None:
        requests, duration = self._children(method if method in _METHODS else "other", route, status)
        requests.inc()
        duration.observe(duration_s)

    def answer(self, status: str, match: str, stale: bool) -> None:
        self._answers_of(status, match, str(stale).lower()).inc()

    def cached(self, result: str) -> None:
        self._cached_of(result).inc()

    def renewed(self, *, done: bool) -> None:
        self._renewed.labels("done" if done else "failed").inc()

    def register(self, collector: Collector) -> None:
        """Metrics that are read when they are asked for."""
        self._registry.register(collector)

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self._registry)
