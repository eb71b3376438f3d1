"""The warped portrait before its background, for a batch: cubic on the face, linear elsewhere.

As `cv2.remap` samples it, black and clear beyond the canvas. Axes: P pixels, B frames, S edge.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from parlante.models.torch_pixels import Pictures, tap, to_levels

__all__ = ["blend_over", "sample_cubic", "sample_linear"]

CUBIC: Final = -0.75  # as OpenCV's
ON_PERSON: Final = 257  # 255 * 257 = 65535: a share of 255 levels in 16 bits


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
    fx, fy = x - x0, y - y0
    rows = [_row(texels, canvas, x0.long(), y0.long() + step, [1.0 - fx, fx], 0) for step in (0, 1)]
    return to_levels(rows[0] * (1.0 - fy)[..., None] + rows[1] * fy[..., None])


def sample_cubic(texels: Tensor, canvas: Pictures, x: Tensor, y: Tensor) -> Tensor:
    """The same by bicubic interpolation, which keeps fine contrast."""
    x0, y0 = x.floor(), y.floor()
    across, down = _cubic_weights(x - x0), _cubic_weights(y - y0)
    left, top = x0.long(), y0.long() - 1
    total = torch.zeros((*x.shape, 4), device=x.device)
    for step, weight in enumerate(down):
        total += _row(texels, canvas, left, top + step, across, -1) * weight[..., None]
    return to_levels(total.clamp_(0.0, 255.0))


def _row(
    texels: Tensor, canvas: Pictures, left: Tensor, y: Tensor, weights: list[Tensor], begin: int
) -> Tensor:
    """Weighted sum of neighbours in a row, float32 [P, 4]; nothing beyond the canvas."""
    inside = (y >= 0) & (y < canvas.height)
    start = canvas.start + y * canvas.width
    total = torch.zeros((*y.shape, 4), device=y.device)
    for step, weight in enumerate(weights, begin):
        x = left + step
        is_shown = inside & (x >= 0) & (x < canvas.width)
        index = torch.where(is_shown, start + x, canvas.start)
        total += tap(texels, index) * (weight * is_shown)[..., None]
    return total


def _cubic_weights(t: Tensor) -> list[Tensor]:
    far, near = t + 1.0, 1.0 - t
    first = ((CUBIC * far - 5.0 * CUBIC) * far + 8.0 * CUBIC) * far - 4.0 * CUBIC
    second = ((CUBIC + 2.0) * t - (CUBIC + 3.0)) * t * t + 1.0
    third = ((CUBIC + 2.0) * near - (CUBIC + 3.0)) * near * near + 1.0
    return [first, second, third, 1.0 - first - second - third]


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
    change = (rgba[..., :3].int() - behind) * alpha * ON_PERSON + 32768
    return (behind + (change >> 16)).to(torch.uint8)
