"""Ends a session that breaks its limits."""

from __future__ import annotations

from typing import Final

from gateway.limits import SessionLimits
from gateway.meter import SessionMeter
from gateway.outbox import Outbox
from parlante.clock import Clock
from parlante.errors import ParlanteError, SessionAborted

__all__ = ["Watchdog"]

_INTERVAL_US: Final = 250_000


class Watchdog:
    """Looks four times a second; the error that it raises ends the session.

    Args:
        limits: Bounds.
        outbox: Of the session.
        meter: Of the session; knows when it began.
        clock: Of the session.
        is_live: In burst pacing the session waits for a client that does not read.
    """

    def __init__(
        self,
        limits: SessionLimits,
        outbox: Outbox,
        meter: SessionMeter,
        clock: Clock,
        *,
        is_live: bool,
    ) -> None:
        self._limits = limits
        self._outbox = outbox
        self._meter = meter
        self._clock = clock
        self._is_live = is_live
        self._awaited_since_us: int | None = None
        self._abort_error: ParlanteError | None = None

    def client_awaited(self) -> None:
        """Note that a message of the client is waited for from now on."""
        self._awaited_since_us = self._clock.monotonic_us()

    def client_heard(self) -> None:
        """Note that the wait is over: a message or the half-close came."""
        self._awaited_since_us = None

    def abort(self, error: ParlanteError) -> None:
        """Raise `error` at the next look."""
        self._abort_error = error

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            SessionAborted: A limit was broken; `reason` says which.
            ParlanteError: What was given to `abort`.
        """
        while True:
            now_us = self._clock.monotonic_us()
            if self._abort_error is not None:
                raise self._abort_error
            self._check_length(now_us)
            self._check_idle(now_us)
            if self._is_live:
                self._check_unread(now_us)
            await self._clock.sleep_until_us(now_us + _INTERVAL_US)

    def _check_length(self, now_us: int) -> None:
        if now_us - self._meter.start_us >= self._limits.max_session_s * 1_000_000:
            raise SessionAborted(
                f"a session may last {self._limits.max_session_s} s; open a new one",
                reason="SESSION_TOO_LONG",
            )

    def _check_idle(self, now_us: int) -> None:
        since_us = self._awaited_since_us
        if since_us is not None and now_us - since_us >= self._limits.max_idle_s * 1_000_000:
            raise SessionAborted(
                f"no message came for {self._limits.max_idle_s} s; send audio, or a "
                "PlaybackReport to keep the session",
                reason="SESSION_IDLE",
            )

    def _check_unread(self, now_us: int) -> None:
        """What must not be dropped piles up while a client does not read."""
        oldest_us = self._outbox.oldest_us
        if oldest_us is None or not self._outbox.num_lasting:
            return
        if now_us - oldest_us >= self._limits.max_unread_s * 1_000_000:
            raise SessionAborted(
                f"audio, motion or events have waited {self._limits.max_unread_s} s to be read; "
                "read the stream all the time, in a task of its own",
                reason="SESSION_SLOW_READER",
            )
