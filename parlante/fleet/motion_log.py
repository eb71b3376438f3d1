"""What a motion stream was told and has not put into a checkpoint yet. Pure state."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from parlante.errors import FailedPrecondition, ParlanteError
from parlante.types import (
    FRAME_DURATION_US,
    FRAME_RATE_HZ,
    AudioChunk,
    Controls,
    ControlUpdate,
    ListeningChunk,
    MotionBlock,
    MotionConfig,
    MotionInput,
)

__all__ = ["MotionLog"]

logger = logging.getLogger(__name__)

_UNKNOWN_DELAY_MS: Final = 400
_BLOCK_MS: Final = 80


@dataclass(frozen=True, slots=True)
class _Entry:
    """An input, and where the audio before it ends."""

    position_sample: int
    item: MotionInput


class MotionLog:
    """What a motion stream was told since its last checkpoint; see `parlante.fleet.relay.Log`.

    Positions and frames are the caller's. A stream that had to begin anew counts its own from
    `_base_frame` on.

    Args:
        config: Of the stream; may resume from a checkpoint.
        delay_ms: Algorithmic delay of the stream; 0 = not known.
    """

    def __init__(self, config: MotionConfig, *, delay_ms: int = 0) -> None:
        self._config = config
        self._owed_after_ms = (delay_ms or _UNKNOWN_DELAY_MS) + _BLOCK_MS
        self._controls: Controls = config.controls
        self._checkpoint = config.resume_state
        self._checkpoint_sample = 0
        self._next_frame: int | None = None if config.resume_state else 0
        self._base_frame = 0
        self._end_sample: int | None = None if config.resume_state else 0
        self._entries: deque[_Entry] = deque()

    @classmethod
    def resumed(cls, config: MotionConfig, *, next_frame: int, checkpoint_sample: int) -> Self:
        """Make the log of a stream that goes on from a checkpoint whose place is known.

        Args:
            config: With the checkpoint.
            next_frame: First frame of the next block.
            checkpoint_sample: Where the audio goes on.
        """
        log = cls(config)
        log._next_frame, log._end_sample = next_frame, checkpoint_sample
        log._checkpoint_sample = checkpoint_sample
        return log

    @property
    def next_frame(self) -> int | None:
        """First frame of the next block; None while a resumed stream has not said it."""
        return self._next_frame

    @property
    def checkpoint_sample(self) -> int:
        """Where the audio of a stream that resumes now goes on."""
        return self._checkpoint_sample

    @property
    def config(self) -> MotionConfig:
        """What the next stream is opened with."""
        return replace(
            self._config,
            controls=self._controls_at_checkpoint(),
            resume_state=self._checkpoint,
            emit_checkpoints=True,
        )

    @property
    def num_queued(self) -> int:
        """Samples of audio that are kept."""
        return sum(len(e.item.samples) for e in self._entries if isinstance(e.item, AudioChunk))

    def append(self, item: MotionInput) -> MotionInput:
        """Note an input; gives what the replica is told."""
        if isinstance(item, AudioChunk) and self._end_sample is None:
            self._end_sample = self._checkpoint_sample = item.start_sample
        self._entries.append(_Entry(self._end_sample or 0, item))
        if isinstance(item, AudioChunk):
            self._end_sample = item.start_sample + len(item.samples)
        return self._shift(item)

    def replay(self) -> list[MotionInput]:
        """Give what the replica has not heard when it goes on from the checkpoint."""
        since = self._checkpoint_sample
        items = [
            e.item if e.position_sample >= since else _rest(e.item, since) for e in self._entries
        ]
        return [self._shift(item) for item in items if item is not None]

    def accept(self, output: MotionBlock) -> MotionBlock | None:
        """Take a block; gives its new frames."""
        start_frame = output.start_frame + self._base_frame
        if self._next_frame is None:
            self._next_frame = start_frame
        num_known = self._next_frame - start_frame
        if output.checkpoint:
            self._checkpoint = output.checkpoint
            self._checkpoint_sample = output.checkpoint_sample + self._base_sample
        values = output.values[max(0, num_known) :]
        first = start_frame + max(0, num_known)
        self._next_frame = max(self._next_frame, first + len(values))
        self._drop_heard()
        if not len(values):
            return None
        keeps = self._config.emit_checkpoints and bool(output.checkpoint)
        return MotionBlock(
            start_frame=first,
            values=values,
            checkpoint=output.checkpoint if keeps else b"",
            checkpoint_sample=self._checkpoint_sample if keeps else 0,
        )

    @property
    def is_owed(self) -> bool:
        """True when more audio was sent than the next block can need."""
        if self._next_frame is None or not self._end_sample:
            return bool(self._entries)
        end_ms = self._end_sample * 1000 // self._config.sample_rate_hz
        return end_ms - self._next_frame * FRAME_DURATION_US // 1000 > self._owed_after_ms

    def give_up_state(self, error: ParlanteError) -> bool:
        """Begin anew where the motion stands: the replicas left run another model by now.

        The face may jump once, which is better than a session that ends.
        """
        is_mismatch = isinstance(error, FailedPrecondition) and self._checkpoint != b""
        if not is_mismatch or self._next_frame is None:
            return False
        logger.warning("checkpoint of another model; motion begins anew")
        self._base_frame = self._next_frame
        self._checkpoint, self._checkpoint_sample = b"", self._base_sample
        return True

    @property
    def _base_sample(self) -> int:
        return self._base_frame * self._config.sample_rate_hz // FRAME_RATE_HZ

    def _shift(self, item: MotionInput) -> MotionInput:
        return _shifted(item, self._base_sample)

    def _controls_at_checkpoint(self) -> Controls:
        controls = self._controls
        for entry in self._entries:
            is_heard = entry.position_sample < self._checkpoint_sample
            if isinstance(entry.item, ControlUpdate) and is_heard:
                controls = entry.item.controls
        return controls

    def _drop_heard(self) -> None:
        """Forget what the checkpoint knows, but for the audio of frames that are still to come."""
        frame_sample = (self._next_frame or 0) * self._config.sample_rate_hz // FRAME_RATE_HZ
        keep_since = min(self._checkpoint_sample, frame_sample)
        while self._entries:
            entry = self._entries[0]
            item = entry.item
            if not _is_over(entry, keep_since):
                break
            if isinstance(item, ControlUpdate):
                self._controls = item.controls
            self._entries.popleft()


def _is_over(entry: _Entry, since: int) -> bool:
    item = entry.item
    if isinstance(item, AudioChunk):
        return item.start_sample + len(item.samples) <= since
    return entry.position_sample < since


def _rest(item: MotionInput, since: int) -> MotionInput | None:
    """Give what of an input a stream that resumes at `since` has not heard."""
    if not isinstance(item, AudioChunk):
        return None  # it came before audio that was heard, so it was heard as well
    skipped = since - item.start_sample
    if skipped >= len(item.samples):
        return None
    return AudioChunk(start_sample=since, samples=item.samples[skipped:])


def _shifted(item: MotionInput, base_sample: int) -> MotionInput:
    if base_sample == 0 or isinstance(item, ControlUpdate):
        return item
    start = item.start_sample - base_sample
    if isinstance(item, ListeningChunk):
        late = max(0, -start)
        return ListeningChunk(start_sample=start + late, samples=item.samples[late:])
    return AudioChunk(start_sample=start, samples=np.asarray(item.samples))
