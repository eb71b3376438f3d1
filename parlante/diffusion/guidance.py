"""Classifier-free guidance, one scale per condition (VASA-1, arXiv 2404.10667, eq. 2).

x = x_all + sum_c (s_c - 1) (x_all - x_without_c). A scale of 1 costs nothing: only conditions
with another scale add a row to the network's batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor

from parlante.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidanceScales:
    """How strongly each condition holds; 1 = as learnt, more = exaggerated."""

    gaze: float = 1.0
    distance: float = 1.0
    emotion: float = 1.0
    listening: float = 1.0
    audio: float = 1.0
    past: float = 1.0

    def active(self) -> list[tuple[int, float]]:
        """Conditions with a scale other than 1, as (group index, scale - 1)."""
        return [(index, scale - 1.0) for index, scale in enumerate(self.all()) if scale != 1.0]

    def all(self) -> tuple[float, ...]:
        """The scales in the order of the network's condition groups."""
        return (self.gaze, self.distance, self.emotion, self.listening, self.audio, self.past)


MAX_SCALE: Final = 4.0


def parse_guidance(text: str) -> GuidanceScales:
    """Read scales such as ``emotion=1.5,gaze=1.2``; what is not named stays at 1.

    Raises:
        InvalidInput: A name is unknown or given twice, or a scale is no number in [0, MAX_SCALE].
    """
    names = [field.name for field in fields(GuidanceScales)]
    scales: dict[str, float] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = pair.partition("=")
        try:
            scale = float(number)
        except ValueError:
            scale = -1.0
        if name not in names or name in scales or not 0.0 <= scale <= MAX_SCALE:
            raise InvalidInput(
                f"guidance takes pairs of one of {names} and a scale in [0, {MAX_SCALE:g}], each "
                f"once, such as emotion=1.5,gaze=1.2; got {pair[:40]!r}",
                reason="BAD_GUIDANCE",
                field="guidance",
            )
        scales[name] = scale
    return GuidanceScales(**scales)


def keep_rows(scales: GuidanceScales) -> Tensor:
    """Rows of conditions to keep, float32 [1 + A, 6]: all, then all but each guided one."""
    active = scales.active()
    keep = torch.ones(1 + len(active), len(scales.all()))
    for row, (group, _) in enumerate(active):
        keep[1 + row, group] = 0.0
    return keep


def combine(predictions: Tensor, scales: GuidanceScales) -> Tensor:
    """Join predictions [1 + A, T, D], rows as in `keep_rows`, into one [1, T, D]."""
    full = predictions[:1]
    out = full
    for row, (_, extra) in enumerate(scales.active()):
        out = out + extra * (full - predictions[1 + row : 2 + row])
    return out
