"""Traces by OpenTelemetry, where they are configured: what a study, an engine's start or a window took.

Configured is who sets an exporter by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
OTEL_TRACES_EXPORTER; OTEL_SDK_DISABLED takes it back). Otherwise nothing is imported, and a span costs one look at a kept value. A
collector that is away loses spans, never a measurement.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider

log = logging.getLogger(__name__)

SERVICE = "vllm-tpu-tuner"
_EXPORTERS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_CHOICE, _DISABLED, _NAME, _PROTOCOL = "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_PROTOCOL"
_GRPC = "grpc"
_NOTHING: AbstractContextManager[None] = nullcontext()

type Value = str | int | float | bool


def span(name: str, **attributes: Value | None) -> AbstractContextManager[None]:
    """Around a piece of work; `attributes` without a value are left out. An exception that passes is named on the span, and nothing more of
    it is told."""
    found = tracer()
    return _NOTHING if found is None else _traced(found, name, attributes)


@contextmanager
def _traced(found: Tracer, name: str, attributes: Mapping[str, Value | None]) -> Iterator[None]:
    from opentelemetry.trace import Status, StatusCode

    given = {f"tuner.{key}": value for key, value in attributes.items() if value is not None}
    with found.start_as_current_span(f"tuner.{name}", attributes=given, record_exception=False, set_status_on_exception=False) as current:
        try:
            yield
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(Status(StatusCode.ERROR))
            raise


def configured(environment: Mapping[str, str]) -> bool:
    """Whether somebody asked for traces to be sent."""
    if environment.get(_DISABLED, "").lower() == "true":
        return False
    choice = environment.get(_CHOICE)
    return choice != "none" if choice else any(environment.get(name) for name in _EXPORTERS)


@cache
def tracer() -> Tracer | None:
    """Of this process; None where nothing is configured or the packages are missing, which is said once."""
    if not configured(os.environ):
        return None
    try:
        return provider().get_tracer(SERVICE)
    except ImportError as error:
        log.warning("traces are configured and %s is not installed: install vllm-tpu-tuner[otel]", error.name)
        return None


def provider() -> TracerProvider:
    """The one that the program runs under, else ours, which sends by OTLP. Raises ImportError."""
    from opentelemetry import trace
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider as SdkProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

    known = trace.get_tracer_provider()
    if not isinstance(known, trace.ProxyTracerProvider):
        return known
    exporter: SpanExporter
    if os.environ.get(_PROTOCOL) == _GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        exporter = GrpcExporter()
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

        exporter = HttpExporter()
    made = SdkProvider(resource=Resource.create({SERVICE_NAME: os.environ.get(_NAME) or SERVICE}))
    made.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(made)
    return made
