"""A fleet in simulation: sessions come and go, gateways know loads that are 2 s old.

Run as a program for the table of docs/sizing.md:
``python -m tests.unit.fleet.placement_simulation``.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict
from dataclasses import dataclass, field

from parlante.fleet.placement import Candidate, in_order

MAX_ATTEMPTS = 3


@dataclass(kw_only=True)
class SimReplica:
    """The truth about one replica."""

    address: str
    capacity: int
    max_avatars: int
    num_held: int = 0
    avatars: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def take(self, avatar: str) -> bool | None:
        """Take a session; gives whether its latents were there, None when there is no slot."""
        if self.num_held >= self.capacity:
            return None
        self.num_held += 1
        hit = avatar in self.avatars
        self.avatars[avatar] = None
        self.avatars.move_to_end(avatar)
        if len(self.avatars) > self.max_avatars:
            self.avatars.popitem(last=False)
        return hit


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Shares of the sessions after the warm-up."""

    num_sessions: int
    refused: float
    hits: float


def simulate(
    *,
    load: float,
    num_replicas: int = 16,
    num_slots: int = 8,
    num_gateways: int = 4,
    num_sessions: int = 8_000,
    num_avatars: int = 500,
    avatars_per_replica: int = 32,
    report_age_s: float = 2.0,
    mean_session_s: float = 120.0,
    seed: int = 1,
) -> Outcome:
    """Play sessions of exponential length that come at random; the load is what is offered."""
    rng = random.Random(seed)
    weights = [1 / rank**0.9 for rank in range(1, num_avatars + 1)]
    avatars = rng.choices([f"avatar-{n}" for n in range(num_avatars)], weights, k=num_sessions)
    replicas = {
        f"10.0.0.{n}:50053": SimReplica(
            address=f"10.0.0.{n}:50053", capacity=num_slots, max_avatars=avatars_per_replica
        )
        for n in range(num_replicas)
    }
    rate_hz = load * num_replicas * num_slots / mean_session_s
    known = [dict.fromkeys(replicas, 0) for _ in range(num_gateways)]
    ends: list[tuple[float, str]] = []
    now_s, next_report_s = 0.0, 0.0
    num_counted = num_refused = num_hits = 0
    for index, avatar in enumerate(avatars):
        now_s += rng.expovariate(rate_hz)
        while ends and ends[0][0] <= now_s:
            replicas[heapq.heappop(ends)[1]].num_held -= 1
        if now_s >= next_report_s:
            next_report_s = now_s + report_age_s
            known = [{a: r.num_held for a, r in replicas.items()} for _ in range(num_gateways)]
        view = known[rng.randrange(num_gateways)]
        candidates = [
            Candidate(address=address, capacity=num_slots, num_used=num_used)
            for address, num_used in view.items()
        ]
        hit = None
        for candidate in in_order(avatar, candidates)[:MAX_ATTEMPTS]:
            hit = replicas[candidate.address].take(avatar)
            # The answer to a lease brings the load; so does a refusal.
            view[candidate.address] = replicas[candidate.address].num_held
            if hit is not None:
                heapq.heappush(
                    ends, (now_s + rng.expovariate(1 / mean_session_s), candidate.address)
                )
                break
        if index >= num_sessions // 4:
            num_counted += 1
            num_refused += hit is None
            num_hits += hit is True
    return Outcome(
        num_sessions=num_counted,
        refused=num_refused / num_counted,
        hits=num_hits / max(1, num_counted - num_refused),
    )


if __name__ == "__main__":
    for share in (0.35, 0.7, 0.9):
        outcome = simulate(load=share, num_sessions=40_000)
        print(f"load {share:.0%}: refused {outcome.refused:.2%}, latents found {outcome.hits:.1%}")
