"""The Converse protocol from the outside: what a client sends and gets, over both wirings."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parlante.errors import FailedPrecondition
from parlante.fleet.operator import Operator
from parlante.rpc.status import error_of
from parlante.types import MOTION_CHANNELS, Controls, Driving, HeadPose
from parlante.v1 import common_pb2, encoder_pb2, gateway_pb2
from tests.fakes.encoder import portrait_bytes
from tests.fakes.motion import LONG_DELAY_MS, FakeMotion
from tests.fakes.renderer import FakeRenderer, read_marker
from tests.fakes.stages import FakeStages

pytestmark = pytest.mark.e2e

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
BURST = gateway_pb2.PACING_BURST
STARTED = gateway_pb2.EVENT_TYPE_UTTERANCE_STARTED
FINISHED = gateway_pb2.EVENT_TYPE_UTTERANCE_FINISHED
INTERRUPTED = gateway_pb2.EVENT_TYPE_INTERRUPTED


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def test_effective_configuration_is_echoed(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        started = await gateway.converse().configure(
            frame_encodings=[99, common_pb2.FRAME_ENCODING_RGBA32], return_motion=True, seed=7
        )
        assert started.frame_encoding == common_pb2.FRAME_ENCODING_RGBA32
        assert started.config.sample_rate_hz == 16_000
        assert started.config.jpeg_quality == 85
        assert started.config.seed == 7
        assert started.config.pacing == gateway_pb2.PACING_LIVE
        assert started.config.avatar_name == started.avatar.name
        assert list(started.motion_channels) == list(MOTION_CHANNELS)
        assert (started.width_px, started.height_px, started.frame_rate_hz) == (512, 512, 25)


async def test_burst_gives_every_frame_and_ends_ok(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.configure(pacing=BURST, return_audio=True, return_motion=True)
        await session.say(1000, "hello")
        await session.finish()
        frames = session.all_of("frame")
        assert [frame.seq for frame in frames] == list(range(1, 26))
        assert [frame.media_offset_us for frame in frames] == list(range(0, 1_000_000, 40_000))
        assert {frame.utterance_id for frame in frames} == {"hello"}
        audio = b"".join(item.data for item in session.all_of("audio"))
        assert audio == np.full(16_000, 3000, "<i2").tobytes()
        assert len(session.all_of("motion")) == 25
        assert len(session.events(STARTED)) == len(session.events(FINISHED)) == 1
        await gateway.until_free()


async def test_live_idles_then_speaks(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.configure()
        await session.read_until(lambda r: r.frame.seq == 5)
        assert all(frame.idle for frame in session.all_of("frame"))
        await session.say(200, "a")
        await session.send(end_of_utterance=gateway_pb2.EndOfUtterance(utterance_id="a"))
        await session.finish()
        spoken = [frame for frame in session.all_of("frame") if frame.utterance_id == "a"]
        assert len(spoken) == 5
        jaws = [read_marker(frame.data).channel("jawOpen") for frame in spoken]
        assert jaws == pytest.approx([3000 / 32768] * 5)


@pytest.mark.parametrize(
    ("config", "budget_ms", "delay_ms"),
    [
        ({}, 160, 40),
        ({"pacing": BURST}, 320, LONG_DELAY_MS),
        ({"delay_budget_ms": 250}, 250, LONG_DELAY_MS),
        ({"pacing": BURST, "delay_budget_ms": 120}, 120, 40),
    ],
)
async def test_delay_of_the_session_is_told(
    open_gateway: Any, config: dict[str, Any], budget_ms: int, delay_ms: int
) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        started = await session.configure(**config)
        assert started.config.delay_budget_ms == budget_ms
        assert started.algorithmic_delay_ms == delay_ms
        await session.say(40)
        await session.finish()
        assert gateway.fakes.motion.configs[-1].delay_budget_ms == budget_ms


async def test_controls_reach_the_motion_stage_as_they_were_sent(open_gateway: Any) -> None:
    controls = common_pb2.Controls(
        blinking=common_pb2.Blinking(rate=2.0),
        head_pose=common_pb2.HeadPose(yaw_rad=0.25, roll_rad=-0.125),
        driving=common_pb2.DRIVING_POSE_ONLY,
    )
    async with open_gateway() as gateway:
        session = gateway.converse()
        started = await session.configure(pacing=BURST, controls=controls)
        assert started.config.controls.blinking.rate == 2.0
        assert started.config.controls.driving == common_pb2.DRIVING_POSE_ONLY
        await session.send(control=gateway_pb2.ControlUpdate())
        await session.say(40)
        await session.finish()
        first, then = gateway.fakes.motion.configs[-1].controls, gateway.fakes.motion.controls
        pose = HeadPose(yaw_rad=0.25, roll_rad=-0.125)
        assert first == Controls(blink_rate=2.0, head_pose=pose, driving=Driving.POSE_ONLY)
        assert then == [Controls()]


async def test_avatar_hears_the_user_and_stays_idle(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.configure()
        await session.read_until(lambda r: r.frame.seq == 5)
        for _ in range(20):
            data = np.full(320, 77, "<i2").tobytes()
            await session.send(listening=gateway_pb2.ListeningInput(data=data))
            await session.read_for(0.02)
        await session.finish()
        heard = gateway.fakes.motion.listened
        samples = np.concatenate([chunk.samples for chunk in heard])
        assert set(samples.tolist()) == {77}
        assert 3200 <= len(samples) <= 6400  # a stalled machine may lose some
        assert heard[0].start_sample == pytest.approx(2560, abs=4800)  # when it came, 0.16 s
        assert {frame.idle for frame in session.all_of("frame")} == {True}
        await gateway.until_free()


async def test_live_frames_come_in_real_time(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.configure()
        begin = time.monotonic()
        await session.read_until(lambda r: r.frame.media_offset_us == 1_000_000)
        assert 0.9 < time.monotonic() - begin < 4.0


async def test_interrupt_ends_the_utterance(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.configure()
        await session.say(3000, "a")
        await session.read_until(lambda r: r.frame.utterance_id == "a")
        begin = time.monotonic()
        await session.send(interrupt=gateway_pb2.Interrupt(utterance_id="a"))
        await session.read_until(lambda r: r.event.type == FINISHED)
        assert time.monotonic() - begin < 3.0
        (interrupted,), (finished,) = session.events(INTERRUPTED), session.events(FINISHED)
        assert finished.interrupted
        assert finished.media_offset_us == interrupted.media_offset_us
        await session.read_until(lambda r: r.frame.idle and r.frame.seq > 0)


async def test_avatars_are_managed_at_the_gateway(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        upload = gateway.avatars.CreateAvatar()
        await upload.write(
            encoder_pb2.CreateAvatarRequest(config=encoder_pb2.CreateAvatarConfig(name="anna"))
        )
        await upload.write(encoder_pb2.CreateAvatarRequest(chunk=portrait_bytes()))
        await upload.done_writing()
        assert (await upload).avatar.name == "anna"
        session = gateway.converse()
        assert (await session.configure(avatar_name="anna")).avatar.name == "anna"
        listed = await gateway.avatars.ListAvatars(encoder_pb2.ListAvatarsRequest())
        assert [avatar.name for avatar in listed.avatars] == ["anna"]
        await gateway.avatars.DeleteAvatar(encoder_pb2.DeleteAvatarRequest(name="anna"))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await gateway.avatars.GetAvatar(encoder_pb2.GetAvatarRequest(name="anna"))
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND


async def test_latents_are_not_public(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        call = gateway.avatars.FetchLatents(encoder_pb2.FetchLatentsRequest(key="0" * 64))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call.read()
        assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert error_of(failed.value).reason == "LATENTS_NOT_PUBLIC"


async def test_bad_input_of_one_session_touches_no_other(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        good, bad = gateway.converse(), gateway.converse()
        await good.configure()
        await bad.configure()
        await bad.send()
        await bad.error()
        await good.say(200, "a")
        await good.finish()
        assert len(good.events(FINISHED)) == 1


async def test_full_gateway_says_when_to_retry(open_gateway: Any) -> None:
    async with open_gateway(max_sessions=1) as gateway:
        first = gateway.converse()
        await first.configure()
        error = await gateway.converse().error()
        assert (error.code.value, error.reason) == ("RESOURCE_EXHAUSTED", "NO_FREE_SLOT")
        assert error.retry_after_ms == 2000
        first.call.cancel()
        async with asyncio.timeout(5):
            while (await gateway.converse().error_or_start()) is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_deadline_frees_everything(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse(timeout_s=0.5)
        await session.configure()
        error = await session.error()
        assert error.code.value == "DEADLINE_EXCEEDED"
        await gateway.until_free()


async def test_stage_error_reaches_the_client_as_it_was(open_gateway: Any) -> None:
    error = FailedPrecondition("other bundle", reason="LATENT_SPACE_MISMATCH")
    fakes = FakeStages(renderer=FakeRenderer(fail_at_frame=2, error=error))
    async with open_gateway(fakes) as gateway:
        session = gateway.converse()
        await session.configure()
        got = await session.error()
        assert (got.code.value, got.reason) == ("FAILED_PRECONDITION", "LATENT_SPACE_MISMATCH")
        await gateway.until_free()


async def test_twenty_sessions_cancelled_at_random_leave_nothing(open_gateway: Any) -> None:
    random_ = random.Random(5)
    async with open_gateway(max_sessions=20) as gateway:
        gateway.fakes.slots.capacity = 64

        async def visit() -> None:
            session = gateway.converse()
            await asyncio.sleep(random_.uniform(0, 0.2))
            moments = [
                session.configure(max_frames_in_flight=random_.choice([0, 3])),
                session.say(400, "a"),
                session.read_for(random_.uniform(0, 0.3)),
                session.call.done_writing(),
            ]
            num_done = random_.randint(0, 4)
            for moment in moments[:num_done]:
                await moment
            for moment in moments[num_done:]:
                moment.close()
            session.call.cancel()

        tasks_before = len(asyncio.all_tasks())
        threads_before = threading.active_count()
        await asyncio.gather(*(visit() for _ in range(20)))
        await gateway.until_free()
        assert threading.active_count() <= threads_before + 1
        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > tasks_before:  # noqa: ASYNC110 (their own end)
                await asyncio.sleep(0.02)


async def test_two_gateways_and_clients_do_not_mix(open_gateway: Any) -> None:
    async with open_gateway() as one, open_gateway() as other:
        sessions = []
        for index, gateway in enumerate((one, other, one, other)):
            session = gateway.converse()
            await session.configure(
                portrait=portrait_bytes(f"p{index}"), seed=1000 * index, pacing=BURST
            )
            sessions.append(session)

        async def hold(index: int, session: Any) -> set[tuple[float, float, str]]:
            await session.say(1000, f"u{index}", value=1000 * (index + 1))
            await session.finish()
            return {
                (
                    round(read_marker(frame.data).channel("headYaw") * 10),
                    round(read_marker(frame.data).channel("jawOpen") * 32768),
                    frame.utterance_id,
                )
                for frame in session.all_of("frame")
            }

        results = await asyncio.gather(*(hold(i, s) for i, s in enumerate(sessions)))
        assert results == [{(i, 1000 * (i + 1), f"u{i}")} for i in range(4)]
        keys = {read_marker(s.all_of("frame")[0].data).avatar_key for s in sessions}
        assert len(keys) == 4


async def test_slow_reader_loses_frames_only_and_memory_is_bounded(open_gateway: Any) -> None:
    # Large frames fill the transport's own buffers soon.
    fakes = FakeStages(renderer=FakeRenderer(frame_bytes=1_000_000))
    async with open_gateway(fakes) as gateway:
        session = gateway.converse()
        await session.configure(return_audio=True, return_motion=True)
        await session.say(1000, "a")
        await asyncio.sleep(1.6)  # reads nothing
        await session.finish()
        frames = session.all_of("frame")
        played = sum(len(item.data) // 2 for item in session.all_of("audio"))
        assert frames[-1].dropped_frame_count > 0
        assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
        assert len(session.all_of("motion")) == played // 640
        assert session.events(gateway_pb2.EVENT_TYPE_FRAMES_DROPPED)
        assert len(session.events(STARTED)) == len(session.events(FINISHED)) == 1


async def test_client_that_reads_is_told_that_the_server_is_short_of_time(
    open_gateway: Any,
) -> None:
    """Over gRPC the frames that wait for the renderer looked like frames that nobody read."""
    async with open_gateway(FakeStages(renderer=FakeRenderer(delay_s=0.2))) as gateway:
        session = gateway.converse()
        await session.configure()
        await session.read_until(lambda m: m.event.type == gateway_pb2.EVENT_TYPE_FRAMES_DROPPED)
        assert session.got[-1].event.detail.endswith("; the server is short of time")


async def test_client_that_never_reads_is_ended(open_gateway: Any) -> None:
    fakes = FakeStages(renderer=FakeRenderer(frame_bytes=2_000_000))
    async with open_gateway(fakes, max_unread_s=1) as gateway:
        session = gateway.converse()
        await session.configure(return_motion=True)
        await asyncio.sleep(2.2)
        error = await session.error()
        assert (error.code.value, error.reason) == ("ABORTED", "SESSION_SLOW_READER")
        await gateway.until_free()


async def test_idle_session_is_ended(open_gateway: Any) -> None:
    async with open_gateway(max_idle_s=1) as gateway:
        session = gateway.converse()
        await session.configure()
        error = await session.error()
        assert (error.code.value, error.reason) == ("ABORTED", "SESSION_IDLE")


async def test_drain_says_good_bye_and_ends_in_time(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        stub: Any = health_pb2_grpc.HealthStub(gateway.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="parlante.v1.GatewayService"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        session = gateway.converse()
        await session.configure()
        begin = time.monotonic()
        drain = asyncio.create_task(gateway.server.drain(grace_s=2.0))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        error = await session.error()
        assert (error.code.value, error.reason) == ("UNAVAILABLE", "DRAINING")
        assert len(session.events(gateway_pb2.EVENT_TYPE_GO_AWAY)) == 1
        await drain
        assert 0.9 < time.monotonic() - begin < 6.0


async def test_cordon_turns_clients_away_and_lets_sessions_go_on(open_gateway: Any) -> None:
    """A cordoned gateway looked healthy: balancers sent it all new sessions, as it was empty."""
    admin_port = _free_port()
    operator, admin = Operator(), f"127.0.0.1:{admin_port}"
    async with open_gateway(admin_port=admin_port) as gateway:
        stub: Any = health_pb2_grpc.HealthStub(gateway.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="parlante.v1.GatewayService"))
        process = health_pb2.HealthCheckRequest()
        assert (await watch.read()).status == SERVING
        session = gateway.converse()
        await session.configure()

        await operator.cordon(admin, True)

        async with asyncio.timeout(5):
            assert (await watch.read()).status == NOT_SERVING
        assert (await stub.Check(process)).status == SERVING  # what the liveness probe asks for
        refused = await gateway.converse().error_or_start()
        assert refused is not None
        assert refused.reason == "CORDONED"
        num_frames = len(session.all_of("frame"))
        await session.read_until(lambda r: r.frame.seq > num_frames + 5)

        await operator.cordon(admin, False)

        async with asyncio.timeout(5):
            assert (await watch.read()).status == SERVING
        watch.cancel()
        assert await gateway.converse().error_or_start() is None
        await session.finish()


async def test_draining_gateway_lets_sessions_finish(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.configure()
        await session.say(200, "a")
        drain = asyncio.create_task(gateway.server.drain(grace_s=2.0))
        await session.finish()
        assert len(session.events(FINISHED)) == 1
        await drain


async def test_slow_motion_is_waited_for_in_burst(open_gateway: Any) -> None:
    fakes = FakeStages(motion=FakeMotion(block_frames=5, delay_s=0.02))
    async with open_gateway(fakes) as gateway:
        session = gateway.converse()
        await session.configure(pacing=BURST)
        await session.say(2000)
        await session.finish()
        assert len(session.all_of("frame")) == 50
