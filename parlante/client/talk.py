"""A whole recording through one session, as fast as the server goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from parlante.aio import cancel_and_wait
from parlante.client.messages import SessionItem
from parlante.client.session import Session
from parlante.types import Int16Array

__all__ = ["talk"]


async def talk(session: Session, samples: Int16Array) -> AsyncIterator[SessionItem]:
    """Send a recording, finish the session and give what comes back.

    Args:
        session: An entered session that nothing was sent to, best with `Pacing.BURST`.
        samples: int16 [S] at the session's rate.

    Yields:
        Items of the session, in its order, until it ends.

    Raises:
        ParlanteError: The server refused something or went away.
    """
    sender = asyncio.create_task(_send(session, samples))
    try:
        async for item in session:
            yield item
        await sender
    finally:
        await cancel_and_wait(sender)


async def _send(session: Session, samples: Int16Array) -> None:
    try:
        await session.send_audio(samples)
        await session.end_utterance()
        await session.finish()
    except BaseException:
        await session.aclose()  # or the reader would wait for ever
        raise
