"""Grain of a picture: how strong and how coarse it is, and noise that looks like it."""

from __future__ import annotations

import math
from typing import Final, NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.median_spread import median_spread
from parlante.types import Float32Array

__all__ = ["COARSE_FROM", "FilmGrain"]

MAX_GRAIN: Final = 40.0  # of 255, standard deviation
COARSE_FROM: Final = 2.0  # of 255: grain that is seen
FINE_PX: Final = 1.5  # what a blur of this width takes away counts as grain
# Of noise that was blurred by so many px: correlation of neighbours in what counts as grain, and
# the share of its standard deviation that does. Simulated, as the blur of `FINE_PX` makes them.
_WIDTHS_PX: Final = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2)
_NEIGHBOURS: Final = (-0.10, -0.02, 0.12, 0.27, 0.40, 0.50, 0.62, 0.70)
_SEEN_SHARES: Final = (0.95, 0.93, 0.89, 0.83, 0.77, 0.71, 0.61, 0.52)


class FilmGrain(NamedTuple):
    """Grain of a background.

    Attributes:
        light: Its standard deviation in lightness, of 255.
        colour: In colour.
        width_px: By how much noise must be blurred to be as coarse.
    """

    light: float
    colour: float
    width_px: float

    @classmethod
    def of(cls, picture: Float32Array, empty: npt.NDArray[np.bool_]) -> Self:
        """Measure it; its width is 0 where it is hardly seen.

        Args:
            picture: float32 [H, W, 3].
            empty: bool [H, W], where the background is.
        """
        residue = picture - cv2.GaussianBlur(picture, (0, 0), FINE_PX)
        seen = residue[::2, ::2][empty[::2, ::2]]  # a quarter of the pixels tells it as well
        if not len(seen):
            return cls(0.0, 0.0, 0.0)
        light = seen.mean(axis=-1, keepdims=True)
        # By medians: edges do not count.
        stds = [median_spread(part, 0.0) for part in (light, seen - light)]
        width_px, share = 0.0, 1.0
        if sum(stds) > COARSE_FROM:
            beside = _neighbours(residue.mean(axis=-1), empty)
            width_px = float(np.interp(beside, _NEIGHBOURS, _WIDTHS_PX))
            share = float(np.interp(width_px, _WIDTHS_PX, _SEEN_SHARES))
        light_std, colour_std = (min(std / share, MAX_GRAIN) for std in stds)
        return cls(light_std, colour_std, width_px)

    @property
    def is_coarse(self) -> bool:
        """Whether it is seen."""
        return self.light + self.colour > COARSE_FROM

    def drawn(self, shape: tuple[int, ...], seed: int) -> Float32Array:
        """Noise like it: float32 [H, W, 3]."""
        random = np.random.default_rng(seed)
        grain = np.zeros((*shape, 3), np.float32)
        for std, channels in ((self.light, 1), (self.colour, 3)):
            noise = random.standard_normal((*shape, channels), dtype=np.float32)
            if self.width_px > 0.0:
                blurred = cv2.GaussianBlur(noise, (0, 0), self.width_px)
                noise = (blurred / blurred.std()).reshape(noise.shape)
            grain += noise * np.float32(std)
        return grain


def _neighbours(residue: Float32Array, empty: npt.NDArray[np.bool_]) -> float:
    """Correlation of neighbours along the rows, by their signs: edges do not count for more."""
    both = empty[:, 1:] & empty[:, :-1]
    if not both.any():
        return 0.0
    is_up = residue > 0.0
    alike = float((is_up[:, 1:] == is_up[:, :-1])[both].mean())
    return math.sin(math.pi * (alike - 0.5))
