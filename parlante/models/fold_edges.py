"""Soft edges where the mesh folds over itself.

A turned jaw or nose hides what lies behind it, and a pixel shows one or the other: without this
the edge is a flight of steps that crawls along as the head moves.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from parlante.models.jit import kernel
from parlante.types import Float32Array, Uint8Array

# Source px between the two neighbours of a pixel, 2 at rest. Up to here the face is only squeezed;
# a fold jumps, and what is squeezed further is sampled too coarsely and wants smoothing as well.
FOLD_PX: Final = 4.5
OUTSIDE: Final = -8.0  # source positions below it are of pixels that nothing covers


@kernel
def soften_folds(
    sharp: Uint8Array, map_x: Float32Array, map_y: Float32Array, out: Uint8Array
) -> None:
    """Smooth the pixels on both sides of a fold over three by three.

    Args:
        sharp: uint8 [H, W, 4].
        map_x: float32 [H, W], source position of every pixel, px.
        map_y: float32 [H, W].
        out: uint8 [H, W, 4], holds the same pixels as `sharp`; changed in place.
    """
    height, width = map_x.shape
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if map_x[y, x] < OUTSIDE:
                continue
            step = max(
                abs(map_x[y, x + 1] - map_x[y, x - 1]), abs(map_y[y, x + 1] - map_y[y, x - 1])
            )
            step = max(step, abs(map_x[y + 1, x] - map_x[y - 1, x]))
            step = max(step, abs(map_y[y + 1, x] - map_y[y - 1, x]))
            if step <= FOLD_PX:
                continue
            for channel in range(4):
                total = np.int32(0)
                for row in range(-1, 2):
                    for column in range(-1, 2):
                        weight = (2 - abs(row)) * (2 - abs(column))
                        total += weight * np.int32(sharp[y + row, x + column, channel])
                out[y, x, channel] = np.uint8((total + 8) >> 4)
