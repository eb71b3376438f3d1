"""Batches of regions: drawn from a cache, with colour and side changed at random.

Colour is changed alike in the portrait, the frame and the answer: a network must take skin and
light from the portrait, not from what synthetic people look like. Axes: B batch, S side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.errors import InvalidInput
from parlante.models.face_net import RegionInput
from parlante.models.face_regions import FRAME_SIGNED, MOUTH_SIGNED, PALETTE_AT, PALETTE_SIZE
from parlante.training.device import send
from parlante.training.face.cache import RegionData

__all__ = ["NUM_ARRAYS", "RegionBatch", "draw_batch", "held_out_rows", "take_batch"]

SIGNED: Final[dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "mouth": MOUTH_SIGNED,
    "frame": FRAME_SIGNED,
}


@dataclass(frozen=True, slots=True, eq=False)
class RegionBatch:
    """B samples of one region.

    Attributes:
        region: The frame that was drawn.
        portrait: The same region of the portrait.
        answer: [B, 3, S, S] in [0, 1].
        labels: uint8 [B, S, S].
        num_twins: The first 2 K samples are K pairs of twins, one after the other; this is K.
    """

    region: RegionInput
    portrait: RegionInput
    answer: Tensor
    labels: Tensor
    num_twins: int

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it but the number of twins, in the order that `joined` takes."""
        return (*self.region, *self.portrait, self.answer, self.labels)

    @classmethod
    def joined(cls, tensors: Sequence[Tensor], num_twins: int) -> Self:
        """Make a batch of what `tensors` gave."""
        size = len(RegionInput._fields)
        region, portrait = (RegionInput(*t) for t in (tensors[:size], tensors[size : 2 * size]))
        answer, labels = tensors[2 * size :]
        return cls(region, portrait, answer, labels, num_twins)

    def to_arrays(self) -> tuple[np.ndarray, ...]:
        """All of it as arrays; on the CPU."""
        return (*(tensor.numpy() for tensor in self.tensors), np.array(self.num_twins))

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], device: torch.device) -> Self:
        """Bring what `to_arrays` gave to a device."""
        *parts, num_twins = arrays
        batch = cls.joined(send(parts, device), int(num_twins))
        return replace(
            batch,
            region=_pixels_last(batch.region),
            portrait=_pixels_last(batch.portrait),
            answer=_last(batch.answer),
        )


def _last(rgb: Tensor) -> Tensor:
    return rgb.contiguous(memory_format=torch.channels_last)


def _pixels_last(region: RegionInput) -> RegionInput:
    """Colours of a pixel side by side, as networks take them and shared memory does not."""
    return region._replace(rgb=_last(region.rgb))


NUM_ARRAYS: Final = 2 * len(RegionInput._fields) + 3  # of `RegionBatch.to_arrays`


def draw_batch(
    data: RegionData,
    name: str,
    chosen: npt.NDArray[np.int64],
    size: int,
    rng: np.random.Generator,
    *,
    twins: float = 0.25,
) -> RegionBatch:
    """Draw a batch with changed colours.

    Args:
        data: The region.
        name: Of the region.
        chosen: Samples to draw from.
        size: B.
        rng: Source of all that is random.
        twins: Share of the batch that are twins, if there are any.
    """
    picked = rng.choice(chosen, size)
    twice = chosen[data.twin[chosen] >= 0]
    num_twins = int(twins * size / 2) if len(twice) else 0
    pairs = rng.choice(twice, num_twins) if num_twins else twice[:0]
    rows = np.empty(size, np.int64)
    rows[: 2 * num_twins : 2] = pairs
    rows[1 : 2 * num_twins : 2] = data.twin[pairs]
    rows[2 * num_twins :] = picked[2 * num_twins :]
    groups = np.arange(size)
    groups[1 : 2 * num_twins : 2] -= 1  # twins have one colour and one side
    batch = take_batch(data, rows, num_twins=num_twins)
    batch = _recoloured(batch, groups, rng, has_palette=name == "mouth")
    if name in SIGNED and rng.random() < 0.5:
        batch = _mirrored(batch, *SIGNED[name])
    return batch


def take_batch(data: RegionData, rows: npt.NDArray[np.int64], *, num_twins: int = 0) -> RegionBatch:
    """Take samples as they are."""
    arrays, looks = data.arrays, data.portrait[rows]
    maps = _taken(arrays["maps"], rows).float()
    condition = _taken(arrays["condition"], rows).float()
    allow = _taken(arrays["allow"], rows).float().div_(255.0)
    region = RegionInput(_colours(arrays["rgb"], rows), maps, allow, condition)
    look_maps = _taken(arrays["look_maps"], looks).float()
    portrait = RegionInput(_colours(arrays["look_rgb"], looks), look_maps, allow, condition)
    answer = _colours(arrays["answer"], rows)
    return RegionBatch(region, portrait, answer, _taken(arrays["labels"], rows), num_twins)


def held_out_rows(data: RegionData, every: int) -> npt.NDArray[np.bool_]:
    """Choose what is not trained on: [N].

    One subject in so many; where there are fewer, pictures of all of them, in whatever pair they
    come.

    Raises:
        InvalidInput: Nothing would be left to train on.
    """
    held_out: npt.NDArray[np.bool_] = data.subject % every == every - 1
    if not held_out.any():
        held_out = data.view % every == every - 1
    if not held_out.any():
        held_out = data.view == data.view.max()
    if held_out.all():
        raise InvalidInput(
            f"two pictures beside the portrait are needed, to train and to test; got {len(data)} "
            "pairs in all; give more or longer videos, or more heads",
            reason="NO_USABLE_SUBJECT",
        )
    return held_out


def _taken(array: npt.NDArray[Any] | Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
    """A copy of some rows, on the device where the array is."""
    if isinstance(array, Tensor):
        return array[send([rows], array.device)[0]]
    return torch.from_numpy(np.array(array[rows]))


def _colours(array: npt.NDArray[Any] | Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
    """Rows of uint8 [N, S, S, 3] -> [B, 3, S, S] in [0, 1], channels last in memory."""
    return _taken(array, rows).permute(0, 3, 1, 2).float().div_(255.0)


def _recoloured(
    batch: RegionBatch,
    groups: npt.NDArray[np.int64],
    rng: np.random.Generator,
    *,
    has_palette: bool,
) -> RegionBatch:
    """Another exposure, contrast, colour of light and saturation per sample."""
    size = len(groups)
    gamma = np.exp(rng.normal(0.0, 0.22, (size, 1)))
    gain = np.exp(rng.normal(0.0, 0.12, (size, 1)) + rng.normal(0.0, 0.07, (size, 3)))
    saturation = np.clip(rng.normal(1.0, 0.25, size), 0.0, 1.8)
    saturation[rng.random(size) < 0.04] = 0.0
    gamma, gain, saturation = gamma[groups], gain[groups], saturation[groups]
    luma = np.array([0.299, 0.587, 0.114])
    matrix = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * luma
    matrix = gain[:, :, None] * matrix
    device = batch.answer.device
    mix, power = send([matrix.astype(np.float32), gamma.astype(np.float32)], device)
    power = power[..., None, None]

    def change(rgb: Tensor) -> Tensor:
        bent = rgb.clamp(1e-4, 1.0).pow(power)
        mixed = torch.einsum("bij,bjhw->bihw", mix, bent)
        return mixed.clamp(0.0, 1.0).contiguous(memory_format=torch.channels_last)

    condition = batch.region.condition
    if has_palette:
        palette = condition[:, PALETTE_AT:].reshape(-1, PALETTE_SIZE, 3)  # [B, N, 3]
        palette = change(palette.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        condition = torch.cat([condition[:, :PALETTE_AT], palette.flatten(1)], 1)
    return RegionBatch(
        batch.region._replace(rgb=change(batch.region.rgb), condition=condition),
        batch.portrait._replace(rgb=change(batch.portrait.rgb), condition=condition),
        change(batch.answer),
        batch.labels,
        batch.num_twins,
    )


def _mirrored(
    batch: RegionBatch, conditions: tuple[int, ...], maps: tuple[int, ...]
) -> RegionBatch:
    def flip(region: RegionInput) -> RegionInput:
        condition, planes = region.condition.clone(), region.maps.flip(-1)
        condition[:, list(conditions)] *= -1.0
        planes[:, list(maps)] *= -1.0
        return RegionInput(region.rgb.flip(-1), planes, region.allow.flip(-1), condition)

    return RegionBatch(
        flip(batch.region),
        flip(batch.portrait),
        batch.answer.flip(-1),
        batch.labels.flip(-1),
        batch.num_twins,
    )
