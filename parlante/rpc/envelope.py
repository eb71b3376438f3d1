"""What all our streams share: one config first, then messages that say what they hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from parlante.errors import Expired, InvalidInput

CONFIG_TIMEOUT_S: Final = 10.0


def kind_of(message: Any, *, oneof: str = "message") -> str:
    """Tell which field of the envelope is set; raises `InvalidInput` EMPTY_MESSAGE if none is."""
    kind: str | None = message.WhichOneof(oneof)
    if kind is None:
        raise InvalidInput(
            "a message must hold one of the fields of this version's protocol; got none",
            reason="EMPTY_MESSAGE",
            field=oneof,
        )
    return kind


async def read_config(requests: AsyncIterator[Any], *, timeout_s: float = CONFIG_TIMEOUT_S) -> Any:
    """Read the first message of a stream and give its `config`.

    Raises:
        InvalidInput: CONFIG_NOT_FIRST, it is something else or the stream ended.
        Expired: CONFIG_TIMEOUT, nothing came in time; a slot is not held for the silent.
    """
    try:
        async with asyncio.timeout(timeout_s) as limit:
            message = await anext(requests, None)
    except TimeoutError:
        if not limit.expired():
            raise
        raise Expired(
            f"the config must come within {timeout_s:g} s of opening the stream",
            reason="CONFIG_TIMEOUT",
        ) from None
    kind = "the end of the stream" if message is None else kind_of(message)
    if kind != "config" or message is None:
        raise InvalidInput(
            f"the first message must be config; got {kind}",
            reason="CONFIG_NOT_FIRST",
            field="config",
        )
    return message.config


def duplicate_config() -> InvalidInput:
    """Make the error of a second config."""
    return InvalidInput(
        "config comes once, first; open another stream for another configuration",
        reason="DUPLICATE_CONFIG",
        field="config",
    )
