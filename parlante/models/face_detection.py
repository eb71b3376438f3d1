"""Finding faces in a picture: two single-shot detectors over the whole picture and its tiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from parlante.models.network import TfliteNetwork
from parlante.types import Float32Array, Uint8Array

__all__ = ["FaceDetection", "FaceDetector", "is_same_face", "suppress_overlaps"]

NUM_KEYPOINTS: Final = 6
MAX_OVERLAP: Final = 0.3  # intersection over union above which two boxes are one face
MAX_INSIDE: Final = 0.6  # share of the smaller box above which it is part of the larger
# Below this edge a tile shows nothing that the whole picture did not show as well.
MIN_TILED_PX: Final = 320
MAX_WORKING_PX: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceDetection:
    """One face in a picture.

    Attributes:
        box_px: float32 [4], left, top, right, bottom; from the brows to the chin.
        score: Confidence, [0, 1].
        keypoints_px: float32 [6, 2]: the subject's right eye, left eye, nose tip, mouth, right
            ear, left ear.
    """

    box_px: Float32Array
    score: float
    keypoints_px: Float32Array

    @property
    def size_px(self) -> float:
        """The longer edge of the box."""
        return float(max(self.box_px[2] - self.box_px[0], self.box_px[3] - self.box_px[1]))


class _SingleShotDetector:
    """A detector for a square picture, with its anchor points."""

    def __init__(self, path: Path, grids: tuple[tuple[int, int], ...]) -> None:
        self._network = TfliteNetwork(path)
        self._anchors = np.concatenate([_make_anchors(cells, count) for cells, count in grids])

    def detect(self, square: Uint8Array, min_score: float) -> list[FaceDetection]:
        """Find faces in a square RGB picture; boxes and keypoints in its pixels."""
        size = self._network.input_size_px
        # Area averaging keeps small faces; it also equals bilinear when enlarging.
        small = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
        outputs = self._network(small.astype(np.float32) / np.float32(127.5) - np.float32(1.0))
        num_anchors = len(self._anchors)
        logits = outputs[num_anchors]
        raw = outputs[num_anchors * 16].reshape(num_anchors, 16)
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0)))
        scale = square.shape[0] / size
        return [
            _decode(raw[index], self._anchors[index] * size, scale, float(scores[index]))
            for index in np.flatnonzero(scores >= min_score)
        ]


def _make_anchors(cells: int, count: int) -> Float32Array:
    """Cell centres of a square grid in [0, 1], each repeated `count` times; [cells^2 count, 2]."""
    centres = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / np.float32(cells)
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    return np.asarray(np.repeat(grid, count, axis=0), np.float32)


def _decode(raw: Float32Array, anchor: Float32Array, scale: float, score: float) -> FaceDetection:
    centre, extent = raw[:2] + anchor, raw[2:4]
    corners = np.concatenate([centre - extent / 2, centre + extent / 2])
    keypoints = raw[4:].reshape(NUM_KEYPOINTS, 2) + anchor
    return FaceDetection(
        box_px=np.asarray(corners * scale, np.float32),
        score=score,
        keypoints_px=np.asarray(keypoints * scale, np.float32),
    )


class FaceDetector:
    """All faces of a picture, near and far.

    Args:
        directory: Folder of the tracker's files.
    """

    def __init__(self, directory: Path) -> None:
        self._near = _SingleShotDetector(
            directory / "face_detection_short_range.tflite", ((16, 2), (8, 6))
        )
        self._far = _SingleShotDetector(
            directory / "face_detection_full_range_sparse.tflite", ((48, 1),)
        )

    def detect(self, rgb: Uint8Array, *, min_score: float) -> list[FaceDetection]:
        """Find faces, best first.

        Args:
            rgb: uint8 [H, W, 3].
            min_score: Confidence below which a face is dropped, [0, 1].
        """
        height, width = rgb.shape[:2]
        shrink = min(1.0, MAX_WORKING_PX / max(height, width))
        if shrink < 1.0:
            target = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            rgb = cv2.resize(rgb, target, interpolation=cv2.INTER_AREA)
        found: list[FaceDetection] = []
        for detector, left, top, size in self._plan_views(rgb.shape[1], rgb.shape[0]):
            square = _cut_square(rgb, left, top, size)
            offset = np.array([left, top], np.float32)
            found += [
                _place(face, offset, 1.0 / shrink) for face in detector.detect(square, min_score)
            ]
        return suppress_overlaps(found)

    def _plan_views(
        self, width: int, height: int
    ) -> list[tuple[_SingleShotDetector, int, int, int]]:
        """List (detector, left, top, size) of the squares to look at."""
        whole = max(width, height)
        left, top = (width - whole) // 2, (height - whole) // 2
        views = [(self._near, left, top, whole), (self._far, left, top, whole)]
        if whole < MIN_TILED_PX:
            # A face that fills the picture is only found with room around it.
            margin = whole // 2
            return [*views, (self._near, left - margin, top - margin, whole + 2 * margin)]
        margin = whole // 4
        views.append((self._near, left - margin, top - margin, whole + 2 * margin))
        # Tiles overlap by half of their size, so that a small face is whole in one of them.
        tile = round(whole * 0.5)
        for y in _tile_starts(height, tile):
            views += [(self._far, x, y, tile) for x in _tile_starts(width, tile)]
        return views


def _tile_starts(extent: int, tile: int) -> list[int]:
    if extent <= tile:
        return [(extent - tile) // 2]
    count = int(np.ceil((extent - tile) / (tile / 2)))
    return [round(index * (extent - tile) / count) for index in range(count + 1)]


def _cut_square(rgb: Uint8Array, left: int, top: int, size: int) -> Uint8Array:
    """Cut a square that may reach over the borders; black outside."""
    height, width = rgb.shape[:2]
    square = np.zeros((size, size, 3), np.uint8)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + size, width), min(top + size, height)
    square[y0 - top : y1 - top, x0 - left : x1 - left] = rgb[y0:y1, x0:x1]
    return square


def _place(face: FaceDetection, offset: Float32Array, scale: float) -> FaceDetection:
    return FaceDetection(
        box_px=np.asarray((face.box_px + np.tile(offset, 2)) * scale, np.float32),
        score=face.score,
        keypoints_px=np.asarray((face.keypoints_px + offset) * scale, np.float32),
    )


def suppress_overlaps(faces: list[FaceDetection]) -> list[FaceDetection]:
    """Keep the best of detections that overlap; best first."""
    kept: list[FaceDetection] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(not is_same_face(face.box_px, other.box_px) for other in kept):
            kept.append(face)
    return kept


def is_same_face(first: Float32Array, second: Float32Array) -> bool:
    """Tell whether two boxes, float32 [4], overlap too much to be two faces."""
    overlap = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(np.prod(np.maximum(overlap, 0.0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (first, second)]
    union = sum(areas) - shared
    return shared > MAX_OVERLAP * union or shared > MAX_INSIDE * min(areas)
