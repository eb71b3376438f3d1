"""The tracker on a real photo: where the face is, however it is shown."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.models.face_coefficients import measure_face
from parlante.models.face_detection import FaceDetection, suppress_overlaps
from parlante.models.face_tracker import (
    NUM_LANDMARKS,
    FaceLandmarks,
    FaceTracker,
    fit_largest,
)
from parlante.types import Uint8Array


def detection(x: float, y: float, size: float, score: float) -> FaceDetection:
    return FaceDetection(
        box_px=np.array([x, y, x + size, y + size], np.float32),
        score=score,
        keypoints_px=np.zeros((6, 2), np.float32),
    )


def test_overlapping_detections_are_one_face() -> None:
    faces = [detection(0, 0, 100, 0.6), detection(5, 5, 100, 0.9), detection(300, 0, 90, 0.7)]
    assert [face.score for face in suppress_overlaps(faces)] == [0.9, 0.7]


def test_detection_within_another_is_the_same_face() -> None:
    faces = [detection(0, 0, 100, 0.9), detection(30, 30, 40, 0.8)]
    assert [face.score for face in suppress_overlaps(faces)] == [0.9]


def test_face_is_found_where_it_is(tracker: FaceTracker, astronaut: Uint8Array) -> None:
    best = tracker.detect(astronaut)[0]
    assert best.score > 0.85
    centre = (best.box_px[:2] + best.box_px[2:]) / 2
    np.testing.assert_allclose(centre, [222, 117], atol=15)


def test_small_face_in_a_large_picture_is_found(
    tracker: FaceTracker, astronaut: Uint8Array
) -> None:
    wide = np.full((1200, 2000, 3), 90, np.uint8)
    wide[700:1212, 1400:1912] = astronaut[:500]
    best = tracker.detect(wide)[0]
    np.testing.assert_allclose((best.box_px[:2] + best.box_px[2:]) / 2, [1622, 817], atol=20)


def test_landmarks_lie_on_the_face(astronaut_face: FaceLandmarks) -> None:
    assert astronaut_face.points.shape == (478, 3)
    assert astronaut_face.points.dtype == np.float32
    assert astronaut_face.presence > 0.9
    eyes = astronaut_face.points[[468, 473], :2]
    np.testing.assert_allclose(eyes, [[203, 103], [246, 105]], atol=6)


def test_landmarks_follow_a_shift(
    tracker: FaceTracker, astronaut: Uint8Array, astronaut_face: FaceLandmarks
) -> None:
    moved = np.roll(astronaut, (6, 9), axis=(0, 1))
    points = tracker.landmarks(moved, astronaut_face).points
    shift = np.median(points - astronaut_face.points, axis=0)
    np.testing.assert_allclose(shift, [9, 6, 0], atol=0.6)


@pytest.mark.parametrize("degrees", [-25, 25])
def test_roll_of_the_head_is_measured(
    tracker: FaceTracker, astronaut: Uint8Array, astronaut_face: FaceLandmarks, degrees: int
) -> None:
    # OpenCV's positive angle turns counter-clockwise.
    turn = cv2.getRotationMatrix2D((222.0, 117.0), -degrees, 1.0)
    turned = cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    points = tracker.landmarks(turned, tracker.detect(turned)[0]).points
    added = measure_face(points).roll_rad - measure_face(astronaut_face.points).roll_rad
    assert np.degrees(added) == pytest.approx(degrees, abs=4)


def test_mirror_swaps_yaw_and_gaze(
    tracker: FaceTracker, astronaut: Uint8Array, astronaut_face: FaceLandmarks
) -> None:
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    one = measure_face(astronaut_face.points)
    other = measure_face(tracker.landmarks(mirrored, tracker.detect(mirrored)[0]).points)
    assert other.yaw_rad == pytest.approx(-one.yaw_rad, abs=0.06)
    assert other.pitch_rad == pytest.approx(one.pitch_rad, abs=0.06)
    assert other.gaze_yaw_rad == pytest.approx(-one.gaze_yaw_rad, abs=0.1)


def test_video_is_tracked_through_a_gap(tracker: FaceTracker, astronaut: Uint8Array) -> None:
    blank = np.zeros_like(astronaut)
    found = list(tracker.track([astronaut, astronaut, blank, astronaut]))
    assert [face is not None for face in found] == [True, True, False, True]


def test_person_is_told_from_background(tracker: FaceTracker, astronaut: Uint8Array) -> None:
    matte = tracker.segment(astronaut)
    assert (matte.shape, matte.dtype) == ((512, 512), np.float32)
    assert matte[117, 222] > 0.9  # the nose
    assert matte[10, 20] < 0.1  # a flag in the corner


class SizedFaces:
    """Meshes as large as is told for each box, and how many were fitted."""

    def __init__(self, sizes: dict[int, tuple[float, float]]) -> None:
        self.sizes = sizes  # of the box -> size of the mesh, presence
        self.fitted: list[int] = []

    def landmarks(self, rgb: Uint8Array, face: FaceDetection | FaceLandmarks) -> FaceLandmarks:
        """Give a mesh of the size."""
        self.fitted.append(round(face.size_px))
        size, presence = self.sizes[round(face.size_px)]
        points = np.zeros((NUM_LANDMARKS, 3), np.float32)
        points[0, 1] = size
        return FaceLandmarks(points=points, presence=presence)

    def boxes(self) -> list[FaceDetection]:
        """Detections of all sizes, the smallest first."""
        return [
            FaceDetection(
                box_px=np.array([0, 0, size, size], np.float32),
                score=0.9,
                keypoints_px=np.zeros((6, 2), np.float32),
            )
            for size in sorted(self.sizes)
        ]


@pytest.mark.parametrize(
    ("sizes", "chosen", "num_fitted"),
    [
        ({223: (209, 1.0), 217: (236, 1.0)}, 236, 2),  # two faces of nearly one size
        ({223: (230, 1.0), 150: (170, 1.0), 90: (100, 1.0)}, 230, 1),  # no other may be larger
        ({223: (209, 0.1), 120: (130, 1.0), 80: (84, 1.0)}, 130, 2),  # the largest is no face
        ({223: (209, 0.1), 120: (130, 0.2)}, 209, 2),
    ],
)
def test_fit_largest_compares_meshes_of_the_faces_that_may_be_largest(
    sizes: dict[int, tuple[float, float]], chosen: float, num_fitted: int
) -> None:
    faces = SizedFaces(sizes)
    mesh = fit_largest(faces, np.zeros((4, 4, 3), np.uint8), faces.boxes())
    assert mesh is not None
    assert (mesh.size_px, len(faces.fitted)) == (chosen, num_fitted)
    assert fit_largest(faces, np.zeros((4, 4, 3), np.uint8), []) is None
