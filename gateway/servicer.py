"""The Converse call: admission, messages to values and back, one `Session` per call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from opentelemetry import trace

from gateway.credits import DropReason
from gateway.limits import SessionLimits
from gateway.resume import ResumeSealer
from gateway.session import Send, Session
from gateway.stages import Stages
from gateway.values import SessionInput, SessionOutput, Started
from gateway.wire import (
    input_from_proto,
    output_to_proto,
    resume_from_proto,
    settings_from_proto,
)
from parlante import telemetry
from parlante.aio import closing
from parlante.clock import Clock
from parlante.errors import Overloaded, Unavailable
from parlante.rpc.envelope import read_config
from parlante.rpc.lifecycle import Lifecycle
from parlante.rpc.server import Service
from parlante.rpc.slots import Slots
from parlante.v1 import gateway_pb2, gateway_pb2_grpc

__all__ = ["GatewayServicer"]

logger = logging.getLogger(__name__)

SERVICE_NAME = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name
_RETRY_AFTER_MS = 2000


class GatewayServicer(gateway_pb2_grpc.GatewayServiceServicer):
    """Serves sessions.

    Args:
        stages: The ports.
        clock: Time.
        limits: Bounds of a session.
        max_sessions: Sessions at once.
        sealer: Makes and reads resume points; None makes none.
        slots: Of the sessions, shared with the replica service; None makes its own.
    """

    def __init__(
        self,
        stages: Stages,
        *,
        clock: Clock,
        limits: SessionLimits,
        max_sessions: int,
        sealer: ResumeSealer | None = None,
        slots: Slots | None = None,
    ) -> None:
        self._stages = stages
        self._clock = clock
        self._limits = limits
        self._sealer = sealer
        self._slots = slots or Slots(max_sessions, what="session", retry_after_ms=_RETRY_AFTER_MS)
        self._sessions: set[Session] = set()
        _begin_series()

    @property
    def service(self) -> Service:
        """What `RpcServer` serves."""
        add: Any = gateway_pb2_grpc.add_GatewayServiceServicer_to_server
        return Service(SERVICE_NAME, lambda server: add(self, server))

    @property
    def num_sessions(self) -> int:
        """Sessions that are open."""
        return self._slots.num_held

    async def Converse(  # noqa: N802 (name of the rpc)
        self, request_iterator: AsyncIterator[gateway_pb2.ConverseRequest], context: Any
    ) -> None:
        """Hold one session; see gateway.proto."""
        has_started = False

        async def send(output: SessionOutput) -> None:
            nonlocal has_started
            await context.write(output_to_proto(output))
            if isinstance(output, Started):
                has_started = True
                telemetry.metrics().sessions_started.add(1)

        try:
            with self._slots.hold():
                await self._hold_session(request_iterator, send)
        except (Overloaded, Unavailable) as error:
            if not has_started:
                attributes = {telemetry.ATTRIBUTE_REASON: error.reason}
                telemetry.metrics().sessions_refused.add(1, attributes)
            raise

    async def _hold_session(
        self, requests: AsyncIterator[gateway_pb2.ConverseRequest], send: Send
    ) -> None:
        config = await read_config(requests)
        settings = settings_from_proto(config)
        session = Session(
            settings,
            self._stages,
            clock=self._clock,
            limits=self._limits,
            sealer=self._sealer,
            request=resume_from_proto(config),
        )
        trace.get_current_span().set_attribute("parlante.session.id", session.id)
        self._sessions.add(session)
        active = telemetry.metrics().sessions_active
        active.add(1)
        try:
            async with closing(_inputs(requests, settings.sample_rate_hz)) as inputs:
                await session.run(inputs, send)
        finally:
            active.add(-1)
            self._sessions.discard(session)

    async def leave_on(self, lifecycle: Lifecycle) -> None:
        """Send the sessions of now away whenever an operator empties this gateway."""
        while not lifecycle.draining.is_set():
            await lifecycle.leaving.wait()
            if lifecycle.draining.is_set():
                return  # `drain_on` says good-bye
            for session in tuple(self._sessions):
                session.go_away("this server is emptied; finish and connect again")
            await asyncio.sleep(0)

    async def drain_on(self, draining: asyncio.Event, *, grace_s: float) -> None:
        """Once `draining` is set, send good-byes, and end what is left shortly before the grace.

        Args:
            draining: Set when the server begins to drain.
            grace_s: What the server leaves open calls.
        """
        await draining.wait()
        for session in tuple(self._sessions):
            session.go_away(f"the server stops within {grace_s:g} s; finish and connect again")
        # Before the transport cuts them without a reason.
        await asyncio.sleep(max(0.0, grace_s - min(1.0, grace_s / 2)))
        for session in tuple(self._sessions):
            session.abort(
                Unavailable(
                    "the server has stopped; connect again",
                    reason="DRAINING",
                    retry_after_ms=_RETRY_AFTER_MS,
                )
            )


async def _inputs(
    requests: AsyncIterator[gateway_pb2.ConverseRequest], sample_rate_hz: int
) -> AsyncIterator[SessionInput]:
    async for request in requests:
        yield input_from_proto(request, sample_rate_hz)


def _begin_series() -> None:
    """Let counters begin at 0: alerts are about their increase, which a first event has not."""
    metrics = telemetry.metrics()
    metrics.sessions_started.add(0)
    for reason in ("NO_FREE_SLOT", "STAGE_UNAVAILABLE"):
        metrics.sessions_refused.add(0, {telemetry.ATTRIBUTE_REASON: reason})
    for drop in DropReason:
        metrics.frames_dropped.add(0, {telemetry.ATTRIBUTE_REASON: drop.value})
