"""What waits to be sent to the client."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gateway.bell import Bell
from gateway.values import Frame, SessionOutput

__all__ = ["Outbox"]


@dataclass(frozen=True, slots=True)
class _Letter:
    output: SessionOutput
    queued_us: int


class Outbox:
    """Messages in the order they go out.

    Frames are bounded by the session's `FrameWindow`; audio, motion and events, which are never
    dropped, by how long the oldest has waited (`oldest_us`), so the owner can end the session.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._letters: deque[_Letter] = deque()
        self._num_lasting = 0
        self._closed = False

    @property
    def num_lasting(self) -> int:
        """Waiting messages that are no frames."""
        return self._num_lasting

    @property
    def oldest_us(self) -> int | None:
        """When the oldest message that waits was put; None when nothing waits."""
        return self._letters[0].queued_us if self._letters else None

    def put(self, output: SessionOutput, now_us: int) -> None:
        """Append a message."""
        self._letters.append(_Letter(output, now_us))
        self._num_lasting += not isinstance(output, Frame)
        self._bell.ring()

    def close(self) -> None:
        """Note that nothing more will be put."""
        self._closed = True
        self._bell.ring()

    async def head(self) -> SessionOutput | None:
        """Wait for the oldest message, leaving it in; None once closed and empty."""
        await self._bell.until(lambda: bool(self._letters) or self._closed)
        return self._letters[0].output if self._letters else None

    def pop(self) -> None:
        """Take the oldest message out, after it was sent."""
        letter = self._letters.popleft()
        self._num_lasting -= not isinstance(letter.output, Frame)
        self._bell.ring()
