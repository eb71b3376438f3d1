"""From landmarks to numbers: head pose, openings of mouth and eyes, gaze, and motion channels.

The same measures describe a photo and a tracked frame of video, so that what a renderer drew can
be compared with what it was told. Lengths are in inter-ocular distances (IOD) of the face turned
to the front, angles in rad.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh
from parlante.types import MOTION_DIM, MOTION_INDEX, Float32Array

__all__ = [
    "FaceMeasures",
    "FaceReference",
    "canonicalize",
    "load_reference",
    "measure_face",
    "measures_to_motion",
    "rotation_matrix",
]

Float64Array = npt.NDArray[np.float64]

# The calibration of the dynamics channels, shared with the renderer (docs of the motion space).
APERTURE_PER_JAW_OPEN: Final = 0.50
CORNER_RISE_PER_SMILE: Final = 0.10
CORNER_DROP_PER_FROWN: Final = 0.07
BROW_RISE_PER_UP: Final = 0.12
BROW_DROP_PER_DOWN: Final = 0.08
EYEBALL_RADIUS: Final = 0.13
WIDE_EYE_GAIN: Final = 1.35
# The tracker draws irises towards the middle of the eye. Share of a true shift that it reports,
# measured on rendered heads and on warped photos (gaze of 0.15 to 0.3 rad): 0.55-0.63, 0.35-0.45.
TRACKED_GAZE_SHARE: Final = (0.6, 0.4)  # sideways, up and down
# The iris of a level gaze lies above the line of the corners, IOD (mean of 21 portraits).
LEVEL_IRIS_RISE: Final = 0.0215

# Closed lips still show this distance of the landmarks 13 and 14 (22 portraits: 0.001 to 0.02).
CLOSED_APERTURE: Final = 0.015
# Lid opening, by the width of the eye: closed, and the lower end of eyes that are simply open.
SHUT_EYE_RATIO: Final = 0.08
OPEN_EYE_RATIO: Final = 0.22
WIDE_EYE_RATIO: Final = 0.42
# People differ by about this much at rest; less is no expression.
RESTING_SPREAD: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceMeasures:
    """What one set of landmarks says.

    Attributes:
        yaw_rad: Head turn, + = the nose moves towards image right; the same signs as in
            `POSE_CHANNELS`. Rotation is roll after yaw after pitch.
        pitch_rad: Head nod, + = the nose moves down; 0 = the mean of frontal portraits.
        roll_rad: Head tilt, + = clockwise in the image.
        x_px: Middle of the outer eye corners.
        y_px: Middle of the outer eye corners.
        iod_px: Distance of the outer eye corners, turned to the front.
        aperture: Distance of the inner lips, >= 0.
        mouth_width: Distance of the mouth's corners.
        corner_height: Mouth corners above the middle of the lips, by the mean of both; + = up.
        jaw_distance: From the base of the nose to the chin.
        eye_opening_left: Lid opening of the subject's left eye; about 0.10 open.
        eye_opening_right: Of the right eye.
        eye_ratio_left: Lid opening by the width of the eye; about 0.3 open, below 0.08 shut.
        eye_ratio_right: Of the right eye.
        brow_height_left: Brow above the corners of its eye.
        brow_height_right: Of the right eye.
        gaze_yaw_rad: Eye in head, + = towards image right.
        gaze_pitch_rad: Eye in head, + = down.
    """

    yaw_rad: float
    pitch_rad: float
    roll_rad: float
    x_px: float
    y_px: float
    iod_px: float
    aperture: float
    mouth_width: float
    corner_height: float
    jaw_distance: float
    eye_opening_left: float
    eye_opening_right: float
    eye_ratio_left: float
    eye_ratio_right: float
    brow_height_left: float
    brow_height_right: float
    gaze_yaw_rad: float
    gaze_pitch_rad: float

    @property
    def eye_opening(self) -> float:
        """Mean of both eyes, IOD."""
        return (self.eye_opening_left + self.eye_opening_right) / 2

    @property
    def brow_height(self) -> float:
        """Mean of both brows, IOD."""
        return (self.brow_height_left + self.brow_height_right) / 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceReference:
    """The mean face that pose and shape are measured against.

    Attributes:
        mean: float64 [468, 3], frontal, symmetric, IOD, origin between the outer eye corners.
        rigid: int32 [R], landmarks that expressions do not move.
        basis: float64 [R, K], orthonormal smooth functions over the rigid landmarks.
    """

    mean: Float64Array
    rigid: npt.NDArray[np.int32]
    basis: Float64Array


@functools.cache
def load_reference() -> FaceReference:
    """Load the mean face; made by ``scripts/make_face_reference.py``."""
    source = resources.files("parlante.models").joinpath("face_reference.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as data:
        return FaceReference(
            mean=data["mean"].astype(np.float64),
            rigid=data["rigid"].astype(np.int32),
            basis=data["basis"].astype(np.float64),
        )


def rotation_matrix(yaw_rad: float, pitch_rad: float, roll_rad: float) -> Float64Array:
    """The head's rotation in image axes (x right, y down, z to the back), float64 [3, 3].

    Roll after yaw after pitch; signs as in `POSE_CHANNELS`.
    """
    cy, sy = np.cos(yaw_rad), np.sin(yaw_rad)
    cp, sp = np.cos(pitch_rad), np.sin(pitch_rad)
    cr, sr = np.cos(roll_rad), np.sin(roll_rad)
    # The nose points to -z: turning it to image right is a negative turn about the y axis.
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, np.float64)


def _rotation_angles(rotation: Float64Array) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a rotation; the inverse of `rotation_matrix`."""
    yaw = float(np.arcsin(np.clip(rotation[2, 0], -1.0, 1.0)))
    pitch = float(np.arctan2(rotation[2, 1], rotation[2, 2]))
    roll = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
    return yaw, pitch, roll


def _fit_rotation(points: Float64Array) -> Float64Array:
    """The rotation that carries the mean face to a mesh, from the rigid landmarks."""
    reference = load_reference()
    source = reference.mean[reference.rigid]
    target = points[reference.rigid]
    u, _, vt = np.linalg.svd((target - target.mean(0)).T @ (source - source.mean(0)))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return np.asarray(u @ flip @ vt, np.float64)


def canonicalize(points: Float32Array) -> tuple[Float32Array, Float64Array]:
    """Take pose, position and size out of landmarks.

    Args:
        points: float32 [N, 3], N >= 468, px.

    Returns:
        float32 [N, 3] turned to the front, in IOD, origin between the outer eye corners; and the
        rotation that was taken out, float64 [3, 3].
    """
    mesh = points.astype(np.float64)
    rotation = _fit_rotation(mesh)
    frontal = mesh @ rotation  # the inverse of a rotation is its transpose
    right, left = (frontal[i] for i in face_mesh.OUTER_EYE_CORNERS)
    frontal = (frontal - (right + left) / 2) / max(float(np.linalg.norm(left - right)), 1e-6)
    return frontal.astype(np.float32), rotation


def measure_face(points: Float32Array) -> FaceMeasures:
    """Measure a face.

    Args:
        points: float32 [478, 3], px, z towards the back: `FaceLandmarks.points`.
    """
    face, rotation = canonicalize(points)
    yaw, pitch, roll = _rotation_angles(rotation)
    corners = points[list(face_mesh.OUTER_EYE_CORNERS)].astype(np.float64)
    middle = corners.mean(axis=0)
    mouth = face[list(face_mesh.MOUTH_CORNERS)]
    lips = face[[face_mesh.UPPER_LIP_CENTRE, face_mesh.LOWER_LIP_CENTRE]]
    openings = [_lid_opening(face, *eye) for eye in _EYES]
    widths = [float(np.linalg.norm(face[eye[0][0]] - face[eye[0][1]])) for eye in _EYES]
    gaze = np.mean([_gaze(face, eye) for eye in _EYES], axis=0)
    return FaceMeasures(
        yaw_rad=yaw,
        pitch_rad=pitch,
        roll_rad=roll,
        x_px=float(middle[0]),
        y_px=float(middle[1]),
        iod_px=float(np.linalg.norm(corners[1] - corners[0])),
        aperture=float(np.linalg.norm(lips[1, :2] - lips[0, :2])),
        mouth_width=float(np.linalg.norm(mouth[1] - mouth[0])),
        corner_height=float(lips[:, 1].mean() - mouth[:, 1].mean()),
        jaw_distance=float(face[face_mesh.CHIN, 1] - face[2, 1]),
        eye_opening_right=openings[0],
        eye_opening_left=openings[1],
        eye_ratio_right=openings[0] / max(widths[0], 1e-6),
        eye_ratio_left=openings[1] / max(widths[1], 1e-6),
        brow_height_right=_brow_height(face, face_mesh.RIGHT_BROW, face_mesh.RIGHT_EYE_CORNERS),
        brow_height_left=_brow_height(face, face_mesh.LEFT_BROW, face_mesh.LEFT_EYE_CORNERS),
        gaze_yaw_rad=float(gaze[0]),
        gaze_pitch_rad=float(gaze[1]),
    )


# Corners, middle of the upper lid, middle of the lower lid, iris; right then left.
_EYES: Final = (
    (
        face_mesh.RIGHT_EYE_CORNERS,
        face_mesh.RIGHT_UPPER_LID[2:5],
        face_mesh.RIGHT_LOWER_LID[2:5],
        face_mesh.RIGHT_IRIS[0],
    ),
    (
        face_mesh.LEFT_EYE_CORNERS,
        face_mesh.LEFT_UPPER_LID[2:5],
        face_mesh.LEFT_LOWER_LID[2:5],
        face_mesh.LEFT_IRIS[0],
    ),
)


def _lid_opening(
    face: Float32Array,
    _corners: tuple[int, int],
    upper: tuple[int, ...],
    lower: tuple[int, ...],
    _iris: int,
) -> float:
    gap = face[list(lower), 1].mean() - face[list(upper), 1].mean()
    return float(max(gap, 0.0))


def _brow_height(face: Float32Array, brow: tuple[int, ...], corners: tuple[int, int]) -> float:
    return float(face[list(corners), 1].mean() - face[list(brow), 1].mean())


def _gaze(
    face: Float32Array, eye: tuple[tuple[int, int], tuple[int, ...], tuple[int, ...], int]
) -> tuple[float, float]:
    """Yaw and pitch of one eye from the iris's place between the corners."""
    corners, _, _, iris = eye
    offset = face[iris, :2] - face[list(corners), :2].mean(axis=0)
    offset[1] += LEVEL_IRIS_RISE
    sines = offset / (EYEBALL_RADIUS * np.array(TRACKED_GAZE_SHARE))
    yaw, pitch = np.arcsin(np.clip(sines, -0.9, 0.9))
    return float(yaw), float(pitch)


def measures_to_motion(measures: FaceMeasures) -> Float32Array:
    """Express a photo's measures as motion: its absolute pose, and its dynamics.

    The dynamics are relative to a resting mean face with closed lips, so individual looks leak
    into them a little; what lies within the spread of resting faces counts as none.

    Returns:
        float32 [60] in the order of `MOTION_CHANNELS`; position and size are 0.
    """
    motion = np.zeros(MOTION_DIM, np.float32)

    def put(name: str, value: float) -> None:
        motion[MOTION_INDEX[name]] = value

    put("headYaw", measures.yaw_rad)
    put("headPitch", measures.pitch_rad)
    put("headRoll", measures.roll_rad)
    put("gazeYaw", measures.gaze_yaw_rad)
    put("gazePitch", measures.gaze_pitch_rad)
    put("jawOpen", _share(measures.aperture - CLOSED_APERTURE, APERTURE_PER_JAW_OPEN))
    rest = _resting_measures()
    rise = measures.corner_height - rest.corner_height
    brow_rise = measures.brow_height - rest.brow_height
    put("browInnerUp", _share(brow_rise - RESTING_SPREAD, BROW_RISE_PER_UP))
    eyes = {
        "Left": (measures.eye_ratio_left, measures.brow_height_left - rest.brow_height_left),
        "Right": (measures.eye_ratio_right, measures.brow_height_right - rest.brow_height_right),
    }
    for side, (ratio, rise_of_brow) in eyes.items():
        put(f"mouthSmile{side}", _share(rise - RESTING_SPREAD, CORNER_RISE_PER_SMILE))
        put(f"mouthFrown{side}", _share(-rise - RESTING_SPREAD, CORNER_DROP_PER_FROWN))
        put(f"browDown{side}", _share(-rise_of_brow - RESTING_SPREAD, BROW_DROP_PER_DOWN))
        put(f"browOuterUp{side}", _share(rise_of_brow - RESTING_SPREAD, BROW_RISE_PER_UP))
        put(f"eyeBlink{side}", _share(OPEN_EYE_RATIO - ratio, OPEN_EYE_RATIO - SHUT_EYE_RATIO))
        span = WIDE_EYE_RATIO * (1.0 - 1.0 / WIDE_EYE_GAIN)
        put(f"eyeWide{side}", _share(ratio - WIDE_EYE_RATIO, span))
    return motion


@functools.cache
def _resting_measures() -> FaceMeasures:
    """The measures of the mean face, with irises in the middle of its eyes."""
    mean = load_reference().mean
    irises = [
        np.repeat(mean[list(corners)].mean(axis=0)[None], 5, axis=0)
        for corners in (face_mesh.RIGHT_EYE_CORNERS, face_mesh.LEFT_EYE_CORNERS)
    ]
    return measure_face(np.concatenate([mean, *irises]).astype(np.float32))


def _share(value: float, full: float) -> float:
    return float(np.clip(value / full, 0.0, 1.0))
