"""The flow raster in plain tensor operations: which triangle covers a pixel, and what it shows.

The same spans as `parlante.models.warp.raster_flow` finds, for all triangles of a batch at once:
triangles are spread to their rows, rows to their pixels, so that large triangles cost what they
cover and no more. Later triangles lie over earlier ones: of those that cover a pixel the one with
the largest index is kept. Axes: V vertices, M triangles, R rows of triangles, B frames, S edge.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

__all__ = ["UNCOVERED_X", "Planes", "flow_at", "front_of", "planes_of", "spans_of"]

UNCOVERED_X: Final = -16.0
MIN_AREA: Final = 1e-6
MARGIN: Final = 1e-4  # of a barycentric weight; closes cracks
STEEP: Final = 1e-9


class Planes(NamedTuple):
    """Triangles as linear functions of the pixel.

    Attributes:
        x0: float64 [M], a corner that all is relative to, px.
        y0: float64 [M].
        weights: float64 [M, 3, 2], change of the barycentric weights with x and y.
        top: int64 [M], first row.
        num_rows: int64 [M], 0 for those that are not seen.
        flow: float32 [M, 8], source x, its change with x and y, source y likewise, and the corner.
    """

    x0: Tensor
    y0: Tensor
    weights: Tensor
    top: Tensor
    num_rows: Tensor
    flow: Tensor


def planes_of(target: Tensor, source: Tensor, triangles: Tensor, size_px: int) -> Planes:
    """Prepare triangles.

    Args:
        target: float32 [V, 2], px of the output, vertices of all frames one after the other.
        source: float32 [V, 2], px of the source.
        triangles: int64 [M, 3], indexes of vertices, clockwise on screen, far ones first.
        size_px: S.
    """
    corners = target[triangles]  # [M, 3, 2]
    first = corners[:, 0]
    low = corners[:, :, 1].amin(1)
    high = corners[:, :, 1].amax(1)
    edges = (corners[:, 1:] - first[:, None]).double()
    (x1, y1), (x2, y2) = edges[:, 0].unbind(1), edges[:, 1].unbind(1)
    area = x1 * y2 - x2 * y1
    is_seen = area > MIN_AREA
    inverse = 1.0 / torch.where(is_seen, area, 1.0)
    b = torch.stack([y2 * inverse, -x2 * inverse], 1)
    c = torch.stack([-y1 * inverse, x1 * inverse], 1)
    top = low.ceil().clamp(0, size_px).long()
    bottom = high.floor().clamp(-1, size_px - 1).long()
    return Planes(
        x0=first[:, 0].double(),
        y0=first[:, 1].double(),
        weights=torch.stack([b, c, -b - c], 1),
        top=top,
        num_rows=torch.where(is_seen, (bottom - top + 1).clamp(min=0), 0),
        flow=_flow_of(source[triangles], first, b, c),
    )


def _flow_of(corners: Tensor, first: Tensor, b: Tensor, c: Tensor) -> Tensor:
    start = corners[:, 0].double()
    to_b, to_c = corners[:, 1].double() - start, corners[:, 2].double() - start
    u = b * to_b[:, :1] + c * to_c[:, :1]
    v = b * to_b[:, 1:] + c * to_c[:, 1:]
    return torch.cat([start[:, :1], u, start[:, 1:], v, first.double()], 1).float()


def spans_of(
    planes: Planes, frame: Tensor, triangle: Tensor, row: Tensor, size_px: int
) -> tuple[Tensor, Tensor]:
    """Find what triangles cover of their rows.

    Args:
        planes: Of the triangles.
        frame: int64 [M], the frame of each triangle.
        triangle: int64 [R], the triangle of each row.
        row: int64 [R], counted from its top.
        size_px: S.

    Returns:
        int64 [R] each: the first pixel, as a place in frames of [B * S * S], and the number.
    """
    y = planes.top[triangle] + row
    across = -planes.x0[triangle]
    down = y - planes.y0[triangle]
    step, fall = planes.weights[triangle].unbind(2)  # [R, 3]
    # Each weight k + step * x >= 0 cuts the span of a row from one side.
    level = fall * down[:, None] + step * across[:, None] + MARGIN
    level = torch.stack([level[:, 0], level[:, 1], level[:, 2] + 1.0], 1)
    cut = -level / torch.where(step.abs() > STEEP, step, 1.0)
    left = torch.where(step > STEEP, cut, 0.0).amax(1).clamp(min=0.0)
    right = torch.where(step < -STEEP, cut, size_px - 1.0).amin(1).clamp(max=size_px - 1.0)
    is_missed = ((step.abs() <= STEEP) & (level < 0.0)).any(1)
    first = left.ceil().long()
    count = torch.where(is_missed, 0, (right.floor().long() - first + 1).clamp(min=0))
    return (frame[triangle] * size_px + y) * size_px + first, count


def front_of(place: Tensor, triangle: Tensor, num_pixels: int) -> Tensor:
    """The last triangle over each pixel, int32 [num_pixels], -1 for none.

    Args:
        place: int64 [P], pixels that triangles cover.
        triangle: int64 [P].
        num_pixels: Of all frames.
    """
    front = torch.full((num_pixels,), -1, dtype=torch.int32, device=place.device)
    return front.scatter_reduce_(0, place, triangle.int(), "amax")


def flow_at(flow: Tensor, front: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """Find the source position of every pixel.

    Args:
        flow: float32 [M, 8], as of `Planes`.
        front: int32 [B * S * S], as of `front_of`.
        size_px: S.

    Returns:
        float32 [B * S * S] each, x and y; x is `UNCOVERED_X` where no triangle is.
    """
    index = torch.arange(len(front), device=front.device)
    row = torch.div(index, size_px, rounding_mode="floor")
    u0, ux, uy, v0, vx, vy, x0, y0 = flow[front.clamp(min=0).long()].unbind(1)
    across, down = index - row * size_px - x0, row % size_px - y0
    x = torch.where(front >= 0, u0 + ux * across + uy * down, UNCOVERED_X)
    return x, v0 + vx * across + vy * down
