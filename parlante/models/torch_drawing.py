"""Draws a planned batch: warp, background, eyes, mouth, one over the other as on the CPU.

Axes: B frames of a batch, S their edge, P pixels of boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from parlante.models.torch_eyes import EyeBatch
from parlante.models.torch_kernels import Kernels
from parlante.models.torch_mouth import MouthBatch
from parlante.models.torch_pixels import Pictures, spread
from parlante.models.torch_plan import BatchPlan, Part, Warp
from parlante.models.torch_raster import front_of
from parlante.models.torch_regions import DrawnBatch

__all__ = ["draw_batch"]

Maps = tuple[Tensor, Tensor]


def draw_batch(
    kernels: Kernels, texels: Tensor, plan: BatchPlan, shape: tuple[int, int, int]
) -> DrawnBatch:
    """Draw frames.

    Args:
        kernels: What does the pixel work.
        texels: int32 [T], of the plan's avatars.
        plan: The batch.
        shape: B, S, S.
    """
    maps = _flow(kernels, plan.warp, shape)
    rgba = _sampled(kernels, texels, plan, maps, shape)
    place = torch.arange(shape[1] * shape[2], device=texels.device)
    behind = texels[plan.background.start[:, None] + place].view(torch.uint8)
    behind = behind.view(shape[0], -1, 4)[..., :3]
    frames = kernels.blend_over(rgba, behind, plan.is_clear).view(-1, 3)
    _draw_eyes(kernels, texels, plan.eyes, maps, frames)
    _lay_patches(kernels, texels, plan.corners, maps, frames)
    _draw_mouths(kernels, texels, plan.mouths, frames)
    _lay_patches(kernels, texels, plan.own_mouths, maps, frames)
    _draw_stiff(kernels, texels, plan, rgba, frames, shape)
    return DrawnBatch(
        pixels=frames.view(*shape, 3),
        x=maps[0].view(shape),
        y=maps[1].view(shape),
        matte=rgba[..., 3].view(shape),
    )


def _flow(kernels: Kernels, warp: Warp, shape: tuple[int, int, int]) -> Maps:
    """Source position of every pixel on its picture: float32 [B * S * S] each."""
    size = shape[1]
    planes = kernels.planes_of(warp.target, warp.source, warp.triangles, size)
    triangle, row = spread(planes.num_rows, int(planes.num_rows.sum()))
    start, count = kernels.spans_of(planes, warp.frame, triangle, row, size)
    span, rank = spread(count, int(count.sum()))
    front = front_of(start[span] + rank, triangle[span], shape[0] * size * size)
    x, y = kernels.flow_at(planes.flow, front, size)
    return x, y


def _sampled(
    kernels: Kernels, texels: Tensor, plan: BatchPlan, maps: Maps, shape: tuple[int, int, int]
) -> Tensor:
    """The warped persons: uint8 [B, S * S, 4]."""
    x, y = (part.view(shape[0], -1) for part in maps)
    canvas = Pictures(*(part[:, None] for part in plan.canvas))
    rgba: Tensor = kernels.sample_linear(texels, canvas, x, y)
    if plan.sharp is not None:
        pixels = plan.sharp.pixels
        own = plan.sharp.pictures[0].of(pixels.owner)
        at = (maps[0][pixels.place], maps[1][pixels.place])
        flat = rgba.view(-1, 4)
        flat[pixels.place] = kernels.sample_cubic(texels, own, *at)
        flat[pixels.place] = kernels.soften_folds(flat, maps, pixels, plan.sharp.numbers)
    return rgba


def _draw_eyes(
    kernels: Kernels, texels: Tensor, part: Part | None, maps: Maps, frames: Tensor
) -> None:
    if part is None:
        return
    place = part.pixels.place
    eyes = EyeBatch(part.numbers, part.curves, *part.pictures)
    at = (maps[0][place], maps[1][place])
    value, is_drawn = kernels.shade_eyes(texels, eyes, part.pixels, at)
    # Boxes of two eyes may overlap, what belongs to the eyes does not.
    frames[place[is_drawn]] = value[is_drawn]


def _lay_patches(
    kernels: Kernels, texels: Tensor, part: Part | None, maps: Maps, frames: Tensor
) -> None:
    if part is None:
        return
    place = part.pixels.place
    at = (maps[0][place], maps[1][place])
    frames[place] = kernels.blend_patches(
        texels, part.pictures[0], part.numbers, part.pixels, at, frames[place]
    )


def _draw_mouths(kernels: Kernels, texels: Tensor, part: Part | None, frames: Tensor) -> None:
    if part is None:
        return
    place = part.pixels.place
    numbers, colours = part.numbers[:, :-12], part.numbers[:, -12:].view(-1, 4, 3)
    mouths = MouthBatch(numbers, colours, part.curves, *part.pictures)
    frames[place] = kernels.shade_mouths(texels, mouths, part.pixels, frames[place])


def _draw_stiff(
    kernels: Kernels,
    texels: Tensor,
    plan: BatchPlan,
    rgba: Tensor,
    frames: Tensor,
    shape: tuple[int, int, int],
) -> None:
    part = plan.stiff
    if part is None or plan.worn is None:
        return
    place = part.pixels.place
    x, y = _flow(kernels, plan.worn, shape)
    own = part.pictures[0].of(part.pixels.owner)
    seen = kernels.sample_cubic(texels, own, x[place], y[place])
    is_clear = torch.zeros(1, dtype=torch.bool, device=texels.device)
    frames[place] = kernels.blend_over(seen[None], frames[place][None], is_clear)[0]
    matte = rgba.view(-1, 4)
    matte[place, 3] = torch.maximum(matte[place, 3], seen[:, 3])
