"""Pixel loops of the maps that tell a network about geometry."""

from __future__ import annotations

import math

import numpy as np

from parlante.models.jit import kernel
from parlante.types import Float32Array, Uint8Array


@kernel
def fill_distance(loop: Float32Array, unit: float, limit: float, out: Float32Array) -> None:
    """Write the distance to a closed outline, negative inside.

    Args:
        loop: float32 [N, 2], px of the map.
        unit: px per unit of distance.
        limit: Largest distance, units.
        out: float32 [H, W], written.
    """
    n = loop.shape[0]
    reach = (limit * unit) ** 2
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            px, py = float(column), float(row)
            nearest = reach
            inside = False
            x0, y0 = loop[n - 1, 0], loop[n - 1, 1]
            for k in range(n):
                x1, y1 = loop[k, 0], loop[k, 1]
                dx, dy = x1 - x0, y1 - y0
                ex, ey = px - x0, py - y0
                t = (ex * dx + ey * dy) / max(dx * dx + dy * dy, 1e-9)
                t = min(max(t, 0.0), 1.0)
                ex -= t * dx
                ey -= t * dy
                nearest = min(nearest, ex * ex + ey * ey)
                if (y0 > py) != (y1 > py) and px < x0 + (py - y0) * dx / dy:
                    inside = not inside
                x0, y0 = x1, y1
            distance = math.sqrt(nearest) / unit
            out[row, column] = -distance if inside else distance


@kernel
def fill_stretch(
    x: Float32Array, y: Float32Array, area: float, limit: float, out: Float32Array
) -> None:
    """Write by how much the warp stretches the portrait, in octaves of area; 0 = not at all.

    Args:
        x: float32 [H, W], source position of every map pixel.
        y: float32 [H, W].
        area: Of a map pixel, frame px^2.
        limit: Largest value; what is folded or torn has it, too.
        out: float32 [H, W], written.
    """
    height, width = out.shape
    for row in range(height):
        above, below = max(row - 1, 0), min(row + 1, height - 1)
        for column in range(width):
            left, right = max(column - 1, 0), min(column + 1, width - 1)
            span = float((below - above) * (right - left))
            xx, xy = x[row, right] - x[row, left], x[below, column] - x[above, column]
            yx, yy = y[row, right] - y[row, left], y[below, column] - y[above, column]
            source = (xx * yy - xy * yx) / (span * area)
            value = limit if source <= 1e-6 else -math.log2(source)
            out[row, column] = min(max(value, -limit), limit)


@kernel
def add_change(change: Float32Array, left: int, top: int, pixels: Uint8Array) -> None:
    """Add float32 [h, w, 3], levels of 255, to a part of uint8 [H, W, 3], in place."""
    for row in range(change.shape[0]):
        for column in range(change.shape[1]):
            for channel in range(3):
                step = change[row, column, channel]
                if abs(step) >= 0.5:
                    value = pixels[top + row, left + column, channel] + step + 0.5
                    pixels[top + row, left + column, channel] = np.uint8(
                        min(max(value, 0.0), 255.0)
                    )
