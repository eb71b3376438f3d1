"""Talking videos as subjects: frames of one face, in the framing of its best portrait."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.media.video_file import read_pictures
from parlante.models.face_coefficients import measure_face
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.training.face.sources import Subject, frame_subject, is_portrait
from parlante.training.videos.folder import find_videos
from parlante.training.videos.following import MIN_SCORE
from parlante.types import Float32Array, Uint8Array

__all__ = ["find_clips", "video_subject"]

logger = logging.getLogger(__name__)

MAX_SECONDS: Final = 60.0
NUM_FRAMES: Final = 24  # of a clip, as different as there are
MIN_PRESENCE: Final = 0.8
MAX_SHIFT_IOD: Final = 1.5  # from the portrait: whoever goes further has walked off
MIN_IOD_PX: Final = 40.0


def find_clips(folder: Path) -> list[Path]:
    """All videos of a folder and its folders."""
    return find_videos(folder)


def video_subject(path: Path, tracker: FaceTracker) -> Subject | None:
    """Frames of a clip that differ most; None when there is no usable face in it."""
    try:
        pictures, points = _track(path, tracker)
    except InvalidInput as error:
        logger.info("%s is left out: %s", path.name, error.message)
        return None
    ahead = [index for index, mesh in enumerate(points) if is_portrait(mesh)]
    if not ahead:
        logger.info("%s is left out: nobody looks ahead with open eyes and shut lips", path.name)
        return None
    apertures = [measure_face(points[index]).aperture for index in ahead]
    best = ahead[int(np.argmin(apertures))]
    chosen = _most_different(points, best)
    return frame_subject(
        path.stem, [pictures[i] for i in chosen], [points[i] for i in chosen], chosen.index(best)
    )


def _track(path: Path, tracker: FaceTracker) -> tuple[list[Uint8Array], list[Float32Array]]:
    """Pictures with one sure face, three a second."""
    pictures: list[Uint8Array] = []
    points: list[Float32Array] = []
    next_s = 0.0
    last: FaceLandmarks | None = None
    for picture in read_pictures(path, max_seconds=MAX_SECONDS):
        if picture.time_s < next_s:
            continue
        next_s = picture.time_s + 1.0 / 3.0
        faces = tracker.detect(picture.rgb, min_score=MIN_SCORE)
        if len(faces) != 1:
            continue
        face = tracker.landmarks(picture.rgb, faces[0])
        if face.presence < MIN_PRESENCE or _is_far(face, last):
            continue
        last = face
        pictures.append(picture.rgb)
        points.append(face.points)
    return pictures, points


def _is_far(face: FaceLandmarks, last: FaceLandmarks | None) -> bool:
    measures = measure_face(face.points)
    if measures.iod_px < MIN_IOD_PX:
        return True
    if last is None:
        return False
    before = measure_face(last.points)
    way = np.hypot(measures.x_px - before.x_px, measures.y_px - before.y_px)
    return bool(way > MAX_SHIFT_IOD * before.iod_px)


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
