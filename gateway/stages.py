"""The three ports a session works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from parlante.ports import Encoder, Motion, Renderer

__all__ = ["Stages"]


@dataclass(slots=True, kw_only=True)
class Stages:
    """The stages behind the gateway, in this process or over gRPC.

    Attributes:
        encoder: Portrait -> avatar.
        motion: Audio and controls -> motion.
        renderer: Avatar and motion -> frames.
        algorithmic_delay_ms: Block plus look-ahead of the motion model; 0 = not known yet.
        prepare: Makes the stages ready, or waits until they are, and tells that delay.
    """

    encoder: Encoder
    motion: Motion
    renderer: Renderer
    algorithmic_delay_ms: int = 0
    prepare: Callable[[], Awaitable[int]] | None = None

    async def warm_up(self) -> None:
        """Return once the stages can take a session."""
        if self.prepare is not None:
            self.algorithmic_delay_ms = await self.prepare()
