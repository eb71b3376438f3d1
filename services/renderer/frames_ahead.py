"""Frames of one stream, several on the way at once, given in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from parlante import telemetry
from parlante.aio import Channel, cancel_and_wait, closing
from parlante.errors import Expired
from parlante.types import Float32Array, MotionBlock, RenderConfig, Uint8Array
from services.renderer.frame_decoder import ServedPicture, StreamDecoder

__all__ = ["FramesAhead"]

Decoded = Uint8Array | ServedPicture
LATE: Final = "frame_late"


class FramesAhead:
    """Decodes the frames of one stream.

    Args:
        decoder: Of the stream.
        avatar: Whose frames.
        config: Of the stream.
        max_ahead: Frames on the way at once, >= 1.
    """

    def __init__(
        self, decoder: StreamDecoder[Any], avatar: Any, config: RenderConfig, *, max_ahead: int
    ) -> None:
        self._decoder = decoder
        self._avatar = avatar
        self._deadline_ms = config.frame_deadline_ms
        self._slots = asyncio.Semaphore(max_ahead)
        self._frames: Channel[tuple[int, asyncio.Task[Decoded]]] = Channel(max_ahead)
        self._tasks: set[asyncio.Task[Decoded]] = set()
        self._failure: Exception | None = None

    async def run(
        self, blocks: AsyncIterator[MotionBlock]
    ) -> AsyncIterator[tuple[int, Decoded | None]]:
        """Give frame indexes and frames in order; None for one that is late, which is counted.

        An error of `blocks` is raised after the frames that came before it.
        """
        reader = asyncio.create_task(self._read(blocks), name="render-ahead")
        try:
            async for frame_index, task in self._frames:
                frame: Decoded | None
                try:
                    # Shielded: what is cancelled here is this stream, and its tasks end below.
                    frame = await asyncio.shield(task)
                except Expired:
                    telemetry.metrics().frames_dropped.add(1, {telemetry.ATTRIBUTE_REASON: LATE})
                    frame = None
                yield frame_index, frame
            if self._failure is not None:
                raise self._failure
        finally:
            await cancel_and_wait(reader)
            await cancel_and_wait(*self._tasks)

    async def _read(self, blocks: AsyncIterator[MotionBlock]) -> None:
        try:
            async with closing(blocks):
                async for block in blocks:
                    deadline_s = self._deadline_of_now()
                    for frame_index, row in enumerate(block.values, start=block.start_frame):
                        await self._slots.acquire()
                        task = asyncio.create_task(self._decode(row, deadline_s))
                        self._tasks.add(task)
                        task.add_done_callback(self._done)
                        await self._frames.put((frame_index, task))
        except Exception as error:
            self._failure = error
        finally:
            self._frames.close()

    def _deadline_of_now(self) -> float | None:
        if not self._deadline_ms:
            return None
        return asyncio.get_running_loop().time() + self._deadline_ms / 1000

    def _done(self, task: asyncio.Task[Decoded]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: a stream that ends early never asks

    async def _decode(self, row: Float32Array, deadline_s: float | None) -> Decoded:
        try:
            return await self._decoder.decode(self._avatar, row, deadline_s)
        finally:
            self._slots.release()
