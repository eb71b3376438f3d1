"""The three ports a session works with."""

from __future__ import annotations

from dataclasses import dataclass

from parlante.ports import Encoder, Motion, Renderer

__all__ = ["Stages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The stages behind the gateway, in this process or over gRPC.

    Attributes:
        encoder: Portrait -> avatar.
        motion: Audio and controls -> motion.
        renderer: Avatar and motion -> frames.
        algorithmic_delay_ms: Block plus look-ahead of the motion model; 0 = not known.
    """

    encoder: Encoder
    motion: Motion
    renderer: Renderer
    algorithmic_delay_ms: int = 0
