"""A local fleet under calls while its processes are replaced, killed and stopped, again and again.

Usage: python -m tests.perf.fleet_soak [--minutes M] [--calls N] [--real]

Starts 2 gateways, 3 motion, 3 renderer and 2 encoder processes on this machine: the real servers
around fake engines, or with --real the real engines (several cores needed). Prints, as Markdown,
how long the pictures stood still after each kind of disturbance, what was lost, the gateways' CPU
time per second of stream, and their memory. Exit code 1 when a call failed, or a number was lost or
repeated.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import statistics
import sys
import time
from collections import defaultdict

import psutil

from tests.fleet.callers import Call, call, make_avatar
from tests.fleet.local_fleet import LocalFleet, Member, local_fleet

MOVES = ("replaced", "killed", "stopped")
STAGES = ("motion", "renderer", "gateway")
PAUSE_S = 2.5
MAX_RSS_GROWTH_MIB = 64


async def disturb(fleet: LocalFleet, member: Member, how: str) -> None:
    """Do one thing to one process, and bring it back."""
    if how == "replaced":
        await fleet.stop(member)
        await fleet.start(member)
    elif how == "killed":
        await fleet.kill(member)
        await asyncio.sleep(PAUSE_S)
        await fleet.start(member)
    else:
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(PAUSE_S)
        member.signal(signal.SIGCONT)


def rss_mib(fleet: LocalFleet) -> float:
    """Give the memory of the largest gateway."""
    pids = [member.process.pid for member in fleet.of("gateway") if member.process]
    return max(psutil.Process(pid).memory_info().rss for pid in pids) / 2**20


def cpu_s(fleet: LocalFleet) -> float:
    """Give the CPU time of all gateways so far."""
    times = [psutil.Process(m.process.pid).cpu_times() for m in fleet.of("gateway") if m.process]
    return sum(one.user + one.system for one in times)


async def measure_cost(fleet: LocalFleet, avatar: str, num_calls: int) -> float:
    """Give the gateways' CPU milliseconds per second of stream, undisturbed."""
    begin_cpu_s = cpu_s(fleet)
    seen = await asyncio.gather(
        *(call(fleet.targets, avatar, 10.0, seed=seed) for seed in range(num_calls))
    )
    stream_s = sum(len(one.frames) for one in seen) / 25
    return (cpu_s(fleet) - begin_cpu_s) * 1000 / stream_s


async def run(minutes: float, num_calls: int, real: bool) -> bool:
    """Run, print, and tell whether nothing was lost."""
    gaps: dict[tuple[str, str], list[float]] = defaultdict(list)
    calls: list[Call] = []
    async with local_fleet(real=real) as fleet:
        avatar = await make_avatar(fleet.targets)
        cost_ms = await measure_cost(fleet, avatar, num_calls)
        first_mib = rss_mib(fleet)
        end_s = time.monotonic() + minutes * 60
        turn = 0
        while time.monotonic() < end_s:
            how = MOVES[turn % len(MOVES)]
            tasks = [
                asyncio.create_task(call(fleet.targets, avatar, 26.0, seed=seed))
                for seed in range(num_calls)
            ]
            await asyncio.sleep(2.0)
            marks: list[tuple[str, float]] = []
            for stage in STAGES:
                members = fleet.of(stage)
                marks.append((stage, asyncio.get_running_loop().time()))
                await disturb(fleet, members[turn % len(members)], how)
                await asyncio.sleep(PAUSE_S)
            marks.append(("", asyncio.get_running_loop().time()))
            seen = await asyncio.gather(*tasks)
            calls += seen
            for (stage, begin), (_, end) in itertools.pairwise(marks):
                for one in seen:
                    times = [t for t in one.arrivals_s if begin - 0.1 <= t <= end]
                    steps = [b - a for a, b in itertools.pairwise(times)]
                    gaps[stage, how].append(max(steps, default=0.0))
            turn += 1
        last_mib = rss_mib(fleet)
    return _tell(gaps, calls, cost_ms, first_mib, last_mib)


def _tell(
    gaps: dict[tuple[str, str], list[float]],
    calls: list[Call],
    cost_ms: float,
    first_mib: float,
    last_mib: float,
) -> bool:
    print("| stage | process | longest time without a frame, median of calls | longest of all |")
    print("|---|---|---|---|")
    for (stage, how), values in sorted(gaps.items()):
        middle, worst = statistics.median(values) * 1000, max(values) * 1000
        print(f"| {stage} | {how} | {middle:.0f} ms | {worst:.0f} ms |")
    broken = 0
    for one in calls:
        try:
            one.check_whole()
        except AssertionError as fault:
            broken += 1
            print(f"\nbroken call: {str(fault)[:200]}")
    frames = sum(len(one.frames) for one in calls)
    dropped = sum(one.num_dropped for one in calls)
    print(f"\n{len(calls)} calls, {frames} frames, {broken} calls failed or had a wrong number,")
    print(f"{dropped} frames dropped as late, {sum(c.num_resumed for c in calls)} resumptions.")
    print(f"Gateway: {cost_ms:.1f} ms of CPU per second of stream; memory of the largest gateway")
    print(f"{first_mib:.0f} MiB at the beginning, {last_mib:.0f} MiB at the end.")
    return broken == 0 and last_mib - first_mib < MAX_RSS_GROWTH_MIB


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--real", action="store_true")
    args = parser.parse_args()
    return 0 if asyncio.run(run(args.minutes, args.calls, args.real)) else 1


if __name__ == "__main__":
    sys.exit(main())
