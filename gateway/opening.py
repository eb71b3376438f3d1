"""How a session opens: its avatar, and what the client is told first."""

from __future__ import annotations

from dataclasses import replace

from gateway.limits import SessionLimits
from gateway.meter import SessionMeter
from gateway.values import Pacing, SessionSettings, Started
from parlante.clock import Clock
from parlante.ports import Encoder
from parlante.types import AvatarInfo

__all__ = ["find_avatar", "started_message"]


async def find_avatar(
    settings: SessionSettings, encoder: Encoder, *, clock: Clock, meter: SessionMeter
) -> AvatarInfo:
    """Give the avatar that a session names, or make that of its portrait."""
    if not settings.portrait:
        return await encoder.get(settings.avatar_name)
    since_us = clock.monotonic_us()
    avatar = await encoder.create(settings.portrait, selection=settings.face)
    meter.stage_took("encoder", since_us)
    return avatar


def started_message(
    session_id: str,
    settings: SessionSettings,
    avatar: AvatarInfo,
    *,
    delay_ms: int,
    limits: SessionLimits,
    size_px: tuple[int, int],
) -> Started:
    """Tell the client what its configuration has come to.

    Args:
        session_id: Of the session.
        settings: Of the session.
        avatar: Its avatar.
        delay_ms: Algorithmic delay of the motion.
        limits: Bounds of the session.
        size_px: Width and height of the frames.
    """
    is_live = settings.pacing is Pacing.LIVE
    effective = replace(
        settings,
        avatar_name=avatar.name,
        portrait=b"",
        # In burst pacing the transport's flow control does it; see the protocol.
        max_frames_in_flight=settings.max_frames_in_flight if is_live else 0,
    )
    return Started(
        session_id=session_id,
        settings=effective,
        avatar=avatar,
        algorithmic_delay_ms=delay_ms,
        max_audio_ahead_ms=limits.max_audio_ahead_ms,
        width_px=size_px[0],
        height_px=size_px[1],
    )
