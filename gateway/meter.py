"""What a session tells the metrics; nothing is exported unless the process is configured to."""

from __future__ import annotations

from typing import Final

from gateway.credits import DropReason
from gateway.values import Frame
from parlante import telemetry
from parlante.clock import Clock

__all__ = ["SessionMeter"]

_STAGE: Final = telemetry.ATTRIBUTE_STAGE


class SessionMeter:
    """Times and counts of one session.

    How late frames are, and how long stages take for them, is noted of live sessions only: in
    burst pacing there is no media clock to be late against, and stages wait for the client.

    Args:
        clock: Of the session.
        is_live: Whether frames are due in real time.

    Attributes:
        start_us: Media time 0 on the clock.
    """

    def __init__(self, clock: Clock, *, is_live: bool) -> None:
        self._clock = clock
        self._is_live = is_live
        self._metrics = telemetry.metrics()
        self.start_us = clock.monotonic_us()
        self._first_audio_us: int | None = None
        self._has_spoken = False
        self._last_sent_us: int | None = None

    def audio_came(self, num_queued_samples: int, sample_rate_hz: int) -> None:
        """Note audio of the client and how much waits now."""
        if self._first_audio_us is None:
            self._first_audio_us = self._clock.monotonic_us()
        self._metrics.audio_ahead.record(num_queued_samples / sample_rate_hz)

    def listening_dropped(self, num_samples: int, sample_rate_hz: int) -> None:
        """Note listening audio that had no place or waited too long."""
        if num_samples:
            self._metrics.listening_dropped.add(num_samples / sample_rate_hz)

    def frame_sent(self, frame: Frame) -> None:
        """Note a frame that went out."""
        self._metrics.frames_sent.add(1)
        if not self._is_live:
            return
        now_us = self._clock.monotonic_us()
        self._metrics.frame_latency.record((now_us - self.start_us - frame.media_offset_us) / 1e6)
        if self._last_sent_us is not None:
            self._metrics.frame_interval.record((now_us - self._last_sent_us) / 1e6)
        self._last_sent_us = now_us
        if frame.utterance_id and not self._has_spoken and self._first_audio_us is not None:
            self._has_spoken = True
            self._metrics.first_frame_duration.record((now_us - self._first_audio_us) / 1e6)

    def frames_dropped(self, num_frames: int, reason: DropReason) -> None:
        """Note frames that were not made."""
        self._metrics.frames_dropped.add(num_frames, {telemetry.ATTRIBUTE_REASON: reason.value})

    def interrupted(self, since_us: int) -> None:
        """Note an interrupt that was read at `since_us` and has taken effect now."""
        self._metrics.interrupt_duration.record((self._clock.monotonic_us() - since_us) / 1e6)

    def stage_took(self, stage: str, since_us: int) -> None:
        """Note work of a stage that began at `since_us` and ended now, in any pacing."""
        duration_s = (self._clock.monotonic_us() - since_us) / 1e6
        self._metrics.stage_duration.record(duration_s, {_STAGE: stage})

    def item_took(self, stage: str, since_us: int) -> None:
        """Note an item of a stage's stream that was asked for at `since_us` and came now."""
        if self._is_live:
            self.stage_took(stage, since_us)
