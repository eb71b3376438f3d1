"""The layers of an avatar (portrait, matte, background) at the size that frames are to have.

Latents hold them at 512 px, and finer pixels where the picture has them. Axis letter: S, the wanted
edge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from parlante.models.border import soft_inside
from parlante.models.push_pull import push_pull
from parlante.types import FRAME_SIZE_PX, Float32Array, Uint8Array

__all__ = ["Layers", "cut_out", "fine_over", "keep_still", "resize_square", "size_layers", "unmix"]

SAME_LEVEL: Final = 3.0  # of 255: the background still is the portrait there
SAME_REACH_PX: Final = 5
# Matte of the person whose pixels are the person's own, and below which they say nothing of it.
OWN_MATTE: Final = 0.95
FAINT_MATTE: Final = 0.25
OWN_MARGIN_PX: Final = 2.0
# Of 255, by how much a colour of the person may leave the photo's own where it is unmixed. More
# would make thinner hair of glaring colours, whose rims flicker in motion.
MAX_UNMIXING: Final = 48.0
# From the matte, as far as hair goes.
HAIR_REACH_PX: Final = (72.0, 96.0)
ALPHA_BLUR_PX: Final = 0.8
# Of the picture: its edge, and lines along it, would be drawn out over all that lies beyond.
RIM_PX: Final = (3.0, 7.0)
BESIDE_PX: Final = (0.0, 3.0)  # the matte, where its edges are the person's


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """An avatar's pixels.

    Attributes:
        image: uint8 [S, S, 3], RGB.
        matte: uint8 [S, S], 255 = person.
        background: uint8 [S, S, 3], RGB, without the person.
    """

    image: Uint8Array
    matte: Uint8Array
    background: Uint8Array


def resize_square(pixels: Uint8Array, size_px: int) -> Uint8Array:
    """Bring a square layer, uint8 [H, H] or [H, H, 3], to another size."""
    if pixels.shape[0] == size_px:
        return pixels
    shrinks = size_px < pixels.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (size_px, size_px), interpolation=interpolation))


def size_layers(layers: Layers, size_px: int, finest: Uint8Array | None = None) -> Layers:
    """Bring layers to another size.

    Args:
        layers: At 512 px.
        size_px: S.
        finest: uint8 [H, H, 3], the same image with more detail, or None.
    """
    if size_px == layers.image.shape[0]:
        return layers
    source = layers.image if finest is None else finest
    image = resize_square(source, size_px)
    background = resize_square(layers.background, size_px)
    if finest is not None and size_px > layers.image.shape[0]:
        # Where the background is the portrait's own, it is as fine as the portrait.
        own = np.abs(layers.background.astype(np.int16) - layers.image).max(-1) <= SAME_LEVEL
        kernel = np.ones((SAME_REACH_PX, SAME_REACH_PX), np.uint8)
        steady = cv2.erode(own.astype(np.uint8) * 255, kernel)
        background = fine_over(background, image, resize_square(steady, size_px))
    return Layers(image=image, matte=resize_square(layers.matte, size_px), background=background)


def fine_over(coarse: Uint8Array, fine: Uint8Array, shown: Uint8Array) -> Uint8Array:
    """Take pixels of a finer picture where it shows them.

    Args:
        coarse: uint8 [H, H, 3], complete.
        fine: uint8 [S, S, 3].
        shown: uint8 [S, S], 255 where `fine` is to be taken.

    Returns:
        uint8 [S, S, 3].
    """
    if shown.all():
        return fine
    whole = resize_square(coarse, fine.shape[0])
    share = soft_inside(shown)[..., None]
    return np.asarray(np.rint(whole + share * (fine.astype(np.float32) - whole)), np.uint8)


def cut_out(layers: Layers) -> tuple[Uint8Array, Uint8Array]:
    """The person alone, to be put before anything.

    Pixels of the rim and of fine hair are mixtures with the old background: it is taken out of
    them, and where the person is hardly in them, the person's colours are continued instead.

    Returns:
        uint8 [S, S, 3], RGB, not premultiplied, and uint8 [S, S], alpha.
    """
    alpha = layers.matte.astype(np.float32) / np.float32(255.0)
    image = layers.image.astype(np.float32)
    behind = layers.background.astype(np.float32)
    own = (alpha > OWN_MATTE).astype(np.float32)
    margin = OWN_MARGIN_PX * layers.image.shape[0] / FRAME_SIZE_PX
    inner = cv2.erode(own, np.ones((2 * round(margin) + 1,) * 2, np.uint8))
    if not inner.any():
        return layers.image, layers.matte
    continued = push_pull(image, inner)
    unmixed = behind + (image - behind) / np.maximum(alpha, FAINT_MATTE)[..., None]
    sure = np.clip((alpha - FAINT_MATTE) / (OWN_MATTE - FAINT_MATTE), 0.0, 1.0)[..., None]
    person = continued + sure * (np.clip(unmixed, 0.0, 255.0) - continued)
    return np.asarray(np.rint(np.clip(person, 0.0, 255.0)), np.uint8), layers.matte


def unmix(layers: Layers, alpha: Uint8Array) -> tuple[Uint8Array, Uint8Array]:
    """The person before the portrait's own background, so that both together are the photo.

    Rim and hair are mixtures of person and background. Taken as they are they would be mixed with
    the background once more, and what was painted out of the background beside them (single hairs,
    shadows) would be missing: alpha is raised to where a colour of the person explains the photo,
    but at the picture's edges.

    Args:
        layers: Of the avatar.
        alpha: uint8 [S, S], what the person is to be blended by.

    Returns:
        uint8 [S, S, 3], RGB, not premultiplied, and uint8 [S, S], alpha.
    """
    picture = layers.image.astype(np.float32)
    added = picture - layers.background
    far = np.abs(added).max(-1)
    share = alpha.astype(np.float32) / np.float32(255.0)
    needed = cv2.dilate(far / (far + np.float32(MAX_UNMIXING)), np.ones((3, 3), np.uint8))
    blur = ALPHA_BLUR_PX * picture.shape[0] / FRAME_SIZE_PX
    needed = cv2.GaussianBlur(needed, (0, 0), blur) * _ramp(_inside(picture.shape[0]), RIM_PX)
    # Grain is no person: it would swim with the head.
    is_seen = np.abs(cv2.GaussianBlur(added, (0, 0), blur)).max(-1) > SAME_LEVEL
    share = np.maximum(share, np.where(is_seen, needed, np.float32(0.0)))
    share = np.ceil(share * np.float32(255.0)) / np.float32(255.0)
    person = layers.background + added / np.maximum(share, np.float32(1e-2))[..., None]
    person = np.where(share[..., None] > 0.0, person, picture)
    return (
        np.asarray(np.rint(np.clip(person, 0.0, 255.0)), np.uint8),
        np.asarray(np.rint(share * np.float32(255.0)), np.uint8),
    )


def keep_still(layers: Layers) -> Layers:
    """Have the background be the photo's own where no hair may be: it stays when the head moves.

    That is far from the person, and along the picture's edges, which are drawn out over all that
    lies beyond them.
    """
    size_px = layers.image.shape[0]
    away = cv2.distanceTransform((layers.matte == 0).astype(np.uint8), cv2.DIST_L2, 3)
    away *= np.float32(FRAME_SIZE_PX / size_px)
    at_edge = (1.0 - _ramp(_inside(size_px), RIM_PX)) * _ramp(away, BESIDE_PX)
    share = np.maximum(at_edge, _ramp(away, HAIR_REACH_PX))
    behind = layers.background.astype(np.float32)
    behind += share[..., None] * (layers.image - behind)
    return replace(layers, background=np.asarray(np.rint(behind), np.uint8))


def _inside(size_px: int) -> Float32Array:
    """How far pixels are from the picture's edges, [S, S], px of the crop."""
    place = np.arange(size_px, dtype=np.float32) * np.float32(FRAME_SIZE_PX / size_px)
    nearest = np.minimum(place, place[::-1])
    return np.asarray(np.minimum(nearest, nearest[:, None]), np.float32)


def _ramp(value: Float32Array, limits: tuple[float, float]) -> Float32Array:
    low, high = limits
    return np.asarray(np.clip((value - low) / (high - low), 0.0, 1.0), np.float32)
