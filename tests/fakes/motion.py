"""A motion generator whose motion tells which audio, controls and seed it came from."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator

import numpy as np

from parlante.aio import closing
from parlante.errors import FailedPrecondition, InvalidInput, ParlanteError
from parlante.types import (
    FRAME_RATE_HZ,
    MOTION_DIM,
    MOTION_INDEX,
    AudioChunk,
    Controls,
    ControlUpdate,
    Float32Array,
    Int16Array,
    ListeningChunk,
    MotionBlock,
    MotionConfig,
    MotionInput,
)

FULL_SCALE = 32_768.0
LONG_DELAY_MS = 200


class FakeMotion:
    """Implements `parlante.ports.Motion`.

    Of every frame, `jawOpen` is the mean absolute sample over full scale, `mouthFunnel` the first
    sample over full scale, `browInnerUp` the mean absolute listening sample over full scale,
    `gazeYaw` and `gazePitch` the controls in force, `headPitch` and `headRoll` the head pose in
    force, `headLogScale` minus the log of the head distance, and `headYaw` the seed / 10 000.

    Its delay is `LONG_DELAY_MS` where the budget allows that, or else `algorithmic_delay_ms`; what
    is beyond a block (of 80 ms at least) it waits for, and does not look at.

    Args:
        block_frames: Frames of a block; the last may be shorter.
        delay_s: Wait before each block.
        fail_at_frame: Raise `error` instead of this frame.
        error: What to raise.

    Attributes:
        num_open: Streams that run now.
        num_opened: Streams that ever began.
        configs: Their configurations.
        controls: Control updates of all streams, in order.
        listened: Listening audio of all streams, in order.
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
        self.controls: list[Controls] = []
        self.listened: list[ListeningChunk] = []

    def delay_ms(self, config: MotionConfig) -> int:
        """Tell the longer of two delays if the budget allows it."""
        fits = config.delay_budget_ms >= LONG_DELAY_MS
        return LONG_DELAY_MS if fits else self.algorithmic_delay_ms

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
        frame, heard = self._resumed(config)
        start = frame * config.sample_rate_hz // FRAME_RATE_HZ
        audio = _Audio(config.sample_rate_hz, start)
        listening = _Listening(config.sample_rate_hz, start, heard)
        controls = config.controls
        num_ahead = self.delay_ms(config) * FRAME_RATE_HZ // 1000 - max(2, self.block_frames)
        async for item in inputs:
            match item:
                case ControlUpdate():
                    controls = item.controls
                    self.controls.append(controls)
                case ListeningChunk():
                    listening.append(item)
                    self.listened.append(item)
                case AudioChunk():
                    audio.append(item)
                    while audio.num_whole_frames >= frame + self.block_frames + max(0, num_ahead):
                        last = frame + self.block_frames
                        values = _rows(audio, listening, range(frame, last), controls, config.seed)
                        audio.forget_before(last)
                        listening.forget_before(last)
                        state = self._checkpoint(config, last, listening.heard)
                        yield MotionBlock(
                            start_frame=frame,
                            values=values,
                            checkpoint=state,
                            checkpoint_sample=audio.start if state else 0,
                        )
                        frame = last
        while frame < audio.num_frames:
            last = min(frame + self.block_frames, audio.num_frames)
            values = _rows(audio, listening, range(frame, last), controls, config.seed)
            yield MotionBlock(start_frame=frame, values=values)
            frame = last

    def _checkpoint(self, config: MotionConfig, next_frame: int, heard: int) -> bytes:
        if not config.emit_checkpoints:
            return b""
        state = [self.bundle_digest, config.sample_rate_hz, config.delay_budget_ms]
        return json.dumps([*state, next_frame, heard]).encode()

    def _resumed(self, config: MotionConfig) -> tuple[int, int]:
        """Give the first frame and the end of the listening audio so far."""
        if not config.resume_state:
            return 0, 0
        try:
            *state, next_frame, heard = json.loads(config.resume_state)
        except (ValueError, TypeError) as error:
            raise InvalidInput("that is no checkpoint", reason="BAD_RESUME_STATE") from error
        if state != [self.bundle_digest, config.sample_rate_hz, config.delay_budget_ms]:
            raise FailedPrecondition("that is another's", reason="RESUME_STATE_MISMATCH")
        return next_frame, heard

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
    def __init__(self, rate_hz: int, start: int) -> None:
        self._rate_hz = rate_hz
        self.start = start
        self._samples: Int16Array = np.zeros(0, dtype=np.int16)

    @property
    def end(self) -> int:
        return self.start + len(self._samples)

    @property
    def num_whole_frames(self) -> int:
        return self.end * FRAME_RATE_HZ // self._rate_hz

    @property
    def num_frames(self) -> int:
        return math.ceil(self.end * FRAME_RATE_HZ / self._rate_hz)

    def append(self, chunk: AudioChunk | ListeningChunk) -> None:
        if chunk.start_sample != self.end:
            reason = "AUDIO_GAP" if chunk.start_sample > self.end else "AUDIO_OVERLAP"
            raise InvalidInput(
                f"audio continues at sample {self.end}; got {chunk.start_sample}", reason=reason
            )
        self._samples = np.concatenate([self._samples, chunk.samples])

    def forget_before(self, frame: int) -> None:
        keep = self._first(frame) - self.start
        self._samples = self._samples[keep:]
        self.start += keep

    def of_frame(self, frame: int) -> Int16Array:
        first, last = self._first(frame), self._first(frame + 1)
        return self._samples[first - self.start : last - self.start]

    def _first(self, frame: int) -> int:
        return frame * self._rate_hz // FRAME_RATE_HZ


class _Listening(_Audio):
    """Listening audio that is not used up; gaps are filled with silence.

    Attributes:
        heard: End of the last chunk.
    """

    def __init__(self, rate_hz: int, start: int, heard: int) -> None:
        super().__init__(rate_hz, start)
        self.heard = heard

    def append(self, chunk: AudioChunk | ListeningChunk) -> None:
        if chunk.start_sample < self.heard:
            raise InvalidInput(
                f"listening goes on at {self.heard} or later; got {chunk.start_sample}",
                reason="LISTENING_OVERLAP",
            )
        self.heard = chunk.start_sample + len(chunk.samples)
        late = min(max(0, self.start - chunk.start_sample), len(chunk.samples))
        samples = chunk.samples[late:]
        gap = max(0, chunk.start_sample + late - self.end) if len(samples) else 0
        self._samples = np.concatenate([self._samples, np.zeros(gap, np.int16), samples])

    def forget_before(self, frame: int) -> None:
        self._samples = self._samples[self._first(frame) - self.start :]
        self.start = self._first(frame)


def _rows(
    audio: _Audio, listening: _Listening, frames: range, controls: Controls, seed: int
) -> Float32Array:
    rows = []
    for frame in frames:
        row = motion_row(audio.of_frame(frame), controls=controls, seed=seed)
        heard = np.abs(listening.of_frame(frame).astype(np.float32)).sum()
        length = max(1, len(audio.of_frame(frame)))
        row[MOTION_INDEX["browInnerUp"]] = heard / length / FULL_SCALE
        rows.append(row)
    return np.stack(rows)


def motion_row(
    samples: Int16Array, *, controls: Controls | None = None, seed: int = 0
) -> Float32Array:
    """Make the motion of one frame, float32 [60], as `FakeMotion` does when nobody is heard."""
    controls = controls or Controls()
    row = np.zeros(MOTION_DIM, dtype=np.float32)
    row[MOTION_INDEX["jawOpen"]] = np.abs(samples.astype(np.float32)).mean() / FULL_SCALE
    row[MOTION_INDEX["mouthFunnel"]] = samples[0] / FULL_SCALE
    row[MOTION_INDEX["gazeYaw"]] = controls.gaze_yaw_rad
    row[MOTION_INDEX["gazePitch"]] = controls.gaze_pitch_rad
    row[MOTION_INDEX["headLogScale"]] = -math.log(controls.head_distance)
    row[MOTION_INDEX["headYaw"]] = seed / 10_000
    if controls.head_pose is not None:
        row[MOTION_INDEX["headPitch"]] = controls.head_pose.pitch_rad
        row[MOTION_INDEX["headRoll"]] = controls.head_pose.roll_rad
    return row
