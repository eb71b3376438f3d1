"""Runs live sessions side by side, each as `measure_live` does, and tells how each fared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from parlante.cli.live_probe import LiveFigures, measure_live
from parlante.client import ParlanteClient
from parlante.errors import Overloaded, ParlanteError
from parlante.types import FrameEncoding, Int16Array

__all__ = ["Outcome", "run_sessions"]

# Sessions begin one after the other, as people do; not within one frame.
_STAGGER_S: Final = 0.13


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a session.

    Attributes:
        figures: What its client saw; None if it failed.
        refused: True when the server had no room for it.
        reason: Of the failure; "" without one.
    """

    figures: LiveFigures | None = None
    refused: bool = False
    reason: str = ""


async def run_sessions(
    client: ParlanteClient,
    avatar: str,
    speech: Int16Array,
    number: int,
    encoding: FrameEncoding,
) -> list[Outcome]:
    """Run sessions side by side.

    Args:
        client: Connected.
        avatar: Name of an avatar.
        speech: What each says, int16 [S] at 16 kHz.
        number: How many sessions.
        encoding: Of the frames.
    """

    async def one(index: int) -> Outcome:
        await asyncio.sleep(index * _STAGGER_S)
        try:
            figures = await measure_live(client, avatar, speech, encoding=encoding)
        except Overloaded as error:
            return Outcome(refused=True, reason=error.reason)
        except ParlanteError as error:
            return Outcome(reason=error.reason)
        return Outcome(figures=figures)

    return list(await asyncio.gather(*(one(index) for index in range(number))))
