"""The warped portrait before its background, for a batch: cubic on the face, linear elsewhere.

As `cv2.remap` samples it, black and clear beyond the canvas. Axes: P pixels, B frames, S edge.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from parlante.models.fold_edges import FOLD_PX, OUTSIDE
from parlante.models.torch_pixels import Pictures, Pixels, tap, to_levels

__all__ = ["blend_over", "sample_cubic", "sample_linear", "soften_folds"]

CUBIC: Final = -0.75  # as OpenCV's
SHARE_SCALE: Final = 257  # 255 * 257 = 65535: a share of 255 levels in 16 bits


def sample_linear(texels: Tensor, canvas: Pictures, x: Tensor, y: Tensor) -> Tensor:
    """Sample canvases.

    Args:
        texels: int32 [T].
        canvas: Of each pixel; any shape that goes with theirs.
        x: float32 [...], px of the canvas.
        y: float32 [...].

    Returns:
        uint8 [..., 4].
    """
    x0, y0 = x.floor(), y.floor()
    return _weighted(texels, canvas, (x0, _linear_weights(x - x0)), (y0, _linear_weights(y - y0)))


def sample_cubic(texels: Tensor, canvas: Pictures, x: Tensor, y: Tensor) -> Tensor:
    """The same by bicubic interpolation, which keeps fine contrast."""
    x0, y0 = x.floor(), y.floor()
    across, down = _cubic_weights(x - x0), _cubic_weights(y - y0)
    return _weighted(texels, canvas, (x0 - 1.0, across), (y0 - 1.0, down))


def _weighted(
    texels: Tensor, canvas: Pictures, across: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor]
) -> Tensor:
    """Weighted sum of neighbours, of which those beyond the canvas are black and clear.

    Args:
        texels: int32 [T].
        canvas: Of each pixel.
        across: First column, float32 [...], and weights of it and the next ones, [..., K].
        down: Rows likewise.

    Returns:
        uint8 [..., 4].
    """
    columns, share_x = _within(*across, canvas.width)
    rows, share_y = _within(*down, canvas.height)
    index = (canvas.start[..., None] + rows * canvas.width[..., None])[..., None]
    texel = tap(texels, index + columns[..., None, :])  # [..., K, K, 4]
    # One direction after the other: products of both weights would be a third array of this size.
    lines = (texel * share_x[..., None, :, None]).sum(-2)
    total = (lines * share_y[..., None]).sum(-2)
    return to_levels(total.clamp_(0.0, 255.0))


def _within(first: Tensor, weights: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Indexes of neighbours, and their weights where they are on the canvas."""
    index = first[..., None].long() + torch.arange(weights.shape[-1], device=first.device)
    last = length[..., None] - 1
    is_there = (index >= 0) & (index <= last)
    return torch.minimum(index.clamp(min=0), last), weights * is_there


def _linear_weights(t: Tensor) -> Tensor:
    return torch.stack([1.0 - t, t], -1)


def _cubic_weights(t: Tensor) -> Tensor:
    far, near = t + 1.0, 1.0 - t
    first = ((CUBIC * far - 5.0 * CUBIC) * far + 8.0 * CUBIC) * far - 4.0 * CUBIC
    second = ((CUBIC + 2.0) * t - (CUBIC + 3.0)) * t * t + 1.0
    third = ((CUBIC + 2.0) * near - (CUBIC + 3.0)) * near * near + 1.0
    return torch.stack([first, second, third, 1.0 - first - second - third], -1)


def soften_folds(
    rgba: Tensor, maps: tuple[Tensor, Tensor], pixels: Pixels, boxes: Tensor
) -> Tensor:
    """Smooth pixels where the mesh folds, as `parlante.models.fold_edges.soften_folds`.

    Args:
        rgba: uint8 [B * S * S, 4], sampled.
        maps: float32 [B * S * S] each, source position of every pixel.
        pixels: Of the boxes that are to be sharp.
        boxes: float32 [E, 5], left, top, right and bottom of each, and S, px.

    Returns:
        uint8 [P, 4].
    """
    left, top, right, bottom, size_px = boxes[pixels.owner].unbind(1)
    is_inside = (pixels.x > left) & (pixels.x < right - 1.0)
    is_inside &= (pixels.y > top) & (pixels.y < bottom - 1.0)
    # Beside a frame there may be another, or nothing: pixels at the rims have themselves around.
    across = is_inside.long()
    down = across * size_px.long()
    place, step = pixels.place, torch.zeros_like(pixels.x)
    for source in maps:
        for way in (across, down):
            step = torch.maximum(step, (source[place + way] - source[place - way]).abs())
    is_fold = is_inside & (step > FOLD_PX) & (maps[0][place] >= OUTSIDE)
    ways = torch.stack([-across, torch.zeros_like(across), across], 1)
    index = place[:, None, None] + torch.stack([-down, torch.zeros_like(down), down], 1)[:, :, None]
    around = rgba[index + ways[:, None, :]].int()  # [P, 3, 3, 4]
    total = around[:, :, 0] + 2 * around[:, :, 1] + around[:, :, 2]
    total = total[:, 0] + 2 * total[:, 1] + total[:, 2]
    return torch.where(is_fold[:, None], ((total + 8) >> 4).to(torch.uint8), rgba[place])


def blend_over(rgba: Tensor, background: Tensor, is_clear: Tensor) -> Tensor:
    """Put persons before backgrounds, to the bit as `parlante.models.warp.blend_over`.

    Args:
        rgba: uint8 [B, N, 4].
        background: uint8 [B, N, 3].
        is_clear: bool [B], frames that are to have the person's colours alone.

    Returns:
        uint8 [B, N, 3].
    """
    alpha = torch.where(is_clear[:, None], 255, rgba[..., 3].int())[..., None]
    behind = background.int()
    change = (rgba[..., :3].int() - behind) * alpha * SHARE_SCALE + 32768
    return (behind + (change >> 16)).to(torch.uint8)
