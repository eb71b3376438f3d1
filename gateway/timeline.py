"""The media clock of a session: which audio sounds when. Pure state, no time, no tasks.

Positions are samples at the session's rate. The owner of the clock calls `step` to commit the next
samples; what has been committed never changes. Utterances are played in the order they came, one
at a time. An utterance that is not buffered enough yet, or ran dry, is waited for in silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

import numpy as np

from gateway.values import Event, EventType, PlayedAudio, Speech
from parlante.errors import InvalidInput
from parlante.types import FRAME_RATE_HZ, Int16Array

__all__ = [
    "FrameMarks",
    "Step",
    "Timeline",
    "TimelineSnapshot",
    "frame_behind",
    "frame_start_sample",
]

NUM_REMEMBERED_UTTERANCES: Final = 256
NUM_TOLD_UTTERANCES: Final = 64  # in a snapshot
_BYTES_PER_SAMPLE: Final = 2


def frame_start_sample(frame_index: int, sample_rate_hz: int) -> int:
    """Give the sample a frame begins with; rounded down, so that no rate ever drifts."""
    return frame_index * sample_rate_hz // FRAME_RATE_HZ


def _frame_of_sample(sample: int, sample_rate_hz: int) -> int:
    """Invert `frame_start_sample`."""
    return ((sample + 1) * FRAME_RATE_HZ - 1) // sample_rate_hz


def frame_behind(sample: int, sample_rate_hz: int) -> int:
    """Give the first frame that begins at a sample or later."""
    return _frame_of_sample(sample - 1, sample_rate_hz) + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """Committed audio.

    Attributes:
        start_sample: Position of the first sample.
        samples: int16 [S], speech and silence.
        items: The same audio cut by utterance, and the events, in the order of the clock.
    """

    start_sample: int
    samples: Int16Array
    items: tuple[PlayedAudio | Event, ...]


@dataclass(slots=True, eq=False)
class _Utterance:
    id: str
    pcm: bytearray = field(default_factory=bytearray)  # one buffer: tiny messages cost no objects
    ended: bool = False
    started: bool = False
    playing: bool = False
    waiting_since_sample: int | None = None  # when the first sample of the buffer came
    named: bool = False  # by us
    next_sample: int = 0  # where its buffer begins in the client's audio

    @property
    def num_samples(self) -> int:
        return len(self.pcm) // _BYTES_PER_SAMPLE

    def take(self, num_samples: int) -> Int16Array:
        num_bytes = num_samples * _BYTES_PER_SAMPLE
        data = bytes(self.pcm[:num_bytes])
        self.next_sample += num_samples
        del self.pcm[:num_bytes]
        return np.frombuffer(data, dtype=np.int16)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineSnapshot:
    """A timeline at one moment, without its queued audio.

    Attributes:
        position_sample: The media clock.
        audio_sample: Client audio before this was played or dropped.
        playing_id: Utterance that has begun; "" for none.
        is_playing: False when it ran dry and is waited for.
        finished: Ids of the last utterances that are over, and whether they were cut short.
        num_named: Utterances that were given a name.
    """

    position_sample: int
    audio_sample: int
    playing_id: str
    is_playing: bool
    finished: tuple[tuple[str, bool], ...]
    num_named: int


class Timeline:
    """Queued utterances and the audio committed so far.

    Args:
        sample_rate_hz: Rate of the session's audio.
        prebuffer_ms: Audio that an utterance needs before it plays, unless its end is known.
        prebuffer_timeout_ms: Media time after which it plays with less.

    Attributes:
        position_sample: Audio committed so far.
        hold_until_sample: Before it no utterance begins to play; one that plays goes on.
    """

    def __init__(
        self, sample_rate_hz: int, *, prebuffer_ms: int = 0, prebuffer_timeout_ms: int = 0
    ) -> None:
        self._rate_hz = sample_rate_hz
        self._prebuffer = sample_rate_hz * prebuffer_ms // 1000
        self._prebuffer_timeout = sample_rate_hz * prebuffer_timeout_ms // 1000
        self._queue: deque[_Utterance] = deque()
        self._finished: dict[str, bool] = {}  # id -> interrupted; the latest only
        self._num_named = 0
        self._closed = False
        self.position_sample = 0
        self.hold_until_sample = 0
        self.num_received = 0
        self.num_queued = 0

    @classmethod
    def restored(
        cls,
        snapshot: TimelineSnapshot,
        sample_rate_hz: int,
        *,
        prebuffer_ms: int,
        prebuffer_timeout_ms: int,
    ) -> Self:
        """Make a timeline that goes on from a snapshot; its audio comes again from the client."""
        timeline = cls(
            sample_rate_hz, prebuffer_ms=prebuffer_ms, prebuffer_timeout_ms=prebuffer_timeout_ms
        )
        timeline.position_sample = snapshot.position_sample
        timeline.num_received = snapshot.audio_sample
        timeline._finished = dict(snapshot.finished)
        timeline._num_named = snapshot.num_named
        if snapshot.playing_id:
            head = _Utterance(snapshot.playing_id, started=True, playing=snapshot.is_playing)
            head.waiting_since_sample = snapshot.position_sample
            head.next_sample = snapshot.audio_sample
            timeline._queue.append(head)
        return timeline

    @property
    def snapshot(self) -> TimelineSnapshot:
        """What another gateway needs to go on from here.

        Queued audio is not part of it: it may be seconds, and the client has it.
        """
        head = self._queue[0] if self._queue and self._queue[0].started else None
        waiting = [u.next_sample for u in self._queue if u.pcm]
        return TimelineSnapshot(
            position_sample=self.position_sample,
            audio_sample=min(waiting, default=self.num_received),
            playing_id=head.id if head else "",
            is_playing=head.playing if head else False,
            finished=tuple(self._finished.items())[-NUM_TOLD_UTTERANCES:],
            num_named=self._num_named - sum(u.named for u in self._queue if u is not head),
        )

    # --- what came ---------------------------------------------------------------------------

    def push(self, speech: Speech) -> None:
        """Queue audio.

        Audio of an interrupted utterance is counted and dropped: it was on its way.

        Raises:
            InvalidInput: AUDIO_GAP or AUDIO_OVERLAP, or UTTERANCE_ENDED for more audio of an
                utterance that is complete.
        """
        self._check_contiguous(speech.start_sample)
        utterance = self._receiving(speech.utterance_id)
        self.num_received += len(speech.samples)
        if utterance is None:
            return
        if not utterance.pcm:
            utterance.waiting_since_sample = self.position_sample
            utterance.next_sample = speech.start_sample
        utterance.pcm += speech.samples.astype(np.int16, copy=False).tobytes()
        self.num_queued += len(speech.samples)

    def end(self, utterance_id: str) -> None:
        """Mark an utterance as complete; "" is the current one. Idempotent.

        An id that had no audio is an empty utterance: it finishes in its turn, so that nobody
        waits for it in vain.
        """
        if utterance_id == "":
            if self._queue:
                self._queue[-1].ended = True
            return
        if utterance_id in self._finished:
            return
        for utterance in self._queue:
            if utterance.id == utterance_id:
                utterance.ended = True
                return
        self._begin(utterance_id).ended = True

    def interrupt(self, utterance_id: str) -> list[Event]:
        """Drop what is queued of an utterance, or of all with "", and finish it here."""
        cut = [u for u in self._queue if utterance_id in ("", u.id)]
        events = [self._event(EventType.INTERRUPTED, utterance_id or (cut[0].id if cut else ""))]
        if not cut and utterance_id and utterance_id not in self._finished:
            cut = [_Utterance(utterance_id)]  # its audio is still to come, and will be dropped
        for utterance in cut:
            self.num_queued -= utterance.num_samples
            events.append(self._finish(utterance, interrupted=True))
        self._queue = deque(u for u in self._queue if u not in cut)
        return events

    def close(self) -> None:
        """Note that no more audio will come."""
        self._closed = True
        for utterance in self._queue:
            utterance.ended = True

    # --- what plays --------------------------------------------------------------------------

    @property
    def num_utterances(self) -> int:
        """Utterances that are not finished."""
        return len(self._queue)

    @property
    def drained(self) -> bool:
        """True once no more audio will come and all has been played."""
        return self._closed and not self._queue

    @property
    def end_sample(self) -> int:
        """Where the queued audio ends if nothing is waited for."""
        return self.position_sample + self.num_queued

    @property
    def end_frame(self) -> int:
        """First frame that begins behind the queued audio if nothing is waited for."""
        return frame_behind(self.end_sample, self._rate_hz)

    def spans(self, utterance_id: str) -> list[tuple[int, int]]:
        """Where queued audio lies if nothing is waited for: of an utterance, or of all with ""."""
        spans, begin = [], self.position_sample
        for utterance in self._queue:
            end = begin + utterance.num_samples
            if utterance_id in ("", utterance.id):
                spans.append((begin, end))
            begin = end
        return spans

    def num_ready(self, num_samples: int) -> int:
        """Tell how many of the next `num_samples` are sure to be speech without a wait.

        All or nothing, except that complete utterances are given as they are: were they to wait for
        more, many tiny ones could stop the reading before there is enough.
        """
        if self.num_queued >= num_samples:
            return num_samples
        is_open = bool(self._queue) and not self._queue[-1].ended
        return self.num_queued - (self._queue[-1].num_samples if is_open else 0)

    @property
    def has_settled(self) -> bool:
        """False when an utterance at the head is over but not yet finished."""
        return not (self._queue and self._queue[0].ended and not self._queue[0].pcm)

    def step(self, num_samples: int) -> Step:
        """Commit the next samples, filled up with silence; 0 only finishes what is over."""
        start, end = self.position_sample, self.position_sample + num_samples
        items: list[PlayedAudio | Event] = []
        while self._queue and (self.position_sample < end or not self.has_settled):
            if not self._play_head(end, items):
                break
        if self.position_sample < end:
            self._commit(np.zeros(end - self.position_sample, np.int16), "", items)
        audio = [item.samples for item in items if isinstance(item, PlayedAudio)]
        samples = np.concatenate(audio) if audio else np.zeros(0, np.int16)
        return Step(start_sample=start, samples=samples, items=tuple(items))

    def offset_us(self, sample: int) -> int:
        """Give the media time of a sample, rounded down."""
        return sample * 1_000_000 // self._rate_hz

    # --- details -----------------------------------------------------------------------------

    def _play_head(self, end_sample: int, items: list[PlayedAudio | Event]) -> bool:
        """Play the first utterance up to `end_sample`; False when it must be waited for."""
        head = self._queue[0]
        if head.pcm and not head.playing:
            if not self._is_ready(head):
                return False
            head.playing = True
            if not head.started:
                head.started = True
                items.append(self._event(EventType.UTTERANCE_STARTED, head.id))
        num_samples = min(end_sample - self.position_sample, head.num_samples)
        if num_samples:
            self.num_queued -= num_samples
            self._commit(head.take(num_samples), head.id, items)
        if not head.pcm and head.ended:
            self._queue.popleft()
            items.append(self._finish(head, interrupted=False))
        elif not head.pcm and self.position_sample < end_sample:
            if head.playing:
                head.playing = False
                items.append(self._event(EventType.AUDIO_UNDERRUN, head.id))
            return False
        return True

    def _is_ready(self, utterance: _Utterance) -> bool:
        if self.position_sample < self.hold_until_sample:
            return False
        since = utterance.waiting_since_sample
        waited = 0 if since is None else self.position_sample - since
        return (
            utterance.ended
            or utterance.num_samples >= self._prebuffer
            or waited >= self._prebuffer_timeout
        )

    def _commit(
        self, samples: Int16Array, utterance_id: str, items: list[PlayedAudio | Event]
    ) -> None:
        items.append(
            PlayedAudio(
                media_offset_us=self.offset_us(self.position_sample),
                start_sample=self.position_sample,
                samples=samples,
                utterance_id=utterance_id,
            )
        )
        self.position_sample += len(samples)

    def _check_contiguous(self, start_sample: int) -> None:
        if start_sample != self.num_received:
            kind = "gap" if start_sample > self.num_received else "overlap"
            raise InvalidInput(
                f"audio must go on at start_sample {self.num_received}; got {start_sample}; "
                "count the samples of all utterances back to back",
                reason=f"AUDIO_{kind.upper()}",
                field="audio.start_sample",
            )

    def _receiving(self, utterance_id: str) -> _Utterance | None:
        """Give the utterance that audio belongs to; None when it was interrupted."""
        current = self._queue[-1] if self._queue else None
        if current is not None and not current.ended and utterance_id in ("", current.id):
            return current
        if self._finished.get(utterance_id, False):
            return None
        if utterance_id in self._finished or any(u.id == utterance_id for u in self._queue):
            raise InvalidInput(
                f"utterance {utterance_id!r} is complete; begin a new one for more audio",
                reason="UTTERANCE_ENDED",
                field="audio.utterance_id",
            )
        utterance = self._begin(utterance_id or self._new_id())
        utterance.named = not utterance_id
        return utterance

    def _begin(self, utterance_id: str) -> _Utterance:
        if self._queue:
            self._queue[-1].ended = True  # a new id ends the one before
        utterance = _Utterance(utterance_id)
        self._queue.append(utterance)
        return utterance

    def _new_id(self) -> str:
        taken = {u.id for u in self._queue} | self._finished.keys()
        while True:
            self._num_named += 1
            if (name := f"utterance-{self._num_named}") not in taken:
                return name

    def _finish(self, utterance: _Utterance, *, interrupted: bool) -> Event:
        self._finished[utterance.id] = interrupted
        if len(self._finished) > NUM_REMEMBERED_UTTERANCES:
            del self._finished[next(iter(self._finished))]
        return self._event(EventType.UTTERANCE_FINISHED, utterance.id, interrupted=interrupted)

    def _event(self, type_: EventType, utterance_id: str, *, interrupted: bool = False) -> Event:
        return Event(
            type=type_,
            media_offset_us=self.offset_us(self.position_sample),
            utterance_id=utterance_id,
            interrupted=interrupted,
        )


class FrameMarks:
    """Which utterance sounds in which frame, from the commit of its audio to its motion.

    Args:
        sample_rate_hz: Rate of the session's audio.
        known: Of a session that goes on.
    """

    def __init__(self, sample_rate_hz: int, known: Mapping[int, str] | None = None) -> None:
        self._rate_hz = sample_rate_hz
        self._ids: dict[int, str] = dict(known or {})

    @property
    def known(self) -> Mapping[int, str]:
        """Utterances of the frames that have not been taken."""
        return MappingProxyType(self._ids)

    def record(self, audio: PlayedAudio) -> None:
        """Note the frames that committed audio sounds in; the first utterance has the frame."""
        if audio.utterance_id and len(audio.samples):
            first = _frame_of_sample(audio.start_sample, self._rate_hz)
            last = _frame_of_sample(audio.start_sample + len(audio.samples) - 1, self._rate_hz)
            for frame_index in range(first, last + 1):
                self._ids.setdefault(frame_index, audio.utterance_id)

    def take(self, frame_index: int) -> str:
        """Give the utterance of a frame, "" for none; frames are asked for in order, once."""
        return self._ids.pop(frame_index, "")
