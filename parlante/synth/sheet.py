"""Contact sheets of a data set: pictures with their labels, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from parlante.errors import InvalidInput
from parlante.models import face_mesh
from parlante.synth.dataset import Dataset, Subject, flow_between
from parlante.synth.labels import PART_COLOURS
from parlante.types import Float32Array, Uint8Array

__all__ = ["draw_sheet", "draw_subject", "flow_colours"]

GREEN: Final = (0, 230, 0)
RED: Final = (230, 0, 0)
MAGENTA: Final = (255, 0, 255)
MAX_FLOW_PX: Final = 60.0  # shown in full colour
HIDDEN: Final = (60, 60, 60)


def draw_sheet(dataset: Dataset, path: Path, subjects: Sequence[int]) -> None:
    """Write a PNG with five rows for each subject: landmarks, parts, matte, depth, flow.

    Args:
        dataset: The data set.
        path: PNG to write.
        subjects: Indexes of subjects, at least one.

    Raises:
        InvalidInput: The file cannot be written.
    """
    sheet = np.concatenate([draw_subject(dataset.subject(index)) for index in subjects])
    _, packed = cv2.imencode(".png", sheet[..., ::-1])
    try:
        path.write_bytes(packed.tobytes())
    except OSError as error:
        raise InvalidInput(
            f"cannot write {path} ({error.strerror}); give another --sheet",
            reason="OUTPUT_FOLDER_MISSING",
            field="sheet",
        ) from error


def draw_subject(subject: Subject) -> Uint8Array:
    """Draw all frames of a subject side by side, one row for each kind of label.

    Returns:
        uint8 [5 H, F W, 3], RGB. Landmarks that the head hides are red; flow goes from frame 0.
    """
    frames = range(subject.num_frames)
    rows = [
        [_with_landmarks(subject, frame) for frame in frames],
        [np.array(PART_COLOURS, np.uint8)[subject.parts(frame)] for frame in frames],
        [np.repeat(subject.matte(frame)[..., None], 3, axis=2) for frame in frames],
        [_depth_shades(subject.depth(frame)) for frame in frames],
        [_flow_picture(subject, frame) for frame in frames],
    ]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _with_landmarks(subject: Subject, frame: int) -> Uint8Array:
    picture = np.ascontiguousarray(subject.image(frame))
    points, visible = subject.landmarks[frame], subject.visible[frame]
    for index, (x, y, _) in enumerate(points):
        is_iris = index >= face_mesh.NUM_SKIN_LANDMARKS
        colour = MAGENTA if is_iris else GREEN if visible[index] else RED
        cv2.circle(picture, (round(float(x)), round(float(y))), 1, colour, -1)
    return picture


def _depth_shades(depth: Float32Array) -> Uint8Array:
    """Near is bright, within 2 dm of the person's middle; the background is black."""
    shown = np.isfinite(depth)
    middle = float(np.median(depth[shown])) if shown.any() else 0.0
    near = 1.0 - (depth - middle + 2.0) / 4.0
    shades = np.where(shown, 40.0 + 215.0 * np.clip(near, 0.0, 1.0), 0.0)
    return np.repeat(shades[..., None], 3, axis=2).astype(np.uint8)


def flow_colours(flow: Float32Array) -> Uint8Array:
    """Hue is the direction, saturation the length: float32 [H, W, 2] -> uint8 [H, W, 3]."""
    angle = np.arctan2(flow[..., 1], flow[..., 0])
    length = np.linalg.norm(flow, axis=2)
    hsv = np.empty((*flow.shape[:2], 3), np.uint8)
    hsv[..., 0] = ((angle + np.pi) * (90.0 / np.pi)).astype(int) % 180
    hsv[..., 1] = (255.0 * np.clip(length / MAX_FLOW_PX, 0.0, 1.0)).astype(np.uint8)
    hsv[..., 2] = 255
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _flow_picture(subject: Subject, frame: int) -> Uint8Array:
    flow, visible = flow_between(subject, 0, frame)
    picture = flow_colours(flow)
    picture[~visible] = HIDDEN
    picture[subject.parts(0) == 0] = 0
    return picture
