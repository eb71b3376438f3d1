"""Streams that move: whatever ends a replica, outputs go on without gap, and none comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits import SessionLimits
from parlante.aio import closing
from parlante.errors import FailedPrecondition, InternalError, InvalidInput, Unavailable
from parlante.fleet.motion import FleetMotion
from parlante.fleet.motion_log import MotionLog
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.relay import Patience
from parlante.fleet.renderer import FleetRenderer, RenderLog
from parlante.fleet.successor import Successor
from parlante.types import (
    MOTION_DIM,
    AudioChunk,
    Controls,
    ControlUpdate,
    MotionBlock,
    MotionConfig,
    MotionInput,
    RenderConfig,
    RenderedFrame,
)
from tests.fakes.encoder import portrait_bytes
from tests.fakes.fleet import fake_pool, serve_fleet, until_open
from tests.fakes.motion import FakeMotion
from tests.fakes.renderer import read_marker
from tests.fakes.stages import FakeStages
from tests.fakes.wire import eventually

FRAME = 640
NUM_FRAMES = 40
PATIENCE = Patience(late_s=0.3, first_s=0.6, search_s=2.0)


def _voice() -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).normal(0, 3000, NUM_FRAMES * FRAME).astype(np.int16)


async def _speech(pace_s: float = 0.004) -> AsyncIterator[MotionInput]:
    """A voice in pieces of 20 ms, with controls in between, at ten times its speed."""
    samples = _voice()
    for number, start in enumerate(range(0, len(samples), FRAME // 2)):
        if number % 10 == 5:
            yield ControlUpdate(controls=Controls(gaze_yaw_rad=number / 1000))
        yield AudioChunk(start_sample=start, samples=samples[start : start + FRAME // 2])
        await asyncio.sleep(pace_s)


async def _undisturbed() -> np.ndarray[Any, Any]:
    blocks = [
        block async for block in FakeMotion(block_frames=2).stream(MotionConfig(), _speech(0))
    ]
    return np.concatenate([block.values for block in blocks])


def _stages() -> FakeStages:
    return FakeStages(motion=FakeMotion(block_frames=2))


async def _move_once(
    replicas: list[FakeStages], disturb: Callable[[FakeStages], Any], **config: Any
) -> list[MotionBlock]:
    """Run a stream and disturb the replica that serves it after some blocks."""
    async with fake_pool("motion", *replicas) as pool:
        await until_open(pool, len(replicas))
        motion = FleetMotion(pool, patience=PATIENCE)
        blocks: list[MotionBlock] = []
        async with closing(motion.stream(MotionConfig(**config), _speech())) as source:
            async for block in source:
                blocks.append(block)
                if len(blocks) == 6:
                    serving = next(r for r in replicas if r.motion.num_open)
                    result = disturb(serving)
                    if result is not None:
                        await result
    return blocks


def _check_whole(blocks: list[MotionBlock], expected: np.ndarray[Any, Any]) -> None:
    starts = [block.start_frame for block in blocks]
    lengths = [len(block.values) for block in blocks]
    assert starts == [sum(lengths[:index]) for index in range(len(lengths))]
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), expected)


def _break(replica: FakeStages) -> None:
    replica.motion.error, replica.motion.fail_at_frame = Unavailable("gone"), 0


def _stall(replica: FakeStages) -> None:
    replica.motion.delay_s = 30.0


DISTURBANCES: dict[str, Callable[[FakeStages], Any]] = {
    "breaks": _break,
    "stalls": _stall,
    "is emptied": lambda replica: replica.lifecycle.empty(),
    "drains": lambda replica: replica.server.drain(grace_s=2.0),
    "is cut off": lambda replica: replica.server.drain(grace_s=0.0),
}


@pytest.mark.parametrize("name", DISTURBANCES)
async def test_motion_goes_on_as_if_nothing_had_happened(name: str) -> None:
    async with serve_fleet(2, _stages) as replicas:
        blocks = await _move_once(replicas, DISTURBANCES[name])
        assert [replica.motion.num_opened for replica in replicas] == [1, 1]
    _check_whole(blocks, await _undisturbed())
    assert all(not block.checkpoint for block in blocks)


async def test_motion_goes_on_twice_when_it_must() -> None:
    async with serve_fleet(3, _stages) as replicas:

        def break_two(serving: FakeStages) -> None:
            _break(serving)
            other = next(replica for replica in replicas if replica is not serving)
            other.motion.error, other.motion.fail_at_frame = Unavailable("gone"), 30

        blocks = await _move_once(replicas, break_two)
    _check_whole(blocks, await _undisturbed())


async def test_checkpoints_are_passed_on_to_those_who_asked() -> None:
    async with serve_fleet(2, _stages) as replicas:
        blocks = await _move_once(replicas, _break, emit_checkpoints=True)
    assert all(block.checkpoint for block in blocks[:-2])
    assert blocks[5].checkpoint_sample == 12 * FRAME


async def test_one_replica_alone_is_taken_again_when_it_is_back() -> None:
    async with serve_fleet(1, _stages) as (replica,):

        async def break_for_a_moment(serving: FakeStages) -> None:
            _break(serving)
            await asyncio.sleep(0.1)
            serving.motion.error = None

        blocks = await _move_once([replica], break_for_a_moment)
    _check_whole(blocks, await _undisturbed())


async def test_a_stream_that_lost_the_last_replica_says_so() -> None:
    async with serve_fleet(1, _stages) as replicas:
        with pytest.raises(Unavailable) as failed:
            await _move_once(replicas, lambda replica: replica.server.drain(grace_s=0.0))
    assert failed.value.reason == "STAGE_UNAVAILABLE"


def test_the_search_ends_before_motion_is_too_late() -> None:
    """Sessions without a stage ended as MOTION_TOO_SLOW, which clients do not take elsewhere."""
    notice_s, margin_s = 1.3, 0.5  # the first as measured, see parlante.fleet.pool
    lag_s = SessionLimits().max_motion_lag_ms / 1000
    assert notice_s + Patience().search_s + margin_s <= lag_s


async def test_errors_that_would_come_again_end_the_stream() -> None:
    error = InternalError("a bug", metadata={"error_id": "1"})
    async with serve_fleet(2, _stages) as replicas:
        for replica in replicas:
            replica.motion.error, replica.motion.fail_at_frame = error, 10
        with pytest.raises(InternalError):
            await _move_once(replicas, lambda _: None)
        assert sum(replica.motion.num_opened for replica in replicas) == 1


async def test_an_error_of_the_inputs_is_the_streams() -> None:
    async def broken() -> AsyncIterator[MotionInput]:
        yield AudioChunk(start_sample=0, samples=np.zeros(FRAME, np.int16))
        raise InvalidInput("bad audio", reason="AUDIO_GAP")

    async with serve_fleet(2, _stages) as replicas, fake_pool("motion", *replicas) as pool:
        await until_open(pool, 2)
        with pytest.raises(InvalidInput) as failed:
            async for _ in FleetMotion(pool).stream(MotionConfig(), broken()):
                pass
    assert failed.value.reason == "AUDIO_GAP"


async def test_a_stream_that_fails_everywhere_ends() -> None:
    async with serve_fleet(2, _stages) as replicas:
        for replica in replicas:
            replica.motion.error, replica.motion.fail_at_frame = Unavailable("gone"), 10
        with pytest.raises(Unavailable):
            await _move_once(replicas, lambda _: None)


async def test_replicas_of_another_model_begin_anew_at_the_same_frame() -> None:
    async with serve_fleet(2, _stages) as replicas:
        for index, replica in enumerate(replicas):
            replica.motion.bundle_digest = f"model {index}"
        blocks = await _move_once(replicas, _break)
    # The fake keeps no state but where it stands, so even the motion is the same.
    _check_whole(blocks, await _undisturbed())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 2000), min_size=1, max_size=40), st.data())
def test_the_log_replays_what_a_checkpoint_has_not_heard(sizes: list[int], data: Any) -> None:
    log, heard = MotionLog(MotionConfig()), 0
    samples = np.arange(sum(sizes)).astype(np.int16)
    end, frame = 0, 0
    for size in sizes:
        log.append(AudioChunk(start_sample=end, samples=samples[end : end + size]))
        end += size
        if data.draw(st.booleans()) and end // FRAME > frame:
            heard = data.draw(st.integers(max(heard, (frame + 1) * FRAME), end))
            values = np.zeros((1, MOTION_DIM), np.float32)
            block = MotionBlock(
                start_frame=frame, values=values, checkpoint=b"x", checkpoint_sample=heard
            )
            assert log.accept(block) is not None
            frame += 1
    again = [item for item in log.replay() if isinstance(item, AudioChunk)]
    joined = np.concatenate([np.zeros(0, np.int16), *(item.samples for item in again)])
    np.testing.assert_array_equal(joined, samples[heard:])
    assert not again or again[0].start_sample == heard
    assert log.num_queued <= sum(sizes) - frame * FRAME + 2000


def test_the_log_knows_which_controls_hold_at_its_checkpoint() -> None:
    log = MotionLog(MotionConfig())
    first, second = Controls(gaze_yaw_rad=0.1), Controls(gaze_yaw_rad=0.2)
    log.append(ControlUpdate(controls=first))
    log.append(AudioChunk(start_sample=0, samples=np.zeros(2 * FRAME, np.int16)))
    log.append(ControlUpdate(controls=second))
    values = np.zeros((1, MOTION_DIM), np.float32)
    log.accept(
        MotionBlock(start_frame=0, values=values, checkpoint=b"x", checkpoint_sample=2 * FRAME)
    )
    assert log.config.controls == first
    assert log.replay() == [ControlUpdate(controls=second)]


def test_a_resumed_log_cannot_begin_anew_before_it_knows_its_frame() -> None:
    log = MotionLog(MotionConfig(resume_state=b"state"))
    assert not log.give_up_state(FailedPrecondition("mismatch"))


# --- rendering -------------------------------------------------------------------------------


async def _motion_blocks(pace_s: float = 0.004) -> AsyncIterator[MotionBlock]:
    """Blocks of two frames, with a gap in the middle."""
    for start in range(0, NUM_FRAMES, 2):
        values = np.full((2, MOTION_DIM), start / 100, np.float32)
        yield MotionBlock(start_frame=start + (10 if start >= 20 else 0), values=values)
        await asyncio.sleep(pace_s)


def _break_rendering(replica: FakeStages) -> None:
    replica.renderer.error = Unavailable("gone")
    replica.renderer.fail_at_frame = 9


def _stall_rendering(replica: FakeStages) -> None:
    replica.renderer.delay_s = 30.0


RENDER_DISTURBANCES = {
    **DISTURBANCES,
    "breaks": _break_rendering,
    "stalls": _stall_rendering,
}


@pytest.mark.parametrize("name", RENDER_DISTURBANCES)
async def test_frames_go_on_as_if_nothing_had_happened(name: str) -> None:
    frames: list[RenderedFrame] = []
    async with serve_fleet(2) as replicas, fake_pool("renderer", *replicas) as pool:
        await until_open(pool, 2)
        avatar = await replicas[0].encoder.create(portrait_bytes())
        renderer = FleetRenderer(pool, patience=PATIENCE)
        config = RenderConfig(avatar_key=avatar.key)
        async with closing(renderer.stream(config, _motion_blocks())) as source:
            async for frame in source:
                frames.append(frame)
                if len(frames) == 7:
                    serving = next(r for r in replicas if r.renderer.num_open)
                    result = RENDER_DISTURBANCES[name](serving)
                    if result is not None:
                        await result
        assert [replica.renderer.num_rendering for replica in replicas] == [1, 1]
    expected = [*range(20), *range(30, 30 + NUM_FRAMES - 20)]
    assert [frame.frame_index for frame in frames] == expected
    shown = [read_marker(frame.data).motion[0] for frame in frames]
    wanted = [(index // 2 * 2 - (10 if index >= 30 else 0)) / 100 for index in expected]
    np.testing.assert_allclose(shown, wanted, rtol=1e-6)


def test_the_render_log_replays_gaps_as_gaps() -> None:
    log = RenderLog()
    for start in (0, 2, 7):
        log.append(MotionBlock(start_frame=start, values=np.zeros((2, MOTION_DIM), np.float32)))
    assert log.accept(RenderedFrame(frame_index=1, data=b"", key_frame=True)) is not None
    assert log.accept(RenderedFrame(frame_index=1, data=b"", key_frame=True)) is None
    assert [(b.start_frame, len(b.values)) for b in log.replay()] == [(2, 2), (7, 2)]


async def test_those_who_would_go_on_make_the_avatar_ready() -> None:
    async with serve_fleet(3) as replicas, fake_pool("renderer", *replicas) as pool:
        avatar = await replicas[0].encoder.create(portrait_bytes())
        await until_open(pool, 3)
        lease = await pool.acquire(avatar.key)
        renderer = FleetRenderer(pool).with_lease(lease)
        names = [one.endpoint.address for one in pool.standbys(avatar.key, lease.replica)]
        assert len(names) == 1  # the other favourite, which has room
        (other,) = [replica for replica in replicas if replica.target in names]
        config = RenderConfig(avatar_key=avatar.key)
        async with closing(renderer.stream(config, _motion_blocks())) as frames:
            async for frame in frames:
                if frame.frame_index == 10:
                    break
        assert [config.avatar_key for config in other.renderer.configs] == [avatar.key]
        assert other.renderer.num_rendering == other.slots.num_held == 0


async def test_a_full_favourite_is_not_the_only_one_that_makes_ready() -> None:
    async with serve_fleet(3) as replicas, fake_pool("renderer", *replicas) as pool:
        await until_open(pool, 3)
        lease = await pool.acquire("avatar")
        (other,) = pool.standbys("avatar", lease.replica)
        favourite = next(r for r in replicas if r.target == other.endpoint.address)
        for number in range(favourite.slots.capacity):
            favourite.slots.lease(f"lease-{number}", 60.0)
        await eventually(lambda: not other.as_candidate("").has_room)
        first, second = pool.standbys("avatar", lease.replica)
        assert second is other
        assert first not in (other, lease.replica)


# --- moving with notice ----------------------------------------------------------------------


async def test_a_stream_leaves_between_two_outputs_when_the_next_replica_is_ready() -> None:
    async with serve_fleet(2) as replicas, fake_pool("renderer", *replicas) as pool:
        await until_open(pool, 2)
        avatar = await replicas[0].encoder.create(portrait_bytes())
        serving_at: list[str] = []
        config = RenderConfig(avatar_key=avatar.key)
        frames = FleetRenderer(pool, patience=PATIENCE).stream(config, _motion_blocks(0.01))
        async with closing(frames) as source:
            async for _ in source:
                (serving,) = [r.target for r in replicas if r.slots.num_held][:1]
                serving_at.append(serving)
                if len(serving_at) == 5:
                    next(r for r in replicas if r.target == serving).lifecycle.empty()
        assert len(serving_at) == NUM_FRAMES
        # Well within the overlap, in which it goes on: 20 blocks take 0.2 s.
        assert len(set(serving_at)) == 2
        moved = serving_at.index(serving_at[-1])
        assert set(serving_at[:moved]).isdisjoint(serving_at[moved:])
        assert all(replica.slots.num_held == 0 for replica in replicas)
        assert [replica.renderer.num_rendering for replica in replicas] == [1, 1]


async def test_frames_go_on_while_the_next_replica_makes_the_avatar_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cold_s = 0.4

    async def slow(_key: str) -> None:
        await asyncio.sleep(cold_s)

    # Nobody keeps it ready ahead, as when all who would are new.
    monkeypatch.setattr(ReplicaPool, "standbys", lambda *_: [])
    monkeypatch.setattr("parlante.rpc.lifecycle.OVERLAP_S", 30.0)
    async with serve_fleet(2) as replicas, fake_pool("renderer", *replicas) as pool:
        await until_open(pool, 2)
        avatar = await replicas[0].encoder.create(portrait_bytes())
        num_before, num_meanwhile = 5, 0
        config = RenderConfig(avatar_key=avatar.key)
        frames = FleetRenderer(pool, patience=PATIENCE).stream(config, _motion_blocks(0.04))
        number = 0
        async with closing(frames) as source:
            async for _ in source:
                number += 1
                serving = next(r for r in replicas if r.renderer.num_rendering)
                other = next(r for r in replicas if r is not serving)
                if number == num_before:
                    monkeypatch.setattr(other.renderer, "_encoder", SlowLatents(slow))
                    serving.lifecycle.empty()
                if number > num_before and not other.renderer.num_rendering:
                    num_meanwhile += 1
        assert number == NUM_FRAMES
        assert other.renderer.num_rendering == 1
    # 20 blocks of two frames take 0.8 s; some of them passed while the other made ready.
    assert num_meanwhile >= 4


class SlowLatents:
    """An encoder as a renderer sees it, which takes its time."""

    def __init__(self, wait: Callable[[str], Any]) -> None:
        self._wait = wait

    async def latents(self, key: str) -> None:
        """Wait."""
        await self._wait(key)


async def test_a_stream_stays_for_the_overlap_when_nobody_else_has_room() -> None:
    async with serve_fleet(2, _stages) as replicas, fake_pool("motion", *replicas) as pool:
        await until_open(pool, 2)
        motion, blocks = FleetMotion(pool, patience=PATIENCE), 0
        async with closing(motion.stream(MotionConfig(), _speech())) as source:
            async for _ in source:
                blocks += 1
                if blocks == 3:
                    serving, other = sorted(replicas, key=lambda r: -r.slots.num_held)
                    for number in range(other.slots.capacity):
                        other.slots.lease(f"lease-{number}", 60.0)
                    serving.lifecycle.empty()
        assert blocks == NUM_FRAMES // 2
        assert [other.motion.num_opened, serving.motion.num_opened] == [0, 1]


async def test_what_was_leased_for_a_move_is_given_back_when_the_stream_ends() -> None:
    async with serve_fleet(2, _stages) as replicas, fake_pool("motion", *replicas) as pool:
        await until_open(pool, 2)
        lease = await pool.acquire()
        successor = Successor(pool, "", None)
        successor.seek(lease)
        await eventually(lambda: successor.is_ready)
        other = next(r for r in replicas if r.target != lease.replica.endpoint.address)
        assert other.slots.counts.num_leased == 1
        await successor.aclose()
        assert other.slots.counts.num_leased == 0
        assert await successor.take() is None
