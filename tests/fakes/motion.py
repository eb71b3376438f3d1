"""A motion generator whose motion tells which audio, controls and seed it came from."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import numpy as np

from parlante.aio import closing
from parlante.errors import InvalidInput, ParlanteError
from parlante.types import (
    FRAME_RATE_HZ,
    MOTION_DIM,
    MOTION_INDEX,
    AudioChunk,
    Controls,
    Float32Array,
    Int16Array,
    MotionBlock,
    MotionConfig,
    MotionInput,
)

FULL_SCALE = 32_768.0


class FakeMotion:
    """Implements `parlante.ports.Motion`.

    Of every frame, `jawOpen` is the mean absolute sample over full scale, `mouthFunnel` the first
    sample over full scale, `gazeYaw` and `gazePitch` the controls in force, `headLogScale` minus
    the log of the head distance, and `headYaw` the seed / 10 000.

    Args:
        block_frames: Frames of a block; the last may be shorter.
        delay_s: Wait before each block.
        fail_at_frame: Raise `error` instead of this frame.
        error: What to raise.

    Attributes:
        num_open: Streams that run now.
        num_opened: Streams that ever began.
        configs: Their configurations.
    """

    algorithmic_delay_ms = 40
    bundle_digest = "fb" * 32

    def __init__(
        self,
        *,
        block_frames: int = 1,
        delay_s: float = 0.0,
        fail_at_frame: int | None = None,
        error: ParlanteError | None = None,
    ) -> None:
        self.block_frames = block_frames
        self.delay_s = delay_s
        self.fail_at_frame = fail_at_frame
        self.error = error
        self.num_open = 0
        self.num_opened = 0
        self.configs: list[MotionConfig] = []

    async def stream(
        self, config: MotionConfig, inputs: AsyncIterator[MotionInput]
    ) -> AsyncIterator[MotionBlock]:
        """Make blocks as soon as their audio is there, the rest when the inputs end."""
        self.num_open += 1
        self.num_opened += 1
        self.configs.append(config)
        try:
            async with closing(inputs):
                async for block in self._blocks(config, inputs):
                    await self._pause(block)
                    yield block
        finally:
            self.num_open -= 1

    async def _blocks(
        self, config: MotionConfig, inputs: AsyncIterator[MotionInput]
    ) -> AsyncIterator[MotionBlock]:
        audio = _Audio(config.sample_rate_hz)
        controls = config.controls
        frame = 0
        async for item in inputs:
            if not isinstance(item, AudioChunk):
                controls = item.controls
                continue
            audio.append(item)
            while audio.num_whole_frames >= frame + self.block_frames:
                yield _block(audio, frame, self.block_frames, controls, config.seed)
                frame += self.block_frames
                audio.forget_before(frame)
        while frame < audio.num_frames:
            num_frames = min(self.block_frames, audio.num_frames - frame)
            yield _block(audio, frame, num_frames, controls, config.seed)
            frame += num_frames

    async def _pause(self, block: MotionBlock) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        last = block.start_frame + len(block.values) - 1
        if self.error is not None and self.fail_at_frame is not None and last >= self.fail_at_frame:
            raise self.error

    async def warm_up(self) -> None:
        """Nothing to warm."""

    async def aclose(self) -> None:
        """Nothing to close."""


class _Audio:
    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._start = 0
        self._samples: Int16Array = np.zeros(0, dtype=np.int16)

    @property
    def end(self) -> int:
        return self._start + len(self._samples)

    @property
    def num_whole_frames(self) -> int:
        return self.end * FRAME_RATE_HZ // self._rate_hz

    @property
    def num_frames(self) -> int:
        return math.ceil(self.end * FRAME_RATE_HZ / self._rate_hz)

    def append(self, chunk: AudioChunk) -> None:
        if chunk.start_sample != self.end:
            reason = "AUDIO_GAP" if chunk.start_sample > self.end else "AUDIO_OVERLAP"
            raise InvalidInput(
                f"audio continues at sample {self.end}; got {chunk.start_sample}", reason=reason
            )
        self._samples = np.concatenate([self._samples, chunk.samples])

    def forget_before(self, frame: int) -> None:
        keep = self._first(frame) - self._start
        self._samples = self._samples[keep:]
        self._start += keep

    def of_frame(self, frame: int) -> Int16Array:
        first, last = self._first(frame), self._first(frame + 1)
        return self._samples[first - self._start : last - self._start]

    def _first(self, frame: int) -> int:
        return frame * self._rate_hz // FRAME_RATE_HZ


def _block(
    audio: _Audio, start_frame: int, num_frames: int, controls: Controls, seed: int
) -> MotionBlock:
    rows = [
        motion_row(audio.of_frame(start_frame + offset), controls=controls, seed=seed)
        for offset in range(num_frames)
    ]
    return MotionBlock(start_frame=start_frame, values=np.stack(rows))


def motion_row(
    samples: Int16Array, *, controls: Controls | None = None, seed: int = 0
) -> Float32Array:
    """Make the motion of one frame, float32 [60], as `FakeMotion` does."""
    controls = controls or Controls()
    row = np.zeros(MOTION_DIM, dtype=np.float32)
    row[MOTION_INDEX["jawOpen"]] = np.abs(samples.astype(np.float32)).mean() / FULL_SCALE
    row[MOTION_INDEX["mouthFunnel"]] = samples[0] / FULL_SCALE
    row[MOTION_INDEX["gazeYaw"]] = controls.gaze_yaw_rad
    row[MOTION_INDEX["gazePitch"]] = controls.gaze_pitch_rad
    row[MOTION_INDEX["headLogScale"]] = -math.log(controls.head_distance)
    row[MOTION_INDEX["headYaw"]] = seed / 10_000
    return row
