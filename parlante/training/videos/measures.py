"""What is measured of a face in each frame of a video.

Lengths are in inter-ocular distances of the face turned to the front, angles in rad. All measures
of lips and brows are linear in the landmarks, so that the rig's calibration can be inverted.
Axis letters: T frames, K measures.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.face_coefficients import canonicalize, measure_face
from parlante.types import Float32Array

__all__ = ["LIPS_AND_BROWS", "MEASURES", "MEASURE_INDEX", "measure", "shape_of"]

Float64Array = npt.NDArray[np.float64]

POSE: Final = ("yaw", "pitch", "roll", "x_px", "y_px", "iod_px")
EYES: Final = ("eye_ratio_left", "eye_ratio_right", "gaze_yaw", "gaze_pitch")
# y is down; places are relative to the base of the nose, which speech does not move.
LIPS: Final = (
    "upper_lip_y",  # middle of the upper lip's rim
    "lower_lip_y",
    "chin_y",
    "corner_left_y",
    "corner_right_y",
    "mouth_width",
    "upper_lip_height",  # from rim to outline
    "lower_lip_height",
)
BROWS: Final = ("brow_inner_left", "brow_outer_left", "brow_inner_right", "brow_outer_right")
LIPS_AND_BROWS: Final = LIPS + BROWS
MEASURES: Final = POSE + EYES + LIPS_AND_BROWS
MEASURE_INDEX: Final = {name: index for index, name in enumerate(MEASURES)}

_NOSE_BASE: Final = 2
_UPPER_OUTLINE: Final = fm.UPPER_LIP_ROWS[3][4]
_LOWER_OUTLINE: Final = fm.LOWER_LIP_ROWS[3][4]
# Outer to inner in either row of a brow.
_OUTER: Final = (0, 1, 5, 6)
_INNER: Final = (3, 4, 8, 9)


def measure(points: Float32Array) -> Float64Array:
    """Measure one face.

    Args:
        points: float32 [478, 3], px: `FaceLandmarks.points`.

    Returns:
        float64 [K] in the order of `MEASURES`.
    """
    whole = measure_face(points)
    face, _ = canonicalize(points)
    head = (whole.yaw_rad, whole.pitch_rad, whole.roll_rad, whole.x_px, whole.y_px, whole.iod_px)
    eyes = (
        whole.eye_ratio_left,
        whole.eye_ratio_right,
        whole.gaze_yaw_rad,
        whole.gaze_pitch_rad,
    )
    return np.concatenate([head, eyes, shape_of(face.astype(np.float64))])


def shape_of(face: Float64Array) -> Float64Array:
    """Measures of lips and brows of a face turned to the front.

    Args:
        face: float64 [>= 468, 3], IOD.

    Returns:
        float64 [12] in the order of `LIPS_AND_BROWS`; linear in `face`.
    """
    y = face[:, 1]
    nose = y[_NOSE_BASE]
    right, left = fm.MOUTH_CORNERS
    upper, lower = y[fm.UPPER_LIP_CENTRE], y[fm.LOWER_LIP_CENTRE]
    lips = (
        upper - nose,
        lower - nose,
        y[fm.CHIN] - nose,
        y[left] - nose,
        y[right] - nose,
        face[left, 0] - face[right, 0],
        upper - y[_UPPER_OUTLINE],
        y[_LOWER_OUTLINE] - lower,
    )
    brows = [
        y[[brow[i] for i in part]].mean()
        for brow in (fm.LEFT_BROW, fm.RIGHT_BROW)
        for part in (_INNER, _OUTER)
    ]
    return np.array([*lips, *brows])
