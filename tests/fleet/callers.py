"""Callers of a fleet: they speak all the time and note whatever is not as it should be."""

from __future__ import annotations

import asyncio
import bisect
import io
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from parlante.client import Event, EventType, Frame, ParlanteClient
from parlante.errors import ParlanteError

RATE_HZ = 16_000
FRAME_US = 40_000
MAX_AHEAD_FRAMES = 16  # more than a gateway has under way


def portrait(shade: int = 90) -> bytes:
    """Make a picture that fake encoders take."""
    file = io.BytesIO()
    Image.fromarray(np.full((96, 96, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


@dataclass(kw_only=True)
class Call:
    """What one caller saw.

    Attributes:
        arrivals_s: When each frame came.
        frames: Number, media time and utterance of each.
        error: What ended the call, if something did.
    """

    arrivals_s: list[float] = field(default_factory=list)
    frames: list[tuple[int, int, str]] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_dropped: int = 0
    num_resumed: int = 0
    error: ParlanteError | None = None

    @property
    def longest_gap_s(self) -> float:
        """Longest time without a frame, after the first."""
        gaps = [late - early for early, late in itertools.pairwise(self.arrivals_s)]
        return max(gaps, default=0.0)

    def gap_after_s(self, moment_s: float) -> float:
        """Give the longest time without a frame from shortly before a moment on."""
        times = [time for time in self.arrivals_s if time > moment_s - 0.2]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    def check_whole(self) -> None:
        """No number lost or repeated, the clock never back, every utterance told of once."""
        assert self.error is None, (self.error.reason, self.error.message)
        assert [seq for seq, _, _ in self.frames] == list(range(1, len(self.frames) + 1))
        offsets = [offset for _, offset, _ in self.frames]
        assert all(late > early for early, late in itertools.pairwise(offsets))
        num_missing = offsets[-1] // FRAME_US + 1 - len(offsets)
        # The last frame may tell of some after it that were dropped before it was sent.
        num_ahead = self.num_dropped - num_missing
        assert 0 <= num_ahead <= MAX_AHEAD_FRAMES, (num_missing, self.num_dropped)
        assert self.finished == self.started == self.said[: len(self.started)]

    def longest_gap_between_s(self, begin_s: float, end_s: float) -> float:
        """Give the longest time without a frame in a span, of this loop's clock.

        What lasts beyond the end counts whole, and so does what is there at the beginning.
        """
        first = bisect.bisect_right(self.arrivals_s, begin_s)
        last = bisect.bisect_left(self.arrivals_s, end_s)
        times = self.arrivals_s[max(0, first - 1) : last + 1]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    def on_time(self, late_s: float = 0.3) -> float:
        """Give the share of frames that came within `late_s` of the clock's best frame."""
        lateness = [
            arrival - offset / 1e6
            for arrival, (_, offset, _) in zip(self.arrivals_s, self.frames, strict=True)
        ]
        best = min(lateness)
        shown = sum(late - best <= late_s for late in lateness)
        return shown / (len(lateness) + self.num_dropped)


async def call(
    targets: str,
    avatar: str,
    duration_s: float,
    *,
    seed: int = 0,
    over: asyncio.Event | None = None,
) -> Call:
    """Speak for a while, or until `over`: 1.2 s of sound, 0.4 s of silence, in turn."""
    seen = Call()
    loop = asyncio.get_running_loop()
    order = targets.split(",")
    order = order[seed % len(order) :] + order[: seed % len(order)]
    try:
        async with (
            ParlanteClient(",".join(order)) as client,
            client.converse(avatar=avatar, seed=seed) as session,
        ):
            end_s = loop.time() + duration_s

            async def speak() -> None:
                rng = np.random.default_rng(seed)
                for number in itertools.count():
                    if loop.time() > end_s - 1.6 or (over is not None and over.is_set()):
                        break
                    name = f"u{number}"
                    seen.said.append(name)
                    for _ in range(30):
                        await session.send_audio(_sound(rng), utterance_id=name)
                        await asyncio.sleep(0.04)
                    await session.end_utterance()
                    await asyncio.sleep(0.4)
                if over is None:
                    await asyncio.sleep(max(0.0, end_s - loop.time()))
                await session.finish()

            speaker = asyncio.create_task(speak())
            try:
                async for item in session:
                    _note(seen, item, loop.time())
                await speaker
            finally:
                speaker.cancel()
                await asyncio.gather(speaker, return_exceptions=True)
                seen.num_resumed = session.num_resumed
    except ParlanteError as error:
        seen.error = error
    return seen


def _sound(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return rng.normal(0, 2000, RATE_HZ // 25).astype(np.int16)


def _note(seen: Call, item: object, now_s: float) -> None:
    if isinstance(item, Frame):
        seen.arrivals_s.append(now_s)
        seen.frames.append((item.seq, item.media_offset_us, item.utterance_id))
        seen.num_dropped = item.dropped_frame_count
    elif isinstance(item, Event) and item.type is EventType.UTTERANCE_STARTED:
        seen.started.append(item.utterance_id)
    elif isinstance(item, Event) and item.type is EventType.UTTERANCE_FINISHED:
        seen.finished.append(item.utterance_id)
    elif isinstance(item, Event):
        seen.notes.append(f"{now_s:.2f} {item.type.value} {item.detail}")


async def make_avatar(targets: str, name: str = "anna") -> str:
    """Upload a portrait."""
    async with ParlanteClient(targets) as client:
        return (await client.create_avatar(portrait(), name=name)).name
