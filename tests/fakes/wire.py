"""A client that can misbehave: it sends any bytes on any of our streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc.aio import _call

from parlante.errors import ParlanteError
from parlante.rpc.calls import responses_of


def open_stream(channel: grpc.aio.Channel, method: str, *, timeout: float | None = None) -> Any:
    """Open a bidirectional call that takes messages or raw bytes and gives raw bytes."""
    return channel.stream_stream(method, request_serializer=_as_bytes)(timeout=timeout)


def _as_bytes(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


async def exchange(
    channel: grpc.aio.Channel,
    method: str,
    messages: Iterable[Message | bytes],
    *,
    timeout: float | None = 5.0,
) -> tuple[list[bytes], ParlanteError | None]:
    """Send everything, half-close, and give the responses and the error, if there was one."""
    call = open_stream(channel, method, timeout=timeout)
    answers = responses_of(call)
    try:
        for message in messages:
            await call.write(message)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass  # the server has answered already
    responses: list[bytes] = []
    try:
        async for response in answers:
            responses.append(response)  # noqa: PERF401 (what came before an error counts)
    except ParlanteError as error:
        return responses, error
    return responses, None


def let_writes_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uploads fail at their second message, when the server has just ended them.

    grpc.aio does the same when a write is under way just then, which is now and then only.
    """
    write = _call.StreamUnaryCall._write
    begun: set[int] = set()

    async def fail_later(call: Any, request: Any) -> None:
        if id(call) not in begun:
            begun.add(id(call))
            await write(call, request)
            return
        ended = asyncio.Event()

        def overwrite(_: Any) -> None:
            if not ended.is_set():
                ended.set()
                call._cython_call.set_internal_error("Internal error from Core")

        call.add_done_callback(overwrite)
        await ended.wait()
        await call._raise_for_status()

    monkeypatch.setattr(_call.StreamUnaryCall, "_write", fail_later)


async def eventually(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    """Wait until a condition holds; fails when it does not in time, slow machines counted in."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 (the condition is on the server's side)
            await asyncio.sleep(0.005)


async def forever(first: Iterable[Any] = ()) -> AsyncIterator[Any]:
    """Give some items and then wait without end."""
    for item in first:
        yield item
    await asyncio.Event().wait()
