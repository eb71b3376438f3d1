"""Where pairs of pictures come from: synthetic heads, photos, talking videos.

All come as a `Subject`: pictures of one person with the framing of one portrait, and landmarks in
each. Pictures that may serve as the portrait are named.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from parlante.errors import InvalidInput, PortraitRejected
from parlante.media.image import decode_image
from parlante.models.alignment import cut_crop, plan_crop
from parlante.models.decoder import Decoder
from parlante.models.face_coefficients import TRACKED_GAZE_SHARE, measure_face
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.models.portrait_encoder import PortraitEncoder
from parlante.types import (
    FRAME_SIZE_PX,
    MOTION_DIM,
    MOTION_INDEX,
    FaceChoice,
    FaceSelection,
    Float32Array,
    Uint8Array,
)

__all__ = [
    "NO_LABEL",
    "Subject",
    "View",
    "find_synthetic",
    "frame_subject",
    "is_portrait",
    "photo_files",
    "photo_subject",
    "read_synthetic",
]

logger = logging.getLogger(__name__)

NO_LABEL: Final = 255  # of a picture without part labels
MAX_SOURCE_YAW_RAD: Final = 0.30
MIN_SOURCE_EYE: Final = 0.18  # lid opening by the eye's width, of a portrait
SUBJECT_PATTERN: Final = "subject-*.npz"
PICTURE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One picture of a subject.

    Attributes:
        rgb: uint8 [512, 512, 3].
        landmarks: float32 [478, 3], px.
        labels: uint8 [512, 512], parts as the synthetic heads name them; 255 everywhere when
            nobody knows.
        tongue_out: [0, 1].
    """

    rgb: Uint8Array
    landmarks: Float32Array
    labels: Uint8Array
    tongue_out: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """Pictures of one person.

    Attributes:
        name: For reports.
        views: The pictures.
        portraits: Indexes of pictures that may serve as the portrait, the best first.
        iris_share: Share of a shift of the irises that the landmarks show; see `FaceShape`.
        exact: True when landmarks are exact, and noise must be added that a tracker would have.
        traits: What is known of the person: sex, age, skin, ...
    """

    name: str
    views: tuple[View, ...]
    portraits: tuple[int, ...]
    iris_share: tuple[float, float] = (1.0, 1.0)
    exact: bool = True
    traits: Mapping[str, Any] = field(default_factory=dict)


# --- synthetic heads -----------------------------------------------------------------------


def find_synthetic(folder: Path) -> list[Path]:
    """Files of the subjects in a folder of synthetic heads, in order."""
    paths = sorted(folder.glob(SUBJECT_PATTERN))
    if not paths:
        raise InvalidInput(
            f"{folder} holds no synthetic heads ({SUBJECT_PATTERN}); make some with parlante synth",
            reason="FILE_NOT_FOUND",
            field="synth",
        )
    return paths


def read_synthetic(path: Path) -> Subject:
    """Read one subject.

    Raises:
        InvalidInput: The file lacks what a subject has.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            landmarks = data["landmarks"].astype(np.float32)
            tongue = data["arkit"][:, _TONGUE] if "arkit" in data else np.zeros(len(landmarks))
            views = tuple(
                View(
                    rgb=_decode(data[f"image_{k}"], cv2.IMREAD_COLOR),
                    landmarks=landmarks[k],
                    labels=_decode(data[f"parts_{k}"], cv2.IMREAD_GRAYSCALE),
                    tongue_out=float(tongue[k]),
                )
                for k in range(len(landmarks))
            )
            traits = json.loads(str(data["metadata"])) if "metadata" in data else {}
    except (OSError, KeyError, ValueError, cv2.error) as error:
        raise InvalidInput(
            f"{path.name} is no subject of synthetic heads ({error}); make it again",
            reason="BAD_SUBJECT",
            field="synth",
        ) from error
    return Subject(name=path.stem, views=views, portraits=_portraits(views), traits=traits)


_TONGUE: Final = MOTION_INDEX["tongueOut"] - MOTION_INDEX["eyeBlinkLeft"]


def _decode(stored: np.ndarray, flags: int) -> Uint8Array:
    """A picture from an array of its file's bytes."""
    if stored.ndim > 1:
        return np.asarray(stored, np.uint8)
    pixels = cv2.imdecode(np.asarray(stored, np.uint8), flags)
    if pixels is None:
        raise ValueError("a picture in it cannot be decoded")
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels, np.uint8)


def _portraits(views: tuple[View, ...]) -> tuple[int, ...]:
    """The first picture, and others that look ahead with open eyes."""
    chosen = [0]
    for index, view in enumerate(views[1:], start=1):
        measures = measure_face(view.landmarks)
        opening = min(measures.eye_ratio_left, measures.eye_ratio_right)
        if abs(measures.yaw_rad) < MAX_SOURCE_YAW_RAD and opening > MIN_SOURCE_EYE:
            chosen.append(index)
    return tuple(chosen)


# --- photos --------------------------------------------------------------------------------


def photo_files(folder: Path) -> list[Path]:
    """Pictures of a folder, in order."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise InvalidInput(
            f"{folder} holds no pictures; name a folder of portraits, or leave it out",
            reason="FILE_NOT_FOUND",
            field="portraits",
        )
    return paths


def photo_subject(
    path: Path, tracker: FaceTracker, rng: np.random.Generator, *, num_views: int = 3
) -> Subject | None:
    """A photo beside copies of itself that the warp has moved a little.

    Brought back from a copy, a photo must be what it was: that teaches a network to leave the
    texture of real skin alone. Only moves that the warp does well are used: no mouth is opened.

    Args:
        path: Picture.
        tracker: Tracker.
        rng: Source of the moves.
        num_views: Copies.

    Returns:
        The subject; None when the picture is no usable portrait.
    """
    decoder = Decoder()
    try:
        rgb = decode_image(path.read_bytes())
        latents = PortraitEncoder().encode(rgb, FaceSelection(choice=FaceChoice.LARGEST))
    except PortraitRejected as error:
        logger.info("%s is left out: %s", path.name, error.message)
        return None
    avatar = decoder.prepare(latents)
    own = np.array(latents.tensors["landmarks"], np.float32)
    unknown = np.full((FRAME_SIZE_PX, FRAME_SIZE_PX), NO_LABEL, np.uint8)
    views = [View(rgb=avatar.image, landmarks=own, labels=unknown)]
    for _ in range(num_views):
        moved = decoder.render(avatar, _small_move(rng))
        face = tracker.landmarks(moved, FaceLandmarks(points=own, presence=1.0), num_passes=2)
        views.append(View(rgb=moved, landmarks=face.points, labels=unknown))
    return Subject(
        name=path.stem,
        views=tuple(views),
        portraits=tuple(range(1, len(views))),
        iris_share=TRACKED_GAZE_SHARE,
        exact=False,
    )


def _small_move(rng: np.random.Generator) -> Float32Array:
    motion = np.zeros(MOTION_DIM, np.float32)
    motion[:3] = rng.normal(0.0, (0.09, 0.06, 0.05))
    motion[3:6] = rng.normal(0.0, (0.05, 0.05, 0.04))
    for name in ("mouthSmile", "browDown", "browOuterUp"):
        motion[[MOTION_INDEX[f"{name}{side}"] for side in ("Left", "Right")]] = max(
            rng.normal(0.0, 0.25), 0.0
        )
    return motion


# --- videos --------------------------------------------------------------------------------


def frame_subject(
    name: str, pictures: list[Uint8Array], points: list[Float32Array], best: int
) -> Subject:
    """Bring tracked pictures of a video into the framing of one of them.

    Args:
        name: For reports.
        pictures: uint8 [H, W, 3] each, all of one size.
        points: Landmarks of each, float32 [478, 3], px.
        best: The picture that serves as the portrait.
    """
    height, width = pictures[best].shape[:2]
    plan = plan_crop(points[best], width, height)
    unknown = np.full((FRAME_SIZE_PX, FRAME_SIZE_PX), NO_LABEL, np.uint8)
    views = []
    for rgb, mesh in zip(pictures, points, strict=True):
        moved = mesh * np.float32(plan.scale)
        moved[:, :2] -= np.array([plan.left_px, plan.top_px], np.float32) * np.float32(plan.scale)
        crop, _ = cut_crop(rgb, plan)
        views.append(View(rgb=crop, landmarks=moved, labels=unknown))
    return Subject(
        name=name,
        views=tuple(views),
        portraits=(best,),
        iris_share=TRACKED_GAZE_SHARE,
        exact=False,
    )


def is_portrait(points: Float32Array) -> bool:
    """Whether a tracked face looks ahead with open eyes and hardly open lips."""
    measures = measure_face(points)
    opening = min(measures.eye_ratio_left, measures.eye_ratio_right)
    return (
        abs(measures.yaw_rad) < MAX_SOURCE_YAW_RAD
        and opening > MIN_SOURCE_EYE
        and measures.aperture < 0.06
    )
