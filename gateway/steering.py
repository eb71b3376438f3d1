"""Controls that wait for their time on the media clock. Pure state."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.timeline import frame_behind, frame_start_sample
from parlante.errors import InvalidInput
from parlante.types import Controls

__all__ = ["SteeringQueue"]

MAX_WAITING: Final = 256


@dataclass(slots=True, eq=False)
class _Waiting:
    controls: Controls
    frame_index: int  # as asked
    behind_sample: int  # end of the audio that came before
    due_sample: int


class SteeringQueue:
    """Controls by the sample they are due at; the last one written wins.

    Args:
        sample_rate_hz: Rate of the session's audio.
        ahead_samples: What the motion has heard of the audio behind a frame when it makes it.
            Controls are due so much later, or they would hold for frames before theirs.
    """

    def __init__(self, sample_rate_hz: int, *, ahead_samples: int = 0) -> None:
        self._rate_hz = sample_rate_hz
        self._ahead_samples = ahead_samples
        self._waiting: list[_Waiting] = []  # by `due_sample`, then in the order they came

    @property
    def full_until_sample(self) -> int | None:
        """When a full queue has room again; None while it has."""
        return self._waiting[0].due_sample if len(self._waiting) >= MAX_WAITING else None

    def put(self, frame_index: int, controls: Controls, *, behind_sample: int = 0) -> None:
        """Queue controls, in place of those that are due at the same time.

        Args:
            frame_index: Frame that they are to hold from.
            controls: What is to hold.
            behind_sample: They hold from no frame that begins before this.

        Raises:
            InvalidInput: Too many wait already.
        """
        due_sample = self._due_sample(frame_index, behind_sample)
        end = bisect.bisect_right(self._waiting, due_sample, key=_due)
        if end and self._waiting[end - 1].due_sample == due_sample:
            last = self._waiting[end - 1]
            if last.frame_index == frame_index:  # else an interrupt may part them
                last.controls, last.behind_sample = controls, behind_sample
                return
        if len(self._waiting) >= MAX_WAITING:
            raise InvalidInput(
                f"at most {MAX_WAITING} control updates may wait for their time; "
                "send them nearer to it",
                reason="TOO_MANY_CONTROLS",
                field="control.apply_offset_us",
            )
        self._waiting.insert(end, _Waiting(controls, frame_index, behind_sample, due_sample))

    def cut(self, spans: Iterable[tuple[int, int]]) -> None:
        """Let controls that wait behind audio move up when some of it is dropped.

        Args:
            spans: First sample and end of what is dropped, in rising order.
        """
        gaps = list(spans)
        for item in self._waiting:
            behind = item.behind_sample
            item.behind_sample -= sum(max(0, min(behind, end) - begin) for begin, end in gaps)
            item.due_sample = self._due_sample(item.frame_index, item.behind_sample)
        self._waiting.sort(key=_due)  # stable

    def take_due(self, position_sample: int) -> Controls | None:
        """Take out all that is due at `position_sample`; gives the last, None if there is none."""
        num_due = bisect.bisect_right(self._waiting, position_sample, key=_due)
        due = self._waiting[:num_due]
        del self._waiting[:num_due]
        return due[-1].controls if due else None

    def take_last(self, end_sample: int) -> Controls | None:
        """Take out what is for frames before the end of all audio; gives the last."""
        return self.take_due(end_sample - 1 + self._ahead_samples)

    def _due_sample(self, frame_index: int, behind_sample: int) -> int:
        first_frame = max(frame_index, frame_behind(behind_sample, self._rate_hz))
        return frame_start_sample(first_frame, self._rate_hz) + self._ahead_samples


def _due(item: _Waiting) -> int:
    return item.due_sample
