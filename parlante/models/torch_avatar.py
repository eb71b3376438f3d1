"""Avatars in the memory of a device: what does not change from frame to frame is sent once."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from parlante.models.decoder import PreparedAvatar
from parlante.models.face_net import FaceLook, Look
from parlante.models.stiff_layer import StiffLayer
from parlante.types import Uint8Array

__all__ = ["Arena", "Picture", "TorchAvatar", "send_avatar"]

BYTES_PER_TEXEL: Final = 4
_NOTHING: Final[Uint8Array] = np.zeros((1, 1, 4), np.uint8)


class Picture(enum.IntEnum):
    """The pictures that an avatar's frames are made from."""

    CANVAS = 0
    BACKGROUND = 1
    IMAGE = 2
    SKIN = 3  # of the subject's right eye, as the three after it
    WHITE = 4
    IRIS = 5
    RIM = 6
    LEFT_SKIN = 7
    LEFT_WHITE = 8
    LEFT_IRIS = 9
    LEFT_RIM = 10
    UPPER_TEETH = 11
    LOWER_TEETH = 12
    OWN_MOUTH = 13
    PLAIN_CORNERS = 14
    STIFF = 15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchAvatar:
    """An avatar of which the pixels are on a device.

    Attributes:
        avatar: What it was made from; geometry comes from it.
        texels: int32 [T], all pictures one after the other, RGBA in the bytes of each.
        pictures: int64 [16, 3], first texel, width and height of each `Picture`.
        source: float32 [V, 2], as `PreparedAvatar.source`.
        triangles: int64 [M, 3].
        worn: Source and triangles of what is drawn stiff over the face; None without.
        look: What the face network made of the portrait; None without one.
    """

    avatar: PreparedAvatar
    texels: Tensor
    pictures: npt.NDArray[np.int64]
    source: Tensor
    triangles: Tensor
    worn: tuple[Tensor, Tensor] | None = None
    look: FaceLook | None = None

    @property
    def num_bytes(self) -> int:
        """Memory of the larger arrays, here and there."""
        sent = (self.texels, self.source, self.triangles)
        return self.avatar.num_bytes + sum(tensor.nbytes for tensor in sent)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of its frames."""
        return self.avatar.frame_shape

    @property
    def is_clear(self) -> bool:
        """True for frames with alpha instead of a background."""
        return self.avatar.is_clear


def send_avatar(avatar: PreparedAvatar, device: torch.device) -> TorchAvatar:
    """Bring an avatar to a device."""
    pictures = _pictures_of(avatar)
    table, flat, end = [], [], 0
    for name in Picture:
        pixels = pictures[name]
        height, width = pixels.shape[:2]
        table.append((end, width, height))
        end += width * height
        flat.append(_as_texels(pixels))
    texels = torch.from_numpy(np.concatenate(flat).view(np.int32).reshape(-1))
    return TorchAvatar(
        avatar=avatar,
        texels=texels.to(device),
        pictures=np.array(table, np.int64),
        source=torch.from_numpy(avatar.source).to(device),
        triangles=torch.from_numpy(avatar.triangles).to(device, torch.int64),
        worn=None if avatar.stiff is None else _sent_layer(avatar.stiff, device),
        look=None if avatar.appearance is None else _sent_look(avatar.appearance.look, device),
    )


def _sent_layer(layer: StiffLayer, device: torch.device) -> tuple[Tensor, Tensor]:
    triangles = torch.from_numpy(layer.triangles).to(device, torch.int64)
    return torch.from_numpy(layer.source).to(device), triangles


def _sent_look(look: FaceLook, device: torch.device) -> FaceLook:
    def sent(part: Look) -> Look:
        return Look(*(tensor.to(device) for tensor in part))

    frame = None if look.frame is None else sent(look.frame)
    return FaceLook(sent(look.mouth), sent(look.eyes), frame)


def _pictures_of(avatar: PreparedAvatar) -> dict[Picture, Uint8Array]:
    right, left = avatar.eyes
    return {
        Picture.CANVAS: avatar.canvas,
        Picture.BACKGROUND: avatar.background,
        Picture.IMAGE: avatar.image,
        Picture.SKIN: right.skin,
        Picture.WHITE: right.white,
        Picture.IRIS: right.iris,
        Picture.RIM: right.rim,
        Picture.LEFT_SKIN: left.skin,
        Picture.LEFT_WHITE: left.white,
        Picture.LEFT_IRIS: left.iris,
        Picture.LEFT_RIM: left.rim,
        Picture.UPPER_TEETH: avatar.mouth.upper,
        Picture.LOWER_TEETH: avatar.mouth.lower,
        Picture.OWN_MOUTH: avatar.own_mouth.pixels,
        Picture.PLAIN_CORNERS: avatar.plain_corners.pixels,
        Picture.STIFF: _NOTHING if avatar.stiff is None else avatar.stiff.pixels,
    }


def _as_texels(pixels: Uint8Array) -> Uint8Array:
    """Pixels [H, W, 3 or 4] -> [H * W, 4]."""
    flat = pixels.reshape(-1, pixels.shape[2])
    if pixels.shape[2] == BYTES_PER_TEXEL:
        return flat
    return np.concatenate([flat, np.full((len(flat), 1), 255, np.uint8)], 1)


class Arena:
    """The texels of all avatars of a batch in one list, kept while the avatars stay the same.

    A batch that has other avatars costs a copy of their texels on the device (7 MB each at
    512 px: some microseconds on a GPU), and no kernel needs to know more than one list.
    """

    def __init__(self) -> None:
        self._avatars: list[TorchAvatar] = []
        self._starts: dict[int, int] = {}
        self.texels = torch.zeros(0, dtype=torch.int32)

    def hold(self, avatars: Sequence[TorchAvatar]) -> None:
        """Make the texels of avatars available."""
        wanted = {id(avatar): avatar for avatar in avatars}
        if wanted.keys() <= self._starts.keys():
            return
        self._avatars = list(wanted.values())
        self._starts, end = {}, 0
        for avatar in self._avatars:
            self._starts[id(avatar)] = end
            end += len(avatar.texels)
        # One avatar alone needs no copy.
        parts = [avatar.texels for avatar in self._avatars]
        self.texels = parts[0] if len(parts) == 1 else torch.cat(parts)

    def pictures(self, avatars: Sequence[TorchAvatar]) -> npt.NDArray[np.int64]:
        """Where pictures of B avatars are, int64 [B, 16, 3]: first texel, width and height."""
        tables = np.stack([avatar.pictures for avatar in avatars])
        tables[:, :, 0] += np.array([self._starts[id(avatar)] for avatar in avatars])[:, None]
        return tables
