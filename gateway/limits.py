"""The bounds of a session; see `gateway.config` for where they come from."""

from __future__ import annotations

from dataclasses import dataclass, fields

from parlante.errors import InvalidInput
from parlante.types import FRAME_SIZE_PX, FRAME_SIZES_PX, AvatarInfo, RenderConfig

__all__ = ["SessionLimits", "check_frame_size", "frame_size_within"]


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
        max_frame_size_px: Edge of the largest square frames; below 1024 whole pictures that are
            larger are refused too.
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
    max_frame_size_px: int = 1024

    def __post_init__(self) -> None:
        for item in fields(self):
            low = 0 if item.name.startswith("prebuffer") else 1
            value = getattr(self, item.name)
            if value < low:
                raise ValueError(f"{item.name} must be >= {low}; got {value}")
        if self.max_frame_size_px < FRAME_SIZE_PX:  # what a client gets that asks for nothing
            raise ValueError(
                f"max_frame_size_px must be >= {FRAME_SIZE_PX}; got {self.max_frame_size_px}"
            )


def frame_size_within(
    config: RenderConfig, avatar: AvatarInfo, limits: SessionLimits
) -> tuple[int, int]:
    """Width and height of an avatar's frames.

    Raises:
        InvalidInput: The avatar cannot have them (FRAME_SIZE_FIXED, BACKGROUND_FIXED), or they are
            larger than this server makes them (FRAME_TOO_LARGE).
    """
    size = config.frame_size_of(avatar.framing, avatar.source_width_px, avatar.source_height_px)
    check_frame_size(*size, limits)
    return size


def check_frame_size(width_px: int, height_px: int, limits: SessionLimits) -> None:
    """Raise `InvalidInput` FRAME_TOO_LARGE for frames that are beyond the limit.

    At the largest limit whole pictures are let through, whose size is bounded by itself.
    """
    limit_px = limits.max_frame_size_px
    if limit_px < max(FRAME_SIZES_PX) and max(width_px, height_px) > limit_px:
        raise InvalidInput(
            f"frames have at most {limit_px} px a side here; got {width_px}x{height_px}; ask for "
            "less, or create the avatar with the framing head or shoulders",
            reason="FRAME_TOO_LARGE",
            field="frame_size_px",
        )
