"""The errors that callers may act on; each carries what a gRPC status needs, without grpc.

A message says what was expected, what came and what to do. `parlante.rpc` maps the family to
status codes and ``google.rpc`` details in one place.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class Code(enum.Enum):
    """Canonical status codes, by their gRPC names."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    ABORTED = "ABORTED"
    UNAVAILABLE = "UNAVAILABLE"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"


class ParlanteError(Exception):
    """Base of all errors that cross a port.

    Args:
        message: For the caller: expected, got, what to do.
        reason: UPPER_SNAKE_CASE, at most 63 characters, stable: programs may switch on it.
        field: The request field at fault, if one is.
        metadata: Small string pairs for programs.
        retry_after_ms: When a retry may succeed; None if a retry does not help.
    """

    code: ClassVar[Code] = Code.INTERNAL
    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.field = field
        self.metadata: Mapping[str, str] = MappingProxyType(dict(metadata or {}))
        self.retry_after_ms = retry_after_ms


class InvalidInput(ParlanteError):
    """The request cannot be right in any state of the system."""

    code = Code.INVALID_ARGUMENT
    default_reason = "INVALID_INPUT"


class PortraitRejected(InvalidInput):
    """The portrait gate refused a picture; `reason` says why."""

    default_reason = "PORTRAIT_REJECTED"


class NotFound(ParlanteError):
    """The named thing does not exist."""

    code = Code.NOT_FOUND
    default_reason = "NOT_FOUND"


class AlreadyExists(ParlanteError):
    """The name is taken by something else."""

    code = Code.ALREADY_EXISTS
    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(ParlanteError):
    """The request is fine but the system is not in a state for it, e.g. another model bundle."""

    code = Code.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class Overloaded(ParlanteError):
    """No free slot or a quota is used up; carries `retry_after_ms`."""

    code = Code.RESOURCE_EXHAUSTED
    default_reason = "OVERLOADED"


class Expired(ParlanteError):
    """The deadline passed."""

    code = Code.DEADLINE_EXCEEDED
    default_reason = "DEADLINE_EXCEEDED"


class SessionAborted(ParlanteError):
    """A session limit (idle time, length) ended the stream."""

    code = Code.ABORTED
    default_reason = "SESSION_ABORTED"


class Unavailable(ParlanteError):
    """Draining, warming up, or a stage is out of reach; a retry may succeed."""

    code = Code.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class Denied(ParlanteError):
    """The caller may not do this here."""

    code = Code.PERMISSION_DENIED
    default_reason = "PERMISSION_DENIED"


class Unsupported(ParlanteError):
    """The other side does not know the method: client and server versions differ."""

    code = Code.UNIMPLEMENTED
    default_reason = "UNIMPLEMENTED"


class InternalError(ParlanteError):
    """A defect of ours; the message shows no internals."""
