"""How many frames may be on the way, and which motion waits to be rendered. Pure state."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

import numpy as np

from parlante.errors import InvalidInput
from parlante.types import Float32Array, MotionBlock

__all__ = ["DropReason", "FrameWindow", "MotionQueue", "PendingFrame"]


class DropReason(enum.Enum):
    """Why a frame was not made."""

    NO_CREDIT = "no_credit"  # the client has not reported playback
    SLOW_READER = "slow_reader"  # the client does not read, or not fast enough
    SLOW_RENDERER = "slow_renderer"  # the stages do not keep up with real time


class FrameWindow:
    """Counts frames from the start of rendering to the client's report.

    A frame's sequence number is its place in the order of those that were rendered, so the numbers
    have no gap.

    Args:
        max_in_flight: Frames that the client allows between `take` and its report; 0 = no limit.
        max_unsent: Frames between `take` and the end of their sending.
        last_seq: Sequence number of the last frame that the client got before, elsewhere.
    """

    def __init__(self, *, max_in_flight: int, max_unsent: int, last_seq: int = 0) -> None:
        self._max_in_flight = max_in_flight
        self._max_unsent = max_unsent
        self._num_taken = last_seq
        self._num_rendered = last_seq
        self._num_sent = last_seq
        self._last_reported = last_seq

    @property
    def num_free(self) -> int:
        """Frames that may be rendered now."""
        free = self._max_unsent - (self._num_taken - self._num_sent)
        if self._max_in_flight:
            free = min(free, self._max_in_flight - (self._num_taken - self._last_reported))
        return max(0, free)

    @property
    def is_starved(self) -> bool:
        """True when frames wait for a report of the client."""
        in_flight = self._num_taken - self._last_reported
        return 0 < self._max_in_flight <= in_flight

    def take(self, num_frames: int) -> None:
        """Begin to render frames; at most `num_free`."""
        assert num_frames <= self.num_free, (num_frames, self.num_free)
        self._num_taken += num_frames

    def lost(self) -> None:
        """Note that the oldest frame that is being rendered will not come."""
        assert self._num_rendered < self._num_taken, (self._num_rendered, self._num_taken)
        self._num_taken -= 1

    def rendered(self) -> None:
        """Note that the oldest frame that was taken has come from the renderer."""
        assert self._num_rendered < self._num_taken, (self._num_rendered, self._num_taken)
        self._num_rendered += 1

    def sent(self) -> None:
        """Note that the oldest unsent frame has been sent."""
        assert self._num_sent < self._num_rendered, (self._num_sent, self._num_rendered)
        self._num_sent += 1

    def report(self, last_frame_seq: int) -> None:
        """Free the credits of all frames up to `last_frame_seq`; an older report changes nothing.

        Raises:
            InvalidInput: That frame does not exist. The bound is what was taken, not what was sent:
                a quick client reports a frame before its `send` has returned here.
        """
        if not 0 <= last_frame_seq <= self._num_taken:
            raise InvalidInput(
                f"last_frame_seq must be in [0, {self._num_taken}], the frames made so far; "
                f"got {last_frame_seq}",
                reason="PLAYBACK_OUT_OF_RANGE",
                field="playback.last_frame_seq",
            )
        self._last_reported = max(self._last_reported, last_frame_seq)

    def waive_credits(self) -> None:
        """Stop asking for reports: after a half-close none can come."""
        self._max_in_flight = 0

    def blocker(self) -> DropReason:
        """Say what holds frames back: where most of a full window waits.

        A renderer over a network takes motion ahead of its work, so that one that is slow or hangs
        fills the window as well as a client that does not read.
        """
        num_rendering = self._num_taken - self._num_rendered
        if self.is_starved:
            reason, num_waiting = DropReason.NO_CREDIT, self._num_rendered - self._last_reported
        else:
            reason, num_waiting = DropReason.SLOW_READER, self._num_rendered - self._num_sent
        is_full = self.num_free == 0
        return reason if is_full and num_waiting > num_rendering else DropReason.SLOW_RENDERER


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PendingFrame:
    """Motion of one frame that is not rendered yet; `values` is float32 [60]."""

    frame_index: int
    values: Float32Array
    utterance_id: str


class MotionQueue:
    """Frames that wait to be rendered, oldest first.

    Args:
        min_capacity: Frames that may wait without holding back the motion stream.
    """

    def __init__(self, min_capacity: int) -> None:
        self._min_capacity = min_capacity
        self._last_block = 0
        self._frames: deque[PendingFrame] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def has_room(self) -> bool:
        """True while another block may be put without a drop."""
        return len(self._frames) < self._min_capacity

    def put(self, block: list[PendingFrame]) -> None:
        """Append a block's frames."""
        self._last_block = len(block)
        self._frames.extend(block)

    def drop_excess(self, num_slack: int) -> list[PendingFrame]:
        """Take out the oldest frames that are too many: what is new is worth more.

        Args:
            num_slack: Frames that may wait beside those of the last block.
        """
        num_excess = len(self._frames) - max(self._min_capacity, self._last_block + num_slack)
        return [self._frames.popleft() for _ in range(num_excess)]

    def drop_late(self, oldest_frame_index: int) -> list[PendingFrame]:
        """Take out the frames before `oldest_frame_index`."""
        late = []
        while self._frames and self._frames[0].frame_index < oldest_frame_index:
            late.append(self._frames.popleft())
        return late

    def put_back(self, frame: PendingFrame) -> None:
        """Let a frame that was taken out be the oldest again."""
        self._frames.appendleft(frame)

    def take(self, max_frames: int) -> list[PendingFrame]:
        """Take out consecutive frames from the oldest on, at most `max_frames`."""
        taken: list[PendingFrame] = []
        while self._frames and len(taken) < max_frames:
            if taken and self._frames[0].frame_index != taken[-1].frame_index + 1:
                break
            taken.append(self._frames.popleft())
        return taken


def block_of(frames: list[PendingFrame]) -> MotionBlock:
    """Join consecutive frames, at least one."""
    return MotionBlock(
        start_frame=frames[0].frame_index,
        values=np.stack([frame.values for frame in frames]),
    )
