"""What the ports over gRPC have in common: spans, streams, first answers, notices.

Streams write in a task of their own, so that neither side can block the other, and end it when
they are closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from opentelemetry import trace

from parlante import telemetry
from parlante.aio import cancel_and_wait, closing
from parlante.errors import InternalError, InvalidInput, Unavailable
from parlante.rpc.calls import end_call, responses_of
from parlante.rpc.interceptors import mark_failed
from parlante.rpc.replica import LEASE_METADATA

__all__ = [
    "claim",
    "client_span",
    "exchange",
    "is_notice",
    "make_stub",
    "of_stage",
    "out_of_order",
    "read_started",
]

T = TypeVar("T")


def make_stub(stub_class: Any, channel: grpc.aio.Channel) -> Any:
    """Make a stub of a channel."""
    return stub_class(channel)  # generated without types


@contextmanager
def client_span(name: str) -> Iterator[tuple[tuple[str, str], ...]]:
    """Open a span and give the metadata that continues it.

    The span is never made current: a generator may be resumed in another context than the one
    it began in, and could not put back what it replaced.
    """
    span = telemetry.tracer().start_span(name, kind=trace.SpanKind.CLIENT)
    try:
        yield telemetry.outgoing_metadata(span)
    except BaseException as error:
        if not isinstance(error, GeneratorExit):  # the reader has seen enough: no failure
            mark_failed(span, error)
        raise
    finally:
        span.end()


async def exchange(call: Any, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Write requests in a task while giving responses; an error of `requests` is raised here."""
    failure: BaseException | None = None
    half_closed = False

    async def send() -> None:
        nonlocal failure, half_closed
        try:
            async with closing(requests) as items:
                async for request in items:
                    if not await _write(call.write(request)):
                        return
            half_closed = True
            await _write(call.done_writing())
        except Exception as error:
            failure = error
            call.cancel()

    responses = responses_of(call)
    sender = asyncio.create_task(send())
    try:
        async for response in responses:
            yield response
        if not half_closed:
            raise InternalError(
                "the stage ended the stream before its input ended", reason="STREAM_ENDED_EARLY"
            )
    except asyncio.CancelledError:
        if failure is None or _is_being_cancelled():
            raise
        raise failure from None
    finally:
        end_call(call)
        await cancel_and_wait(sender)


async def _write(write: Any) -> bool:
    """Await a write; False when the call is over, of which the reading side tells the reason."""
    try:
        await write
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def read_started(responses: AsyncIterator[Any], *, timeout_s: float) -> Any:
    """Read the first response of a stream, which must be `started`."""
    try:
        async with asyncio.timeout(timeout_s) as limit:
            first = await anext(responses, None)
    except TimeoutError:
        if not limit.expired():
            raise
        raise Unavailable(
            f"the stage did not answer within {timeout_s:g} s; try another one",
            reason="STAGE_TIMEOUT",
            retry_after_ms=1000,
        ) from None
    if first is None or first.WhichOneof("message") != "started":
        raise out_of_order("started", first)
    return first.started


def claim(lease_id: str) -> tuple[tuple[str, str], ...]:
    """Give the metadata that claims a leased slot; "" claims none."""
    return ((LEASE_METADATA, lease_id),) if lease_id else ()


def is_notice(response: Any, on_notice: Callable[[], None] | None) -> bool:
    """Pass on that the stage will give the stream back.

    Raises:
        Unavailable: HANDED_OVER, it gives the stream back now.
    """
    if response.WhichOneof("message") != "handover":
        return False
    if response.handover.notice and on_notice is not None:
        on_notice()
        return True
    raise Unavailable(
        "the replica gives its streams away; go on at another one",
        reason="HANDED_OVER",
        metadata={"why": response.handover.reason},
    )


def out_of_order(expected: str, message: Any) -> InternalError:
    """Make the error of a stage that answers with something else than it must."""
    kind = "the end" if message is None else message.WhichOneof("message") or "an empty message"
    return InternalError(
        f"the stage must answer with {expected}; got {kind}", reason="UNEXPECTED_RESPONSE"
    )


def of_stage(convert_message: Callable[[Any], T], message: Any) -> T:
    """Convert what a stage sent; if it is wrong, that is no fault of our caller's input."""
    try:
        return convert_message(message)
    except InvalidInput as error:
        raise InternalError(
            f"the stage sent a wrong message: {error.message}", reason="UNEXPECTED_RESPONSE"
        ) from error
