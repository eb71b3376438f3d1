"""The asyncio client of Parlante: small, typed, with nothing heavier than grpcio and numpy."""

from parlante.client.client import ParlanteClient
from parlante.client.messages import (
    Audio,
    Event,
    EventType,
    Frame,
    MotionSample,
    Pacing,
    SessionInfo,
    SessionItem,
)
from parlante.client.session import Session
from parlante.client.talk import talk

__all__ = [
    "Audio",
    "Event",
    "EventType",
    "Frame",
    "MotionSample",
    "Pacing",
    "ParlanteClient",
    "Session",
    "SessionInfo",
    "SessionItem",
    "talk",
]
