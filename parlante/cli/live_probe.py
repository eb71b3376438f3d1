"""Measures a live session as a microphone would feed it: 20 ms of sound every 20 ms."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from parlante.aio import cancel_and_wait
from parlante.client import Event, EventType, Frame, ParlanteClient, Session
from parlante.types import MODEL_SAMPLE_RATE_HZ, FrameEncoding, Int16Array

__all__ = ["LiveFigures", "measure_live"]

CHUNK_SAMPLES: Final = MODEL_SAMPLE_RATE_HZ // 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFigures:
    """What a client of one live session sees.

    Attributes:
        first_frame_ms: From opening the session to the arrival of the first frame in which the
            avatar speaks.
        latencies_ms: Per speaking frame, from the moment the first sample of its own 40 ms was
            sent to the arrival of the frame.
        dropped: Frames the server dropped.
        arrivals_ms: When those frames arrived, since the opening of the session.
    """

    first_frame_ms: float
    latencies_ms: tuple[float, ...]
    dropped: int
    arrivals_ms: tuple[float, ...] = ()


class _SentTimes:
    """When each sample of an utterance was sent, by chunk."""

    def __init__(self) -> None:
        self._ends: list[int] = []
        self._times_s: list[float] = []

    def add(self, end_sample: int) -> None:
        self._ends.append(end_sample)
        self._times_s.append(time.perf_counter())

    def of_sample(self, sample: int) -> float | None:
        index = bisect_right(self._ends, sample)
        return self._times_s[index] if index < len(self._times_s) else None


async def measure_live(
    client: ParlanteClient,
    avatar: str,
    samples: Int16Array,
    *,
    head_samples: int = 0,
    each_second: Callable[[float], Awaitable[None]] | None = None,
    encoding: FrameEncoding = FrameEncoding.H264,
) -> LiveFigures:
    """Speak into a live session in real time.

    Args:
        client: A connected client.
        avatar: Name of an avatar.
        samples: int16 [S] at 16 kHz.
        head_samples: How many of them are at hand at the start and sent at once.
        each_second: Called with the seconds since the start, about once a second.
        encoding: Of the frames.
    """
    sent = _SentTimes()
    start_s = time.perf_counter()
    session = client.converse(avatar=avatar, encodings=(encoding,))
    first_s = 0.0
    start_us: int | None = None
    latencies: list[float] = []
    arrivals: list[float] = []
    dropped = 0
    async with session:
        sender = asyncio.create_task(_speak(session, samples, sent, head_samples, each_second))
        try:
            async for item in session:
                now_s = time.perf_counter()
                if isinstance(item, Event) and item.type is EventType.UTTERANCE_STARTED:
                    start_us = item.media_offset_us
                if not isinstance(item, Frame):
                    continue
                dropped = item.dropped_frame_count
                if item.idle or start_us is None:
                    continue
                first_s = first_s or now_s
                sample = (item.media_offset_us - start_us) * MODEL_SAMPLE_RATE_HZ // 1_000_000
                sent_s = sent.of_sample(max(0, sample))
                if sent_s is not None:
                    latencies.append((now_s - sent_s) * 1000)
                    arrivals.append((now_s - start_s) * 1000)
            await sender
        finally:
            await cancel_and_wait(sender)
    return LiveFigures(
        first_frame_ms=(first_s - start_s) * 1000,
        latencies_ms=tuple(latencies),
        dropped=dropped,
        arrivals_ms=tuple(arrivals),
    )


async def _speak(
    session: Session,
    samples: Int16Array,
    sent: _SentTimes,
    head_samples: int,
    each_second: Callable[[float], Awaitable[None]] | None,
) -> None:
    if head_samples:
        await session.send_audio(samples[:head_samples])
        sent.add(head_samples)
    start_s = time.perf_counter()
    next_report_s = 1.0
    for start in range(head_samples, len(samples), CHUNK_SAMPLES):
        piece = samples[start : start + CHUNK_SAMPLES]
        # A microphone gives a chunk once its last sample has been heard.
        due_s = start_s + (start + len(piece) - head_samples) / MODEL_SAMPLE_RATE_HZ
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        await session.send_audio(piece)
        sent.add(start + len(piece))
        elapsed_s = time.perf_counter() - start_s
        if each_second is not None and elapsed_s >= next_report_s:
            await each_second(elapsed_s)
            next_report_s += 1.0
    await session.end_utterance()
    await session.finish()
