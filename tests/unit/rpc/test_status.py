"""Every error class becomes a status with details, and comes back as itself."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from parlante import errors
from parlante.errors import ParlanteError
from parlante.rpc.status import code_of, error_of, status_of


def _family(base: type[ParlanteError]) -> list[type[ParlanteError]]:
    return [sub for cls in base.__subclasses__() for sub in (cls, *_family(cls))]


def _sent(error: ParlanteError) -> grpc.aio.AioRpcError:
    """What a client sees of an error, without a network."""
    status = status_of(error)
    return _call_error(status.code, status.details, tuple(status.trailing_metadata))


def _call_error(
    code: grpc.StatusCode, text: str, trailing: tuple[tuple[str, bytes], ...] = ()
) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata(*trailing)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details=text)


@pytest.mark.parametrize("error_class", _family(ParlanteError), ids=lambda cls: cls.__name__)
def test_error_comes_back_as_itself(error_class: type[ParlanteError]) -> None:
    sent = error_class(
        "expected a, got b; do c",
        reason="SOME_REASON",
        field="config.a",
        metadata={"key": "value"},
        retry_after_ms=1500,
    )

    got = error_of(_sent(sent))

    assert type(got) is error_class
    assert (got.message, got.reason, got.field) == (sent.message, sent.reason, sent.field)
    assert (got.metadata, got.retry_after_ms) == ({"key": "value"}, 1500)


@pytest.mark.parametrize("error_class", _family(ParlanteError), ids=lambda cls: cls.__name__)
def test_error_without_extras_comes_back_without(error_class: type[ParlanteError]) -> None:
    got = error_of(_sent(error_class("text")))

    assert (got.reason, got.field) == (error_class.default_reason, "")
    assert (got.metadata, got.retry_after_ms) == ({}, None)


def test_status_has_one_error_info_of_our_domain() -> None:
    status = rpc_status.from_call(_sent(errors.InvalidInput("text", reason="BAD", field="a")))

    infos = [d for d in status.details if d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    assert len(infos) == 1
    assert (info.domain, info.reason) == ("parlante", "BAD")


def test_every_code_has_a_class_of_its_own() -> None:
    codes = {cls.code for cls in _family(ParlanteError)}
    assert codes == set(errors.Code)
    assert {code_of(cls("x")) for cls in _family(ParlanteError)} <= set(grpc.StatusCode)


def test_long_texts_are_cut_so_that_trailers_stay_small() -> None:
    metadata = {f"key{i}": "v" * 10_000 for i in range(100)}
    call_error = _sent(errors.InvalidInput("x" * 100_000, field="f" * 5000, metadata=metadata))
    assert sum(len(value) for _, value in call_error.trailing_metadata() or ()) < 8192


@pytest.mark.parametrize(
    ("code", "error_class", "retry_after_ms"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable, 1000),
        (grpc.StatusCode.CANCELLED, errors.Unavailable, 1000),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.Expired, None),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Unsupported, None),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Denied, None),
        (grpc.StatusCode.UNKNOWN, errors.InternalError, None),
        (grpc.StatusCode.DATA_LOSS, errors.InternalError, None),
    ],
)
def test_bare_status_becomes_the_nearest_error(
    code: grpc.StatusCode, error_class: type[ParlanteError], retry_after_ms: int | None
) -> None:
    got = error_of(_call_error(code, "from the transport"))
    assert type(got) is error_class
    assert got.retry_after_ms == retry_after_ms


def test_too_large_a_message_is_not_taken_for_overload() -> None:
    text = "CLIENT: Received message larger than max (5000000 vs. 4194304)"
    got = error_of(_call_error(grpc.StatusCode.RESOURCE_EXHAUSTED, text))
    assert type(got) is errors.InvalidInput
    assert got.reason == "MESSAGE_TOO_LARGE"


def test_details_that_contradict_the_status_are_not_believed() -> None:
    trailing = tuple(status_of(errors.NotFound("gone")).trailing_metadata)
    got = error_of(_call_error(grpc.StatusCode.UNAVAILABLE, "proxy", trailing))
    assert type(got) is errors.Unavailable
