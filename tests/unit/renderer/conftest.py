"""A drawn portrait with known landmarks, so that no test here needs a tracker or a photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.decoder import Decoder, PreparedAvatar
from parlante.models.decoder_latents import mean_face_latents
from parlante.models.smile_creases import FOLDS
from parlante.types import (
    ARKIT_CHANNELS,
    AVATAR_SPACE,
    MOTION_DIM,
    MOTION_INDEX,
    AvatarLatents,
    Float32Array,
    LatentSpec,
    TensorSpec,
    Uint8Array,
)

SKIN, HAIR, SHIRT, LIP = (214, 170, 146), (70, 48, 40), (60, 90, 140), (186, 92, 92)


@dataclass(frozen=True)
class Portrait:
    """A drawn face."""

    image: Uint8Array
    matte: Uint8Array
    background: Uint8Array
    landmarks: Float32Array

    @property
    def iod_px(self) -> float:
        return fm.inter_ocular_px(self.landmarks)


SMILE_WIDTH = 1.35  # of the mean mouth's
FOLD = (150, 112, 96)


def draw_portrait(
    *, gap: float = 0.0, tint: float = 1.0, smile: float = 0.0, iris: float = 0.06
) -> Portrait:
    """Draw the mean face with lips that are `gap` IOD apart, and an `iris` of so many IOD.

    With a `smile` their corners are higher by so many IOD, the mouth is wide, and dark folds lie
    beside it.
    """
    points = mean_face_latents().tensors["landmarks"].astype(np.float32).copy()
    iod = fm.inter_ocular_px(points)
    upper, lower = list(fm.UPPER_LIP_ROWS[0]), list(fm.LOWER_LIP_ROWS[0])
    middle = 0.5 * (points[upper] + points[lower])
    bulge = np.sin(np.linspace(0.1, 0.9, 9) * np.pi)
    points[upper], points[lower] = middle.copy(), middle.copy()
    points[upper, 1] -= 0.5 * gap * iod * bulge
    points[lower, 1] += 0.5 * gap * iod * bulge
    if smile > 0.0:
        rows = (*fm.UPPER_LIP_ROWS, *fm.LOWER_LIP_ROWS, *fm.LIP_ROW_CORNERS)
        lips = sorted({vertex for row in rows for vertex in row})
        aside = points[lips, 0] - points[fm.UPPER_LIP_CENTRE, 0]
        points[lips, 0] += (SMILE_WIDTH - 1.0) * aside
        points[lips, 1] -= smile * iod * (aside / np.abs(aside).max()) ** 2
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    background = np.stack([90 + 0.1 * x, 110 + 0.05 * y, 130 - 0.05 * x], -1).astype(np.uint8)
    image, matte = background.copy(), np.zeros((512, 512), np.uint8)
    chin = points[fm.CHIN]

    def fill(loop: tuple[int, ...], colour: tuple[int, ...]) -> None:
        shape = np.round(points[list(loop), :2] * 16).astype(np.int32)
        cv2.fillPoly(image, [shape], colour, cv2.LINE_AA, 4)

    centre = points[list(fm.OVAL), :2].mean(0)
    for canvas, hair, shirt, skin in ((image, HAIR, SHIRT, SKIN), (matte, 255, 255, 255)):
        head = (int(centre[0]), int(centre[1] - 0.15 * iod))
        cv2.ellipse(canvas, head, (int(0.85 * iod), int(1.05 * iod)), 0, 0, 360, hair, -1)
        neck = (int(chin[0] - 0.45 * iod), int(chin[1] - 0.4 * iod))
        cv2.rectangle(canvas, neck, (int(chin[0] + 0.45 * iod), 500), skin, -1)
        cv2.ellipse(canvas, (256, 560), (260, 150), 0, 0, 360, shirt, -1)
    fill(fm.OVAL, SKIN)
    for fold in FOLDS if smile > 0.0 else ():
        line = np.round(points[list(fold[:3]), :2] * 16).astype(np.int32)
        cv2.polylines(image, [line], False, FOLD, 3, cv2.LINE_AA, 4)
    fill(fm.OUTER_LIPS, LIP)
    fill(fm.INNER_LIPS, (60, 20, 20))
    for eye, middle in ((fm.RIGHT_EYE, fm.RIGHT_IRIS[0]), (fm.LEFT_EYE, fm.LEFT_IRIS[0])):
        white = np.zeros((512, 512), np.uint8)
        shape = np.round(points[list(eye), :2] * 16).astype(np.int32)
        cv2.fillPoly(white, [shape], 255, cv2.LINE_AA, 4)
        ball = np.full_like(image, (235, 232, 228))
        middle_px = np.round(points[middle, :2] * 16).astype(int)
        size_px = int(iris * iod * 16)
        cv2.circle(ball, middle_px.tolist(), size_px, (70, 50, 30), -1, cv2.LINE_AA, 4)
        share = white[..., None] / 255.0
        image[:] = np.rint(ball * share + image * (1 - share))
    grain = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 40, image.shape), (0, 0), 2.0)
    image = np.clip(image * tint + grain, 0, 255).astype(np.uint8)
    return Portrait(image, matte, background, points)


def to_latents(
    portrait: Portrait, *, key: str = "a" * 64, space: str = AVATAR_SPACE
) -> AvatarLatents:
    tensors = {
        "background": portrait.background,
        "image": portrait.image,
        "landmarks": portrait.landmarks,
        "matte": portrait.matte,
    }
    specs = tuple(
        TensorSpec(name=name, dtype=tensor.dtype.name, shape=tensor.shape)
        for name, tensor in tensors.items()
    )
    spec = LatentSpec(space=space, bundle_digest="b" * 64, tensors=specs)
    return AvatarLatents(key=key, spec=spec, tensors=tensors)


def make_motion(**channels: float) -> Float32Array:
    """Motion by channel name; "eyeBlink" sets both sides."""
    motion = np.zeros(MOTION_DIM, np.float32)
    for name, value in channels.items():
        names = [name] if name in MOTION_INDEX else [f"{name}Left", f"{name}Right"]
        assert name in MOTION_INDEX or names[0] in ARKIT_CHANNELS, name
        for full_name in names:
            motion[MOTION_INDEX[full_name]] = value
    return motion


def compute_psnr_db(first: np.ndarray, second: np.ndarray, mask: np.ndarray | None = None) -> float:
    difference = first.astype(np.float64) - second.astype(np.float64)
    if mask is not None:
        difference = difference[mask]
    return float(10 * np.log10(255.0**2 / max(float((difference**2).mean()), 1e-9)))


@pytest.fixture(scope="session")
def portrait() -> Portrait:
    return draw_portrait()


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture(scope="session")
def avatar(decoder: Decoder, portrait: Portrait) -> PreparedAvatar:
    return decoder.prepare(to_latents(portrait))


@pytest.fixture(scope="session")
def latents(portrait: Portrait) -> AvatarLatents:
    return to_latents(portrait)


@pytest.fixture(scope="session")
def motion() -> Callable[..., Float32Array]:
    return make_motion


@pytest.fixture(scope="session")
def psnr_db() -> Callable[..., float]:
    return compute_psnr_db


@pytest.fixture(scope="session")
def draw() -> Callable[..., Portrait]:
    return draw_portrait


@pytest.fixture(scope="session")
def latents_of() -> Callable[..., AvatarLatents]:
    return to_latents


@pytest.fixture(scope="session")
def face_box(portrait: Portrait) -> Callable[..., tuple[slice, slice]]:
    """Gives the pixels around landmarks, with a margin in inter-ocular distances."""

    def box(loop: tuple[int, ...], margin: float = 0.0) -> tuple[slice, slice]:
        points = portrait.landmarks[list(loop), :2]
        low = np.floor(points.min(0) - margin * portrait.iod_px).astype(int)
        high = np.ceil(points.max(0) + margin * portrait.iod_px).astype(int) + 1
        return slice(low[1], high[1]), slice(low[0], high[0])

    return box
