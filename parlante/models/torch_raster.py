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

from parlante.models.torch_pixels import spread

__all__ = ["UNCOVERED_X", "raster_batch"]

UNCOVERED_X: Final = -16.0
MIN_AREA: Final = 1e-6
MARGIN: Final = 1e-4  # of a barycentric weight; closes cracks
STEEP: Final = 1e-9


class _Planes(NamedTuple):
    """Triangles as linear functions of the pixel: float64 [M] each but `rows` and `top`."""

    x0: Tensor
    y0: Tensor
    weights: Tensor  # [M, 3, 2], change of the barycentric weights with x and y
    top: Tensor  # int64, first row
    num_rows: Tensor  # int64, 0 for those that are not seen
    flow: Tensor  # float32 [M, 8], see `_flow_of`


def raster_batch(
    target: Tensor,
    source: Tensor,
    triangles: Tensor,
    frame: Tensor,
    num_frames: int,
    size_px: int,
) -> tuple[Tensor, Tensor]:
    """Find the source position of every pixel of a batch.

    Args:
        target: float32 [V, 2], px of the output, vertices of all frames one after the other.
        source: float32 [V, 2], px of the source.
        triangles: int64 [M, 3], indexes of vertices, clockwise on screen, far ones first.
        frame: int64 [M], the frame of each triangle.
        num_frames: B.
        size_px: S.

    Returns:
        float32 [B * S * S] each, x and y; x is `UNCOVERED_X` where no triangle is.
    """
    planes = _planes(target, source, triangles, size_px)
    place, owner = _covered(planes, frame, size_px)
    front = torch.full((num_frames * size_px**2,), -1, dtype=torch.int32, device=target.device)
    front.scatter_reduce_(0, place, owner.int(), "amax")
    pixel = torch.arange(size_px, device=target.device, dtype=torch.float32)
    u0, ux, uy, v0, vx, vy, x0, y0 = (
        planes.flow[front.clamp(min=0).long()].view(num_frames, size_px, size_px, 8).unbind(-1)
    )
    across, down = pixel - x0, pixel[:, None] - y0
    map_x = torch.where(
        front.view(x0.shape) >= 0, u0 + ux * across + uy * down, torch.full_like(u0, UNCOVERED_X)
    )
    return map_x.view(-1), (v0 + vx * across + vy * down).view(-1)


def _planes(target: Tensor, source: Tensor, triangles: Tensor, size_px: int) -> _Planes:
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
    return _Planes(
        x0=first[:, 0].double(),
        y0=first[:, 1].double(),
        weights=torch.stack([b, c, -b - c], 1),
        top=top,
        num_rows=torch.where(is_seen, (bottom - top + 1).clamp(min=0), 0),
        flow=_flow_of(source[triangles], first, b, c),
    )


def _flow_of(corners: Tensor, first: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """What a triangle shows, float32 [M, 8]: u, its change with x and y, v likewise, and the
    corner that they are relative to."""
    start = corners[:, 0].double()
    to_b, to_c = corners[:, 1].double() - start, corners[:, 2].double() - start
    u = b * to_b[:, :1] + c * to_c[:, :1]
    v = b * to_b[:, 1:] + c * to_c[:, 1:]
    return torch.cat([start[:, :1], u, start[:, 1:], v, first.double()], 1).float()


def _covered(planes: _Planes, frame: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """Pixels that each triangle covers: int64 [P] each, place in the batch and triangle."""
    triangle, row = spread(planes.num_rows, int(planes.num_rows.sum()))
    y = planes.top[triangle] + row
    across = -planes.x0[triangle]
    down = y - planes.y0[triangle]
    step, fall = planes.weights[triangle].unbind(2)  # [R, 3]
    # Each weight k + step * x >= 0 cuts the span of a row from one side.
    level = fall * down[:, None] + step * across[:, None] + MARGIN
    level[:, 2] += 1.0
    cut = -level / torch.where(step.abs() > STEEP, step, 1.0)
    left = torch.where(step > STEEP, cut, 0.0).amax(1).clamp(min=0.0)
    right = torch.where(step < -STEEP, cut, size_px - 1.0).amin(1).clamp(max=size_px - 1.0)
    is_missed = ((step.abs() <= STEEP) & (level < 0.0)).any(1)
    first = left.ceil().long()
    count = torch.where(is_missed, 0, (right.floor().long() - first + 1).clamp(min=0))
    start = (frame[triangle] * size_px + y) * size_px + first
    span, rank = spread(count, int(count.sum()))
    return start[span] + rank, triangle[span]
