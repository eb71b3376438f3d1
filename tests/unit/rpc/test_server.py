"""Health, warm-up, drain, signals, reflection, TLS and addresses of a server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from parlante import errors
from parlante.aio import closing
from parlante.rpc.calls import ending_of
from parlante.rpc.channel import open_channel
from parlante.rpc.remote import RemoteMotion
from parlante.rpc.server import RpcServer, ServerConfig
from parlante.rpc.slots import Slots
from parlante.rpc.tls import TlsFiles
from parlante.types import AudioChunk, MotionConfig, MotionTraits
from parlante.v1 import motion_pb2
from services.motion.servicer import MotionServicer, motion_service
from tests.fakes.motion import FakeMotion
from tests.fakes.stages import FakeStages, serve_fakes
from tests.fakes.wire import eventually, forever, open_stream

SERVICES = ("", "parlante.v1.EncoderService", "parlante.v1.MotionService")
METHOD = "/parlante.v1.MotionService/StreamMotion"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LOCAL = ServerConfig(host="127.0.0.1")


def _server(config: ServerConfig = LOCAL) -> RpcServer:
    traits = MotionTraits(algorithmic_delay_ms=40, bundle_digest="")
    servicer = MotionServicer(FakeMotion(), traits=traits, slots=Slots(2, what="test"))
    return RpcServer([motion_service(servicer)], config)


async def _health(channel: grpc.aio.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(response.status)


def _audio() -> AudioChunk:
    return AudioChunk(start_sample=0, samples=np.zeros(640, dtype=np.int16))


async def test_health_changes_when_the_warm_up_ends() -> None:
    async with _server() as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        assert await _health(channel) == NOT_SERVING
        server.set_serving()
        assert await _health(channel) == SERVING


async def test_every_service_has_its_own_health(stages: FakeStages) -> None:
    for service in SERVICES:
        assert await _health(stages.channel, service) == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _health(stages.channel, "parlante.v1.Nonsense")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_two_watchers_hear_of_the_drain_although_a_third_left(stages: FakeStages) -> None:
    stub = health_pb2_grpc.HealthStub(stages.channel)
    calls = [stub.Watch(health_pb2.HealthCheckRequest(service="")) for _ in range(3)]
    streams = [aiter(call) for call in calls]
    assert [(await anext(stream)).status for stream in streams] == [SERVING] * 3
    calls[0].cancel()
    await asyncio.sleep(0.02)

    drain = asyncio.create_task(stages.server.drain(grace_s=0.5))

    assert [(await anext(stream)).status for stream in streams[1:]] == [NOT_SERVING] * 2
    for call in calls[1:]:
        call.cancel()
    await drain


async def test_one_service_is_closed_by_itself(stages: FakeStages) -> None:
    _, encoder, motion = SERVICES
    stages.server.set_closed(motion, True)
    states = [await _health(stages.channel, service) for service in ("", encoder, motion)]
    assert states == [SERVING, SERVING, NOT_SERVING]
    stages.server.set_closed(motion, False)
    assert await _health(stages.channel, motion) == SERVING


async def test_a_service_does_not_open_before_its_process() -> None:
    motion = SERVICES[-1]
    async with _server() as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        server.set_closed(motion, True)
        server.set_closed(motion, False)
        assert await _health(channel, motion) == NOT_SERVING
        server.set_serving()
        assert await _health(channel, motion) == SERVING


async def test_calls_before_the_warm_up_ends_are_told_to_come_back() -> None:
    async with _server() as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(errors.Unavailable) as caught:
            await RemoteMotion(channel).traits()
    assert caught.value.reason == "WARMING_UP"
    assert caught.value.retry_after_ms == 1000


async def test_drain_lets_open_streams_finish(stages: FakeStages) -> None:
    call = open_stream(stages.channel, METHOD)
    await call.write(
        motion_pb2.StreamMotionRequest(config=motion_pb2.MotionStreamConfig(sample_rate_hz=16_000))
    )
    responses = aiter(call)
    await anext(responses)

    drain = asyncio.create_task(stages.server.drain(grace_s=5))
    await asyncio.wait_for(stages.server.draining.wait(), 1)
    audio = motion_pb2.MotionAudio(data=bytes(1280))
    await call.write(motion_pb2.StreamMotionRequest(audio=audio))
    await call.done_writing()

    assert len([response async for response in responses]) == 1
    await asyncio.wait_for(drain, 2)


async def test_drain_cuts_what_does_not_finish_in_time(stages: FakeStages) -> None:
    call = open_stream(stages.channel, METHOD)
    await call.write(motion_pb2.StreamMotionRequest(config=motion_pb2.MotionStreamConfig()))
    await anext(aiter(call))

    begin = time.monotonic()
    await stages.server.drain(grace_s=0.2)

    assert 0.1 < time.monotonic() - begin < 2.0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(call))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await eventually(lambda: stages.num_held == 0)


async def test_new_calls_are_refused_while_draining(stages: FakeStages) -> None:
    async with closing(stages.remote_motion.stream(MotionConfig(), forever([_audio()]))) as blocks:
        await anext(blocks)
        drain = asyncio.create_task(stages.server.drain(grace_s=0.3))
        await stages.server.draining.wait()
        with pytest.raises(errors.Unavailable):
            await stages.remote_motion.traits()
    await drain


async def test_term_signal_drains_and_ends() -> None:
    async with _server() as server:
        server.set_serving()
        serving = asyncio.create_task(server.serve_until_signal())
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 2)
    assert server.draining.is_set()


async def test_second_signal_cuts_the_drain_short() -> None:
    config = ServerConfig(host="127.0.0.1", drain_grace_s=60)
    async with serve_fakes(config=config) as stages:
        call = open_stream(stages.channel, METHOD)
        await call.write(motion_pb2.StreamMotionRequest(config=motion_pb2.MotionStreamConfig()))
        await anext(aiter(call))
        serving = asyncio.create_task(stages.server.serve_until_signal())
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        await stages.server.draining.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 3)
        call.cancel()


async def test_port_in_use_is_a_clear_error() -> None:
    async with _server() as first:
        second = _server(ServerConfig(host="127.0.0.1", port=first.port))
        with pytest.raises(errors.InvalidInput, match="cannot listen on"):
            await second.start()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_our_services(stages: FakeStages, version: str) -> None:
    names = await _reflected(stages.channel, version)
    assert {"parlante.v1.MotionService", "grpc.health.v1.Health"} <= names


async def test_reflection_can_be_turned_off() -> None:
    async with serve_fakes(config=ServerConfig(host="127.0.0.1", reflection=False)) as stages:
        # Nothing is written: a write that meets the refusal would hide it.
        call = _reflection_call(stages.channel, "v1", requests=None)
        ending = await asyncio.wait_for(ending_of(call), timeout=5)
    assert ending.code() is grpc.StatusCode.UNIMPLEMENTED


def _reflection_call(
    channel: grpc.aio.Channel,
    version: str,
    requests: Iterator[reflection_pb2.ServerReflectionRequest] | None,
) -> Any:
    return channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(requests)


async def _reflected(channel: grpc.aio.Channel, version: str) -> set[str]:
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    call = _reflection_call(channel, version, requests)
    response = await anext(aiter(call))
    call.cancel()
    return {service.name for service in response.list_services_response.service}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A certificate for localhost that signs itself."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key)]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(cert)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return TlsFiles(cert=cert, key=key, ca=cert)


def _tls_config(certificate: TlsFiles, *, client_ca: Path | None = None) -> ServerConfig:
    return ServerConfig(
        host="localhost",
        tls_cert=certificate.cert,
        tls_key=certificate.key,
        tls_client_ca=client_ca,
    )


async def test_tls_server_is_reached_with_its_authority(certificate: TlsFiles) -> None:
    async with _server(_tls_config(certificate)) as server:
        tls = TlsFiles(ca=certificate.ca)
        async with open_channel(f"localhost:{server.port}", tls=tls) as channel:
            assert await _health(channel) == NOT_SERVING


async def test_mutual_tls_demands_a_certificate(certificate: TlsFiles) -> None:
    config = _tls_config(certificate, client_ca=certificate.ca)
    async with _server(config) as server:
        target = f"localhost:{server.port}"
        async with open_channel(target, tls=certificate) as channel:
            assert await _health(channel) == NOT_SERVING
        async with open_channel(target, tls=TlsFiles(ca=certificate.ca)) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _health(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_missing_key_file_is_a_clear_error(tmp_path: Path) -> None:
    files = TlsFiles(cert=tmp_path / "no.pem", key=tmp_path / "no.key")
    with pytest.raises(errors.InvalidInput, match="cannot read the TLS file"):
        files.server_credentials()


@pytest.mark.parametrize(
    "fields",
    [
        {"port": 70_000},
        {"unary_timeout_s": 0},
        {"drain_grace_s": -1},
        {"tls_client_ca": Path("ca.pem")},
    ],
)
def test_bad_settings_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        ServerConfig(**fields)  # type: ignore[arg-type]
    assert caught.value.reason == "BAD_SETTING"
