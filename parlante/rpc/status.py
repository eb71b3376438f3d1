"""`ParlanteError` <-> gRPC status with ``google.rpc`` details, in both directions.

Every status carries exactly one ErrorInfo of domain "parlante"; BadRequest and RetryInfo join it
when the error names a field or a time to wait.
"""

from __future__ import annotations

from typing import Final, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from parlante import errors
from parlante.errors import Code, ParlanteError

DOMAIN: Final = "parlante"
# Trailers are headers: gRPC cores refuse more than 8 KiB of them, so texts are cut.
MAX_MESSAGE_CHARS: Final = 1024
MAX_METADATA_ENTRIES: Final = 16
MAX_METADATA_CHARS: Final = 128
DEFAULT_RETRY_AFTER_MS: Final = 1000

# Two classes may share a code; the one that is not the first of its code says so here.
_TYPE_KEY: Final = "error_type"

_CLASS_OF_CODE: Final[dict[Code, type[ParlanteError]]] = {
    Code.INVALID_ARGUMENT: errors.InvalidInput,
    Code.NOT_FOUND: errors.NotFound,
    Code.ALREADY_EXISTS: errors.AlreadyExists,
    Code.FAILED_PRECONDITION: errors.FailedPrecondition,
    Code.RESOURCE_EXHAUSTED: errors.Overloaded,
    Code.DEADLINE_EXCEEDED: errors.Expired,
    Code.ABORTED: errors.SessionAborted,
    Code.UNAVAILABLE: errors.Unavailable,
    Code.PERMISSION_DENIED: errors.Denied,
    Code.UNIMPLEMENTED: errors.Unsupported,
    Code.INTERNAL: errors.InternalError,
}
_SUBCLASSES: Final[dict[str, type[ParlanteError]]] = {
    errors.PortraitRejected.__name__: errors.PortraitRejected
}
_FOREIGN_CODES: Final[dict[grpc.StatusCode, type[ParlanteError]]] = {
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.UNAUTHENTICATED: errors.Denied,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidInput,
}


def code_of(error: ParlanteError) -> grpc.StatusCode:
    """Give the gRPC code of an error."""
    return grpc.StatusCode[error.code.value]


def status_of(error: ParlanteError) -> grpc.Status:
    """Make the status of an error, for ``context.abort_with_status``."""
    message = status_pb2.Status(
        code=code_of(error).value[0], message=error.message[:MAX_MESSAGE_CHARS]
    )
    for detail in _details_of(error):
        packed = any_pb2.Any()
        packed.Pack(detail)
        message.details.append(packed)
    return rpc_status.to_status(message)


def _details_of(
    error: ParlanteError,
) -> list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo]:
    pairs = list(error.metadata.items())[:MAX_METADATA_ENTRIES]
    metadata = {key[:MAX_METADATA_CHARS]: value[:MAX_METADATA_CHARS] for key, value in pairs}
    if type(error).__name__ in _SUBCLASSES:
        metadata[_TYPE_KEY] = type(error).__name__
    details: list[
        error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo
    ] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field[:MAX_METADATA_CHARS],
            description=error.message[:MAX_MESSAGE_CHARS],
            reason=error.reason,
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_ms is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(error.retry_after_ms)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def error_of(call_error: grpc.aio.AioRpcError) -> ParlanteError:
    """Make the error that the other side raised, or the nearest one for a bare gRPC status."""
    status = _decode(call_error)
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    found = False
    for detail in status.details if status is not None else ():
        found |= detail.Unpack(info)
        detail.Unpack(bad_request)
        detail.Unpack(retry)
    if not found:
        return _bare(call_error.code(), call_error.details() or "")
    metadata = dict(info.metadata)
    error_class = _SUBCLASSES.get(metadata.pop(_TYPE_KEY, "")) or _class_of(call_error.code())
    violations = bad_request.field_violations
    return error_class(
        call_error.details() or "",
        reason=info.reason,
        field=violations[0].field if violations else "",
        metadata=metadata,
        retry_after_ms=(
            retry.retry_delay.ToMilliseconds() if retry.HasField("retry_delay") else None
        ),
    )


def _decode(call_error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """Read the status of the trailers; None when there is none or it does not fit the call."""
    try:
        return rpc_status.from_call(cast(grpc.Call, call_error))
    except ValueError:  # code or message differ from the call's own: a proxy made them up
        return None


def _class_of(code: grpc.StatusCode) -> type[ParlanteError]:
    if code in _FOREIGN_CODES:
        return _FOREIGN_CODES[code]
    try:
        return _CLASS_OF_CODE[Code[code.name]]
    except KeyError:
        return errors.InternalError


def _bare(code: grpc.StatusCode, text: str) -> ParlanteError:
    """Make the error of a status that gRPC itself or a proxy produced."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return errors.InvalidInput(
            f"a message is larger than the receiver takes ({text[:200]}); send smaller ones",
            reason="MESSAGE_TOO_LARGE",
        )
    error_class = _class_of(code)
    retry = DEFAULT_RETRY_AFTER_MS if error_class is errors.Unavailable else None
    return error_class(
        f"the call ended with {code.name}: {text[:MAX_MESSAGE_CHARS]}",
        retry_after_ms=retry,
    )
