"""The face tracker: detection, 468-point mesh, irises and person matte of one picture or a video.

Runs the networks of MediaPipe 0.10.21 (Apache-2.0) with LiteRT; the pre- and post-processing is
ours, after the published graphs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np

from parlante.models.face_detection import FaceDetection, FaceDetector
from parlante.models.network import TfliteNetwork
from parlante.models.tracker_files import require_tracker_files
from parlante.types import Float32Array, Uint8Array

__all__ = ["NUM_LANDMARKS", "FaceLandmarks", "FaceTracker", "FitsFaces", "fit_largest"]

NUM_MESH_POINTS: Final = 468
NUM_IRIS_POINTS: Final = 5
NUM_LANDMARKS: Final = NUM_MESH_POINTS + 2 * NUM_IRIS_POINTS
MIN_SCORE: Final = 0.5
MIN_TRACKED_PRESENCE: Final = 0.5
# Meshes measure 0.85 to 1.35 of the detector's boxes, the most of heads held aslant.
MAX_MESH_PER_BOX: Final = 1.4
# The mesh network was trained on crops 1.5 times as large as the face's box.
MESH_MARGIN: Final = 1.5
# The iris network: 2.3 times the distance of the eye's corners.
IRIS_MARGIN: Final = 2.3
RIGHT_EYE_CORNERS: Final = (33, 133)  # outer, inner; the subject's right
LEFT_EYE_CORNERS: Final = (263, 362)
# The lids in the order of the iris network's first 16 outputs: lower then upper.
RIGHT_LIDS: Final = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
LEFT_LIDS: Final = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceLandmarks:
    """The mesh of one face.

    Attributes:
        points: float32 [478, 3], px; 468 of the mesh, then 5 of the subject's right iris and 5 of
            the left (centre first); z towards the back, in the unit of x and y.
        presence: How sure the network is that the crop shows a face, [0, 1].
    """

    points: Float32Array
    presence: float

    @property
    def size_px(self) -> float:
        """The longer edge of the mesh's bounding box."""
        return float(np.ptp(self.points[:NUM_MESH_POINTS, :2], axis=0).max())


class FitsFaces(Protocol):
    """The part of `FaceTracker` that `fit_largest` needs."""

    def landmarks(self, rgb: Uint8Array, face: FaceDetection | FaceLandmarks) -> FaceLandmarks:
        """Fit the mesh."""
        ...


def fit_largest(
    tracker: FitsFaces, rgb: Uint8Array, faces: Sequence[FaceDetection]
) -> FaceLandmarks | None:
    """Fit the mesh of the largest of several faces, as a portrait's largest face is chosen.

    The detector's boxes put faces of nearly one size in another order than their meshes do. Only
    faces whose mesh may be larger than the largest found are fitted: of one face, or of faces that
    differ by a third, a single one.

    Args:
        tracker: Fits meshes.
        rgb: uint8 [H, W, 3].
        faces: All detections of the picture.

    Returns:
        The largest mesh that shows a face; where none does, that of the largest box; None of none.
    """
    largest: FaceLandmarks | None = None
    first: FaceLandmarks | None = None
    for face in sorted(faces, key=lambda face: -face.size_px):
        if largest is not None and face.size_px * MAX_MESH_PER_BOX <= largest.size_px:
            break
        mesh = tracker.landmarks(rgb, face)
        first = first or mesh
        is_larger = largest is None or mesh.size_px > largest.size_px
        if is_larger and mesh.presence >= MIN_TRACKED_PRESENCE:
            largest = mesh
    return largest or first


@dataclass(frozen=True, slots=True)
class _Region:
    """A rotated square of a picture: centre and size in px, angle in rad (clockwise)."""

    centre: Float32Array
    size: float
    angle: float

    def to_crop(self, crop_px: int, *, mirrored: bool = False) -> Float32Array:
        """The affine [2, 3] from picture to crop coordinates, for pixel-centred warping."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        matrix = np.array([[cosine, sine], [-sine, cosine]]) * (crop_px / self.size)
        if mirrored:
            matrix[0] *= -1.0
        shift = crop_px / 2 - matrix @ self.centre
        return np.asarray(np.c_[matrix, shift], np.float32)


class FaceTracker:
    """Finds faces, their meshes and the person's matte; safe for use from several threads.

    Calls of the same kind (detecting, fitting, segmenting) are serialised: make one tracker per
    thread to run them side by side.

    Args:
        directory: Folder of the tracker's files; the default is `tracker_dir()`.

    Raises:
        FailedPrecondition: The files are missing (reason ``TRACKER_FILES_MISSING``).
    """

    def __init__(self, directory: Path | None = None) -> None:
        directory = require_tracker_files(directory)
        self._detecting, self._fitting, self._segmenting = (threading.Lock() for _ in range(3))
        self._detector = FaceDetector(directory)
        self._mesh = TfliteNetwork(directory / "face_landmark.tflite")
        self._iris = TfliteNetwork(directory / "iris_landmark.tflite")
        self._person = TfliteNetwork(directory / "selfie_segmentation.tflite")

    def detect(self, rgb: Uint8Array, *, min_score: float = MIN_SCORE) -> list[FaceDetection]:
        """Find all faces, best first.

        Args:
            rgb: uint8 [H, W, 3].
            min_score: Confidence below which a face is dropped, [0, 1].
        """
        with self._detecting:
            return self._detector.detect(rgb, min_score=min_score)

    def landmarks(
        self, rgb: Uint8Array, face: FaceDetection | FaceLandmarks, *, num_passes: int = 0
    ) -> FaceLandmarks:
        """Fit the mesh and the irises.

        Args:
            rgb: uint8 [H, W, 3].
            face: Where to look: a detection, or the landmarks of a frame shortly before.
            num_passes: Passes of the mesh, each in the crop found by the one before; 0 takes 2
                after a detection and 1 after landmarks.
        """
        region = _find_region(face)
        num_passes = num_passes or (2 if isinstance(face, FaceDetection) else 1)
        with self._fitting:
            for _ in range(num_passes):
                mesh, presence = self._fit_mesh(rgb, region)
                region = _region_of_mesh(mesh)
            right = self._fit_eye(rgb, mesh, RIGHT_EYE_CORNERS, RIGHT_LIDS, mirrored=False)
            left = self._fit_eye(rgb, mesh, LEFT_EYE_CORNERS, LEFT_LIDS, mirrored=True)
        points = np.concatenate([mesh, right, left]).astype(np.float32)
        return FaceLandmarks(points=points, presence=presence)

    def track(self, frames: Iterable[Uint8Array]) -> Iterator[FaceLandmarks | None]:
        """Follow the largest face through a video.

        Each frame starts from the landmarks of the frame before; the detector runs only when
        there is none or the face was lost.

        Args:
            frames: uint8 [H, W, 3] each.

        Yields:
            The landmarks, or None where no face is found; one item per frame.
        """
        previous: FaceLandmarks | None = None
        for frame in frames:
            if previous is not None:
                previous = self.landmarks(frame, previous)
            if previous is None or previous.presence < MIN_TRACKED_PRESENCE:
                previous = fit_largest(self, frame, self.detect(frame))
            yield previous

    def segment(self, rgb: Uint8Array) -> Float32Array:
        """Tell the person from the background.

        Args:
            rgb: uint8 [H, W, 3].

        Returns:
            float32 [H, W], 1 = person; as fine as 1/256 of the picture.
        """
        size = self._person.input_size_px
        small = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)
        with self._segmenting:
            coarse = self._person(small.astype(np.float32) / np.float32(255.0))[size * size]
        height, width = rgb.shape[:2]
        matte = cv2.resize(coarse.reshape(size, size), (width, height))
        return np.asarray(np.clip(matte, 0.0, 1.0), np.float32)

    def _fit_mesh(self, rgb: Uint8Array, region: _Region) -> tuple[Float32Array, float]:
        """One pass of the mesh network: float32 [468, 3] in px, and the presence."""
        size = self._mesh.input_size_px
        to_crop = region.to_crop(size)
        outputs = self._mesh(_warp_crop(rgb, to_crop, size))
        crop_points = outputs[NUM_MESH_POINTS * 3].reshape(NUM_MESH_POINTS, 3)
        presence = float(1.0 / (1.0 + np.exp(-np.clip(outputs[1][0], -50.0, 50.0))))
        return _to_picture(crop_points, to_crop, region.size / size), presence

    def _fit_eye(
        self,
        rgb: Uint8Array,
        mesh: Float32Array,
        corners: tuple[int, int],
        lids: tuple[int, ...],
        *,
        mirrored: bool,
    ) -> Float32Array:
        """Fit one iris, float32 [5, 3] in px; puts the finer lids into `mesh`."""
        size = self._iris.input_size_px
        outer, inner = mesh[corners[0], :2], mesh[corners[1], :2]
        axis = inner - outer if not mirrored else outer - inner
        region = _Region(
            centre=np.asarray((outer + inner) / 2, np.float32),
            size=max(float(np.linalg.norm(axis)) * IRIS_MARGIN, 1.0),
            angle=float(np.arctan2(axis[1], axis[0])),
        )
        # The network knows the subject's right eye only; the left one is shown in a mirror.
        to_crop = region.to_crop(size, mirrored=mirrored)
        outputs = self._iris(_warp_crop(rgb, to_crop, size))
        scale = region.size / size
        contour = _to_picture(outputs[213].reshape(71, 3), to_crop, scale)
        mesh[list(lids), :2] = contour[: len(lids), :2]
        iris = _to_picture(outputs[15].reshape(NUM_IRIS_POINTS, 3), to_crop, scale)
        iris[:, 2] = mesh[list(corners), 2].mean()
        # A mirror swaps the iris's right and left point (1 and 3).
        return iris[[0, 3, 2, 1, 4]] if mirrored else iris


def _warp_crop(rgb: Uint8Array, to_crop: Float32Array, size: int) -> Float32Array:
    """Cut a crop as float32 [size, size, 3] in [0, 1], smoothed first where it shrinks a lot."""
    zoom = float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))
    if zoom < 0.5:
        rgb, to_crop = _shrink(rgb, to_crop, size, zoom)
    # The networks' coordinates count from the corner of a pixel, OpenCV's from its middle.
    centred = to_crop.astype(np.float64)
    centred[:, 2] += centred[:, :2] @ [0.5, 0.5] - 0.5
    crop = cv2.warpAffine(
        rgb, centred, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(crop.astype(np.float32) / np.float32(255.0), np.float32)


def _shrink(
    rgb: Uint8Array, to_crop: Float32Array, size: int, zoom: float
) -> tuple[Uint8Array, Float32Array]:
    """Cut out what the crop needs and shrink it, so that bilinear sampling does not alias."""
    height, width = rgb.shape[:2]
    back = cv2.invertAffineTransform(to_crop)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ back[:, :2].T + back[:, 2]
    factor = int(1.0 / zoom)
    limits = np.array([width, height])
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - factor, 0, limits - 1)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + factor, low + 1, limits)
    part = rgb[low[1] : high[1], low[0] : high[0]]
    extent = high - low
    target = np.maximum(extent // factor, 1)
    small = cv2.resize(part, target.tolist(), interpolation=cv2.INTER_AREA)
    adapted = to_crop.copy()
    adapted[:, 2] += to_crop[:, :2] @ low
    adapted[:, :2] = to_crop[:, :2] * (extent / target)
    return small, adapted


def _to_picture(points: Float32Array, to_crop: Float32Array, scale: float) -> Float32Array:
    """Crop coordinates -> picture px; z keeps the unit of x and y."""
    back = cv2.invertAffineTransform(to_crop)
    flat = points[:, :2] @ back[:, :2].T + back[:, 2]
    return np.asarray(np.c_[flat, points[:, 2] * scale], np.float32)


def _find_region(face: FaceDetection | FaceLandmarks) -> _Region:
    if isinstance(face, FaceLandmarks):
        return _region_of_mesh(face.points[:NUM_MESH_POINTS])
    eye_axis = face.keypoints_px[1] - face.keypoints_px[0]
    return _Region(
        centre=np.asarray((face.box_px[:2] + face.box_px[2:]) / 2, np.float32),
        size=max(face.size_px * MESH_MARGIN, 1.0),
        angle=float(np.arctan2(eye_axis[1], eye_axis[0])),
    )


def _region_of_mesh(mesh: Float32Array) -> _Region:
    """The upright square around a mesh, in the frame of its eyes."""
    eye_axis = mesh[LEFT_EYE_CORNERS[0], :2] - mesh[RIGHT_EYE_CORNERS[0], :2]
    angle = float(np.arctan2(eye_axis[1], eye_axis[0]))
    cosine, sine = np.cos(angle), np.sin(angle)
    to_upright = np.array([[cosine, sine], [-sine, cosine]])
    upright = mesh[:, :2] @ to_upright.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    return _Region(
        centre=np.asarray(to_upright.T @ ((low + high) / 2), np.float32),
        size=max(float((high - low).max()) * MESH_MARGIN, 1.0),
        angle=angle,
    )
