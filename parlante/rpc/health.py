"""The standard health service (grpc.health.v1), for all services of a server at once.

grpcio-health-checking has an asyncio servicer too, but there a watcher that leaves deletes the
condition that the other watchers of the same service wait on, and they never hear again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # untyped library
    """Says SERVING or NOT_SERVING for "" and for each service name; begins with NOT_SERVING.

    A service can be closed to new calls by itself; "", the process, stays what it is: whoever
    watches that one, as a liveness probe does, would end what still runs.
    """

    def __init__(self, service_names: Iterable[str]) -> None:
        self._names = frozenset(service_names) | {""}
        self._serving = False
        self._closed: set[str] = set()
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Change the state and tell every watcher."""
        self._serving = serving
        self._tell()

    def set_closed(self, name: str, closed: bool) -> None:
        """Let one service say NOT_SERVING, or again what the process says."""
        assert name in self._names - {""}, name
        if closed:
            self._closed.add(name)
        else:
            self._closed.discard(name)
        self._tell()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 (name of the rpc)
        """Answer the state of one service; NOT_FOUND for an unknown one."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _Status(status=self._state(request.service))

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 (name of the rpc)
        """Send the state of one service now and whenever it changes."""
        last = None
        while True:
            changed = self._changed
            state = self._state(request.service)
            if state != last:
                await context.write(_Status(status=state))
                last = state
            await changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _state(self, name: str) -> Any:
        if name not in self._names:
            return _Status.SERVICE_UNKNOWN
        is_open = self._serving and name not in self._closed
        return _Status.SERVING if is_open else _Status.NOT_SERVING
