"""The call that follows a session's present one, opened while that one may still go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from parlante.aio import cancel_and_wait
from parlante.client.link import Link
from parlante.errors import Expired, Overloaded, ParlanteError, Unavailable
from parlante.v1 import gateway_pb2

__all__ = ["Succession"]

_START_TIMEOUT_S: Final = 3.0
_TIMEOUT_S: Final = 20.0
_MIN_RETRY_S: Final = 0.02
_MAX_RETRY_S: Final = 0.5

ShowsReadiness = Callable[[Link, gateway_pb2.ConverseResponse], bool]


class Succession:
    """Opens calls, one after the other, until one of them gives outputs.

    Args:
        make_link: Makes a link whose outbox holds what its server must be told.
        shows_readiness: Tells whether a message of a link shows that its server has caught up; None
            where a call that has started will do.
        reason: Why, as in the error that would end the present call.

    Attributes:
        link: The one that is tried now, or that is ready; what is sent meanwhile goes there too.
        messages: What it said after `session_started`; what shows readiness is the last of them.
        ready_s: When that came, monotonic; None before.
        acknowledged: Interrupts that the present server acknowledged meanwhile, by utterance; the
            next one does so again.
        begin_us: Media time at which the next server's outputs begin, microseconds.
        held: What the present server sent of the time from there on.
        error: Why there is no next call; None while it is looked for.
    """

    def __init__(
        self, make_link: Callable[[], Link], *, shows_readiness: ShowsReadiness | None, reason: str
    ) -> None:
        self.reason = reason
        self.link: Link | None = None
        self.messages: list[gateway_pb2.ConverseResponse] = []
        self.ready_s: float | None = None
        self.acknowledged: list[str] = []
        self.begin_us = 0
        self.held: list[gateway_pb2.ConverseResponse] = []
        self.error: ParlanteError | None = None
        self._make_link = make_link
        self._shows_readiness = shows_readiness
        self._task = asyncio.create_task(self._run(), name="succession")

    @property
    def done(self) -> asyncio.Task[None]:
        """Done when a call is ready, or none can be had."""
        return self._task

    def take(self) -> Link:
        """Give the link that is ready; it is the caller's from now on."""
        assert self.link is not None
        link, self.link = self.link, None
        return link

    async def aclose(self) -> None:
        """Stop looking and end what was opened. Idempotent."""
        await cancel_and_wait(self._task)
        await self._give_up()

    async def _run(self) -> None:
        deadline_s = time.monotonic() + _TIMEOUT_S
        retry_s = _MIN_RETRY_S
        while True:
            try:
                await self._try()
            except (Unavailable, Overloaded, Expired) as refusal:
                if time.monotonic() >= deadline_s:
                    self.error = refusal
            except ParlanteError as error:
                self.error = error
            else:
                self.ready_s = time.monotonic()
                return
            await self._give_up()
            if self.error is not None:
                return
            await asyncio.sleep(retry_s)
            retry_s = min(_MAX_RETRY_S, retry_s * 2)

    async def _try(self) -> None:
        """Try one server: all that it must be told is queued at once, before anything new."""
        self.link = link = self._make_link()
        await link.start(timeout_s=_START_TIMEOUT_S)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while self._shows_readiness is not None:
                    message = await link.read()
                    if message is None:  # all was said
                        return
                    self.messages.append(message)
                    if self._shows_readiness(link, message):
                        return
        except TimeoutError:
            raise Expired(
                f"the session did not go on within {_START_TIMEOUT_S:g} s",
                reason="SESSION_START_TIMEOUT",
            ) from None

    async def _give_up(self) -> None:
        link, self.link = self.link, None
        self.messages = []
        if link is not None:
            await link.aclose()
