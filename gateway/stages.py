"""The three ports a session works with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
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
        reserve: Takes what a session needs of the stages before it begins, and gives it back in the
            end; takes the avatar's key and whether frames are rendered. None: nothing is reserved.
    """

    encoder: Encoder
    motion: Motion
    renderer: Renderer
    prepare: Callable[[], Awaitable[None]] | None = None
    reserve: Reserve | None = None

    async def warm_up(self) -> None:
        """Return once the stages can take a session."""
        if self.prepare is not None:
            await self.prepare()

    @asynccontextmanager
    async def admitted(self, avatar_key: str, *, frames: bool) -> AsyncIterator[Stages]:
        """Give the stages of one session, with their slots taken.

        Args:
            avatar_key: Content key of the session's avatar.
            frames: True when the session renders.

        Raises:
            Overloaded: A stage has no free slot.
            Unavailable: A stage is out of reach.
        """
        if self.reserve is None:
            yield self
            return
        async with self.reserve(avatar_key, frames) as stages:
            yield stages


Reserve = Callable[[str, bool], AbstractAsyncContextManager[Stages]]


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
