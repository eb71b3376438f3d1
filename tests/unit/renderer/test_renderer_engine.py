"""The renderer engine: order, errors, bounds, and what is left when a stream ends early."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio

from parlante.errors import FailedPrecondition, InvalidInput, NotFound, Unavailable
from parlante.models.decoder import Decoder
from parlante.types import (
    MOTION_INDEX,
    Background,
    BackgroundKind,
    FrameEncoding,
    MotionBlock,
    RenderConfig,
)
from services.renderer.avatar_cache import AvatarCache
from services.renderer.engine import RendererEngine, clamp_motion, look_of

LIGHT, DARK = "a" * 64, "c" * 64


class LatentSource:
    """The one call of the encoder that the renderer makes."""

    def __init__(self, by_key):
        self.by_key = by_key
        self.num_calls = 0

    async def latents(self, key):
        self.num_calls += 1
        await asyncio.sleep(0)
        if key not in self.by_key:
            raise NotFound(f"no avatar {key[:12]}")
        return self.by_key[key]


@pytest.fixture(scope="module")
def both_latents(draw, latents_of):
    return {LIGHT: latents_of(draw(), key=LIGHT), DARK: latents_of(draw(tint=0.5), key=DARK)}


@pytest.fixture
def source(both_latents):
    return LatentSource(both_latents)


@pytest_asyncio.fixture
async def engine(source):
    engine = RendererEngine.create(source, num_threads=2)
    yield engine
    await engine.aclose()


async def blocks(*items):
    for start, values in items:
        yield MotionBlock(start_frame=start, values=values)


def zeros(num_frames):
    return np.zeros((num_frames, 60), np.float32)


def config(key=LIGHT, encoding=FrameEncoding.RGB24):
    return RenderConfig(avatar_key=key, encoding=encoding)


async def collect(stream):
    return [frame async for frame in stream]


async def test_stream_gives_one_frame_per_row_in_order(engine):
    frames = await collect(engine.stream(config(), blocks((0, zeros(2)), (5, zeros(1)))))
    assert [frame.frame_index for frame in frames] == [0, 1, 5]
    assert {len(frame.data) for frame in frames} == {512 * 512 * 3}


async def test_stream_refuses_motion_that_goes_back(engine):
    with pytest.raises(InvalidInput) as caught:
        await collect(engine.stream(config(), blocks((3, zeros(2)), (4, zeros(1)))))
    assert caught.value.reason == "FRAME_ORDER"


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_stream_refuses_motion_that_is_not_finite(engine, value):
    values = zeros(2)
    values[1, 7] = value
    with pytest.raises(InvalidInput) as caught:
        await collect(engine.stream(config(), blocks((0, values))))
    assert caught.value.reason == "NON_FINITE_MOTION"


async def test_stream_refuses_latents_of_another_bundle(source):
    engine = RendererEngine.create(source, num_threads=1, bundle_digest="f" * 64)
    try:
        with pytest.raises(FailedPrecondition) as caught:
            await collect(engine.stream(config(), blocks((0, zeros(1)))))
        assert caught.value.reason == "LATENT_SPACE_MISMATCH"
    finally:
        await engine.aclose()


async def test_stream_refuses_latents_of_another_space(source, portrait, latents_of, engine):
    key = "e" * 64
    source.by_key = {key: latents_of(portrait, key=key, space="parlante.avatar/9")}
    with pytest.raises(FailedPrecondition) as caught:
        await collect(engine.stream(config(key), blocks((0, zeros(1)))))
    assert caught.value.reason == "LATENT_SPACE_MISMATCH"


async def test_stream_passes_on_that_an_avatar_is_unknown(engine):
    with pytest.raises(NotFound):
        await collect(engine.stream(config("d" * 64), blocks((0, zeros(1)))))


async def test_wild_motion_is_clamped_to_what_can_be_shown():
    values = np.full((1, 60), 50.0, np.float32)
    clamped = clamp_motion(values)[0]
    assert clamped[MOTION_INDEX["jawOpen"]] == 1.0
    assert clamped[MOTION_INDEX["headYaw"]] == pytest.approx(0.52)
    assert clamp_motion(-values)[0, MOTION_INDEX["jawOpen"]] == 0.0


async def test_a_frame_that_is_late_comes_without_data(source, monkeypatch):
    """The first is decoded, the second waits behind it for longer than it may."""
    engine = RendererEngine.create(source, num_threads=1)
    render = Decoder.render

    def slow(self, avatar, motion):
        time.sleep(0.3)
        return render(self, avatar, motion)

    try:
        await engine.warm_up()
        await collect(engine.stream(config(), blocks((0, zeros(1)))))
        monkeypatch.setattr(Decoder, "render", slow)
        strict = dataclasses.replace(config(), frame_deadline_ms=200)
        frames = await collect(engine.stream(strict, blocks((0, zeros(2)), (2, zeros(1)))))
    finally:
        await engine.aclose()
    assert [frame.frame_index for frame in frames] == [0, 1, 2]
    assert [frame.is_left_out for frame in frames][:2] == [False, True]


async def test_streams_at_once_prepare_an_avatar_once(engine, source):
    await asyncio.gather(
        *(collect(engine.stream(config(), blocks((0, zeros(1))))) for _ in range(4))
    )
    assert source.num_calls == 1


async def test_two_streams_at_once_do_not_mix(engine, motion):
    async def render(key, jaw):
        values = np.tile(motion(jawOpen=jaw), (6, 1))
        return [f.data for f in await collect(engine.stream(config(key), blocks((0, values))))]

    alone = [await render(LIGHT, 0.0), await render(DARK, 0.6)]
    together = await asyncio.gather(render(LIGHT, 0.0), render(DARK, 0.6))
    assert list(together) == alone
    assert alone[0] != alone[1]


async def test_a_long_stream_does_not_starve_another(engine):
    finished = []

    async def render(name, num_frames):
        await collect(engine.stream(config(), blocks((0, zeros(num_frames)))))
        finished.append(name)

    await asyncio.gather(render("long", 40), render("other", 40), render("short", 4))
    assert finished[0] == "short"


async def test_closing_a_stream_closes_its_source_of_motion(engine):
    ended = []

    async def endless():
        try:
            start = 0
            while True:
                yield MotionBlock(start_frame=start, values=zeros(1))
                start += 1
        finally:
            ended.append(True)

    stream = engine.stream(config(encoding=FrameEncoding.H264), endless())
    assert (await anext(stream)).key_frame
    await stream.aclose()
    assert ended == [True]


async def test_cancelling_in_the_middle_of_a_frame_ends_cleanly(engine):
    stream = engine.stream(config(encoding=FrameEncoding.H264), blocks((0, zeros(200))))
    task = asyncio.create_task(collect(stream))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    frames = await collect(engine.stream(config(), blocks((0, zeros(1)))))
    assert len(frames) == 1  # the engine works on


async def test_closing_the_engine_ends_its_threads(source):
    engine = RendererEngine.create(source, num_threads=2)
    before = threading.active_count()
    await collect(engine.stream(config(), blocks((0, zeros(4)))))
    await engine.aclose()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("renderer")]
    assert threading.active_count() <= before + 1  # asyncio's own helper thread may stay


async def test_a_closed_engine_refuses_streams(source):
    engine = RendererEngine.create(source, num_threads=1)
    await engine.aclose()
    with pytest.raises(Unavailable):
        await collect(engine.stream(config(), blocks((0, zeros(1)))))


async def test_warm_up_needs_no_avatar(source):
    engine = RendererEngine.create(source, num_threads=1)
    await engine.warm_up()
    await engine.aclose()
    assert source.num_calls == 0


@dataclass
class Entry:
    num_bytes: int


async def entry_of(num_bytes):
    return Entry(num_bytes)


async def test_cache_drops_the_least_recently_used():
    cache = AvatarCache(max_entries=2, max_bytes=100)
    for key in ("a", "b", "a", "c"):
        await cache.get(key, lambda: entry_of(10))
    assert ("a" in cache, "b" in cache, "c" in cache) == (True, False, True)


async def test_cache_is_bounded_in_bytes():
    cache = AvatarCache(max_entries=10, max_bytes=100)
    for key in range(5):
        await cache.get(str(key), lambda: entry_of(40))
    assert (len(cache), cache.num_bytes) == (2, 80)


async def test_cache_never_holds_what_is_too_large():
    cache = AvatarCache(max_entries=10, max_bytes=100)
    await cache.get("small", lambda: entry_of(40))
    assert (await cache.get("large", lambda: entry_of(101))).num_bytes == 101
    assert (len(cache), "small" in cache) == (1, True)


async def test_cache_tries_again_after_a_failure():
    cache = AvatarCache(max_entries=2, max_bytes=100)

    async def fail():
        raise NotFound("not yet")

    with pytest.raises(NotFound):
        await cache.get("a", fail)
    assert (await cache.get("a", lambda: entry_of(1))).num_bytes == 1


async def test_two_frames_of_a_stream_are_drawn_at_once_and_given_in_order(engine, monkeypatch):
    meeting = threading.Barrier(2, timeout=10.0)  # broken unless two frames are drawn together
    render = Decoder.render

    def meet(self, avatar, motion):
        meeting.wait()
        return render(self, avatar, motion)

    monkeypatch.setattr(Decoder, "render", meet)
    values = zeros(6)
    values[:, MOTION_INDEX["headX"]] = np.linspace(0.0, 0.5, 6)
    frames = await collect(engine.stream(config(), blocks((0, values))))
    assert [frame.frame_index for frame in frames] == list(range(6))
    assert len({frame.data for frame in frames}) == 6


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"GIF89a"])
def test_a_damaged_background_is_named_as_such(data):
    background = Background(kind=BackgroundKind.PICTURE, picture=data)
    with pytest.raises(InvalidInput, match="background must be") as caught:
        look_of(RenderConfig(avatar_key=LIGHT, background=background))
    assert caught.value.field == "background.picture"


async def test_frames_with_a_deadline_are_drawn_first(source, monkeypatch):
    """A recording that is sent at once kept the threads from those who speak live."""
    drawn = []
    render = Decoder.render

    def noted(self, avatar, motion):
        drawn.append(float(motion[MOTION_INDEX["jawOpen"]]))
        return render(self, avatar, motion)

    monkeypatch.setattr(Decoder, "render", noted)
    engine = RendererEngine.create(source, num_threads=1)
    live = dataclasses.replace(config(), frame_deadline_ms=10_000)
    opened = zeros(2)
    opened[:, MOTION_INDEX["jawOpen"]] = 0.5

    async def sleeping(values, release):
        yield MotionBlock(start_frame=0, values=values[:1])
        await release.wait()
        yield MotionBlock(start_frame=1, values=values[1:])

    release, held = asyncio.Event(), threading.Event()
    streams = [
        engine.stream(which, sleeping(values, release))
        for which, values in ((config(), zeros(2)), (live, opened))
    ]
    for stream in streams:
        await anext(stream)  # prepared, and waiting for motion
    drawn.clear()
    engine._pool.live._threads.submit(held.wait)
    nexts = [asyncio.ensure_future(anext(stream)) for stream in streams]
    release.set()
    for _ in range(20):
        await asyncio.sleep(0)  # both frames wait for the thread
    held.set()
    await asyncio.gather(*nexts)
    await asyncio.gather(*(stream.aclose() for stream in streams))
    await engine.aclose()
    assert drawn == [0.5, 0.0]
