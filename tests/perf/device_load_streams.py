"""Live render streams without a gateway before them: motion in, frames out.

For a machine whose GPU could serve more sessions than its cores can run all other stages for.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Sequence

import grpc.aio
import numpy as np

from parlante.cli.live_probe import LiveFigures
from parlante.cli.load_sessions import Outcome
from parlante.errors import Overloaded, ParlanteError
from parlante.rpc.remote import RemoteRenderer
from parlante.types import FRAME_RATE_HZ, MotionBlock, RenderConfig
from tests.perf.torch_decoder import row_of

__all__ = ["run_streams"]

BLOCK_FRAMES = 2
# As the gateway asks for live sessions.
FRAME_DEADLINE_MS = 400


async def run_streams(
    channel: grpc.aio.Channel, keys: Sequence[str], *, seconds: float, stagger_s: float
) -> list[Outcome]:
    """Run streams side by side, each a block of motion every 80 ms.

    Args:
        channel: To a renderer.
        keys: Content keys of avatars, one for each stream.
        seconds: Motion of each.
        stagger_s: From the beginning of one to that of the next.

    Returns:
        What became of each; latencies are from a block sent to its frame received, and the first
        frame's from opening the stream.
    """

    async def one(index: int, key: str) -> Outcome:
        await asyncio.sleep(index * stagger_s)
        try:
            return Outcome(figures=await _measure(channel, key, index, seconds))
        except Overloaded as error:
            return Outcome(refused=True, reason=error.reason)
        except ParlanteError as error:
            return Outcome(reason=error.reason)

    return list(await asyncio.gather(*(one(index, key) for index, key in enumerate(keys))))


async def _measure(channel: grpc.aio.Channel, key: str, seed: int, seconds: float) -> LiveFigures:
    num_blocks = math.ceil(seconds * FRAME_RATE_HZ / BLOCK_FRAMES)
    sent_s: list[float] = []

    async def motion() -> AsyncIterator[MotionBlock]:
        begin_s = time.perf_counter()
        for number in range(num_blocks):
            due_s = begin_s + number * BLOCK_FRAMES / FRAME_RATE_HZ
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            start = number * BLOCK_FRAMES
            values = np.stack([row_of(31 * seed + start + frame) for frame in range(BLOCK_FRAMES)])
            sent_s.append(time.perf_counter())
            yield MotionBlock(start_frame=start, values=values)

    start_s = time.perf_counter()
    config = RenderConfig(avatar_key=key, frame_deadline_ms=FRAME_DEADLINE_MS)
    arrivals_ms: list[float] = []
    latencies_ms: list[float] = []
    dropped = 0
    async for frame in RemoteRenderer(channel).stream(config, motion()):
        now_s = time.perf_counter()
        if frame.is_left_out:
            dropped += 1
            continue
        arrivals_ms.append((now_s - start_s) * 1000)
        latencies_ms.append((now_s - sent_s[frame.frame_index // BLOCK_FRAMES]) * 1000)
    return LiveFigures(
        first_frame_ms=next(itertools.chain(arrivals_ms, [float("inf")])),
        latencies_ms=tuple(latencies_ms),
        dropped=dropped,
        arrivals_ms=tuple(arrivals_ms),
    )
