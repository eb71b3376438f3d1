"""Sessions that go on at another gateway: nothing lost, nothing twice, the clock goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from gateway.config import GatewayConfig
from gateway.resume import ResumeSealer, SessionSnapshot
from gateway.serving import running_gateway
from gateway.stages import Stages
from gateway.timeline import TimelineSnapshot
from parlante.client import Audio, Event, EventType, Frame, MotionSample, ParlanteClient, Session
from parlante.errors import FailedPrecondition, InvalidInput, Unavailable
from parlante.rpc.server import RpcServer
from parlante.types import Controls
from parlante.v1 import gateway_pb2
from tests.fakes.encoder import FakeEncoder, portrait_bytes
from tests.fakes.motion import FakeMotion
from tests.fakes.renderer import FakeRenderer, read_marker

RATE_HZ = 16_000
FRAME_US = 40_000


@dataclass(kw_only=True)
class Pair:
    """Two gateways with one key, over the same avatars."""

    servers: list[RpcServer]
    motions: list[FakeMotion]
    targets: str


@dataclass(kw_only=True)
class Got:
    """What a client got."""

    frames: list[Frame] = field(default_factory=list)
    audio: list[Audio] = field(default_factory=list)
    motion: list[MotionSample] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def put(self, item: Any) -> None:
        """Sort an item in."""
        kinds: dict[type, list[Any]] = {
            Frame: self.frames,
            Audio: self.audio,
            MotionSample: self.motion,
            Event: self.events,
        }
        kinds[type(item)].append(item)

    def of(self, kind: EventType) -> list[str]:
        """Give the utterances of one kind of event."""
        return [event.utterance_id for event in self.events if event.type is kind]

    def of_audio(self, utterance_id: str) -> np.ndarray[Any, Any]:
        """Give the sound of an utterance."""
        parts = [item.samples for item in self.audio if item.utterance_id == utterance_id]
        return np.concatenate([np.zeros(0, np.int16), *parts])

    def check_whole(self) -> None:
        """Numbers, times, sound and motion must go on without gap or repetition."""
        assert [frame.seq for frame in self.frames] == list(range(1, len(self.frames) + 1))
        offsets = [frame.media_offset_us for frame in self.frames]
        dropped = self.frames[-1].dropped_frame_count
        assert offsets == sorted(set(offsets))
        assert offsets[-1] // FRAME_US - len(offsets) + 1 == dropped
        starts = np.cumsum([0] + [len(item.samples) for item in self.audio])
        assert [item.start_sample for item in self.audio] == starts[:-1].tolist()
        motions = [item.media_offset_us for item in self.motion]
        assert motions == [index * FRAME_US for index in range(len(motions))]


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    key = tmp_path / "resume.key"
    key.write_text("k" * 64)
    encoder = FakeEncoder()
    async with AsyncExitStack() as stack:
        servers, motions = [], []
        for _ in range(2):
            motion = FakeMotion(block_frames=2)
            stages = Stages(encoder=encoder, motion=motion, renderer=FakeRenderer(encoder))
            config = GatewayConfig(host="127.0.0.1", port=0, resume_key_file=key, drain_grace_s=3.0)
            servers.append(await stack.enter_async_context(running_gateway(config, stages=stages)))
            motions.append(motion)
        targets = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        yield Pair(servers=servers, motions=motions, targets=targets)


def _voice(duration_ms: int, seed: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2000, RATE_HZ * duration_ms // 1000).astype(np.int16)


async def _talk(
    pair: Pair,
    session: Session,
    got: Got,
    *,
    disturb: Callable[[], Any],
    after_frames: int,
    voices: list[np.ndarray[Any, Any]],
    pace_ms: int = 20,
) -> None:
    """Speak two utterances, read, and disturb once."""

    async def speak() -> None:
        for number, voice in enumerate(voices):
            step = RATE_HZ * pace_ms // 1000
            for start in range(0, len(voice), step):
                await session.send_audio(voice[start : start + step], utterance_id=f"u{number}")
                await asyncio.sleep(pace_ms / 1000 * 0.8)
            await session.update(Controls(gaze_yaw_rad=0.1 * (number + 1)))
            await session.end_utterance()
            await asyncio.sleep(0.15)
        await session.finish()

    speaker = asyncio.create_task(speak())
    disturbed: list[asyncio.Task[Any]] = []
    async with asyncio.timeout(30):
        async for item in session:
            got.put(item)
            if isinstance(item, Frame) and item.seq == after_frames:
                disturbed.append(asyncio.ensure_future(disturb()))
    await speaker
    await asyncio.gather(*disturbed)


@pytest.mark.parametrize("after_frames", [12, 24, 32, 40])
async def test_a_session_goes_on_when_its_gateway_drains(pair: Pair, after_frames: int) -> None:
    got = Got()
    voices = [_voice(900, 1), _voice(700, 2)]

    async def drain() -> None:
        async with asyncio.timeout(1.5):  # no session holds it
            await pair.servers[0].drain()

    async with (
        ParlanteClient(pair.targets) as client,
        client.converse(
            portrait=portrait_bytes(), return_audio=True, return_motion=True, seed=7
        ) as session,
    ):
        await _talk(pair, session, got, disturb=drain, after_frames=after_frames, voices=voices)
        assert session.num_resumed == 1
    got.check_whole()
    for name in (EventType.UTTERANCE_STARTED, EventType.UTTERANCE_FINISHED):
        assert got.of(name) == ["u0", "u1"]
    assert EventType.GO_AWAY not in {event.type for event in got.events}
    for number, voice in enumerate(voices):
        parts = [item.samples for item in got.audio if item.utterance_id == f"u{number}"]
        np.testing.assert_array_equal(np.concatenate(parts), voice)
    _check_motion(got)
    assert [motion.num_opened for motion in pair.motions] == [1, 1]


def _check_motion(got: Got) -> None:
    """Motion and frames must be what the returned audio gives, as if nothing had happened."""
    sound = np.concatenate([item.samples for item in got.audio])
    for item in got.motion:
        start = item.media_offset_us * RATE_HZ // 1_000_000
        samples = sound[start : start + RATE_HZ // 25].astype(np.float32)
        values = item.as_dict()
        assert values["jawOpen"] == pytest.approx(np.abs(samples).mean() / 32768, rel=1e-4)
        assert values["headYaw"] == pytest.approx(7 / 10_000)
    by_time = {item.media_offset_us: item for item in got.motion}
    for frame in got.frames:
        marker = read_marker(frame.data)
        assert marker.frame_index * FRAME_US == frame.media_offset_us
        np.testing.assert_array_equal(marker.motion, by_time[frame.media_offset_us].values)


async def test_a_session_goes_on_when_its_gateway_dies(pair: Pair) -> None:
    got = Got()
    voices = [_voice(1200, 1), _voice(500, 2)]
    async with (
        ParlanteClient(pair.targets) as client,
        client.converse(
            portrait=portrait_bytes(), return_audio=True, return_motion=True, seed=7
        ) as session,
    ):

        async def die() -> None:
            pair.servers[0]._lifecycle.drain = lambda: None  # type: ignore[method-assign]
            await pair.servers[0].drain(grace_s=0)

        await _talk(pair, session, got, disturb=die, after_frames=20, voices=voices)
        assert session.num_resumed == 1
    got.check_whole()
    for name in (EventType.UTTERANCE_STARTED, EventType.UTTERANCE_FINISHED):
        assert got.of(name) == ["u0", "u1"]
    _check_motion(got)


async def test_queued_utterances_and_interrupts_survive(pair: Pair) -> None:
    got = Got()
    async with (
        ParlanteClient(pair.targets) as client,
        client.converse(portrait=portrait_bytes(), return_audio=True) as session,
    ):
        voices = [_voice(800, n) for n in range(3)]
        for number, voice in enumerate(voices):
            await session.send_audio(voice, utterance_id=f"u{number}")
            await session.end_utterance()
        await session.interrupt("u1")
        await session.finish()
        drain = None
        async with asyncio.timeout(15):
            async for item in session:
                got.put(item)
                if isinstance(item, Frame) and item.seq == 10:
                    drain = asyncio.create_task(pair.servers[0].drain())
        assert drain is not None
        await drain
        assert session.num_resumed == 1
    got.check_whole()
    assert sorted(got.of(EventType.UTTERANCE_FINISHED)) == ["u0", "u1", "u2"]
    assert got.of(EventType.UTTERANCE_STARTED) == ["u0", "u2"]
    for number in (0, 2):
        parts = [item.samples for item in got.audio if item.utterance_id == f"u{number}"]
        np.testing.assert_array_equal(np.concatenate(parts), voices[number])


async def test_a_stalled_gateway_is_left(pair: Pair) -> None:
    got = Got()
    async with (
        ParlanteClient(pair.targets) as client,
        client.converse(portrait=portrait_bytes()) as session,
    ):
        loop = asyncio.get_running_loop()
        stalled_s = resumed_s = 0.0
        async with asyncio.timeout(15):
            async for item in session:
                got.put(item)
                if session.num_resumed and not resumed_s:
                    resumed_s = loop.time()
                if len(got.frames) == 30 and not stalled_s:
                    stalled_s = loop.time()
                    pair.motions[0].delay_s = 60.0
                if resumed_s and len(got.frames) >= 60:
                    break
    got.check_whole()
    assert 0.3 < resumed_s - stalled_s < 8.0  # a second, on a machine that has one to give


async def test_frames_go_on_until_the_next_gateway_gives_some(pair: Pair) -> None:
    """The next one takes its time for each block; the one that goes away bridges it."""
    got, num_meanwhile = Got(), 0
    pair.motions[1].delay_s = 0.12
    async with (
        ParlanteClient(pair.targets) as client,
        # With few credits, which it uses up with frames that the other one sent meanwhile.
        client.converse(
            portrait=portrait_bytes(), return_audio=True, max_frames_in_flight=4
        ) as session,
    ):
        drain = None
        async with asyncio.timeout(15):
            async for item in session:
                got.put(item)
                if not isinstance(item, Frame):
                    continue
                if item.seq == 30:
                    drain = asyncio.create_task(pair.servers[0].drain())
                num_meanwhile += pair.motions[1].num_opened and not session.num_resumed
                if session.num_resumed:
                    pair.motions[1].delay_s = 0.0
                if item.seq == 70:
                    break
        assert session.num_resumed == 1
        assert drain is not None
        await drain
    got.check_whole()
    assert num_meanwhile >= 5


async def test_audio_that_comes_late_between_two_gateways_is_not_lost(pair: Pair) -> None:
    """The one that goes away runs dry before the next one begins, and waits with what comes then;
    the next one knew nothing of that, had all of the audio, and played on where nobody heard it."""
    got = Got()
    pair.motions[1].delay_s = 0.1  # it takes its time, so that the audio is there when it begins
    voice = _voice(1600, 1)
    is_dry = asyncio.Event()
    async with (
        ParlanteClient(pair.targets) as client,
        client.converse(portrait=portrait_bytes(), return_audio=True) as session,
    ):

        async def speak() -> None:
            half = len(voice) // 2
            await session.send_audio(voice[:half], utterance_id="u0")
            await is_dry.wait()
            await session.send_audio(voice[half:], utterance_id="u0")
            await session.end_utterance()
            await session.finish()

        speaker = asyncio.create_task(speak())
        drain = None
        async with asyncio.timeout(15):
            async for item in session:
                got.put(item)
                is_late = isinstance(item, Audio) and item.utterance_id == "u0"
                if drain is None and is_late and len(got.of_audio("u0")) > len(voice) // 2 - 1920:
                    drain = asyncio.create_task(pair.servers[0].drain())
                if isinstance(item, Event) and item.type is EventType.AUDIO_UNDERRUN:
                    assert drain is not None
                    is_dry.set()
        await speaker
        assert drain is not None
        await drain
        assert session.num_resumed == 1
    got.check_whole()
    np.testing.assert_array_equal(got.of_audio("u0"), voice)
    assert got.of(EventType.UTTERANCE_STARTED) == got.of(EventType.UTTERANCE_FINISHED) == ["u0"]


async def test_an_interrupt_between_two_gateways_is_acknowledged_once(pair: Pair) -> None:
    got = Got()
    pair.motions[1].delay_s = 0.3
    async with (
        ParlanteClient(pair.targets) as client,
        client.converse(portrait=portrait_bytes()) as session,
    ):
        await session.send_audio(_voice(3000, 1), utterance_id="u0")
        drain = None
        is_interrupted = False
        async with asyncio.timeout(15):
            async for item in session:
                got.put(item)
                if isinstance(item, Frame) and item.seq == 30:
                    drain = asyncio.create_task(pair.servers[0].drain())
                if pair.motions[1].num_opened and not is_interrupted:
                    assert session.num_resumed == 0
                    is_interrupted = True
                    await session.interrupt()
                    pair.motions[1].delay_s = 0.0
                if len(got.frames) == 80:
                    break
        assert session.num_resumed == 1
        assert drain is not None
        await drain
    got.check_whole()
    assert got.of(EventType.INTERRUPTED) == got.of(EventType.UTTERANCE_FINISHED) == ["u0"]


async def test_a_gateway_that_was_only_slow_keeps_its_session(pair: Pair) -> None:
    got = Got()
    pair.motions[1].delay_s = 60.0
    async with (
        ParlanteClient(pair.targets) as client,
        client.converse(portrait=portrait_bytes()) as session,
    ):
        async with asyncio.timeout(15):
            async for item in session:
                got.put(item)
                if len(got.frames) == 30 and not pair.motions[0].delay_s:
                    pair.motions[0].delay_s = 1.2  # of a block or two
                    asyncio.get_running_loop().call_later(0.5, _end_delay, pair.motions[0])
                if len(got.frames) == 60:
                    break
        assert session.num_resumed == 0
    got.check_whole()
    assert pair.motions[1].num_opened == 1
    assert pair.motions[1].num_open == 0


def _end_delay(motion: FakeMotion) -> None:
    motion.delay_s = 0.0


async def test_reports_of_playback_are_no_messages_that_are_sent_again(pair: Pair) -> None:
    """They were counted, so that controls and interrupts after the last point got lost."""
    async with (
        ParlanteClient(pair.targets) as client,
        client.converse(portrait=portrait_bytes()) as session,
    ):
        num_frames = 0
        async for item in session:
            num_frames += isinstance(item, Frame)
            if num_frames == 40:
                break
        point = session._line._progress.point
        assert point is not None
        assert point.message_count == session._line._log._num_noted == 0


async def test_without_a_key_there_are_no_points_and_a_lost_server_is_an_error() -> None:
    encoder = FakeEncoder()
    stages = Stages(encoder=encoder, motion=FakeMotion(), renderer=FakeRenderer(encoder))
    config = GatewayConfig(host="127.0.0.1", port=0, drain_grace_s=0.5)
    async with (
        running_gateway(config, stages=stages) as server,
        ParlanteClient(f"127.0.0.1:{server.port}") as client,
        client.converse(portrait=portrait_bytes()) as session,
    ):
        drain = None
        events = []
        with pytest.raises(Unavailable):  # noqa: PT012 (the loop is what fails)
            async for item in session:
                if isinstance(item, Event):
                    events.append(item.type)
                if drain is None and isinstance(item, Frame) and item.seq == 5:
                    drain = asyncio.create_task(server.drain())
        assert EventType.GO_AWAY in events
        assert drain is not None
        await drain


async def _error_of(pair: Pair, config: gateway_pb2.SessionConfig) -> Exception:
    async with ParlanteClient(pair.targets) as client:
        session = client.converse(portrait=portrait_bytes())
        session._line._config.MergeFrom(config)
        with pytest.raises((InvalidInput, FailedPrecondition)) as failed:
            async with session:
                pass
    return failed.value


@pytest.mark.parametrize("token", [b"", b"PRT1", b"PRT1" + b"x" * 200, b"x" * 100])
async def test_made_up_tokens_are_refused(pair: Pair, token: bytes) -> None:
    resume = gateway_pb2.ResumeFrom(resume_token=token)
    error = await _error_of(pair, gateway_pb2.SessionConfig(resume=resume))
    assert isinstance(error, InvalidInput)
    assert error.reason == "BAD_RESUME_TOKEN"


async def test_a_token_is_for_its_own_configuration_only(pair: Pair) -> None:
    async with (
        ParlanteClient(pair.targets) as client,
        client.converse(portrait=portrait_bytes()) as session,
    ):
        async for _ in session:
            if session._line._progress.point is not None:
                break
        point = session._line._progress.point
    assert point is not None
    resume = gateway_pb2.ResumeFrom(resume_token=point.resume_token)
    error = await _error_of(pair, gateway_pb2.SessionConfig(resume=resume, seed=9))
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "RESUME_STATE_MISMATCH"


def test_a_token_is_good_for_minutes_and_with_its_key_only() -> None:
    now_s = 1_000_000.0
    sealer = ResumeSealer(b"a" * 32, unix_s=lambda: now_s)
    timeline = TimelineSnapshot(
        position_sample=640,
        audio_sample=320,
        playing_id="u",
        is_playing=True,
        finished=(("a", True),),
        num_named=2,
    )
    snapshot = SessionSnapshot(
        session_id="s",
        avatar_key="k",
        sample_rate_hz=16_000,
        seed=-1,
        delay_budget_ms=160,
        timeline=timeline,
        num_messages=5,
        checkpoint=b"c",
        checkpoint_sample=600,
        next_frame=1,
        controls=Controls(gaze_yaw_rad=0.25),
        pending=(),
        frame_utterances={1: "u"},
        num_dropped=0,
    )
    token = sealer.seal(snapshot)
    assert sealer.open(token) == snapshot
    with pytest.raises(InvalidInput):
        ResumeSealer(b"b" * 32).open(token)
    with pytest.raises(InvalidInput):
        sealer.open(token[:-1] + bytes([token[-1] ^ 1]))
    now_s += 301
    with pytest.raises(FailedPrecondition) as expired:
        sealer.open(token)
    assert expired.value.reason == "RESUME_EXPIRED"
