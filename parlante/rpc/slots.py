"""Explicit admission: so many calls at once, and a clear refusal with a time to wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from parlante import telemetry
from parlante.errors import Overloaded


class Slots:
    """Counts the calls that a stage serves at once.

    Args:
        capacity: Calls at once, >= 1.
        what: Name of one call, for messages and metrics, e.g. "motion stream".
        retry_after_ms: Hint for those who find no slot.
    """

    def __init__(self, capacity: int, *, what: str, retry_after_ms: int = 1000) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be >= 1; got {capacity}")
        self.capacity = capacity
        self._what = what
        self._retry_after_ms = retry_after_ms
        self._num_held = 0

    @property
    def num_held(self) -> int:
        """Slots in use."""
        return self._num_held

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold a slot for the length of a with block; raises `Overloaded` when none is free."""
        attributes = {telemetry.ATTRIBUTE_STAGE: self._what}
        if self._num_held >= self.capacity:
            telemetry.metrics().streams_refused.add(1, attributes)
            raise Overloaded(
                f"all {self.capacity} slots for a {self._what} are in use; try again later",
                reason="NO_FREE_SLOT",
                metadata={"capacity": str(self.capacity)},
                retry_after_ms=self._retry_after_ms,
            )
        self._num_held += 1
        telemetry.metrics().streams_active.add(1, attributes)
        try:
            yield
        finally:
            self._num_held -= 1
            telemetry.metrics().streams_active.add(-1, attributes)
