"""A local fleet under calls while its processes are replaced, killed and stopped, again and again.

Usage: python -m tests.perf.fleet_soak [--minutes M] [--calls N] [--moves M ...] [--stages S ...]
                                       [--real] [--overload]

Starts 2 gateways, 3 motion, 3 renderer and 2 encoder processes and a Redis (if there is one) on
this machine: the real servers around fake engines, or with --real the real engines (several cores
needed). Prints, as Markdown, how long the pictures stood still after each kind of disturbance, what
was lost, the gateways' CPU time per second of stream, how much the memory of processes grew while
they lived, and how busy the machine was. What a disturbance does to
the calls is told apart from what the start of the next process does to a machine of few cores.

With --overload there are twice as many calls as slots at the end, for 20 s: those that are admitted
must have 99 % of their frames on time, and the rest a refusal with a time to wait.

Exit code 1 when a call failed, a number was lost or repeated, a process grew by over 64 MiB, or the
overload did what it must not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from parlante.errors import Overloaded
from tests.fleet.callers import Call, call, make_avatar
from tests.fleet.local_fleet import MODULES, LocalFleet, Member, local_fleet

MOVES = ("replaced", "killed", "stopped")
STAGES = ("motion", "renderer", "gateway", "encoder")
PAUSE_S = 2.5
LONGEST_CALL_S = 600.0
MAX_RSS_GROWTH_MIB = 64
OVERLOAD_S = 20.0
MIN_ON_TIME = 0.99


@dataclass(kw_only=True)
class Seen:
    """What a soak saw.

    Attributes:
        moving_s: Longest time without a frame of each call while a process went away, by stage and
            kind of disturbance.
        starting_s: The same while it was started again.
        calls: All calls.
        loads: Load averages over a minute.
    """

    moving_s: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    starting_s: dict[tuple[str, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    calls: list[Call] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Mark:
    stage: str
    begin_s: float
    gone_s: float
    end_s: float


async def disturb(fleet: LocalFleet, member: Member, how: str) -> tuple[float, float, float]:
    """Do one thing to one process, and bring it back.

    Returns:
        When it began, when the calls had time to move, and when the process was back for a while.
    """
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    if how == "replaced":
        await fleet.stop(member)
        await asyncio.sleep(max(0.0, begin_s + PAUSE_S - loop.time()))
    elif how == "killed":
        await fleet.kill(member)
        await asyncio.sleep(PAUSE_S)
    else:
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(PAUSE_S)
    gone_s = loop.time()
    if how == "stopped":
        member.signal(signal.SIGCONT)
    else:
        await fleet.start(member)
    await asyncio.sleep(PAUSE_S)
    return begin_s, gone_s, loop.time()


@dataclass(kw_only=True)
class Memory:
    """Resident memory of every process that ever lived, MiB.

    Attributes:
        first: When it was first looked at, by stage and process id; after its start.
        last: When it was last looked at.
    """

    first: dict[tuple[str, int], float] = field(default_factory=dict)
    last: dict[tuple[str, int], float] = field(default_factory=dict)

    def look(self, fleet: LocalFleet) -> None:
        """Note those that live."""
        for member in fleet.members:
            if member.process is None or member.process.returncode is not None:
                continue
            place = (member.stage, member.process.pid)
            self.last[place] = psutil.Process(member.process.pid).memory_info().rss / 2**20
            self.first.setdefault(place, self.last[place])

    def growth_mib(self, stage: str) -> float:
        """Give the most that a process of a stage grew by."""
        grown = [self.last[place] - self.first[place] for place in self.last if place[0] == stage]
        return max(grown, default=0.0)

    def largest_mib(self, stage: str) -> float:
        """Give the most that a process of a stage had."""
        return max((mib for place, mib in self.last.items() if place[0] == stage), default=0.0)


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


async def one_turn(
    fleet: LocalFleet,
    avatar: str,
    seen: Seen,
    memory: Memory,
    turn: int,
    args: argparse.Namespace,
) -> None:
    """Disturb one process of each stage in one way, under calls that last as long as that."""
    how = args.moves[turn % len(args.moves)]
    over = asyncio.Event()
    tasks = [
        asyncio.create_task(call(fleet.targets, avatar, LONGEST_CALL_S, seed=seed, over=over))
        for seed in range(args.calls)
    ]
    await asyncio.sleep(2.0)
    marks: list[_Mark] = []
    for stage in args.stages:
        members = fleet.of(stage)
        member = members[turn // len(args.moves) % len(members)]
        marks.append(_Mark(stage, *await disturb(fleet, member, how)))
        memory.look(fleet)
        seen.loads.append(os.getloadavg()[0])
    over.set()
    calls = await asyncio.gather(*tasks)
    seen.calls += calls
    for mark in marks:
        place = (mark.stage, how)
        for one in calls:
            seen.moving_s[place].append(one.longest_gap_between_s(mark.begin_s, mark.gone_s))
            seen.starting_s[place].append(one.longest_gap_between_s(mark.gone_s, mark.end_s))


async def run(args: argparse.Namespace) -> bool:
    """Run, print, and tell whether nothing was lost."""
    seen = Seen()
    async with local_fleet(real=args.real) as fleet:
        avatar = await make_avatar(fleet.targets)
        cost_ms = await measure_cost(fleet, avatar, args.calls)
        memory = Memory()
        memory.look(fleet)
        end_s = time.monotonic() + args.minutes * 60
        turn = 0
        while time.monotonic() < end_s:
            await one_turn(fleet, avatar, seen, memory, turn, args)
            turn += 1
        memory.look(fleet)
    is_whole = _tell(seen)
    print(f"Gateway: {cost_ms:.1f} ms of CPU per second of stream.")
    grown = {stage: memory.growth_mib(stage) for stage in MODULES}
    texts = [f"{s} {memory.largest_mib(s):.0f} ({grown[s]:+.0f})" for s in grown]
    print(f"Largest process, MiB (most that one grew by): {', '.join(texts)}.")
    is_fair = await overload(args.real) if args.overload else True
    return is_whole and is_fair and max(grown.values()) < MAX_RSS_GROWTH_MIB


async def overload(real: bool) -> bool:
    """Call twice as often as there are slots; tells whether all is as it should be."""
    flags = {stage: ("--max-streams", "2") for stage in ("motion", "renderer")}
    async with local_fleet(
        motions=2, renderers=2, encoders=1, gateways=2, real=real, flags=flags
    ) as fleet:
        avatar = await make_avatar(fleet.targets)
        calls = await asyncio.gather(
            *(call(fleet.targets, avatar, OVERLOAD_S, seed=seed) for seed in range(8))
        )
    refused = [one for one in calls if one.error is not None]
    are_clear = all(
        isinstance(one.error, Overloaded) and one.error.retry_after_ms for one in refused
    )
    on_time = [one.on_time() for one in calls if one.error is None]
    print(
        f"\nTwice as many calls as slots, {OVERLOAD_S:g} s: {len(refused)} of {len(calls)} refused,"
        f" {'all' if are_clear else 'NOT all'} with RESOURCE_EXHAUSTED and a time to wait;\n"
        f"frames on time of the others, worst call: {min(on_time, default=0.0):.2%}."
    )
    return are_clear and len(on_time) == 4 and min(on_time) >= MIN_ON_TIME


def _tell(seen: Seen) -> bool:
    print("Longest time without a frame, of each call: median of calls / longest of all, ms")
    print()
    print("| stage | process | while the calls move | while it starts again |")
    print("|---|---|---|---|")
    for place, values in sorted(seen.moving_s.items()):
        cells = " | ".join(_middle_and_worst(item) for item in (values, seen.starting_s[place]))
        print(f"| {place[0]} | {place[1]} | {cells} |")
    broken = 0
    for one in seen.calls:
        try:
            one.check_whole()
        except AssertionError as fault:
            broken += 1
            print(f"\nbroken call: {str(fault)[:200]}")
    frames = sum(len(one.frames) for one in seen.calls)
    dropped = sum(one.num_dropped for one in seen.calls)
    resumed = sum(one.num_resumed for one in seen.calls)
    print(
        f"\n{len(seen.calls)} calls, {frames} frames, {broken} calls failed or had a wrong number,"
    )
    print(f"{dropped} frames dropped as late, {resumed} resumptions.")
    if seen.loads:
        low, high = min(seen.loads), max(seen.loads)
        print(f"Load average {low:.1f} to {high:.1f} on {os.cpu_count()} cores.")
    return broken == 0


def _middle_and_worst(values_s: Sequence[float]) -> str:
    return f"{statistics.median(values_s) * 1000:.0f} / {max(values_s) * 1000:.0f}"


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--moves", nargs="+", choices=MOVES, default=list(MOVES))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--overload", action="store_true")
    args = parser.parse_args()
    return 0 if asyncio.run(run(args)) else 1


if __name__ == "__main__":
    sys.exit(main())
