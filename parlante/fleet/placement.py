"""Which replica a stream goes to. Pure state: no time, no network.

A session's avatar decides: its two favourite replicas by rendezvous hashing, of which one has its
latents already, and the second is what it moves to when the first is lost. When neither has a free
slot, the least loaded takes it. A favourite that is much fuller than the others is passed by, or
the sessions of one popular avatar would fill a replica while the rest idles (consistent hashing
with bounded loads, Mirrokni et al. 2018, arXiv 1608.01350). Measured in simulation at 70 % load
(tests/unit/fleet): nobody is refused, and four sessions in five find their latents.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from parlante.errors import Overloaded

__all__ = ["NUM_FAVOURITES", "Candidate", "favourites", "in_order", "no_slot"]

NUM_FAVOURITES: Final = 2
# Without a favourite, the own zone is taken until it is this full.
_ZONE_FULL: Final = 0.8
# A favourite is crowded above this load, and this much above the mean: while a replica has a
# quarter of its slots to spare, others cost its streams little, and its latents save 0.3 s.
_CROWDED: Final = 0.75
_ABOVE_MEAN: Final = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A replica as placement sees it.

    Attributes:
        address: Its address; stands for it.
        capacity: Slots in all; 0 = not known, then there is always one.
        num_used: Slots in use as far as is known, with those that are being asked for.
        is_near: True in the caller's own zone, or when zones are not known.
        is_suspect: True shortly after a fault; such a one is taken last.
    """

    address: str
    capacity: int
    num_used: int
    is_near: bool = True
    is_suspect: bool = False

    @property
    def has_room(self) -> bool:
        """True when a slot seems to be free."""
        return self.capacity == 0 or self.num_used < self.capacity

    @property
    def load(self) -> float:
        """Share of its slots in use; 0 when the capacity is not known."""
        return self.num_used / self.capacity if self.capacity else 0.0


def favourites(key: str, addresses: Iterable[str], num_favourites: int) -> list[str]:
    """Give the best replicas of a key, best first.

    Rendezvous hashing: a replica that comes or goes moves only the keys that are its own.
    """
    return heapq.nlargest(num_favourites, addresses, key=lambda address: _score(key, address))


def in_order(key: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Give replicas in the order they are to be tried.

    Args:
        key: The avatar's; "" for streams that go anywhere equally well.
        candidates: Those that take streams.

    Returns:
        Favourites with room that are not crowded, the rest with room by load, then those that seem
        full: reports may be stale, and the replica has the last word.
    """
    scores = {item.address: _score(key, item.address) for item in candidates}
    names = heapq.nlargest(NUM_FAVOURITES, scores, key=scores.__getitem__) if key else []
    rank = {address: index for index, address in enumerate(names)}
    mean = sum(item.load for item in candidates) / max(1, len(candidates))
    crowded = max(_CROWDED, _ABOVE_MEAN * mean)

    def order(item: Candidate) -> tuple[bool, bool, int, bool, float, int]:
        is_far = not item.is_near or item.load >= _ZONE_FULL
        is_favourite = item.load < crowded
        place = rank.get(item.address, NUM_FAVOURITES) if is_favourite else NUM_FAVOURITES
        tie = -scores[item.address]
        return (not item.has_room, item.is_suspect, place, is_far, item.load, tie)

    return sorted(candidates, key=order)


def no_slot(stage: str, refusals: Sequence[Overloaded]) -> Overloaded:
    """Make the error for a session that found no slot, with the shortest hint it was given."""
    hints = [error.retry_after_ms for error in refusals if error.retry_after_ms is not None]
    return Overloaded(
        f"no replica of the {stage} stage has a free slot; try again later",
        reason="NO_FREE_SLOT",
        metadata={"stage": stage},
        retry_after_ms=min(hints, default=1000),
    )


def _score(key: str, address: str) -> int:
    digest = hashlib.blake2b(f"{key}\0{address}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
