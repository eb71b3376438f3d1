"""Pictures that may be used from a package, the tracker, and a quick stand-in for the model."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from types import MappingProxyType

import cv2
import numpy as np
import pytest
from PIL import Image

from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.models.portrait_encoder import content_key
from parlante.models.tracker_files import find_missing_files, tracker_dir
from parlante.types import (
    AVATAR_SPACE,
    AvatarLatents,
    FaceSelection,
    Float32Array,
    LatentSpec,
    TensorSpec,
    Uint8Array,
)

DIGEST = "d" * 64


@pytest.fixture(scope="session")
def astronaut() -> Uint8Array:
    """NASA's public-domain portrait, uint8 [512, 512, 3]; the face is 110 px high."""
    data = pytest.importorskip("skimage.data")
    return np.asarray(data.astronaut(), np.uint8)


@pytest.fixture(scope="session")
def cat() -> Uint8Array:
    """A cat's face, uint8 [300, 451, 3]."""
    data = pytest.importorskip("skimage.data")
    return np.asarray(data.chelsea(), np.uint8)


@pytest.fixture(scope="session")
def tracker() -> FaceTracker:
    """The real tracker."""
    missing = find_missing_files(tracker_dir())
    if missing:
        pytest.skip(f"tracker files are missing ({', '.join(missing)}): run `make setup`")
    return FaceTracker()


@pytest.fixture(scope="session")
def astronaut_face(tracker: FaceTracker, astronaut: Uint8Array) -> FaceLandmarks:
    """The astronaut's landmarks."""
    return tracker.landmarks(astronaut, tracker.detect(astronaut)[0])


class Bricks:
    """A wall of bricks, 320 x 320 px, and what it looks like behind a round face."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        wall = np.full((320, 320, 3), (190, 185, 175), np.uint8)
        for index, top in enumerate(range(0, 320, 20)):
            for left in range(-44 + 22 * (index % 2), 320, 44):
                red, green, blue = (int(level) for level in rng.normal((150, 75, 55), 18.0))
                cv2.rectangle(wall, (left, top), (left + 40, top + 16), (red, green, blue), -1)
        self.wall = np.asarray(cv2.GaussianBlur(wall, (0, 0), 0.7), np.uint8)

    def behind(self, face: tuple[int, int, int]) -> tuple[Uint8Array, Float32Array, Float32Array]:
        """The picture, the face's matte, and how far every pixel is away from it, px."""
        rgb, matte = self.wall.copy(), np.zeros((320, 320), np.float32)
        cv2.circle(matte, (160, 160), 70, 1.0, -1, cv2.LINE_AA)
        cv2.circle(rgb, (160, 160), 70, face, -1, cv2.LINE_AA)
        away = cv2.distanceTransform((matte < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        return rgb, matte, np.asarray(away, np.float32)


@pytest.fixture(scope="session")
def bricks() -> Bricks:
    """A wall whose mortar is as light as skin."""
    return Bricks()


def to_png(pixels: Uint8Array) -> bytes:
    """Encode pixels without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def png() -> Callable[[Uint8Array], bytes]:
    """Encode pixels without loss."""
    return to_png


@pytest.fixture
def pictures() -> list[bytes]:
    """Twelve small PNG files that differ."""
    return [to_png(np.full((8, 8, 3), 20 * i, np.uint8)) for i in range(12)]


def make_latents(key: str, num_bytes: int = 1000) -> AvatarLatents:
    """Latents of one tensor, filled by the key."""
    tensor = np.full(num_bytes, int(key[:2], 16), np.uint8)
    tensor.setflags(write=False)
    spec = LatentSpec(
        space=AVATAR_SPACE,
        bundle_digest=DIGEST,
        tensors=(TensorSpec(name="image", dtype="uint8", shape=(num_bytes,)),),
    )
    return AvatarLatents(key=key, spec=spec, tensors=MappingProxyType({"image": tensor}))


@pytest.fixture
def latents_of() -> Callable[..., AvatarLatents]:
    """Make latents for a key."""
    return make_latents


class FakeMaker:
    """Stands in for the model: counts, can be held up, can be told to fail."""

    def __init__(self) -> None:
        self.num_calls = 0
        self.may_run = threading.Event()
        self.may_run.set()
        self.started = threading.Event()
        self.error: Exception | None = None

    def encode(self, rgb: Uint8Array, selection: FaceSelection) -> AvatarLatents:
        """Give latents that only the key distinguishes."""
        self.num_calls += 1
        self.started.set()
        assert self.may_run.wait(10.0)
        if self.error is not None:
            raise self.error
        return make_latents(content_key(rgb, selection, DIGEST))


@pytest.fixture
def maker() -> FakeMaker:
    """A stand-in for the model."""
    return FakeMaker()
