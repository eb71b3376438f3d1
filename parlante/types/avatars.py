"""What the encoder makes of a portrait."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "AVATAR_SPACE",
    "AvatarInfo",
    "AvatarLatents",
    "FaceChoice",
    "FaceSelection",
    "Framing",
    "LatentSpec",
    "TensorSpec",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, dtype (numpy name) and shape of one latent tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSpec:
    """The named, versioned layout of an avatar's latents.

    Attributes:
        space: Name and version of the layout, for example ``parlante.avatar/1``.
        bundle_digest: Hex SHA-256 of the models and code version that made the latents.
        tensors: One entry per tensor, sorted by name.
    """

    space: str
    bundle_digest: str
    tensors: tuple[TensorSpec, ...]


AVATAR_SPACE: Final = "parlante.avatar/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AvatarLatents:
    """What the encoder makes of one portrait and the renderer needs of it.

    Tensors of space ``parlante.avatar/1``:
        image: uint8 [512, 512, 3], RGB, the aligned crop.
        matte: uint8 [512, 512], 255 = person.
        background: uint8 [512, 512, 3], RGB, the crop with the person in-painted away.
        landmarks: float32 [478, 3], face mesh (468) and irises (10), px of the crop, z towards
            the back, same unit as x and y.
        canonical: float32 [468, 3], the mesh in canonical pose (frontal), inter-ocular distances.
        identity: float32 [D], shape code independent of pose and expression.
        source_motion: float32 [60], pose (absolute, of the photo) and dynamics of the photo.
        image_fine: uint8 [S, S, 3], 512 < S <= 1024, the crop as fine as the picture has it; only
            where that is finer than `image`, and not with `picture`.
        picture: uint8 [H, W, 3], RGB, the whole picture; `Framing.FULL` only.
        placement: float32 [3], left, top and size of the crop in `picture`, px; with `picture`.

    Attributes:
        key: Content key, hex SHA-256 over decoded pixels, options and bundle digest.
        spec: Layout of `tensors`.
        tensors: Read-only arrays by name.
    """

    key: str
    spec: LatentSpec
    tensors: Mapping[str, npt.NDArray[np.generic]]

    @property
    def num_bytes(self) -> int:
        """Sum of the tensors' sizes."""
        return sum(t.nbytes for t in self.tensors.values())


class FaceChoice(enum.Enum):
    """Which face to take when a picture shows several."""

    ONLY = "only"  # refuse a picture with several faces
    LARGEST = "largest"
    INDEX = "index"  # by index, faces sorted from left to right


class Framing(enum.StrEnum):
    """How much of the picture an avatar shows."""

    HEAD = "head"  # a square around head and collar
    SHOULDERS = "shoulders"  # a wider square, as far as the picture goes
    FULL = "full"  # the whole picture, at its own size up to 1920x1080; the head in it moves


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSelection:
    """Which face of a picture, and how much of the picture around it.

    Attributes:
        choice: How to choose a face.
        index: With INDEX, from 0, left to right.
        framing: How much of the picture is shown.
    """

    choice: FaceChoice = FaceChoice.ONLY
    index: int = 0
    framing: Framing = Framing.HEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class AvatarInfo:
    """A named avatar.

    Attributes:
        name: DNS-safe id, lower case, at most 63 characters.
        key: Content key of its latents.
        bundle_digest: Digest of the encoder bundle that made them.
        created_unix_ms: When the name was given, milliseconds since 1970.
        source_width_px: Width of the uploaded picture after orientation.
        source_height_px: Height of the uploaded picture after orientation.
        latent_bytes: Size of the latents.
        from_cache: True when the latents were there already.
        framing: How much of the picture is shown.
    """

    name: str
    key: str
    bundle_digest: str
    created_unix_ms: int
    source_width_px: int
    source_height_px: int
    latent_bytes: int
    from_cache: bool = False
    framing: Framing = Framing.HEAD
