"""One trace over client and server, metrics by name, and nothing at all when it is off."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from parlante import telemetry
from parlante.errors import InvalidInput, NotFound
from parlante.types import AudioChunk, MotionConfig, RenderConfig
from tests.fakes.encoder import portrait_bytes
from tests.fakes.stages import serve_fakes


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Collects the spans of our own tracer; the global provider stays as it is."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", lambda: provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


async def test_one_trace_joins_client_and_servers(spans: InMemorySpanExporter) -> None:
    async with serve_fakes() as stages:
        with telemetry.tracer().start_as_current_span("session") as session:
            info = await stages.remote_encoder.create(portrait_bytes())

            async def audio():  # type: ignore[no-untyped-def]
                yield AudioChunk(start_sample=0, samples=np.zeros(640, np.int16))

            motion = stages.remote_motion.stream(MotionConfig(), audio())
            frames = stages.remote_renderer.stream(RenderConfig(avatar_key=info.key), motion)
            assert len([frame async for frame in frames]) == 1

    finished = {span.name: span for span in spans.get_finished_spans()}
    trace_id = session.get_span_context().trace_id
    assert {span.context.trace_id for span in finished.values()} == {trace_id}
    for client, server in (
        (telemetry.SPAN_ENCODE, "parlante.v1.EncoderService/CreateAvatar"),
        (telemetry.SPAN_MOTION, "parlante.v1.MotionService/StreamMotion"),
        (telemetry.SPAN_RENDER, "parlante.v1.RendererService/RenderFrames"),
    ):
        assert finished[server].parent.span_id == finished[client].context.span_id
        assert finished[server].kind is trace.SpanKind.SERVER


async def test_failed_call_is_marked_with_its_reason_alone(spans: InMemorySpanExporter) -> None:
    async with serve_fakes() as stages:
        with pytest.raises(NotFound):
            await stages.remote_encoder.get("secret-name")

    server, client = sorted(spans.get_finished_spans(), key=lambda span: span.kind.value)
    for span in (server, client):
        assert span.attributes["error.type"] == "AVATAR_NOT_FOUND"
        assert span.status.description == "AVATAR_NOT_FOUND"
        assert "secret-name" not in span.to_json()


def test_every_instrument_has_name_unit_and_description() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    instruments = telemetry.make_metrics(provider.get_meter("test"))
    for name in instruments.__dataclass_fields__:
        instrument = getattr(instruments, name)
        getattr(instrument, "add", getattr(instrument, "record", None))(1)

    (resource,) = reader.get_metrics_data().resource_metrics
    seen = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    provider.shutdown()
    assert len(seen) == len(instruments.__dataclass_fields__)
    assert all(name.startswith("parlante.") for name in seen)
    assert all(metric.unit and metric.description for metric in seen.values())
    assert seen["parlante.frames.dropped"].unit == "{frame}"


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, ["traces", "metrics"]),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ["traces"]),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, ["metrics"]),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4317"}, ["metrics"]),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_METRICS_EXPORTER": "none"},
            ["traces"],
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, []),
    ],
)
def test_standard_variables_decide_what_is_exported(env: dict[str, str], wanted: list[str]) -> None:
    assert [s for s in ("traces", "metrics") if telemetry.is_wanted(s, env)] == wanted


def test_exporter_we_do_not_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match="OTEL_TRACES_EXPORTER"):
        telemetry.configure_telemetry("x", {"OTEL_TRACES_EXPORTER": "zipkin"})


def test_protocol_we_do_not_have_is_refused() -> None:
    env = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    with pytest.raises(InvalidInput, match="must be grpc"):
        telemetry.configure_telemetry("x", env)


_PROBE = """
import json, sys, threading
from parlante import telemetry
set_up = telemetry.configure_telemetry("probe")
with telemetry.tracer().start_as_current_span("s") as span:
    metadata, recording = telemetry.outgoing_metadata(), span.is_recording()
    telemetry.metrics().frames_sent.add(1)
sdk = [m for m in sys.modules if m.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
print(json.dumps({"enabled": set_up.enabled, "recording": recording, "sdk": sdk,
                  "metadata": metadata, "threads": threading.active_count()}), flush=True)
set_up.shutdown(timeout_s=1.0)
"""


def _probe(env: dict[str, str]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], env=env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_nothing_is_built_when_it_is_off() -> None:
    assert _probe({}) == {
        "enabled": False,
        "recording": False,
        "sdk": [],
        "metadata": [],
        "threads": 1,
    }


def test_collector_that_is_away_does_not_hold_the_process_up() -> None:
    begin = time.monotonic()
    seen = _probe({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert seen["enabled"]
    assert seen["recording"]
    assert time.monotonic() - begin < 15


_EXPORTING = """
from parlante import telemetry
set_up = telemetry.configure_telemetry("probe")
with telemetry.tracer().start_as_current_span(telemetry.SPAN_MOTION):
    telemetry.metrics().frames_dropped.add(3, {telemetry.ATTRIBUTE_REASON: "no_credit"})
assert set_up.shutdown(timeout_s=10)
"""


async def test_exporters_reach_a_collector() -> None:
    received: dict[str, bytes] = {}

    def accept(name: str) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def export(request: bytes, context: object) -> bytes:
            received[name] = request
            return b""

        return grpc.unary_unary_rpc_method_handler(export)

    collector = grpc.aio.server()
    for signal in ("Trace", "Metrics"):
        service = f"opentelemetry.proto.collector.{signal.lower()}.v1.{signal}Service"
        handlers = {"Export": accept(signal)}
        collector.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, handlers),)
        )
    port = collector.add_insecure_port("127.0.0.1:0")
    await collector.start()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _EXPORTING, env=env)
    assert await asyncio.wait_for(process.wait(), 30) == 0
    await collector.stop(0)

    assert b"parlante.motion" in received["Trace"]
    assert b"probe" in received["Trace"]
    assert b"parlante.frames.dropped" in received["Metrics"]
    assert b"no_credit" in received["Metrics"]
