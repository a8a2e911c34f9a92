"""Traces: none unless somebody asks for them; then the parts of a submitted study, sent as OpenTelemetry's variables say."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from storage.queue_records import SubmissionState
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, config_of
from tuner.core import spans
from tuner.core.errors import FailureClass, TrialFailed
from tuner.fleet.requirements import Machine
from tuner.fleet.submission import submission_of
from tuner.fleet.worker import Place, Worker
from tuner.setup.space import Configuration

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({ENDPOINT: "http://collector:4318"}, True),
        ({ENDPOINT: ""}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", ENDPOINT: "http://collector:4318"}, False),
        ({ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_SERVICE_NAME": "tuner"}, False),
    ],
)
def test_the_standard_variables_say_whether(environment: Mapping[str, str], asked: bool) -> None:
    assert spans.configured(environment) is asked


def test_nothing_is_imported_where_nothing_is_configured() -> None:
    code = (
        "import sys\nfrom tuner.core.spans import span\nwith span('window', trial=1):\n    pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={"PATH": ""})
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, made = InMemorySpanExporter(), TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setattr(spans, "provider", lambda: made)
    spans.tracer.cache_clear()
    yield exporter
    spans.tracer.cache_clear()
    made.shutdown()


@pytest.mark.slow
def test_a_submitted_study_is_one_trace(recorded: InMemorySpanExporter, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(configuration: Configuration, _nth: int, _result: object) -> object:
        if configuration == Configuration(16, 128, "default"):
            raise TrialFailed(FailureClass.REQUEST_FAILED, "a secret of the request")
        return _result

    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: FakeLauncher(on_measure=refuse))  # type: ignore[arg-type]
    submission = bench.storage.submit(submission_of(config_of(), "anna"))
    place = Place("w1", "here", bench.url, str(bench.folder / "profiles"))
    assert Worker(bench.storage, Machine("cpu x86_64", 1, {}), place, lambda _line: None).work(once=True) == [SubmissionState.COMPLETE]
    found = recorded.get_finished_spans()
    by_name: dict[str, list[ReadableSpan]] = {}
    for item in found:
        by_name.setdefault(item.name, []).append(item)
    [top], [study], [_conclude] = (by_name[f"tuner.{name}"] for name in ("submission", "study", "conclude"))
    assert (top.parent, dict(top.attributes or {})) == (
        None,
        {"tuner.submission_id": submission.id, "tuner.study": "s", "tuner.attempt": 1, "tuner.leads": True},
    )
    assert study.parent is not None and top.context is not None and study.parent.span_id == top.context.span_id
    assert study.context is not None
    children = [item for item in found if item not in (top, study)]
    assert all(item.parent is not None and item.parent.span_id == study.context.span_id for item in children)
    windows = bench.storage.count_measurements_of([1])[1]
    failed = [item for item in by_name["tuner.window"] if item.status.status_code is StatusCode.ERROR]
    assert len(by_name["tuner.window"]) == windows + len(failed)
    [error] = failed
    assert (error.attributes or {})["error.type"] == "TrialFailed"
    assert "secret" not in error.to_json(), "what failed is named, and not told"
    assert len(by_name["tuner.engine_start"]) == bench.storage.get_study("s").engine_starts


@pytest.mark.slow
def test_spans_are_sent_where_the_variables_say() -> None:
    """By a program of its own: a provider is set once in a process."""
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        environment = {
            ENDPOINT: f"http://127.0.0.1:{server.server_port}",
            "OTEL_SERVICE_NAME": "weekend",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }
        code = "from tuner.core.spans import span\nwith span('window', trial=7):\n    pass\n"
        subprocess.run([sys.executable, "-c", code], env={"PATH": "", **environment}, timeout=60, check=True)
    finally:
        server.shutdown()
        server.server_close()
    [(path, body)] = received
    assert path == "/v1/traces" and b"tuner.window" in body and b"weekend" in body
