"""Runs live sessions side by side, each as `measure_live` does, and tells how each fared."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

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

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values, every frame's figures among them, for another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Outcome:
        """Read what `to_json` gave, after a way through JSON."""
        figures = values["figures"]
        if figures is None:
            return cls(**values)
        lists = {name: tuple(figures[name]) for name in ("latencies_ms", "arrivals_ms")}
        return cls(**{**values, "figures": LiveFigures(**{**figures, **lists})})


async def run_sessions(
    client: ParlanteClient,
    avatars: Sequence[str],
    speech: Int16Array,
    number: int,
    encoding: FrameEncoding,
    *,
    stagger_s: float = _STAGGER_S,
) -> list[Outcome]:
    """Run sessions side by side.

    Args:
        client: Connected.
        avatars: Names of avatars, which the sessions take in turn.
        speech: What each says, int16 [S] at 16 kHz.
        number: How many sessions.
        encoding: Of the frames.
        stagger_s: From the beginning of one to that of the next.
    """

    async def one(index: int) -> Outcome:
        await asyncio.sleep(index * stagger_s)
        try:
            avatar = avatars[index % len(avatars)]
            figures = await measure_live(client, avatar, speech, encoding=encoding)
        except Overloaded as error:
            return Outcome(refused=True, reason=error.reason)
        except ParlanteError as error:
            return Outcome(reason=error.reason)
        return Outcome(figures=figures)

    return list(await asyncio.gather(*(one(index) for index in range(number))))
