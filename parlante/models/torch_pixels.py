"""Lists of pixels on a device: what the batched decoder is made of.

Frames of a batch differ in where their eyes and mouths lie and in how large their pictures are. So
nothing is padded to a common size: pixels of all boxes of a batch form one list, and pictures of
all avatars lie one after the other in one list of texels. Axes: P pixels, E boxes, T texels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "Packer",
    "Pictures",
    "Pixels",
    "bilinear",
    "box_pixels",
    "smooth",
    "spread",
    "tap",
    "to_host",
    "to_levels",
]

Array = npt.NDArray[np.generic]

_ALIGN_BYTES: Final = 16
_DTYPES: Final = {
    np.dtype(np.float32): torch.float32,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.int32): torch.int32,
}


class Pictures(NamedTuple):
    """Where pictures lie among the texels, each int64 [E], or [P] once given to pixels."""

    start: Tensor
    width: Tensor
    height: Tensor

    def of(self, owner: Tensor) -> Pictures:
        """The picture of each pixel, by the box that owns it."""
        return Pictures(self.start[owner], self.width[owner], self.height[owner])

    @classmethod
    def joined(cls, parts: Sequence[Pictures]) -> Pictures:
        """Several pictures of each pixel, int64 [P, K]."""
        return cls(*(torch.stack(column, -1) for column in zip(*parts, strict=True)))


class Pixels(NamedTuple):
    """Pixels of boxes in a batch of frames.

    Attributes:
        owner: int64 [P], the box of each.
        place: int64 [P], where it is in frames of [B * S * S].
        x: float32 [P], column in its frame.
        y: float32 [P], row in its frame.
    """

    owner: Tensor
    place: Tensor
    x: Tensor
    y: Tensor


class Packer:
    """Brings arrays to a device in one copy, as each copy costs as much as a small kernel."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []

    def add(self, array: Array) -> int:
        """Take an array, float32, int32 or int64; gives its index in what `send` returns."""
        self._arrays.append(np.ascontiguousarray(array))
        return len(self._arrays) - 1

    def send(self, device: torch.device) -> list[Tensor]:
        """Copy all of them."""
        starts, end = [], 0
        for array in self._arrays:
            starts.append(end)
            end += -(-array.nbytes // _ALIGN_BYTES) * _ALIGN_BYTES
        is_cuda = device.type == "cuda"
        staged = torch.empty(end, dtype=torch.uint8, pin_memory=is_cuda)
        room = staged.numpy()
        for start, array in zip(starts, self._arrays, strict=True):
            room[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
        # Pinned memory is not used anew by torch before the copy from it is done.
        sent = staged.to(device, non_blocking=is_cuda)
        return [
            sent[start : start + array.nbytes].view(_DTYPES[array.dtype]).view(array.shape)
            for start, array in zip(starts, self._arrays, strict=True)
        ]


def to_host(tensor: Tensor) -> npt.NDArray[np.uint8]:
    """Bring uint8 pixels to the host's memory; waits for them."""
    if tensor.device.type != "cuda":
        return np.asarray(tensor.numpy(), np.uint8)
    # Four times as fast as into memory that may be paged out.
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return np.asarray(host.numpy(), np.uint8)


def spread(counts: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Repeat each index as often as its count says.

    Args:
        counts: int64 [E], >= 0.
        total: Their sum.

    Returns:
        int64 [total] each: the index, and the place within its repetitions.
    """
    index = torch.arange(len(counts), device=counts.device)
    owner = index.repeat_interleave(counts, output_size=total)
    starts = counts.cumsum(0) - counts
    return owner, torch.arange(total, device=counts.device) - starts[owner]


def box_pixels(boxes: Tensor, frame: Tensor, total: int, size_px: int) -> Pixels:
    """List the pixels of boxes.

    Args:
        boxes: int64 [E, 4], left, top, right and bottom in the frame, px.
        frame: int64 [E], index of the frame that each lies in.
        total: Pixels of all boxes.
        size_px: S.
    """
    left, top, right, bottom = boxes.unbind(1)
    owner, rank = spread((right - left) * (bottom - top), total)
    width = (right - left)[owner]
    row = torch.div(rank, width, rounding_mode="floor")
    x = left[owner] + rank - row * width
    y = top[owner] + row
    place = (frame[owner] * size_px + y) * size_px + x
    return Pixels(owner, place, x.float(), y.float())


def tap(texels: Tensor, index: Tensor) -> Tensor:
    """Fetch texels: int32 [T], int64 [...] -> float32 [..., 4], levels of 255."""
    return texels[index].view(torch.uint8).view(*index.shape, 4).float()


def bilinear(
    texels: Tensor, pictures: Pictures, x: Tensor, y: Tensor, *, clamp: bool = False
) -> Tensor:
    """Sample pictures between their texels, float32 [..., 4], levels of 255.

    Args:
        texels: int32 [T].
        pictures: One for each position.
        x: float32 [...], px of the picture; in [0, width - 1) if not clamped.
        y: float32 [...].
        clamp: Continue the edges.
    """
    if clamp:
        # As the loops on the CPU do it: a little short of the last texel.
        x = torch.minimum(x.clamp(min=0.0), pictures.width - 1.001)
        y = torch.minimum(y.clamp(min=0.0), pictures.height - 1.001)
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    gx, gy = 1.0 - fx, 1.0 - fy
    first = pictures.start + y0.long() * pictures.width + x0.long()
    below = first + pictures.width
    corners = tap(texels, torch.stack([first, first + 1, below, below + 1], -1))
    weights = torch.stack([gx * gy, fx * gy, gx * fy, fx * fy], -1)
    return (corners * weights[..., None]).sum(-2)


def smooth(t: Tensor) -> Tensor:
    """Rise from 0 to 1 between 0 and 1."""
    t = t.clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def to_levels(value: Tensor) -> Tensor:
    """Round levels as the loops on the CPU do: uint8."""
    return (value + 0.5).floor_().to(torch.uint8)
