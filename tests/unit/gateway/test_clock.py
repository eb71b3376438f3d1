"""Clocks: virtual time moves only when told to, real time waits long enough."""

from __future__ import annotations

import asyncio

from parlante.clock import RealClock, VirtualClock


async def test_virtual_clock_wakes_sleepers_in_order() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, int]] = []

    async def sleep(name: str, deadline_us: int) -> None:
        await clock.sleep_until_us(deadline_us)
        woken.append((name, clock.monotonic_us()))

    tasks = [
        asyncio.create_task(sleep(*item)) for item in [("late", 300), ("soon", 100), ("far", 900)]
    ]
    await clock.advance_us(500)
    assert woken == [("soon", 100), ("late", 300)]
    assert clock.monotonic_us() == 500
    await clock.advance_us(400)
    await asyncio.gather(*tasks)
    assert woken[-1] == ("far", 900)


async def test_virtual_sleeper_that_sleeps_again_is_woken_in_one_advance() -> None:
    clock = VirtualClock()
    ticks: list[int] = []

    async def tick() -> None:
        for index in range(1, 6):
            await clock.sleep_until_us(index * 100)
            ticks.append(clock.monotonic_us())

    task = asyncio.create_task(tick())
    await clock.advance_us(1000)
    await task
    assert ticks == [100, 200, 300, 400, 500]


async def test_real_clock_never_returns_early() -> None:
    clock = RealClock()
    for _ in range(5):
        deadline_us = clock.monotonic_us() + 2_000
        await clock.sleep_until_us(deadline_us)
        assert clock.monotonic_us() >= deadline_us
