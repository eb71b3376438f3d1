"""Spread of numbers most of which are alike, whatever the rest are."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["median_spread"]

_OF_MEDIAN: Final = 1.4826  # the standard deviation of normal noise


def median_spread(values: npt.NDArray[Any], middle: float | None = None) -> float:
    """Give the standard deviation that the median distance from the middle tells.

    Args:
        values: Any shape, at least one.
        middle: Their median, where it is known.
    """
    centre = float(np.median(values)) if middle is None else middle
    return _OF_MEDIAN * float(np.median(np.abs(values - centre)))
