"""Talking videos as subjects: frames of one face, in the framing of its best portrait."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.media.video_file import read_pictures, told_seconds
from parlante.models.face_coefficients import measure_face
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.training.face.sources import Subject, frame_subject, is_portrait
from parlante.training.videos.folder import find_videos
from parlante.training.videos.following import MIN_SCORE
from parlante.types import Float32Array, Uint8Array

__all__ = ["find_clips", "video_subject"]

logger = logging.getLogger(__name__)

MAX_SECONDS: Final = 60.0
MAX_STEP_S: Final = 1.0 / 3.0
NUM_SEEN: Final = 72  # pictures of a short clip that are looked at
NUM_FRAMES: Final = 24  # of a clip, as different as there are
MIN_FRAMES: Final = 3  # a portrait, one to learn from and one to test on
MIN_PRESENCE: Final = 0.8
MAX_SHIFT_IOD: Final = 1.5  # from the portrait: whoever goes further has walked off
MIN_IOD_PX: Final = 40.0


def find_clips(folder: Path) -> list[Path]:
    """All videos of a folder and its folders."""
    return find_videos(folder)


def video_subject(path: Path, tracker: FaceTracker) -> Subject | None:
    """Frames of a clip that differ most; None, with a line in the log, when it is of no use."""
    try:
        pictures, points, lost = _track(path, tracker)
    except InvalidInput as error:
        logger.info("%s is left out: %s", path.name, error.message)
        return None
    why = "".join(f"; {count} x {reason}" for reason, count in lost.most_common())
    if len(points) < MIN_FRAMES:
        logger.info(
            "%s is left out: usable pictures %d, needed %d%s",
            path.name,
            len(points),
            MIN_FRAMES,
            why,
        )
        return None
    ahead = [index for index, mesh in enumerate(points) if is_portrait(mesh)]
    if not ahead:
        logger.info(
            "%s is left out: in none of %d pictures does the face look ahead with open eyes and "
            "shut lips",
            path.name,
            len(points),
        )
        return None
    apertures = [measure_face(points[index]).aperture for index in ahead]
    best = ahead[int(np.argmin(apertures))]
    chosen = _most_different(points, best)
    logger.info("%s: %d of %d pictures%s", path.name, len(chosen), len(points), why)
    return frame_subject(
        path.stem, [pictures[i] for i in chosen], [points[i] for i in chosen], chosen.index(best)
    )


def _track(
    path: Path, tracker: FaceTracker
) -> tuple[list[Uint8Array], list[Float32Array], Counter[str]]:
    """Pictures with one sure face, three a second or more, and why others are not used."""
    lost: Counter[str] = Counter()
    step_s = min(MAX_STEP_S, (told_seconds(path) or MAX_SECONDS) / NUM_SEEN)
    pictures: list[Uint8Array] = []
    points: list[Float32Array] = []
    next_s = 0.0
    last: FaceLandmarks | None = None
    for picture in read_pictures(path, max_seconds=MAX_SECONDS):
        if picture.time_s < next_s:
            continue
        next_s = picture.time_s + step_s
        faces = tracker.detect(picture.rgb, min_score=MIN_SCORE)
        if len(faces) != 1:
            lost["no face" if not faces else "several faces"] += 1
            continue
        face = tracker.landmarks(picture.rgb, faces[0])
        if (reason := _why_not(face, last)) is not None:
            lost[reason] += 1
            continue
        last = face
        pictures.append(picture.rgb)
        points.append(face.points)
    return pictures, points, lost


def _why_not(face: FaceLandmarks, last: FaceLandmarks | None) -> str | None:
    """Why a face is of no use; None = it is."""
    if face.presence < MIN_PRESENCE:
        return "doubtful face"
    measures = measure_face(face.points)
    if measures.iod_px < MIN_IOD_PX:
        return "small face"
    if last is None:
        return None
    before = measure_face(last.points)
    way = np.hypot(measures.x_px - before.x_px, measures.y_px - before.y_px)
    return "face elsewhere" if way > MAX_SHIFT_IOD * before.iod_px else None


def _most_different(points: list[Float32Array], best: int) -> list[int]:
    """The portrait and pictures that add most to those already chosen."""
    shapes = np.stack([mesh[:, :2].ravel() for mesh in points])
    chosen = [best]
    distance = np.linalg.norm(shapes - shapes[best], axis=1)
    while len(chosen) < min(NUM_FRAMES, len(points)):
        index = int(distance.argmax())
        if distance[index] <= 0.0:
            break
        chosen.append(index)
        distance = np.minimum(distance, np.linalg.norm(shapes - shapes[index], axis=1))
    return chosen
