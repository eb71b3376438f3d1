"""Pictures that may be used from a package, the tracker, and a quick stand-in for the model."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from types import MappingProxyType

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
