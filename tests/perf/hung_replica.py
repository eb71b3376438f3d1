"""How long it takes a caller to notice that a replica's process has been stopped (SIGSTOP).

Usage: python -m tests.perf.hung_replica [--rounds N]

A motion process of the local fleet, a pool with the gateways' keepalive, no stream: the time until
the pool holds the replica for out of reach, and until it is used again. Processes are stopped at
random moments, as the time depends on when the last ping was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import statistics

from parlante.fleet.endpoints import StaticDiscovery
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.replica import Replica
from tests.fleet.local_fleet import local_fleet

LOOK_S = 0.005
PAUSE_S = 1.0
TIMEOUT_S = 30.0


async def _until(replica: Replica, is_open: bool) -> float:
    """Wait for a replica to be open or not; gives the seconds."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    async with asyncio.timeout(TIMEOUT_S):
        while replica.is_open is not is_open:  # noqa: ASYNC110 (what is measured)
            await asyncio.sleep(LOOK_S)
    return loop.time() - begin_s


async def run(rounds: int) -> None:
    """Measure and print."""
    lost_s, found_s = [], []
    async with local_fleet(gateways=0, motions=1, renderers=0, encoders=0) as fleet:
        (member,) = fleet.of("motion")
        async with ReplicaPool("motion", StaticDiscovery(member.address)) as pool:
            (replica,) = pool.replicas
            await _until(replica, is_open=True)
            for _ in range(rounds):
                await asyncio.sleep(PAUSE_S + random.random())
                member.signal(signal.SIGSTOP)
                lost_s.append(await _until(replica, is_open=False))
                await asyncio.sleep(PAUSE_S)
                member.signal(signal.SIGCONT)
                found_s.append(await _until(replica, is_open=True))
    for what, values in (("noticed after", lost_s), ("used again after", found_s)):
        least, middle, most = min(values), statistics.median(values), max(values)
        texts = " / ".join(f"{value * 1000:.0f}" for value in (least, middle, most))
        print(f"{what}: {texts} ms (shortest / median / longest of {rounds})")
    print(f"Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    asyncio.run(run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
