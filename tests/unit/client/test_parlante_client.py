"""The client against a real gateway server with fake stages."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from gateway.limits import SessionLimits
from parlante.client import (
    Audio,
    Event,
    EventType,
    Frame,
    MotionSample,
    Pacing,
    ParlanteClient,
    Session,
    SessionItem,
    line,
    talk,
)
from parlante.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Overloaded,
    PortraitRejected,
    SessionAborted,
    Unavailable,
)
from parlante.types import MOTION_CHANNELS, Controls, FrameEncoding, Int16Array
from tests.fakes.encoder import portrait_bytes
from tests.fakes.motion import LONG_DELAY_MS, FakeMotion
from tests.fakes.renderer import FakeRenderer, read_marker
from tests.fakes.small_gateway import SmallGateway, small_gateway
from tests.fakes.wire import let_writes_fail

RATE_HZ = 16_000


def speech(seconds: float, *, level: int = 8000) -> Int16Array:
    return np.full(int(seconds * RATE_HZ), level, dtype=np.int16)


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[SmallGateway]:
    async with small_gateway() as running:
        yield running


@pytest_asyncio.fixture
async def client(gateway: SmallGateway) -> AsyncIterator[ParlanteClient]:
    async with ParlanteClient(gateway.target) as connected:
        await connected.create_avatar(portrait_bytes("anna"), name="anna")
        yield connected


@asynccontextmanager
async def session_with(
    *, pacing: Pacing = Pacing.LIVE, max_frames_in_flight: int | None = None, **options: Any
) -> AsyncIterator[Session]:
    """Open a session on a gateway made with `options`."""
    async with (
        small_gateway(**options) as gateway,
        ParlanteClient(gateway.target) as client,
        client.converse(
            portrait=portrait_bytes(), pacing=pacing, max_frames_in_flight=max_frames_in_flight
        ) as session,
    ):
        yield session


async def collect(session: Session, samples: Int16Array) -> list[SessionItem]:
    return [item async for item in talk(session, samples)]


# --- avatars -----------------------------------------------------------------------------------


async def test_create_avatar_reads_a_file(client: ParlanteClient, tmp_path: Path) -> None:
    path = tmp_path / "ben.png"
    path.write_bytes(portrait_bytes("ben"))
    avatar = await client.create_avatar(path, name="ben")
    assert avatar == await client.get_avatar("ben")


async def test_create_avatar_uploads_more_than_one_chunk(client: ParlanteClient) -> None:
    avatar = await client.create_avatar(portrait_bytes("big", num_bytes=700_000))
    assert not avatar.from_cache
    again = await client.create_avatar(portrait_bytes("big", num_bytes=700_000))
    assert (again.from_cache, again.key) == (True, avatar.key)


async def test_create_avatar_says_why_a_portrait_is_rejected(client: ParlanteClient) -> None:
    with pytest.raises(PortraitRejected) as caught:
        await client.create_avatar(portrait_bytes("NO_FACE"))
    assert caught.value.reason == "NO_FACE"


async def test_create_avatar_refuses_a_taken_name(client: ParlanteClient) -> None:
    with pytest.raises(AlreadyExists):
        await client.create_avatar(portrait_bytes("other"), name="anna")


async def test_create_avatar_tells_a_refusal_that_comes_while_it_uploads(
    client: ParlanteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of five came as INTERNAL: grpc.aio put the write that failed over the refusal."""
    let_writes_fail(monkeypatch)
    with pytest.raises(InvalidInput) as caught:
        await client.create_avatar(portrait_bytes(), name="BAD NAME")
    assert caught.value.reason == "BAD_NAME"


async def test_create_avatar_names_a_file_that_cannot_be_read(client: ParlanteClient) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.png"):
        await client.create_avatar("nowhere.png")


async def test_list_avatars_follows_pages(client: ParlanteClient) -> None:
    for number in range(60):
        await client.create_avatar(portrait_bytes(f"p{number}"), name=f"p{number:02}")
    assert len(await client.list_avatars()) == 61


async def test_delete_avatar_forgets_it(client: ParlanteClient) -> None:
    await client.delete_avatar("anna")
    with pytest.raises(NotFound):
        await client.get_avatar("anna")


# --- sessions ----------------------------------------------------------------------------------


async def test_burst_gives_every_frame_of_a_recording(client: ParlanteClient) -> None:
    async with client.converse(avatar="anna", pacing=Pacing.BURST) as session:
        items = await collect(session, speech(1.01))
    frames = [item for item in items if isinstance(item, Frame)]
    assert [frame.media_offset_us for frame in frames] == [40_000 * index for index in range(26)]


async def test_frames_beyond_the_usual_limit_of_a_message_arrive() -> None:
    """Raw pictures of 1920x1080 are the largest; gRPC takes 4 MiB unless told otherwise."""
    renderer = FakeRenderer(frame_bytes=1920 * 1080 * 4)
    async with session_with(pacing=Pacing.BURST, renderer=renderer) as session:
        items = await collect(session, speech(0.04))
    frames = [item for item in items if isinstance(item, Frame)]
    assert [len(frame.data) for frame in frames] == [1920 * 1080 * 4]


async def test_session_info_echoes_what_is_in_effect(client: ParlanteClient) -> None:
    encodings = (FrameEncoding.NV12, FrameEncoding.JPEG)
    async with client.converse(avatar="anna", encodings=encodings, seed=7) as session:
        info = session.info
    assert (info.encoding, info.seed, info.avatar.name) == (FrameEncoding.NV12, 7, "anna")
    assert (info.width_px, info.height_px, info.frame_rate_hz) == (512, 512, 25)


async def test_session_takes_a_portrait_inline(client: ParlanteClient) -> None:
    async with client.converse(portrait=portrait_bytes("inline")) as session:
        assert session.info.avatar.key


async def test_motion_comes_with_the_names_of_its_channels(client: ParlanteClient) -> None:
    async with client.converse(
        avatar="anna", pacing=Pacing.BURST, return_motion=True, frames=False
    ) as session:
        items = await collect(session, speech(0.4, level=16_384))
    samples = [item for item in items if isinstance(item, MotionSample)]
    assert session.info.motion_channels == MOTION_CHANNELS
    assert [round(sample.as_dict()["jawOpen"], 3) for sample in samples] == [0.5] * 10
    assert not any(isinstance(item, Frame) for item in items)


async def test_audio_comes_back_as_it_was_sent(client: ParlanteClient) -> None:
    sent = np.arange(8000, dtype=np.int16)
    async with client.converse(avatar="anna", pacing=Pacing.BURST, return_audio=True) as session:
        items = await collect(session, sent)
    pieces = [item.samples for item in items if isinstance(item, Audio)]
    np.testing.assert_array_equal(np.concatenate(pieces)[: len(sent)], sent)


async def test_events_frame_an_utterance(client: ParlanteClient) -> None:
    async with client.converse(avatar="anna", pacing=Pacing.BURST) as session:
        items = await collect(session, speech(0.2))
    events = [item.type for item in items if isinstance(item, Event)]
    assert events == [EventType.UTTERANCE_STARTED, EventType.UTTERANCE_FINISHED]


async def test_bytes_and_arrays_are_the_same_audio(client: ParlanteClient) -> None:
    sent = np.arange(-640, 640, dtype=np.int16)
    results = []
    for audio in (sent, sent.astype("<i2").tobytes()):
        async with client.converse(avatar="anna", pacing=Pacing.BURST) as session:
            await session.send_audio(audio)
            await session.finish()
            results.append([item.data async for item in session if isinstance(item, Frame)])
    assert results[0] == results[1]
    assert len(results[0]) == 2


async def test_update_steers_the_frames_that_follow(client: ParlanteClient) -> None:
    async with client.converse(avatar="anna", pacing=Pacing.BURST) as session:
        await session.send_audio(speech(0.2))
        await session.update(Controls(gaze_yaw_rad=0.25))
        await session.send_audio(speech(0.2))
        await session.finish()
        frames = [item async for item in session if isinstance(item, Frame)]
    gazes = [round(read_marker(frame.data).channel("gazeYaw"), 2) for frame in frames]
    assert gazes == [0.0] * 5 + [0.25] * 5


async def test_live_session_idles_and_then_speaks(client: ParlanteClient) -> None:
    idle, spoken = 0, 0
    async with client.converse(avatar="anna") as session:
        async for item in session:
            if not isinstance(item, Frame):
                continue
            idle += item.idle
            spoken += not item.idle
            if item.seq == 5:
                await session.send_audio(speech(0.4))
                await session.end_utterance()
                await session.finish()
    assert idle >= 5
    assert spoken == 10


@pytest.mark.parametrize("as_bytes", [False, True])
async def test_avatar_hears_what_its_user_says(as_bytes: bool) -> None:
    motion = FakeMotion()
    async with session_with(motion=motion) as session:
        frames = 0
        async for item in session:
            frames += isinstance(item, Frame)
            if frames == 5:
                voice = speech(0.1, level=77)
                await session.send_listening(voice.tobytes() if as_bytes else voice)
                await session.send_listening(voice[:0])
            if motion.listened or frames > 100:
                break
    (heard,) = motion.listened
    np.testing.assert_array_equal(heard.samples, speech(0.1, level=77))


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (np.zeros(10, dtype=np.float32), "BAD_AUDIO_ARRAY"),
        (b"odd", "ODD_BYTE_COUNT"),
        (np.zeros(16_001, dtype=np.int16), "AUDIO_TOO_LARGE"),
    ],
)
async def test_send_listening_refuses_what_is_no_second_of_pcm16(
    client: ParlanteClient, audio: Int16Array, reason: str
) -> None:
    async with client.converse(avatar="anna") as session:
        with pytest.raises(InvalidInput) as caught:
            await session.send_listening(audio)
    assert caught.value.reason == reason


async def test_send_listening_is_refused_in_a_burst(client: ParlanteClient) -> None:
    async with client.converse(avatar="anna", pacing=Pacing.BURST) as session:
        with pytest.raises(FailedPrecondition) as caught:
            await session.send_listening(speech(0.02))
        items = await collect(session, speech(0.2))  # the session is none the worse
    assert caught.value.reason == "LISTENING_NEEDS_LIVE"
    assert sum(isinstance(item, Frame) for item in items) == 5


@pytest.mark.parametrize(("budget_ms", "delay_ms"), [(0, 40), (320, LONG_DELAY_MS)])
async def test_delay_budget_is_asked_for_and_the_delay_is_told(
    client: ParlanteClient, budget_ms: int, delay_ms: int
) -> None:
    async with client.converse(avatar="anna", delay_budget_ms=budget_ms) as session:
        assert session.info.algorithmic_delay_ms == delay_ms


async def test_interrupt_cuts_an_utterance_short(client: ParlanteClient) -> None:
    async with client.converse(avatar="anna") as session:
        await session.send_audio(speech(3.0))
        finished = None
        async for item in session:
            if isinstance(item, Frame) and not item.idle and finished is None:
                await session.interrupt()
            if isinstance(item, Event) and item.type is EventType.UTTERANCE_FINISHED:
                finished = item
                break
    assert finished is not None
    assert finished.interrupted


async def test_interrupt_ends_sending_as_well() -> None:
    limits = SessionLimits(max_audio_ahead_ms=400)
    async with session_with(limits=limits) as session:
        sending = asyncio.create_task(session.send_audio(speech(30)))
        await asyncio.sleep(0.3)
        assert not sending.done()
        await session.interrupt()
        await asyncio.wait_for(sending, timeout=1)


async def test_interrupt_of_another_utterance_lets_sending_go_on() -> None:
    limits = SessionLimits(max_audio_ahead_ms=400)
    async with session_with(limits=limits) as session:
        sending = asyncio.create_task(session.send_audio(speech(30), utterance_id="second"))
        await asyncio.sleep(0.2)
        await session.interrupt("first")
        await asyncio.sleep(0.3)
        assert not sending.done()
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending


async def test_live_credits_are_given_back_while_reading(client: ParlanteClient) -> None:
    async with client.converse(avatar="anna", max_frames_in_flight=3) as session:
        frames = []
        async for item in session:
            if isinstance(item, Frame):
                frames.append(item)
            if len(frames) == 12:
                break
    assert frames[-1].dropped_frame_count == 0


@pytest.mark.parametrize("pacing", Pacing)
async def test_a_session_without_frames_lives_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch, pacing: Pacing
) -> None:
    """It sends no reports: servers ended it when nobody spoke for minutes."""
    monkeypatch.setattr(line, "_KEEP_ALIVE_S", 0.2)
    async with (
        small_gateway(limits=SessionLimits(max_idle_s=1)) as gateway,
        ParlanteClient(gateway.target) as client,
        client.converse(portrait=portrait_bytes(), pacing=pacing, frames=False) as session,
    ):
        reading = asyncio.ensure_future(anext(session))
        await asyncio.sleep(2.0)
        assert not reading.done()
        await session.send_audio(speech(0.04))
        await session.finish()
        assert isinstance(await reading, Event)


async def test_a_session_that_nobody_reads_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "_KEEP_ALIVE_S", 0.2)
    async with (
        small_gateway(limits=SessionLimits(max_idle_s=1)) as gateway,
        ParlanteClient(gateway.target) as client,
        client.converse(portrait=portrait_bytes(), frames=False) as session,
    ):
        await asyncio.sleep(2.0)
        with pytest.raises(SessionAborted) as ended:
            await anext(session)
        assert ended.value.reason == "SESSION_IDLE"


async def test_a_long_burst_of_live_audio_does_not_starve_the_frames() -> None:
    """Playback reports must not wait behind audio that the server does not read yet."""
    limits = SessionLimits(max_audio_ahead_ms=600)
    async with session_with(limits=limits, max_frames_in_flight=4) as session:
        items = await asyncio.wait_for(collect(session, speech(1.6)), timeout=10)
    frames = [item for item in items if isinstance(item, Frame)]
    assert sum(not frame.idle for frame in frames) == 40
    assert frames[-1].dropped_frame_count == 0


# --- errors ------------------------------------------------------------------------------------


async def test_unknown_avatar_is_not_found(client: ParlanteClient) -> None:
    with pytest.raises(NotFound):
        async with client.converse(avatar="nobody"):
            pass


@pytest.mark.parametrize("which", [{}, {"avatar": "anna", "portrait": b"x"}])
async def test_converse_needs_exactly_one_face(
    client: ParlanteClient, which: dict[str, str | bytes]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.converse(**which)  # type: ignore[arg-type]
    assert caught.value.reason == "AVATAR_REQUIRED"


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (np.zeros(10, dtype=np.float32), "BAD_AUDIO_ARRAY"),
        (np.zeros((10, 2), dtype=np.int16), "BAD_AUDIO_ARRAY"),
        (b"odd", "ODD_BYTE_COUNT"),
    ],
)
async def test_send_audio_refuses_what_is_not_pcm16(
    client: ParlanteClient, audio: Int16Array, reason: str
) -> None:
    async with client.converse(avatar="anna") as session:
        with pytest.raises(InvalidInput) as caught:
            await session.send_audio(audio)
    assert caught.value.reason == reason


async def test_a_full_server_says_when_to_come_back() -> None:
    async with small_gateway(max_sessions=1) as gateway, ParlanteClient(gateway.target) as client:
        second = client.converse(portrait=portrait_bytes())
        async with client.converse(portrait=portrait_bytes()):
            with pytest.raises(Overloaded) as caught:
                await second.__aenter__()
    assert (caught.value.retry_after_ms or 0) > 0


async def test_an_error_of_a_stage_reaches_the_reader() -> None:
    error = SessionAborted("the fake gives up", reason="FAKE_STOP")
    renderer = FakeRenderer(fail_at_frame=3, error=error)
    async with session_with(pacing=Pacing.BURST, renderer=renderer) as session:
        with pytest.raises(SessionAborted) as caught:
            await collect(session, speech(1))
    assert caught.value.reason == "FAKE_STOP"


async def test_an_error_of_a_stage_reaches_a_sender_that_does_not_read() -> None:
    motion = FakeMotion(fail_at_frame=0, error=SessionAborted("no", reason="FAKE_STOP"))
    async with session_with(motion=motion) as session:
        with pytest.raises(SessionAborted) as caught:
            await asyncio.wait_for(session.send_audio(speech(60)), timeout=10)
    assert caught.value.reason == "FAKE_STOP"


async def test_sending_after_finish_is_refused(client: ParlanteClient) -> None:
    async with client.converse(avatar="anna", pacing=Pacing.BURST) as session:
        await session.finish()
        with pytest.raises(Unavailable) as caught:
            await session.send_audio(speech(0.1))
    assert caught.value.reason == "SESSION_ENDED"


async def test_talk_raises_what_is_wrong_with_the_samples(client: ParlanteClient) -> None:
    wrong = np.zeros(100, dtype=np.float64)
    async with client.converse(avatar="anna") as session:
        with pytest.raises(InvalidInput):
            await asyncio.wait_for(collect(session, wrong), timeout=5)


async def test_wait_ready_gives_up_on_a_dead_address() -> None:
    async with ParlanteClient("127.0.0.1:9") as client:
        with pytest.raises(Unavailable) as caught:
            await client.wait_ready(timeout_s=0.2)
    assert caught.value.reason == "SERVER_UNREACHABLE"


async def test_leaving_a_session_frees_the_server(gateway: SmallGateway) -> None:
    async with ParlanteClient(gateway.target) as client:
        async with client.converse(portrait=portrait_bytes()) as session:
            await session.send_audio(speech(0.2))
            await anext(session)
        for _ in range(100):
            if gateway.motion.num_open == 0:
                break
            await asyncio.sleep(0.02)
    assert (gateway.motion.num_opened, gateway.motion.num_open) == (1, 0)


def test_client_imports_without_the_heavy_packages() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'cv2', 'numba', 'scipy', 'av', 'PIL', 'tritonclient'):\n"
        "    sys.modules[name] = None\n"
        "import parlante.client\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
