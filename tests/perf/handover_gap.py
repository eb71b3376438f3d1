"""How long frames stay away when a renderer gives its streams away, with and without notice.

Usage: python -m tests.perf.handover_gap [--rounds N] [--streams N] [--cold-ms M]

Three replicas and all their callers in one process, over real gRPC, with fake frames: little CPU,
so that a busy machine can say something. A replica needs --cold-ms for an avatar it has not had.
Both ways take turns; prints a Markdown table. Nothing keeps avatars ready ahead here: what is
measured is the worst case, in which whoever goes on is new.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
import statistics
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

import numpy as np

from parlante.aio import closing
from parlante.fleet import renderer as fleet_renderer
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.renderer import FleetRenderer
from parlante.fleet.replica import Replica
from parlante.types import MOTION_DIM, MotionBlock, RenderConfig
from tests.fakes.encoder import portrait_bytes
from tests.fakes.fleet import fake_pool, serve_fleet
from tests.fakes.stages import FakeStages

BLOCK_S = 0.08
NUM_BLOCKS = 40
BEFORE_S = 1.0


class ColdLatents:
    """Latents that take their time once; callers at once share it."""

    def __init__(self, cold_s: float) -> None:
        self._cold_s = cold_s
        self._flight: asyncio.Task[None] | None = None

    async def latents(self, key: str) -> None:
        """Wait, the first time."""
        self._flight = self._flight or asyncio.create_task(asyncio.sleep(self._cold_s))
        await asyncio.shield(self._flight)


async def _motion() -> AsyncIterator[MotionBlock]:
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    for number in range(NUM_BLOCKS):
        values = np.zeros((2, MOTION_DIM), np.float32)
        yield MotionBlock(start_frame=2 * number, values=values)
        await asyncio.sleep(max(0.0, begin_s + (number + 1) * BLOCK_S - loop.time()))


async def _arrivals(pool: ReplicaPool, key: str) -> list[float]:
    renderer = FleetRenderer(pool)
    async with closing(renderer.stream(RenderConfig(avatar_key=key), _motion())) as frames:
        times = [asyncio.get_running_loop().time() async for _ in frames]
    assert len(times) == 2 * NUM_BLOCKS
    return times


async def one_round(num_streams: int, cold_s: float) -> tuple[list[float], list[float]]:
    """Give each stream's longest gap, before and while it is given away, seconds."""
    async with (
        serve_fleet(3, lambda: FakeStages()) as replicas,
        fake_pool("renderer", *replicas) as pool,
    ):
        avatar = await replicas[0].encoder.create(portrait_bytes())
        for replica in replicas:
            replica.renderer._encoder = ColdLatents(cold_s)  # type: ignore[assignment]
        streams = [asyncio.create_task(_arrivals(pool, avatar.key)) for _ in range(num_streams)]
        await asyncio.sleep(BEFORE_S + cold_s)
        moment_s = asyncio.get_running_loop().time()
        fullest = max(replicas, key=lambda replica: replica.slots.num_held)
        fullest.lifecycle.empty()
        fullest.slots.cordon(True)
        seen = await asyncio.gather(*streams)
    before, after = [], []
    for times in seen:
        steps = [(late, late - early) for early, late in itertools.pairwise(times)]
        before.append(max(step for at, step in steps if moment_s - BEFORE_S / 2 < at <= moment_s))
        after.append(max(step for at, step in steps if at > moment_s))
    return before, after


def _without_notice() -> Any:
    remote = fleet_renderer._remote

    def plain(replica: Replica, lease_id: str = "", on_notice: object = None) -> Any:
        return remote(replica, lease_id)

    return mock.patch.object(fleet_renderer, "_remote", plain)


async def run(rounds: int, num_streams: int, cold_s: float) -> None:
    """Measure both ways in turn and print them."""
    quiet: list[float] = []
    gaps: dict[str, list[float]] = {"without notice": [], "with notice": []}
    with mock.patch.object(ReplicaPool, "standbys", return_value=[]):
        for _ in range(rounds):
            with _without_notice():
                before, after = await one_round(num_streams, cold_s)
            quiet += before
            gaps["without notice"] += after
            before, after = await one_round(num_streams, cold_s)
            quiet += before
            gaps["with notice"] += after
    print(f"{num_streams} streams, {rounds} rounds, {cold_s * 1000:.0f} ms for a new avatar; load")
    print(f"average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores\n")
    print("| | longest time without a frame, median of streams | longest of all |")
    print("|---|---|---|")
    for name, values in (("undisturbed", quiet), *gaps.items()):
        print(f"| {name} | {statistics.median(values) * 1e3:.0f} ms | {max(values) * 1e3:.0f} ms |")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--cold-ms", type=float, default=300.0)
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # each move is told of
    asyncio.run(run(args.rounds, args.streams, args.cold_ms / 1000))


if __name__ == "__main__":
    main()
