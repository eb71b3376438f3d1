"""Avatars that the real decoder can show, each with a colour of its own, and what is right."""

from __future__ import annotations

from types import MappingProxyType

import cv2
import numpy as np

from parlante.media.frame_encoding import JpegEncoder, make_frame_encoder
from parlante.models.decoder import Decoder, PreparedAvatar, mean_face_latents
from parlante.types import (
    AVATAR_SPACE,
    MOTION_INDEX,
    AvatarLatents,
    Float32Array,
    LatentSpec,
    RenderConfig,
    TensorSpec,
    Uint8Array,
)
from services.renderer.engine import clamp_motion, look_of
from tests.fakes.encoder import FakeEncoder

BACKGROUND_COLUMNS = 48


def face_latents(key: str, *, bundle_digest: str = "fa" * 32) -> AvatarLatents:
    """The mean face over a background whose colour is the first three bytes of the key."""
    tensors = dict(mean_face_latents().tensors)
    colour = np.frombuffer(bytes.fromhex(key[:6]), np.uint8)
    tensors["background"] = np.broadcast_to(colour, (512, 512, 3)).copy()
    noise = np.random.default_rng(int(key[:8], 16)).integers(60, 200, (32, 32, 3), np.uint8)
    tensors["image"] = noise.repeat(16, 0).repeat(16, 1)
    matte = np.full((512, 512), 255, np.uint8)
    matte[:, :BACKGROUND_COLUMNS] = 0
    tensors["matte"] = matte
    return _latents_of(key, tensors, bundle_digest)


def fine_latents(key: str) -> AvatarLatents:
    """The same with a soft rim and as fine as latents can be."""
    tensors = dict(face_latents(key).tensors)
    tensors["matte"] = cv2.GaussianBlur(tensors["matte"], (0, 0), 6.0)
    fine = cv2.resize(tensors["image"], (1024, 1024), interpolation=cv2.INTER_NEAREST)
    fine[::3] //= 2
    tensors["image_fine"] = fine
    return _latents_of(key, tensors)


def full_latents(key: str) -> AvatarLatents:
    """The same within a whole picture of 640x360."""
    tensors = dict(face_latents(key).tensors)
    y, x = np.mgrid[:360, :640]
    picture = np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)
    picture[40:328, 200:488] = cv2.resize(
        tensors["image"], (288, 288), interpolation=cv2.INTER_AREA
    )
    tensors["picture"] = picture
    tensors["placement"] = np.array([200, 40, 288], np.float32)
    return _latents_of(key, tensors)


def _latents_of(
    key: str, tensors: dict[str, np.ndarray], bundle_digest: str = "fa" * 32
) -> AvatarLatents:
    specs = tuple(
        TensorSpec(name=name, dtype=tensor.dtype.name, shape=tensor.shape)
        for name, tensor in sorted(tensors.items())
    )
    spec = LatentSpec(space=AVATAR_SPACE, bundle_digest=bundle_digest, tensors=specs)
    return AvatarLatents(key=key, spec=spec, tensors=MappingProxyType(tensors))


class FaceEncoder(FakeEncoder):
    """A `FakeEncoder` whose latents can be rendered."""

    def _make_latents(self, key: str) -> AvatarLatents:
        return face_latents(key, bundle_digest=self.bundle_digest)


class RightFrames:
    """Makes, in this process, the frames that a renderer should give.

    Every avatar and every row of motion gives another picture, so that a picture tells whose it
    is and which.
    """

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._avatars: dict[str, PreparedAvatar] = {}

    def pixels(self, key: str, row: Float32Array) -> Uint8Array:
        """Give RGB, uint8 [512, 512, 3], of a row of motion, float32 [60]."""
        if key not in self._avatars:
            self._avatars[key] = self._decoder.prepare(face_latents(key))
        return self._decoder.render(self._avatars[key], clamp_motion(row[None])[0])

    def encoded(self, config: RenderConfig, row: Float32Array) -> bytes:
        """Give the first frame of a stream that shows one row."""
        look = look_of(config)
        name = f"{config.avatar_key} {look.key}"
        if name not in self._avatars:
            self._avatars[name] = self._decoder.prepare(face_latents(config.avatar_key), look)
        pixels = self._decoder.render(self._avatars[name], clamp_motion(row[None])[0])
        height, width = pixels.shape[:2]
        return make_frame_encoder(config, width_px=width, height_px=height).encode(pixels).data

    def jpeg(self, key: str, row: Float32Array, *, quality: int = 85) -> bytes:
        """Give the JPEG of a row."""
        return JpegEncoder(quality=quality).encode(self.pixels(key, row)).data


def row_of(number: int) -> Float32Array:
    """Make a row of motion of its own for each number in [0, 200)."""
    row = np.zeros(len(MOTION_INDEX), np.float32)
    row[MOTION_INDEX["jawOpen"]] = 0.05 + 0.004 * number
    row[MOTION_INDEX["headYaw"]] = 0.2 * np.sin(number)
    return row
