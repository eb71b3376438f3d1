"""What surrounds every call of our services: errors to statuses, admission, traces, deadlines.

Handlers are coroutines (responses go through ``context.write``): unlike an async generator, a
coroutine that is cancelled unwinds at once, so everything it holds is closed. A handler written
as a generator is adapted. Health and reflection are left alone.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from opentelemetry import trace

from parlante import telemetry
from parlante.aio import closing
from parlante.errors import Expired, InternalError, InvalidInput, ParlanteError
from parlante.rpc.status import code_of, status_of

logger = logging.getLogger(__name__)

Behaviour = Callable[[Any, Any], Awaitable[Any]]
Around = Callable[[Behaviour, Any, Any], Awaitable[Any]]

OUR_METHODS: Final = "/parlante."
# What operators and placement need of a process in any state, other than a slot.
_ALWAYS_OPEN: Final = "/parlante.v1.ReplicaService/"
_TAKES_SLOT: Final = "/parlante.v1.ReplicaService/AcquireSlot"
# A write to a client that is gone may fail shortly before gRPC cancels its call.
_CANCEL_FOLLOWS_S: Final = 1.0
_KINDS: Final = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class _Malformed:
    """Stands for a request that is no message of the expected type."""


def _as_coroutine(behaviour: Any) -> Behaviour:
    if not inspect.isasyncgenfunction(behaviour):
        return behaviour  # type: ignore[no-any-return]

    async def run(request: Any, context: Any) -> None:
        async with closing(behaviour(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return run


def _kind_of(handler: Any) -> str:
    return next(kind for kind in _KINDS if getattr(handler, kind) is not None)


def _wrap(handler: Any, around: Around, *, tolerant: bool = False) -> Any:
    """Make a handler that calls `around(behaviour, request, context)`."""
    kind = _kind_of(handler)
    behaviour = _as_coroutine(getattr(handler, kind))

    async def wrapped(request: Any, context: Any) -> Any:
        return await around(behaviour, request, context)

    read = handler.request_deserializer
    return getattr(grpc, f"{kind}_rpc_method_handler")(
        wrapped,
        request_deserializer=_tolerant(read) if tolerant else read,
        response_serializer=handler.response_serializer,
    )


def _tolerant(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Let malformed bytes through as a mark; gRPC itself would answer UNKNOWN for them."""

    def deserialize(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return _Malformed

    return deserialize


def _check_decoded(request: Any) -> None:
    if request is _Malformed:
        raise InvalidInput(
            "the request's bytes are no message of this method's type; generate the client "
            "from the protos of the server's version",
            reason="MALFORMED_MESSAGE",
        )


async def _decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        _check_decoded(request)
        yield request


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Maps `ParlanteError` to its status, and everything unexpected to a bare INTERNAL."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OUR_METHODS):
            return handler

        async def around(behaviour: Behaviour, request: Any, context: Any) -> Any:
            try:
                if not handler.request_streaming:
                    _check_decoded(request)
                    return await behaviour(request, context)
                async with closing(_decoded(request)) as requests:
                    return await behaviour(requests, context)
            except ParlanteError as error:
                await context.abort_with_status(status_of(error))
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                if isinstance(error, grpc.aio.InternalError):  # the transport's own
                    await asyncio.sleep(_CANCEL_FOLLOWS_S)  # the call's cancellation ends this
                if context.done():  # nobody is left to tell; the transport's error is its echo
                    logger.debug("call failed after its end", extra={"method": method})
                    raise
                error_id = uuid.uuid4().hex[:12]
                extra = {"method": method, "error_id": error_id}
                logger.exception("unexpected error in a call", extra=extra)
                await context.abort_with_status(status_of(_internal(error_id)))

        return _wrap(handler, around, tolerant=True)


def _internal(error_id: str) -> InternalError:
    return InternalError(
        f"internal error {error_id}; the server's log says more", metadata={"error_id": error_id}
    )


class AdmissionInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls while `refusal` gives an error: before warm-up ends and while draining."""

    def __init__(self, refusal: Callable[[], ParlanteError | None]) -> None:
        self._refusal = refusal

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        is_open = method.startswith(_ALWAYS_OPEN) and method != _TAKES_SLOT
        if handler is None or is_open or not method.startswith(OUR_METHODS):
            return handler

        async def around(behaviour: Behaviour, request: Any, context: Any) -> Any:
            error = self._refusal()
            if error is not None:
                raise error
            return await behaviour(request, context)

        return _wrap(handler, around)


class TracingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Runs every call in a server span that continues the caller's W3C trace."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OUR_METHODS):
            return handler
        metadata = {
            key: value
            for key, value in handler_call_details.invocation_metadata or ()
            if isinstance(value, str)
        }

        async def around(behaviour: Behaviour, request: Any, context: Any) -> Any:
            with telemetry.tracer().start_as_current_span(
                method.removeprefix("/"),
                context=telemetry.incoming_context(metadata),
                kind=trace.SpanKind.SERVER,
                attributes={"rpc.system.name": "grpc", "rpc.method": method.removeprefix("/")},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    return await behaviour(request, context)
                except BaseException as error:
                    mark_failed(span, error)
                    raise

        return _wrap(handler, around)


def mark_failed(span: trace.Span, error: BaseException) -> None:
    """Note on a span why it failed; our messages may quote input, so only the reason goes in."""
    if isinstance(error, ParlanteError):
        status, reason = code_of(error).name, error.reason
    elif isinstance(error, asyncio.CancelledError | GeneratorExit):
        status, reason = "CANCELLED", "CANCELLED"
    else:
        status, reason = "INTERNAL", type(error).__name__
    span.set_attribute("rpc.response.status_code", status)
    span.set_attribute("error.type", reason)
    span.set_status(trace.StatusCode.ERROR, reason)


class DeadlineInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Gives calls with a single response a deadline when the client gave none.

    Args:
        timeout_s: The longest such a call may take.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OUR_METHODS) or handler.response_streaming:
            return handler

        async def around(behaviour: Behaviour, request: Any, context: Any) -> Any:
            try:
                async with asyncio.timeout(self._timeout_s) as limit:
                    return await behaviour(request, context)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise Expired(
                    f"the call took longer than {self._timeout_s:g} s, the server's limit"
                ) from None

        return _wrap(handler, around)
