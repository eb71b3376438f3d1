"""The three ports a session works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from parlante.errors import Unavailable
from parlante.ports import Encoder, Motion, Renderer

__all__ = ["Stages", "named_stage"]

_RETRY_AFTER_MS: Final = 1000


@dataclass(slots=True, kw_only=True)
class Stages:
    """The stages behind the gateway, in this process or over gRPC.

    Attributes:
        encoder: Portrait -> avatar.
        motion: Audio and controls -> motion.
        renderer: Avatar and motion -> frames.
        prepare: Makes the stages ready, or waits until they are.
    """

    encoder: Encoder
    motion: Motion
    renderer: Renderer
    prepare: Callable[[], Awaitable[None]] | None = None

    async def warm_up(self) -> None:
        """Return once the stages can take a session."""
        if self.prepare is not None:
            await self.prepare()


@contextmanager
def named_stage(stage: str) -> Iterator[None]:
    """Say which stage it was that could not be reached; other errors speak for themselves."""
    try:
        yield
    except Unavailable as error:
        if error.reason != Unavailable.default_reason:
            raise
        raise Unavailable(
            f"the {stage} stage is out of reach; open a new session",
            reason="STAGE_UNAVAILABLE",
            metadata={"stage": stage},
            retry_after_ms=_RETRY_AFTER_MS,
        ) from error
