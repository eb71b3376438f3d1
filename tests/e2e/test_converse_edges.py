"""Edges of the transport: malformed bytes, oversized messages, and one trace per session."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from parlante import telemetry
from parlante.rpc.status import error_of
from parlante.v1 import gateway_pb2, gateway_pb2_grpc
from tests.fakes.encoder import portrait_bytes

pytestmark = pytest.mark.e2e

CONVERSE = "/parlante.v1.GatewayService/Converse"
BURST = gateway_pb2.PACING_BURST


async def read_all(call: Any) -> None:
    while await call.read():
        pass


@pytest.mark.parametrize("num_good", [0, 1])
async def test_malformed_bytes_are_refused(open_gateway: Any, num_good: int) -> None:
    async with open_gateway() as gateway:
        call = gateway.channel.stream_stream(CONVERSE)()
        config = gateway_pb2.SessionConfig(portrait=portrait_bytes())
        for _ in range(num_good):
            await call.write(gateway_pb2.ConverseRequest(config=config).SerializeToString())
        await call.write(b"\xff\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await read_all(call)
        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error_of(failed.value).reason == "MALFORMED_MESSAGE"
        await gateway.until_free()


async def test_message_over_the_limit_ends_the_call(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.send(config=gateway_pb2.SessionConfig(portrait=bytes(5 << 20)))
        error = await session.error()
        assert error.reason == "MESSAGE_TOO_LARGE"
        await gateway.until_free()


async def test_session_is_one_trace_with_its_stages(
    open_gateway: Any, monkeypatch: pytest.MonkeyPatch, wiring: str
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", lambda: provider.get_tracer("test"))
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with open_gateway() as gateway:
        stub: Any = gateway_pb2_grpc.GatewayServiceStub(gateway.channel)
        call = stub.Converse(metadata=(("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"),))
        config = gateway_pb2.SessionConfig(portrait=portrait_bytes(), pacing=BURST)
        await call.write(gateway_pb2.ConverseRequest(config=config))
        audio = gateway_pb2.AudioInput(data=bytes(2560))
        await call.write(gateway_pb2.ConverseRequest(audio=audio))
        await call.done_writing()
        await read_all(call)
        await gateway.until_free()
    spans = {
        span.name
        for span in exporter.get_finished_spans()
        if f"{span.context.trace_id:x}" in trace_id
    }
    assert CONVERSE[1:] in spans
    if wiring == "grpc":
        stages = {telemetry.SPAN_ENCODE, telemetry.SPAN_MOTION, telemetry.SPAN_RENDER}
        assert stages <= spans
        assert "parlante.v1.MotionService/StreamMotion" in spans
