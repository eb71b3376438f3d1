"""Explicit admission: so many streams at once, leases for those to come, and a clear refusal.

A slot is held by a stream, or leased for a short time to one that is about to be opened. Every
change is one step of one event loop, so that there are never more streams and leases than slots.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from parlante import telemetry
from parlante.errors import Overloaded

__all__ = ["SlotCounts", "Slots"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCounts:
    """How the slots of a process are used.

    Attributes:
        capacity: Slots in all.
        num_held: Held by streams.
        num_leased: Leased to streams to come.
        num_refused: Refused since the start.
        cordoned: No new streams by an operator's wish.
    """

    capacity: int
    num_held: int
    num_leased: int
    num_refused: int
    cordoned: bool


class Slots:
    """Counts the calls that a stage serves at once; belongs to one event loop.

    Args:
        capacity: Calls at once, >= 1.
        what: Name of one call, for messages and metrics, e.g. "motion stream".
        retry_after_ms: Hint for those who find no slot.
        now_s: Monotonic time, seconds.

    Attributes:
        capacity: Slots in all.
        cordoned: True while no new streams are taken.
    """

    def __init__(
        self,
        capacity: int,
        *,
        what: str,
        retry_after_ms: int = 1000,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be >= 1; got {capacity}")
        self.capacity = capacity
        self.cordoned = False
        self._attributes = {telemetry.ATTRIBUTE_STAGE: what}
        self._what = what
        self._retry_after_ms = retry_after_ms
        self._now_s = now_s
        self._num_held = 0
        self._num_refused = 0
        self._leases: dict[str, float] = {}  # id -> when it ends
        self._changed = asyncio.Event()
        self._on_cordon: Callable[[bool], None] | None = None
        metrics = telemetry.metrics()
        metrics.slots_capacity.add(capacity, self._attributes)
        # A series that begins with its first event has no increase to be seen by an alert.
        metrics.streams_active.add(0, self._attributes)
        metrics.streams_refused.add(0, self._attributes)

    @property
    def num_held(self) -> int:
        """Slots that streams hold."""
        return self._num_held

    @property
    def counts(self) -> SlotCounts:
        """How the slots are used now."""
        self._drop_expired()
        return SlotCounts(
            capacity=self.capacity,
            num_held=self._num_held,
            num_leased=len(self._leases),
            num_refused=self._num_refused,
            cordoned=self.cordoned,
        )

    @contextmanager
    def hold(self, lease_id: str = "") -> Iterator[None]:
        """Hold a slot for the length of a with block.

        Args:
            lease_id: Lease that the slot was taken with; "" or one that has ended takes a free
                slot.

        Raises:
            Overloaded: NO_FREE_SLOT or CORDONED.
        """
        self._drop_expired()
        if self._leases.pop(lease_id, None) is None:
            self._take_free()
        self._num_held += 1
        self._note_change()
        telemetry.metrics().streams_active.add(1, self._attributes)
        try:
            yield
        finally:
            self._num_held -= 1
            self._note_change()
            telemetry.metrics().streams_active.add(-1, self._attributes)

    def lease(self, lease_id: str, ttl_s: float) -> None:
        """Take a slot for a stream that comes within `ttl_s`; asking again extends the lease.

        Raises:
            Overloaded: NO_FREE_SLOT or CORDONED.
        """
        self._drop_expired()
        if lease_id not in self._leases:
            self._take_free()
        self._leases[lease_id] = self._now_s() + ttl_s
        self._note_change()

    def release(self, lease_id: str) -> None:
        """Give back a lease that no stream has claimed; another id changes nothing."""
        if self._leases.pop(lease_id, None) is not None:
            self._note_change()

    def cordon(self, cordoned: bool) -> None:
        """Take no new streams from now on, or take them again; leases stay good."""
        self.cordoned = cordoned
        self._note_change()
        if self._on_cordon is not None:
            self._on_cordon(cordoned)

    def on_cordon(self, tell: Callable[[bool], None]) -> None:
        """Call `tell` with `cordoned` now and whenever it is set; one listener."""
        self._on_cordon = tell
        tell(self.cordoned)

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change of any count; leases that end in silence are none."""
        return self._changed

    def _take_free(self) -> None:
        if not self.cordoned and self._num_held + len(self._leases) < self.capacity:
            return
        self._num_refused += 1
        self._note_change()
        if self.cordoned:  # by a wish, not for want of slots: autoscalers must not count it
            raise Overloaded(
                f"this replica takes no new {self._what}; try another one",
                reason="CORDONED",
                retry_after_ms=self._retry_after_ms,
            )
        telemetry.metrics().streams_refused.add(1, self._attributes)
        raise Overloaded(
            f"all {self.capacity} slots for a {self._what} are in use; try again later",
            reason="NO_FREE_SLOT",
            metadata={"capacity": str(self.capacity)},
            retry_after_ms=self._retry_after_ms,
        )

    def _drop_expired(self) -> None:
        now_s = self._now_s()
        self._leases = {key: end_s for key, end_s in self._leases.items() if end_s > now_s}

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
