"""The bounds of a session; see `gateway.config` for where they come from."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["SessionLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """What one session may use.

    Attributes:
        max_session_s: Length of a session.
        max_idle_s: Time without a message of the client, before its half-close.
        max_audio_ahead_ms: Audio that is read ahead of the media clock.
        max_unread_s: How long audio, motion and events may wait for a client that does not read.
        max_motion_lag_ms: How far motion may fall behind the media clock.
        max_lateness_ms: Of frames that are later than this only a few are rendered; a delay budget
            beyond the default adds to it.
        frame_deadline_ms: A frame of a live session that the renderer has not made within this is
            left out.
        max_unsent_frames: Frames between the start of rendering and the end of sending.
        prebuffer_ms: Audio that an utterance needs before it plays, unless its end is known.
        prebuffer_timeout_ms: Time after which it plays with less.
    """

    max_session_s: int = 4 * 3600
    max_idle_s: int = 300
    max_audio_ahead_ms: int = 10_000
    max_unread_s: int = 10
    max_motion_lag_ms: int = 5_000
    max_lateness_ms: int = 600
    frame_deadline_ms: int = 400
    max_unsent_frames: int = 8
    prebuffer_ms: int = 120
    prebuffer_timeout_ms: int = 200

    def __post_init__(self) -> None:
        for item in fields(self):
            low = 0 if item.name.startswith("prebuffer") else 1
            value = getattr(self, item.name)
            if value < low:
                raise ValueError(f"{item.name} must be >= {low}; got {value}")
