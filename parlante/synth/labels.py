"""The parts that a pixel may belong to."""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["PART_COLOURS", "Part"]


class Part(enum.IntEnum):
    """Labels of `parts`; the numbers are part of the data format."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    BROW = 3
    EYE = 4  # sclera and iris
    LASH = 5
    UPPER_TEETH = 6
    LOWER_TEETH = 7
    TONGUE = 8
    CAVITY = 9  # inside of the mouth, gum
    GARMENT = 10
    GLASSES = 11
    OCCLUDER = 12
    BEARD = 13
    LIPS = 14


# For pictures of the labels, RGB.
PART_COLOURS: Final = (
    (0, 0, 0), (230, 180, 150), (90, 60, 30), (60, 120, 40), (240, 240, 255), (20, 20, 120),
    (255, 255, 120), (255, 170, 60), (255, 90, 160), (120, 0, 40), (70, 110, 170), (0, 220, 220),
    (160, 160, 160), (150, 100, 200), (220, 40, 60),
)  # fmt: skip
