"""Regions of a batch of frames for the network: `parlante.models.face_regions` on a device.

Axes: E regions of one kind, B frames, S side of a crop in px, G side of its maps, N points of an
outline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from parlante.models.face_net import RegionInput
from parlante.models.face_regions import (
    LIDS_FULL,
    LIDS_NONE,
    LIPS_FULL,
    LIPS_NONE,
    MAX_DISTANCE,
    MAX_STRETCH,
    OVAL_INSIDE,
    WAY_SCALE,
    window_of,
)
from parlante.models.region_places import (
    DISTANCE_SCALE,
    EYE_PX,
    FRAME_PX,
    MAP_SHRINK,
    MOUTH_PX,
    MOVED_CONTOUR,
    RegionPlace,
)
from parlante.models.torch_pixels import Packer, smooth
from parlante.types import FRAME_SIZE_PX, Float32Array

__all__ = ["DrawnBatch", "Places", "cut_eyes", "cut_frames", "cut_mouths", "send_places"]


class DrawnBatch(NamedTuple):
    """Frames as they were drawn, with what they were drawn from.

    Attributes:
        pixels: uint8 [B, S, S, 3].
        x: float32 [B, S, S], source position of every pixel on the canvas, px.
        y: float32 [B, S, S].
        matte: uint8 [B, S, S].
    """

    pixels: Tensor
    x: Tensor
    y: Tensor
    matte: Tensor


class Places(NamedTuple):
    """Regions of one kind on the device; see `RegionPlace`.

    Attributes:
        frame: int64 [E], index of the frame of each.
        to_frame: float32 [E, 2, 3].
        to_map: float32 [E, 2, 3].
        loops: float32 [E, K, N, 2]; shorter outlines repeat their last point.
        per_unit: float32 [E].
        iris: float32 [E, 2].
        gates: float32 [E, 2].
        condition: float32 [E, D].
    """

    frame: Tensor
    to_frame: Tensor
    to_map: Tensor
    loops: Tensor
    per_unit: Tensor
    iris: Tensor
    gates: Tensor
    condition: Tensor


def send_places(
    places: Sequence[RegionPlace], frames: Sequence[int], device: torch.device
) -> Places:
    """Bring regions of one kind to the device."""
    packer = Packer()
    packer.add(np.array(frames, np.int64))
    packer.add(_stacked([place.to_frame for place in places]))
    packer.add(_stacked([place.to_map for place in places]))
    longest = max(len(loop) for place in places for loop in place.loops)
    packer.add(_stacked([[_lengthened(loop, longest) for loop in p.loops] for p in places]))
    packer.add(_stacked([place.per_unit for place in places]))
    packer.add(_stacked([place.iris for place in places]))
    packer.add(_stacked([place.gates for place in places]))
    packer.add(_stacked([place.condition for place in places]))
    return Places(*packer.send(device))


def _stacked(values: Sequence[object]) -> Float32Array:
    return np.array(values, np.float32)


def _lengthened(loop: Float32Array, length: int) -> Float32Array:
    return np.pad(loop, ((0, length - len(loop)), (0, 0)), "edge")


def cut_mouths(drawn: DrawnBatch, places: Places) -> RegionInput:
    """Cut the mouths out of frames."""
    side = MOUTH_PX // MAP_SHRINK[MOUTH_PX]
    inner, outer = _distances(places, side, MAX_DISTANCE).unbind(1)
    maps = torch.stack([inner, outer, _stretch(drawn, places, side)], 1)
    detail = _band(inner, LIPS_FULL, LIPS_NONE)
    return _region(drawn, places, maps, detail, MOUTH_PX)


def cut_eyes(drawn: DrawnBatch, places: Places) -> RegionInput:
    """Cut eyes out of frames."""
    side = EYE_PX // MAP_SHRINK[EYE_PX]
    now, rest = _distances(places, side, MAX_DISTANCE).unbind(1)
    grid = torch.arange(side, device=now.device, dtype=torch.float32)
    dx, dy = (grid - places.iris[:, axis, None] for axis in (0, 1))
    iris = torch.hypot(dx[:, None, :], dy[:, :, None]) / places.per_unit[:, None, None]
    maps = torch.stack([now, rest, iris.clamp(max=MAX_DISTANCE)], 1)
    detail = _band(torch.minimum(now, rest), LIDS_FULL, LIDS_NONE)
    return _region(drawn, places, maps, detail, EYE_PX)


def cut_frames(drawn: DrawnBatch, places: Places, offset: Tensor, iod_px: Tensor) -> RegionInput:
    """Make whole frames smaller.

    Args:
        drawn: E frames of `FRAME_SIZE_PX`.
        places: Of the frames, in their order.
        offset: float32 [E, 2], position of the portrait on the canvas, px.
        iod_px: float32 [E], inter-ocular distance of the portrait.
    """
    side = FRAME_PX // MAP_SHRINK[FRAME_PX]
    step = FRAME_SIZE_PX // side
    matte = F.avg_pool2d(drawn.matte[:, None].float(), step).round()[:, 0]
    (oval,) = _distances(places, side, 2.0 * MAX_DISTANCE).unbind(1)
    thin = slice(step // 2, None, step)
    x, y = drawn.x[:, thin, thin], drawn.y[:, thin, thin]
    place = torch.arange(side, device=x.device, dtype=torch.float32) * step + step // 2
    scale = (WAY_SCALE / iod_px)[:, None, None]
    across = ((x - place - offset[:, 0, None, None]) * scale).clamp(-4.0, 4.0)
    down = ((y - place[:, None] - offset[:, 1, None, None]) * scale).clamp(-4.0, 4.0)
    stretch = _stretch_of(x, y, torch.full_like(iod_px, float(step * step)))
    maps = torch.stack([matte / 255.0, oval, stretch, across, down], 1)
    near = F.max_pool2d(matte[:, None], 5, 1, 2)[:, 0] / 255.0
    way = torch.hypot(across, down) / (WAY_SCALE * MOVED_CONTOUR)
    moved = F.max_pool2d((1.0 - torch.exp(-way * way))[:, None], 3, 1, 1)[:, 0]
    low, high = OVAL_INSIDE
    allow = moved * smooth((oval / DISTANCE_SCALE - low) / (high - low)) * near
    shrink = FRAME_SIZE_PX // FRAME_PX
    rgb = F.avg_pool2d(drawn.pixels.permute(0, 3, 1, 2).float(), shrink)
    rgb = (rgb + 0.5).floor() / 255.0
    return RegionInput(rgb, maps, torch.stack([allow, allow], 1), places.condition)


def _region(
    drawn: DrawnBatch, places: Places, maps: Tensor, detail: Tensor, size_px: int
) -> RegionInput:
    window = torch.from_numpy(window_of(detail.shape[-1])).to(detail.device)
    allow = torch.stack([detail, window.expand_as(detail)], 1) * places.gates[:, :, None, None]
    rgb = _crop(drawn.pixels, places, size_px) / 255.0
    return RegionInput(rgb, maps, allow, places.condition)


def _band(distance: Tensor, full: float, none: float) -> Tensor:
    return smooth((none - distance / DISTANCE_SCALE) / (none - full))


def positions(matrix: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """Where the pixels of crops lie: float32 [E, 2, 3] -> [E, S, S] each."""
    place = torch.arange(size_px, device=matrix.device, dtype=torch.float32)
    terms = matrix[:, :, :, None, None].unbind(2)
    x, y = (terms[0] * place + terms[1] * place[:, None] + terms[2]).unbind(1)
    return x, y


def _crop(pixels: Tensor, places: Places, size_px: int) -> Tensor:
    """Crops of frames with their edges continued, rounded to levels: float32 [E, 3, S, S]."""
    x, y = positions(places.to_frame, size_px)
    last = pixels.shape[1] - 1
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    frame = places.frame[:, None, None]

    def at(step_x: int, step_y: int) -> Tensor:
        column = (x0 + step_x).clamp(0, last).long()
        return pixels[frame, (y0 + step_y).clamp(0, last).long(), column].float()

    top = torch.lerp(at(0, 0), at(1, 0), fx)
    crop = torch.lerp(top, torch.lerp(at(0, 1), at(1, 1), fx), fy).round()
    return crop.permute(0, 3, 1, 2)


def _distances(places: Places, side: int, limit: float) -> Tensor:
    """Distance to outlines, negative inside, in units: float32 [E, K, G, G]."""
    end = places.loops[:, :, :, None, None, :]  # [E, K, N, 1, 1, 2]
    x1, y1 = end.unbind(-1)
    x0, y0 = end.roll(1, 2).unbind(-1)
    grid = torch.arange(side, device=x0.device, dtype=torch.float32)
    dx, dy = x1 - x0, y1 - y0
    ex, ey = grid - x0, grid[:, None] - y0
    t = ((ex * dx + ey * dy) / (dx * dx + dy * dy).clamp(min=1e-9)).clamp(0.0, 1.0)
    nearest = ((ex - t * dx) ** 2 + (ey - t * dy) ** 2).amin(2)
    crosses = (y0 > grid[:, None]) != (y1 > grid[:, None])
    slope = dx / torch.where(dy == 0.0, 1.0, dy)
    is_odd = (crosses & (grid < x0 + ey * slope)).sum(2) % 2 == 1
    unit = places.per_unit[:, None, None, None]
    distance = torch.minimum(nearest.sqrt() / unit, torch.full_like(unit, limit))
    return torch.where(is_odd, -distance, distance)


def _stretch(drawn: DrawnBatch, places: Places, side: int) -> Tensor:
    """By how much the warp stretches the portrait, at the pixels of maps: [E, G, G], octaves."""
    last = drawn.x.shape[1] - 1
    column, row = (
        position.round().clamp(0, last).long() for position in positions(places.to_map, side)
    )
    frame = places.frame[:, None, None]
    matrix = places.to_map
    area = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
    return _stretch_of(drawn.x[frame, row, column], drawn.y[frame, row, column], area.abs())


def _stretch_of(x: Tensor, y: Tensor, area: Tensor) -> Tensor:
    side = x.shape[-1]
    span = torch.full((side,), 2.0, device=x.device)
    span[0] = span[-1] = 1.0
    padded = F.pad(torch.stack([x, y], 1), (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    source = across[:, 0] * down[:, 1] - down[:, 0] * across[:, 1]
    source = source / (span * span[:, None] * area[:, None, None])
    octaves = -source.clamp(min=math.ulp(1.0)).log2()
    return torch.where(source <= 1e-6, MAX_STRETCH, octaves).clamp(-MAX_STRETCH, MAX_STRETCH)
