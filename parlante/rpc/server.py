"""A gRPC server with health, reflection, admission and a bounded drain."""

from __future__ import annotations

import asyncio
import enum
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from parlante.errors import InvalidInput, ParlanteError, Unavailable
from parlante.rpc.health import Health
from parlante.rpc.interceptors import (
    AdmissionInterceptor,
    DeadlineInterceptor,
    ErrorInterceptor,
    TracingInterceptor,
)
from parlante.rpc.lifecycle import Lifecycle
from parlante.rpc.tls import TlsFiles
from parlante.settings import about

logger = logging.getLogger(__name__)

# gRPC's own default, kept on purpose: the largest request we define is an inline portrait of
# 3 MiB with a background of 960 KiB, and a larger limit would let any client make us buffer that
# much per stream.
MAX_RECEIVE_BYTES: Final = 4 * 1024 * 1024
MAX_SEND_BYTES: Final = 8 * 1024 * 1024
MAX_STREAMS_PER_CONNECTION: Final = 1000
# Clients may ping this often on a quiet connection. The widely copied option
# "grpc.http2.min_recv_ping_interval_without_data_ms" has no effect in grpcio.
MIN_CLIENT_PING_MS: Final = 5_000
# Replicas of a fleet ask each other for a sign of life every second: a hung one is found within it.
MIN_FLEET_PING_MS: Final = 500
GRPC_CALL_COROUTINE: Final = "_schedule_rpc_coro"
CALLS_UNWIND_S: Final = 0.3
REFLECTION_V1: Final = "grpc.reflection.v1.ServerReflection"


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What every server of the suite has in common."""

    host: str = field(
        default="0.0.0.0", metadata=about("Address to listen on", env="PARLANTE_LISTEN_HOST")
    )
    port: int = field(
        default=0,
        metadata=about("Port to listen on; 0 takes a free one", env="PARLANTE_LISTEN_PORT"),
    )
    reflection: bool = field(
        default=True, metadata=about("Serve gRPC reflection; off at a public edge")
    )
    unary_timeout_s: float = field(
        default=60.0, metadata=about("Deadline of calls whose client gave none")
    )
    drain_grace_s: float = field(
        default=20.0, metadata=about("Time for open streams to finish on SIGTERM")
    )
    health_port: int = field(
        default=0,
        metadata=about(
            "Port of a second health service in plain text, for probes that speak no TLS; 0 = none"
        ),
    )
    tls_cert: Path | None = field(
        default=None, metadata=about("PEM certificate; with tls-key turns TLS on")
    )
    tls_key: Path | None = field(default=None, metadata=about("PEM key of the certificate"))
    tls_client_ca: Path | None = field(
        default=None, metadata=about("PEM bundle; clients must be signed by it")
    )

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise bad_setting("port", "in [0, 65535]", self.port)
        if not 0 <= self.health_port <= 65_535:
            raise bad_setting("health_port", "in [0, 65535]", self.health_port)
        if not 0 < self.unary_timeout_s <= 3600:
            raise bad_setting("unary_timeout_s", "in (0, 3600]", self.unary_timeout_s)
        if not 0 <= self.drain_grace_s <= 86_400:
            raise bad_setting("drain_grace_s", "in [0, 86400]", self.drain_grace_s)
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise bad_setting("tls_client_ca", "set only together with tls_cert", "it alone")

    @property
    def tls(self) -> TlsFiles | None:
        """The key files, or None for plain text."""
        if self.tls_cert is None and self.tls_key is None:
            return None
        return TlsFiles(cert=self.tls_cert, key=self.tls_key, ca=self.tls_client_ca)


def bad_setting(name: str, expected: str, got: object) -> InvalidInput:
    """Make the error of a setting that is out of range."""
    return InvalidInput(f"{name} must be {expected}; got {got}", reason="BAD_SETTING", field=name)


@dataclass(frozen=True, slots=True)
class Service:
    """A servicer to serve: its full name and how to register it."""

    name: str
    register: Callable[[grpc.aio.Server], None]


class _State(enum.Enum):
    WARMING = "warming up"
    SERVING = "serving"
    DRAINING = "draining"


class RpcServer:
    """Serves services from `start` to `drain`; also an async context manager over both.

    After `start` the port is open but health says NOT_SERVING and calls get UNAVAILABLE, so that
    probes see a live process; `set_serving` ends that once the warm-up is done. `drain` turns
    health off first, refuses new calls, and gives open ones the grace of the configuration.

    Args:
        services: What to serve.
        config: Settings; None takes the defaults.
        min_client_ping_ms: Clients that ping a quiet connection more often are thrown out.
        lifecycle: Told when the server serves and drains; None makes one of its own.

    Attributes:
        port: The bound port; 0 before `start`.
    """

    def __init__(
        self,
        services: Sequence[Service],
        config: ServerConfig | None = None,
        *,
        min_client_ping_ms: int = MIN_CLIENT_PING_MS,
        lifecycle: Lifecycle | None = None,
    ) -> None:
        self._lifecycle = lifecycle or Lifecycle()
        self._services = tuple(services)
        self._options = _options(min_client_ping_ms)
        self._config = config or ServerConfig()
        self._state = _State.WARMING
        self._health = Health(service.name for service in services)
        self._server: grpc.aio.Server | None = None
        self._probes: grpc.aio.Server | None = None
        self.port = 0

    @property
    def draining(self) -> asyncio.Event:
        """Set when the drain begins, for sessions that say good-bye to their clients."""
        return self._lifecycle.draining

    async def start(self) -> None:
        """Listen; raises `InvalidInput` when the address cannot be bound."""
        config = self._config
        server = grpc.aio.server(
            interceptors=[
                ErrorInterceptor(),
                TracingInterceptor(),
                AdmissionInterceptor(self._refusal),
                DeadlineInterceptor(config.unary_timeout_s),
            ],
            options=self._options,
        )
        for service in self._services:
            service.register(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if config.reflection:
            self._add_reflection(server)
        address = f"{config.host}:{config.port}"
        try:
            if config.tls is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, config.tls.server_credentials())
        except RuntimeError as error:
            raise InvalidInput(
                f"cannot listen on {address}; take a free port and an address of this machine",
                reason="BAD_SETTING",
                field="port",
            ) from error
        await server.start()
        self._server = server
        if config.health_port:
            await self._start_probes(f"{config.host}:{config.health_port}")

    async def _start_probes(self, address: str) -> None:
        """Serve health alone, without TLS: the kubelet's gRPC probes speak none."""
        self._probes = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probes)
        try:
            self._probes.add_insecure_port(address)
        except RuntimeError as error:
            raise InvalidInput(
                f"cannot listen on {address}; take a free port for health_port",
                reason="BAD_SETTING",
                field="health_port",
            ) from error
        await self._probes.start()

    def _add_reflection(self, server: grpc.aio.Server) -> None:
        names = [service.name for service in self._services]
        names += [health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
        names += [REFLECTION_V1, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
        # grpcio-reflection registers v1alpha only; v1 has the same messages on the wire.
        handler = grpc.stream_stream_rpc_method_handler(
            reflection.aio.ReflectionServicer(names).ServerReflectionInfo,  # type: ignore[attr-defined]
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        methods = {"ServerReflectionInfo": handler}
        v1 = grpc.method_handlers_generic_handler(REFLECTION_V1, methods)
        server.add_generic_rpc_handlers((v1,))

    def set_serving(self) -> None:
        """Open the doors: the warm-up is done. Nothing happens once the drain has begun."""
        if self._state is _State.WARMING:
            self._state = _State.SERVING
            self._lifecycle.serving = True
            self._health.set_serving(True)

    def set_closed(self, service_name: str, closed: bool) -> None:
        """Say of one service that it takes no new calls, or takes them again; none is refused."""
        self._health.set_closed(service_name, closed)

    def _refusal(self) -> ParlanteError | None:
        if self._state is _State.SERVING:
            return None
        reason = "WARMING_UP" if self._state is _State.WARMING else "DRAINING"
        return Unavailable(
            f"the server is {self._state.value}; try another one, or again in a second",
            reason=reason,
            retry_after_ms=1000,
        )

    async def drain(self, *, grace_s: float | None = None) -> None:
        """Stop: health first, then no new calls, then wait for open ones, then cut them.

        Args:
            grace_s: Time for open calls; None takes the configuration's.
        """
        self._state = _State.DRAINING
        self._health.set_serving(False)
        self._lifecycle.drain()
        if self._server is not None:
            await self._server.stop(self._config.drain_grace_s if grace_s is None else grace_s)
            await _wait_for_calls()
        if self._probes is not None:
            await self._probes.stop(0)
            self._probes = None

    async def serve_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal cuts the drain short."""
        loop = asyncio.get_running_loop()
        signals = asyncio.Semaphore(0)
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, signals.release)
        try:
            await signals.acquire()
            logger.info("draining", extra={"grace_s": self._config.drain_grace_s})
            drain = asyncio.create_task(self.drain())
            impatience = asyncio.create_task(signals.acquire())
            await asyncio.wait((drain, impatience), return_when=asyncio.FIRST_COMPLETED)
            impatience.cancel()
            with suppress(asyncio.CancelledError):
                await impatience
            if not drain.done():
                await self.drain(grace_s=0)
            await drain
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    async def __aenter__(self) -> RpcServer:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.drain(grace_s=0)


async def _wait_for_calls() -> None:
    """Give grpc's own tasks, which carried the calls, time to unwind.

    `stop` does not wait for them; a loop that ends before they do cancels them, and grpc prints
    the traceback of that.
    """
    calls = [
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__name__", "") == GRPC_CALL_COROUTINE
    ]
    if calls:
        await asyncio.wait(calls, timeout=CALLS_UNWIND_S)


def _options(min_client_ping_ms: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.max_send_message_length", MAX_SEND_BYTES),
        ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
        ("grpc.http2.min_ping_interval_without_data_ms", min_client_ping_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        # Our own pings find clients that vanished without closing their streams.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),  # the effective one, see `channel.py`
        # A second server on the same port is a mistake that must not go unseen.
        ("grpc.so_reuseport", 0),
    ]
