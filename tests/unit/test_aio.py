"""Ending tasks, the bounded channel, closing iterators in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from parlante.aio import Channel, ChannelClosed, cancel_and_wait, closing


async def _count(closed: list[str]) -> AsyncIterator[int]:
    try:
        for number in range(100):
            yield number
    finally:
        closed.append("closed")


async def test_cancel_and_wait_waits_for_slow_endings() -> None:
    ended = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    task = asyncio.create_task(slow())
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    assert ended == [True]


async def test_cancel_and_wait_drops_errors_of_the_tasks() -> None:
    async def fails() -> None:
        raise ValueError("not ours")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    assert task.done()


async def test_cancel_and_wait_lets_its_own_cancellation_through_after_the_tasks_ended() -> None:
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)

    inner = asyncio.create_task(slow())
    await asyncio.sleep(0)
    outer = asyncio.create_task(cancel_and_wait(inner))
    await asyncio.sleep(0)
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert inner.done()


async def test_closing_closes_a_generator_that_is_left_early() -> None:
    closed: list[str] = []
    async with closing(_count(closed)) as numbers:
        assert await anext(numbers) == 0
    assert closed == ["closed"]


async def test_channel_gives_items_in_order_and_ends_after_close() -> None:
    channel: Channel[int] = Channel(3)
    for number in range(3):
        await channel.put(number)
    channel.close()
    assert [item async for item in channel] == [0, 1, 2]


async def test_channel_put_waits_for_room() -> None:
    channel: Channel[int] = Channel(1)
    await channel.put(0)
    writer = asyncio.create_task(channel.put(1))
    await asyncio.sleep(0)
    assert not writer.done()
    assert await channel.get() == 0
    await asyncio.wait_for(writer, 1)
    assert await channel.get() == 1


async def test_channel_wakes_every_reader_at_close() -> None:
    channel: Channel[int] = Channel(1)

    async def drain() -> list[int]:
        return [item async for item in channel]

    readers = [asyncio.create_task(drain()) for _ in range(3)]
    await asyncio.sleep(0)
    channel.close()
    assert await asyncio.gather(*readers) == [[], [], []]


async def test_channel_refuses_items_after_close() -> None:
    channel: Channel[int] = Channel(1)
    channel.close()
    with pytest.raises(ChannelClosed):
        await channel.put(0)


async def test_channel_close_ends_a_writer_that_waits() -> None:
    channel: Channel[int] = Channel(1)
    await channel.put(0)
    writer = asyncio.create_task(channel.put(1))
    await asyncio.sleep(0)
    channel.close()
    with pytest.raises(ChannelClosed):
        await writer
    assert [item async for item in channel] == [0]


async def test_channel_keeps_items_of_a_cancelled_reader() -> None:
    channel: Channel[int] = Channel(1)
    reader = asyncio.create_task(channel.get())
    await asyncio.sleep(0)
    await channel.put(7)
    await cancel_and_wait(reader)
    assert len(channel) == 1


def test_channel_needs_room_for_one_item() -> None:
    with pytest.raises(ValueError, match="capacity must be >= 1"):
        Channel(0)
