"""The real engines behind the gateway: sameness of the wirings, the idle face, nothing left."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from gateway.config import EMBEDDED, REMOTE, GatewayConfig
from gateway.serving import running_gateway
from gateway.stages import Stages
from gateway.wiring import embedded, remote
from parlante.models.tracker_files import find_missing_files, tracker_dir
from parlante.rpc.channel import open_channel
from parlante.rpc.server import RpcServer, ServerConfig
from parlante.rpc.slots import Slots
from parlante.types import MOTION_INDEX, Int16Array, MotionConfig, MotionTraits
from parlante.v1 import gateway_pb2, gateway_pb2_grpc

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(find_missing_files(tracker_dir())),
        reason="the face tracker's files are not installed (scripts/fetch_tracker.py)",
    ),
]

RATE_HZ = 16_000
BURST = gateway_pb2.PACING_BURST
Response = gateway_pb2.ConverseResponse


@pytest.fixture(scope="module")
def portrait() -> bytes:
    """A portrait that we may use: NASA's astronaut, from scikit-image."""
    data = pytest.importorskip("skimage.data")
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(data.astronaut()).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def voice() -> Int16Array:
    """1.2 s of a hum that opens and shuts, int16."""
    t = np.arange(RATE_HZ * 12 // 10) / RATE_HZ
    tone = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 20))
    return (4000 * tone * (0.5 - 0.5 * np.cos(2 * np.pi * 3 * t))).astype("<i2")


@asynccontextmanager
async def serve_stages(stages: Stages) -> AsyncIterator[str]:
    """Serve engines as the three services do, on one free port; give the address."""
    from services.encoder.servicer import EncoderServicer, encoder_service
    from services.motion.servicer import MotionServicer, motion_service
    from services.renderer.servicer import RendererServicer, renderer_service

    delay_ms = stages.motion.delay_ms(MotionConfig())
    traits = MotionTraits(algorithmic_delay_ms=delay_ms, bundle_digest="00" * 32)
    slots = Slots(32, what="call")
    services = [
        encoder_service(EncoderServicer(stages.encoder, slots=slots)),
        motion_service(MotionServicer(stages.motion, traits=traits, slots=slots)),
        renderer_service(RendererServicer(stages.renderer, slots=slots)),
    ]
    async with RpcServer(services, ServerConfig(host="127.0.0.1")) as server:
        server.set_serving()
        yield f"127.0.0.1:{server.port}"


Channels = dict[str, grpc.aio.Channel]


@pytest.fixture
def open_gateways(tmp_path: Path) -> Callable[[], Any]:
    """Open one gateway per wiring over the same engines; give channels by wiring."""

    weights = pytest.importorskip("parlante.models.motion_weights").DEFAULT_WEIGHTS
    if not weights.exists():
        pytest.skip(f"the motion weights are not installed ({weights.name})")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Channels]:
        config = GatewayConfig(host="127.0.0.1", port=0, wiring=EMBEDDED, store_dir=tmp_path)
        async with AsyncExitStack() as stack:
            stages = await stack.enter_async_context(embedded(config))
            await stages.warm_up()
            address = await stack.enter_async_context(serve_stages(stages))
            remote_config = GatewayConfig(
                host="127.0.0.1",
                port=0,
                wiring=REMOTE,
                encoder_address=address,
                motion_address=address,
                renderer_address=address,
            )
            remote_stages = await stack.enter_async_context(remote(remote_config))
            channels = {}
            for wiring, its_stages in (("embedded", stages), ("grpc", remote_stages)):
                server = await stack.enter_async_context(running_gateway(config, stages=its_stages))
                channels[wiring] = await stack.enter_async_context(
                    open_channel(f"127.0.0.1:{server.port}")
                )
            yield channels

    return opened


class Talk:
    """A session that was held to its end."""

    def __init__(self, responses: list[Response]) -> None:
        self.frames = [r.frame for r in responses if r.HasField("frame")]
        self.motion = [r.motion for r in responses if r.HasField("motion")]
        self.events = [r.event for r in responses if r.HasField("event")]

    def channel(self, name: str) -> np.ndarray[Any, Any]:
        """Give one channel of motion over time."""
        return np.array([motion.values[MOTION_INDEX[name]] for motion in self.motion])


async def talk(
    channel: grpc.aio.Channel,
    portrait: bytes,
    voice: Int16Array | None,
    *,
    idle_s: float = 0.0,
    chunk: int = 320,
    **config: Any,
) -> Talk:
    """Hold a session to its end."""
    stub: Any = gateway_pb2_grpc.GatewayServiceStub(channel)
    call = stub.Converse(timeout=60)
    settings = gateway_pb2.SessionConfig(portrait=portrait, return_motion=True, **config)
    await call.write(gateway_pb2.ConverseRequest(config=settings))

    async def speak() -> None:
        await asyncio.sleep(idle_s)
        for start in range(0, 0 if voice is None else len(voice), chunk):
            data = voice[start : start + chunk].tobytes()  # type: ignore[index]
            audio = gateway_pb2.AudioInput(start_sample=start, data=data, utterance_id="a")
            await call.write(gateway_pb2.ConverseRequest(audio=audio))
        await call.done_writing()

    speaker = asyncio.create_task(speak())
    responses = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    await speaker
    assert await call.code() is grpc.StatusCode.OK
    return Talk(responses)


async def test_same_seed_gives_the_same_frames_over_both_wirings(
    open_gateways: Any, portrait: bytes, voice: Int16Array
) -> None:
    async with open_gateways() as channels:
        one, other = await asyncio.gather(
            talk(channels["embedded"], portrait, voice, chunk=320, pacing=BURST, seed=3),
            talk(channels["grpc"], portrait, voice, chunk=1234, pacing=BURST, seed=3),
        )
    assert len(one.frames) == len(other.frames) == 30
    assert [frame.data for frame in one.frames] == [frame.data for frame in other.frames]
    assert one.frames[0].data != one.frames[15].data


async def test_idle_face_is_alive_with_its_mouth_shut(open_gateways: Any, portrait: bytes) -> None:
    async with open_gateways() as channels:
        talks = await asyncio.gather(
            *(talk(channel, portrait, None, idle_s=3.0) for channel in channels.values())
        )
    for idle in talks:
        assert len(idle.motion) >= 50  # frames may be dropped on a busy machine, motion never
        assert idle.frames
        assert all(frame.idle for frame in idle.frames)
        # In inter-ocular distances; see the calibration of the channels.
        aperture = 0.5 * idle.channel("jawOpen") * (1 - idle.channel("mouthClose"))
        assert np.median(aperture) < 0.02
        assert np.quantile(aperture, 0.95) < 0.05
        assert np.abs(np.diff(idle.channel("headYaw"))).max() > 0


@pytest.fixture(scope="module")
def speech() -> Int16Array:
    """A synthetic voice that says a few open syllables, int16."""
    soxr = pytest.importorskip("soxr")
    from parlante.training.espeak import Espeak, Voice

    said = Espeak().speak("Mama, papa, la vita.", Voice(language="it", variant="f2"))
    resampled = soxr.resample(said.samples, said.sample_rate_hz, RATE_HZ)
    return np.asarray(resampled, dtype="<i2")


async def test_speech_opens_the_mouth_and_the_end_shuts_it(
    open_gateways: Any, portrait: bytes, speech: Int16Array
) -> None:
    padded = np.concatenate([speech, np.zeros(RATE_HZ, np.int16)])
    async with open_gateways() as channels:
        spoken = await talk(channels["embedded"], portrait, padded, pacing=BURST, seed=2)
    aperture = 0.5 * spoken.channel("jawOpen") * (1 - spoken.channel("mouthClose"))
    assert aperture[:30].max() > 0.05
    assert aperture[-10:].max() < 0.03


async def test_cancelled_sessions_leave_the_gateways_usable(
    open_gateways: Any, portrait: bytes, voice: Int16Array
) -> None:
    async with open_gateways() as channels:
        for channel in channels.values():
            stub: Any = gateway_pb2_grpc.GatewayServiceStub(channel)
            for delay_s in (0.0, 0.02, 0.1, 0.3):
                call = stub.Converse()
                settings = gateway_pb2.SessionConfig(portrait=portrait)
                await call.write(gateway_pb2.ConverseRequest(config=settings))
                await asyncio.sleep(delay_s)
                call.cancel()
            after = await talk(channel, portrait, voice[:6400], pacing=BURST)
            assert len(after.frames) == 10
