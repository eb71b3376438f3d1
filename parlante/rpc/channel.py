"""Channels to our services."""

from __future__ import annotations

from typing import Final

import grpc

from parlante.rpc.tls import TlsFiles

# Raw 1024 x 1024 RGBA is 4 MiB and a little envelope, just over gRPC's default limit of 4 MiB.
MAX_RECEIVE_BYTES: Final = 8 * 1024 * 1024
KEEPALIVE_TIME_MS: Final = 10_000
KEEPALIVE_TIMEOUT_MS: Final = 5_000
MAX_RECONNECT_BACKOFF_MS: Final = 2_000


def open_channel(
    target: str,
    *,
    tls: TlsFiles | None = None,
    keepalive_time_ms: int = KEEPALIVE_TIME_MS,
    keepalive_timeout_ms: int = KEEPALIVE_TIMEOUT_MS,
    options: tuple[tuple[str, int | str], ...] = (),
) -> grpc.aio.Channel:
    """Open a channel that notices a hung peer and reconnects soon.

    Args:
        target: ``HOST:PORT``, or a gRPC URI such as ``dns:///encoder:50051``.
        tls: Key files; None means plain text.
        keepalive_time_ms: Silence after which the peer is asked for a sign of life. Servers of
            this package allow 5000 and more.
        keepalive_timeout_ms: Wait for that sign; then calls end with UNAVAILABLE.
        options: More channel arguments; they win over ours.
    """
    arguments = [
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.keepalive_time_ms", keepalive_time_ms),
        ("grpc.keepalive_timeout_ms", keepalive_timeout_ms),
        # Without this one grpcio 1.85 waits a minute for the answer to a ping, whatever the
        # keepalive timeout says (measured: a hung peer was not noticed within 30 s).
        ("grpc.http2.ping_timeout_ms", keepalive_timeout_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_BACKOFF_MS),
        # Channels to the same target must not share one connection and its limit of streams.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.lb_policy_name", "round_robin"),
        *options,
    ]
    if tls is None:
        return grpc.aio.insecure_channel(target, options=arguments)
    return grpc.aio.secure_channel(target, tls.channel_credentials(), options=arguments)
