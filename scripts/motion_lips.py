"""Lips as the motion's channels have them, to be judged like those that a tracker sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parlante.evaluation.phones import MARKS, PhoneSpan
from parlante.evaluation.tracking import FloatArray
from parlante.training.evaluate import aperture, width
from parlante.training.visemes import Phone
from parlante.types import Float32Array

__all__ = ["ChannelLips", "lips_of", "span_of"]


@dataclass(frozen=True, slots=True, eq=False)
class ChannelLips:
    """Implements `parlante.evaluation.lips.Lips`: float64 [T] each, IOD and share of rest."""

    aperture: FloatArray
    mouth_width: FloatArray

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.aperture)

    @property
    def tracked(self) -> npt.NDArray[np.bool_]:
        """True for every frame."""
        return np.ones(self.num_frames, bool)


def lips_of(values: Float32Array) -> ChannelLips:
    """Read the lips off motion [T, 60]."""
    return ChannelLips(aperture(values), width(values))


def span_of(phone: Phone) -> PhoneSpan:
    """Give a phoneme without its stress and length."""
    return PhoneSpan(phone.ipa.translate(MARKS), phone.start_s, phone.end_s)
