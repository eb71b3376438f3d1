"""Where the user's own voice lies on the media clock. Pure state, no time, no tasks.

A piece ends at the moment it arrives. Pieces that follow each other are laid back to back, so that
the jitter of a network tears no holes; once that is further than 200 ms from their arrival, the
place is taken anew. What is placed never goes back: sound that comes faster than time is dropped
until the clock has caught up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.types import Int16Array, ListeningChunk

__all__ = ["ListeningTrack"]

MAX_JITTER_MS: Final = 200
MAX_QUEUED_MS: Final = 1000
_BYTES_PER_SAMPLE: Final = 2


@dataclass(slots=True, eq=False)
class _Segment:
    start_sample: int
    pcm: bytearray  # one buffer: tiny messages cost no objects

    @property
    def end_sample(self) -> int:
        return self.start_sample + len(self.pcm) // _BYTES_PER_SAMPLE

    def drop_first(self, num_samples: int) -> None:
        del self.pcm[: num_samples * _BYTES_PER_SAMPLE]
        self.start_sample += num_samples


class ListeningTrack:
    """Listening audio that the motion stream has not taken yet, at most 1 s.

    Args:
        sample_rate_hz: Rate of the session's audio.
        begin_ms: Nothing is placed before this time.

    Attributes:
        num_queued: Samples that wait.
    """

    def __init__(self, sample_rate_hz: int, *, begin_ms: int = 0) -> None:
        self._max_jitter = sample_rate_hz * MAX_JITTER_MS // 1000
        self._max_queued = sample_rate_hz * MAX_QUEUED_MS // 1000
        self._segments: deque[_Segment] = deque()
        self._end_sample = sample_rate_hz * begin_ms // 1000  # of what was placed
        self._follows = False  # the next piece may be laid behind the last one
        self.num_queued = 0

    def push(self, samples: Int16Array, now_sample: int) -> int:
        """Place a piece whose last sample was heard now.

        Returns:
            Samples that were dropped: those for which there is no place any more, and the oldest
            of those that wait when they are too many.
        """
        start = now_sample - len(samples)
        if self._follows and abs(start - self._end_sample) <= self._max_jitter:
            start = self._end_sample
        num_late = min(len(samples), max(0, self._end_sample - start))
        self._follows = num_late < len(samples)
        if self._follows:
            self._append(start + num_late, samples[num_late:])
        return num_late + self._drop_oldest()

    def take(self) -> ListeningChunk | None:
        """Take out the oldest contiguous piece; None when nothing waits."""
        if not self._segments:
            return None
        segment = self._segments.popleft()
        samples = np.frombuffer(bytes(segment.pcm), dtype=np.int16)
        self.num_queued -= len(samples)
        return ListeningChunk(start_sample=segment.start_sample, samples=samples)

    def _append(self, start_sample: int, samples: Int16Array) -> None:
        pcm = samples.astype(np.int16, copy=False).tobytes()
        if self._segments and self._segments[-1].end_sample == start_sample:
            self._segments[-1].pcm += pcm
        else:
            self._segments.append(_Segment(start_sample, bytearray(pcm)))
        self._end_sample = start_sample + len(samples)
        self.num_queued += len(samples)

    def _drop_oldest(self) -> int:
        num_dropped = max(0, self.num_queued - self._max_queued)
        self.num_queued -= num_dropped
        num_left = num_dropped
        while num_left:
            oldest = self._segments[0]
            num_here = min(num_left, oldest.end_sample - oldest.start_sample)
            oldest.drop_first(num_here)
            num_left -= num_here
            if not oldest.pcm:
                self._segments.popleft()
        return num_dropped
