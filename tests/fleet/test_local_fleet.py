"""A fleet of real processes under calls: replaced, killed, stopped, cut off, overloaded.

The stages are the real servers around fake engines, so that two cores carry them. How long the
pictures stand still is measured by scripts/fleet_soak.py; here it is only bounded, generously.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from parlante.errors import Overloaded
from tests.fleet.callers import Call, call, make_avatar
from tests.fleet.local_fleet import LocalFleet, Member, local_fleet
from tests.fleet.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

LONGEST_GAP_S = 5.0  # of a busy machine; see the module
LONGEST_STOP_S = 10.0
STAGES = ("gateway", "motion", "renderer", "encoder")  # a busy machine may not come to the last


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[LocalFleet]:
    async with local_fleet(motions=2, renderers=2, encoders=2) as fleet:
        yield fleet


async def _begin(fleet: LocalFleet, num_calls: int, duration_s: float) -> list[asyncio.Task[Call]]:
    avatar = await make_avatar(fleet.targets)
    calls = [
        asyncio.create_task(call(fleet.targets, avatar, duration_s, seed=seed))
        for seed in range(num_calls)
    ]
    await asyncio.sleep(1.0)
    return calls


async def _end(fleet: LocalFleet, calls: list[asyncio.Task[Call]]) -> list[Call]:
    seen = await asyncio.gather(*calls)
    for one in seen:
        assert one.error is None, (one.error, fleet.log_of(fleet.of("gateway")[0]))
        one.check_whole()
        assert len(one.frames) > 20
        assert one.longest_gap_s < LONGEST_GAP_S
    return seen


async def test_every_process_can_be_replaced_under_calls(fleet: LocalFleet) -> None:
    calls = await _begin(fleet, 4, 17.0)
    for stage in ("gateway", "motion", "renderer", "encoder"):
        for member in fleet.of(stage):
            assert await fleet.stop(member) < LONGEST_STOP_S
            await fleet.start(member)
    seen = await _end(fleet, calls)
    assert any(one.num_resumed for one in seen)
    # A busy machine is late now and then while processes start; what is late is dropped, and said.
    assert sum(one.num_dropped for one in seen) < 0.2 * sum(len(one.frames) for one in seen)


async def test_processes_may_die_under_calls(fleet: LocalFleet) -> None:
    calls = await _begin(fleet, 4, 13.0)
    for stage in STAGES:
        victim = fleet.of(stage)[0]
        await fleet.kill(victim)
        await asyncio.sleep(1.0)
        await fleet.start(victim)
        await asyncio.sleep(0.3)
    seen = await _end(fleet, calls)
    assert sum(one.num_resumed for one in seen) >= 1


async def test_processes_may_hang_under_calls(fleet: LocalFleet) -> None:
    calls = await _begin(fleet, 3, 11.0)
    for stage in ("motion", "renderer", "gateway"):
        victim = fleet.of(stage)[0]
        victim.signal(signal.SIGSTOP)
        await asyncio.sleep(1.8)
        victim.signal(signal.SIGCONT)
        await asyncio.sleep(0.3)
    await _end(fleet, calls)


async def test_links_may_be_silent_slow_and_cut() -> None:
    async with (
        local_fleet(motions=2, renderers=2, encoders=1, gateways=1) as fleet,
        AsyncExitStack() as stack,
    ):
        # The gateway sees the first motion and the first renderer through proxies.
        proxies = {
            stage: await stack.enter_async_context(Proxy(fleet.of(stage)[0].address))
            for stage in ("motion", "renderer")
        }
        (gateway,) = fleet.of("gateway")
        await fleet.stop(gateway)
        addresses = {
            stage: f"{proxy.address},{fleet.of(stage)[1].address}"
            for stage, proxy in proxies.items()
        }
        fleet.flags["gateway"] = tuple(
            part for stage, target in addresses.items() for part in (f"--{stage}-address", target)
        )
        await fleet.start(gateway)
        calls = await _begin(fleet, 4, 9.0)
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
    async with local_fleet(motions=2, renderers=2, encoders=1, gateways=2, flags=flags) as fleet:
        calls = await _begin(fleet, 8, 5.0)
        seen = await asyncio.gather(*calls)
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
            assert one.num_dropped < 0.1 * len(one.frames)


async def test_a_stage_that_comes_back_alone_is_used_again() -> None:
    async with local_fleet(motions=1, renderers=1, encoders=1, gateways=1) as fleet:
        calls = await _begin(fleet, 2, 6.0)
        for stage in ("motion", "renderer"):
            member: Member = fleet.of(stage)[0]
            await fleet.kill(member)
            await fleet.start(member)
            await asyncio.sleep(0.5)
        seen = await asyncio.gather(*calls)
        for one in seen:
            assert one.error is None, one.error
            assert [seq for seq, _, _ in one.frames] == list(range(1, len(one.frames) + 1))
