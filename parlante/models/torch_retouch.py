"""Retouching of a batch of frames on a device: `parlante.models.face_retouch`.

Axes: E regions of one kind, S side of a crop, P pixels that regions reach.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parlante.models.face_net import FaceLook, Look, RegionInput
from parlante.models.face_retouch import LEAST_ALLOWED, FaceRetouch, reach_of
from parlante.models.frame_geometry import FrameGeometry
from parlante.models.region_places import RegionPlace, place_eye, place_frame, place_mouth
from parlante.models.torch_avatar import TorchAvatar
from parlante.models.torch_pixels import Packer, Pixels, box_pixels
from parlante.models.torch_regions import (
    DrawnBatch,
    Places,
    cut_eyes,
    cut_frames,
    cut_mouths,
    send_places,
)

__all__ = ["TorchRetouch"]

LEAST_STEP: Final = 0.5  # levels of 255; less changes nothing


class _Change(NamedTuple):
    """Changes of regions of one kind: float32 [E, S, S, 3], levels of 255."""

    places: list[RegionPlace]
    rows: list[int]
    levels: Tensor


class TorchRetouch:
    """Applies a network to batches; belongs to one thread.

    Args:
        retouch: The network, on the CPU.
        device: Where frames are.
    """

    def __init__(self, retouch: FaceRetouch, device: torch.device) -> None:
        self._net = copy.deepcopy(retouch.net).to(device)
        self._device = device

    def apply(
        self,
        drawn: DrawnBatch,
        avatars: Sequence[TorchAvatar],
        shapes: Sequence[FrameGeometry],
    ) -> None:
        """Retouch frames in place.

        Args:
            drawn: The frames, of `FRAME_SIZE_PX`.
            avatars: Of the frames, each with its look.
            shapes: Of the frames.
        """
        pairs = [(each.avatar, shape) for each, shape in zip(avatars, shapes, strict=True)]
        looks = [avatar.look for avatar in avatars if avatar.look is not None]
        net = self._net
        # Every region is cut from the frame as it was drawn, then all changes are laid on.
        frames = self._frame_levels(drawn, avatars, shapes, looks)
        changes = [
            self._change(
                [place_eye(*pair, index) for pair in pairs],
                [Look(*(part[index : index + 1] for part in look.eyes)) for look in looks],
                net.eye,
                lambda places: cut_eyes(drawn, places),
            )
            for index in (0, 1)
        ]
        mouths = [place_mouth(*pair) for pair in pairs]
        own = [look.mouth for look in looks]
        changes.append(self._change(mouths, own, net.mouth, lambda p: cut_mouths(drawn, p)))
        if frames is not None:
            drawn.pixels.copy_(_stepped(drawn.pixels, frames))
        # One kind after the other: regions of two kinds may overlap.
        for change in filter(None, changes):
            _lay(drawn.pixels, change)

    def _change(
        self,
        places: list[RegionPlace],
        looks: list[Look],
        net: nn.Module,
        cut: Callable[[Places], RegionInput],
    ) -> _Change | None:
        """Ask the network about the regions of one kind that may be changed at all."""
        rows = [row for row, place in enumerate(places) if max(place.gates) > LEAST_ALLOWED]
        if not rows:
            return None
        chosen = [places[row] for row in rows]
        parts = zip(*(looks[row] for row in rows), strict=True)
        look = Look(*(torch.cat(part) for part in parts))
        return _Change(
            chosen, rows, _levels(net, cut(send_places(chosen, rows, self._device)), look)
        )

    def _frame_levels(
        self,
        drawn: DrawnBatch,
        avatars: Sequence[TorchAvatar],
        shapes: Sequence[FrameGeometry],
        looks: Sequence[FaceLook],
    ) -> Tensor | None:
        """Changes of frames as a whole, float32 [B, S, S, 3]; None for a network without them."""
        net = self._net.frame
        kept = [look.frame for look in looks if look.frame is not None]
        if net is None or not kept:
            return None
        own = [each.avatar for each in avatars]
        places = [place_frame(*pair) for pair in zip(own, shapes, strict=True)]
        sent = send_places(places, range(len(places)), self._device)
        packer = Packer()
        packer.add(np.array([avatar.canvas_offset for avatar in own], np.float32))
        packer.add(np.array([avatar.mesh.iod_px for avatar in own], np.float32))
        offset, iod_px = packer.send(self._device)
        look = Look(*(torch.cat(parts) for parts in zip(*kept, strict=True)))
        levels = _levels(net, cut_frames(drawn, sent, offset, iod_px), look)
        size = drawn.pixels.shape[1:3]
        full = F.interpolate(levels.permute(0, 3, 1, 2), size=size, mode="bilinear")
        return full.permute(0, 2, 3, 1)


def _levels(net: nn.Module, region: RegionInput, look: Look) -> Tensor:
    change: Tensor = net(region, look)[0]
    return change.permute(0, 2, 3, 1) * 255.0


def _stepped(pixels: Tensor, step: Tensor) -> Tensor:
    """Add levels to pixels, as `parlante.models.region_maps.add_change`."""
    value = (pixels + step + 0.5).clamp(0.0, 255.0).to(torch.uint8)
    return torch.where(step.abs() >= LEAST_STEP, value, pixels)


def _lay(pixels: Tensor, change: _Change) -> None:
    """Add changes of crops to their frames, in place."""
    size, side = pixels.shape[1], change.levels.shape[1]
    boxes = [reach_of(place.to_frame, side, (size, size)) for place in change.places]
    total = sum(int(np.prod(np.maximum(box[2:] - box[:2], 0))) for box in boxes)
    if total == 0:
        return
    packer = Packer()
    packer.add(np.stack(boxes))
    packer.add(np.array(change.rows, np.int64))
    inwards = [cv2.invertAffineTransform(place.to_frame) for place in change.places]
    packer.add(np.array(inwards, np.float32))
    box, frame, matrix = packer.send(pixels.device)
    own = box_pixels(box, frame, total, size)
    flat = pixels.view(-1, 3)
    flat[own.place] = _stepped(flat[own.place], _at(change.levels, matrix, own))


def _at(levels: Tensor, matrix: Tensor, pixels: Pixels) -> Tensor:
    """Changes at pixels of frames, bilinear, nothing beyond a crop: float32 [P, 3]."""
    side = levels.shape[1]
    place = torch.stack([pixels.x, pixels.y, torch.ones_like(pixels.x)], -1)
    x, y = (matrix[pixels.owner] * place[:, None]).sum(-1).unbind(-1)
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    columns, rows = torch.stack([x0, x0 + 1.0], -1), torch.stack([y0, y0 + 1.0], -1)
    share_x = torch.stack([1.0 - fx, fx], -1) * ((columns >= 0.0) & (columns < side))
    share_y = torch.stack([1.0 - fy, fy], -1) * ((rows >= 0.0) & (rows < side))
    columns, rows = (part.clamp(0.0, side - 1.0).long() for part in (columns, rows))
    found = levels[pixels.owner[:, None, None], rows[:, :, None], columns[:, None, :]]
    weight = share_y[:, :, None] * share_x[:, None, :]
    return (found * weight[..., None]).sum((1, 2))
