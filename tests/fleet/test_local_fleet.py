"""A fleet of real processes under calls: replaced, killed, stopped, cut off, overloaded.

The stages are the real servers around fake engines, so that two cores carry them. How long the
pictures stand still is measured by tests/perf/fleet_soak.py; here it is bounded, by as much more as
this process itself has to wait for its turn on a busy machine.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from parlante.aio import cancel_and_wait
from parlante.errors import Overloaded
from tests.fakes.redis_server import has_redis
from tests.fleet.callers import Call, call, make_avatar
from tests.fleet.local_fleet import LocalFleet, local_fleet
from tests.fleet.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

LONGEST_GAP_S = 2.0
LONGEST_BUSY_GAP_S = 5.0  # of a machine that is too busy to say anything
# A session passes through so many turns of processes, each of which may wait as long as ours.
TURNS = 10
ON_TIME_S = 0.3
LEAST_ON_TIME = 0.9  # 0.99 in the long form, where the machine is to have time
LONGEST_STOP_S = 10.0
LONGEST_CALL_S = 300.0  # calls last as long as what is done to them
LOOK_S = 0.02


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[LocalFleet]:
    async with local_fleet(motions=2, renderers=2, encoders=2) as fleet:
        yield fleet


@dataclass(kw_only=True)
class Calls:
    """Calls that are under way.

    Attributes:
        tasks: One each.
        over: Ends them.
        wait_s: Longest time that this process waited for its turn meanwhile.
    """

    tasks: list[asyncio.Task[Call]]
    over: asyncio.Event
    wait_s: float = 0.0

    async def watch(self) -> None:
        """Measure how busy the machine is, until all calls have ended."""
        loop = asyncio.get_running_loop()
        while not all(task.done() for task in self.tasks):
            begin_s = loop.time()
            await asyncio.sleep(LOOK_S)
            self.wait_s = max(self.wait_s, loop.time() - begin_s - LOOK_S)

    async def end(self) -> list[Call]:
        """End those that have no end of their own, and give what they saw."""
        self.over.set()
        return list(await asyncio.gather(*self.tasks))


@asynccontextmanager
async def _calls(
    fleet: LocalFleet, num_calls: int, duration_s: float | None = None
) -> AsyncIterator[Calls]:
    """Let some call for a time, or until they are told to end."""
    avatar = await make_avatar(fleet.targets)
    over = asyncio.Event()
    until = over if duration_s is None else None
    length_s = LONGEST_CALL_S if duration_s is None else duration_s
    tasks = [
        asyncio.create_task(call(fleet.targets, avatar, length_s, seed=seed, over=until))
        for seed in range(num_calls)
    ]
    calls = Calls(tasks=tasks, over=over)
    watch = asyncio.create_task(calls.watch())
    try:
        await asyncio.sleep(1.0)
        yield calls
    finally:
        await cancel_and_wait(watch, *tasks)


async def _end(fleet: LocalFleet, calls: Calls) -> list[Call]:
    seen = await calls.end()
    longest_gap_s = min(LONGEST_BUSY_GAP_S, LONGEST_GAP_S + TURNS * calls.wait_s)
    for one in seen:
        assert one.error is None, (one.error, fleet.log_of(fleet.of("gateway")[0]))
        one.check_whole()
        assert len(one.frames) > 20
        assert one.longest_gap_s < longest_gap_s
    return seen


@pytest.mark.timeout(LONGEST_CALL_S)
async def test_every_process_can_be_replaced_under_calls(fleet: LocalFleet) -> None:
    async with _calls(fleet, 4) as calls:
        for stage in ("gateway", "motion", "renderer", "encoder"):
            for member in fleet.of(stage):
                assert await fleet.stop(member) < LONGEST_STOP_S
                await fleet.start(member)
        seen = await _end(fleet, calls)
    assert any(one.num_resumed for one in seen)
    # A busy machine is late now and then while processes start; what is late is dropped, and said.
    assert sum(one.num_dropped for one in seen) < 0.2 * sum(len(one.frames) for one in seen)


@pytest.mark.timeout(LONGEST_CALL_S)
async def test_processes_may_die_under_calls(fleet: LocalFleet) -> None:
    async with _calls(fleet, 4) as calls:
        for stage in ("gateway", "motion", "renderer", "encoder"):
            victim = fleet.of(stage)[0]
            await fleet.kill(victim)
            await asyncio.sleep(1.0)
            await fleet.start(victim)
            await asyncio.sleep(0.3)
        seen = await _end(fleet, calls)
    assert sum(one.num_resumed for one in seen) >= 1


async def test_processes_may_hang_under_calls(fleet: LocalFleet) -> None:
    async with _calls(fleet, 3) as calls:
        for stage in ("motion", "renderer", "gateway", "encoder"):
            victim = fleet.of(stage)[0]
            victim.signal(signal.SIGSTOP)
            await asyncio.sleep(1.8)
            victim.signal(signal.SIGCONT)
            await asyncio.sleep(0.3)
        await _end(fleet, calls)


async def _behind_proxies(
    fleet: LocalFleet, stack: AsyncExitStack, *, alone: bool
) -> dict[str, Proxy]:
    """Let the gateway see the first motion and renderer by proxies, and no other if `alone`."""
    proxies = {
        stage: await stack.enter_async_context(Proxy(fleet.of(stage)[0].address))
        for stage in ("motion", "renderer")
    }
    (gateway,) = fleet.of("gateway")
    await fleet.stop(gateway)
    flags: list[str] = []
    for stage, proxy in proxies.items():
        others = [] if alone else [fleet.of(stage)[1].address]
        flags += [f"--{stage}-address", ",".join([proxy.address, *others])]
    fleet.flags["gateway"] = tuple(flags)
    await fleet.start(gateway)
    return proxies


async def test_links_may_be_silent_slow_and_cut() -> None:
    async with (
        local_fleet(motions=2, renderers=2, encoders=1, gateways=1) as fleet,
        AsyncExitStack() as stack,
    ):
        proxies = await _behind_proxies(fleet, stack, alone=False)
        async with _calls(fleet, 4) as calls:
            for proxy in proxies.values():
                proxy.delay_s = 0.02
                await asyncio.sleep(0.8)
                proxy.delay_s = 0.0
                proxy.cut()
                await asyncio.sleep(0.8)
                proxy.silence(True)
                await asyncio.sleep(1.5)
                proxy.silence(False)
            await _end(fleet, calls)


async def test_twice_as_many_as_fit_are_refused_clearly_and_the_rest_is_served() -> None:
    flags = {"motion": ("--max-streams", "2"), "renderer": ("--max-streams", "2")}
    async with (
        local_fleet(motions=2, renderers=2, encoders=1, gateways=2, flags=flags) as fleet,
        _calls(fleet, 8, 5.0) as calls,
    ):
        seen = await calls.end()
    refused = [one for one in seen if one.error is not None]
    assert len(refused) == 4
    for one in refused:
        assert isinstance(one.error, Overloaded)
        assert one.error.reason == "NO_FREE_SLOT"
        assert one.error.retry_after_ms
        assert not one.frames
    for one in seen:
        if one.error is None:
            one.check_whole()
            assert one.on_time(ON_TIME_S + TURNS * calls.wait_s) >= LEAST_ON_TIME


async def test_a_stage_that_comes_back_alone_is_used_again() -> None:
    """Its next process waits behind the same address: a busy machine takes its time to start one,
    and a session ends when motion is 5 s behind."""
    async with (
        local_fleet(motions=2, renderers=2, encoders=1, gateways=1) as fleet,
        AsyncExitStack() as stack,
    ):
        proxies = await _behind_proxies(fleet, stack, alone=True)
        async with _calls(fleet, 2, 6.0) as calls:
            for stage, proxy in proxies.items():
                lost, following = fleet.of(stage)
                await fleet.kill(lost)
                await asyncio.sleep(0.3)
                proxy.lead_to(following.address)
                await asyncio.sleep(0.5)
            seen = await calls.end()
        for one in seen:
            assert one.error is None, one.error
            assert [seq for seq, _, _ in one.frames] == list(range(1, len(one.frames) + 1))


@pytest.mark.skipif(not has_redis(), reason="there is no redis-server")
async def test_the_shared_cache_may_fail_under_calls() -> None:
    """Calls that begin meanwhile, each at a renderer that must fetch, see nothing of it."""
    async with local_fleet(motions=2, renderers=2, encoders=2, gateways=1) as fleet:
        cache = fleet.cache
        assert cache is not None
        avatar = await make_avatar(fleet.targets)

        async def newcomer() -> None:
            seen = await call(fleet.targets, avatar, 1.5, seed=9)
            assert seen.error is None, seen.error
            seen.check_whole()

        async with _calls(fleet, 2) as calls:
            await newcomer()
            names = await asyncio.to_thread(cache.names)
            assert any(name.endswith(":head") for name in names)  # it is in use
            for name in names:  # whatever it says now is wrong
                if not name.endswith(":head"):
                    await asyncio.to_thread(cache.client.set, name, b"x" * 1000)
            await newcomer()
            cache.signal(signal.SIGSTOP)
            await newcomer()
            cache.signal(signal.SIGCONT)
            await asyncio.to_thread(cache.stop)
            await newcomer()
            await asyncio.to_thread(cache.start)
            await newcomer()
            await _end(fleet, calls)


async def test_the_load_command_holds_its_sessions_while_replicas_are_replaced(
    fleet: LocalFleet,
) -> None:
    command = [sys.executable, "-m", "parlante.cli.main", "load", "--server", fleet.targets]
    command += ["--sessions", "2", "--seconds", "4", "--late-ms", "3000", "--json"]
    load = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert load.stdout is not None
    output = asyncio.create_task(load.stdout.read())
    while load.returncode is None and not output.done():
        for stage in ("motion", "renderer"):
            member = fleet.of(stage)[0]
            await fleet.stop(member)
            await fleet.start(member)
    lines = (await output).decode().splitlines()
    assert await load.wait() == 0, lines
    (step,) = json.loads(lines[-1])["steps"]
    # How many frames are on time is the machine's business as well; that none is lost is not.
    assert (step["sessions"], step["refused"], step["failed"]) == (2, 0, 0)
    assert step["on_time_share"] > 0.5
