"""The portrait gate: which face to take, and one clear refusal per reason.

Whether eyes and mouth are visible is judged by consistency: the mesh is fitted again from shifted
and scaled starts. Over visible features all fits agree; over a hand, a mask or dark glasses (and
on animals) each start ends elsewhere. Unlike colour statistics this holds for paintings, any skin,
grey and noisy pictures. Thresholds were set on 23 portraits, 16 photometric and painted-on
variants of each (glasses, beards, dark, noisy, 40 px faces ...) and 23 covered variants of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np

from parlante.errors import InvalidInput, PortraitRejected
from parlante.models import face_mesh
from parlante.models.face_coefficients import canonicalize, measure_face
from parlante.models.face_detection import FaceDetection, is_same_face
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.models.identity import encode_identity
from parlante.types import FaceChoice, FaceSelection, Float32Array, Uint8Array

__all__ = [
    "EYES_HIDDEN",
    "check_seen",
    "find_faces",
    "measure_sharpness",
    "measure_stability",
    "select_face",
]

MIN_DETECTION_SCORE: Final = 0.4
MIN_PRESENCE: Final = 0.5
# Next to the best face only clear ones count: a neck with a collar scores up to 0.68, and the
# mesh believes it; faces score 0.85 to 0.99, covered ones 0.75 to 0.97.
MIN_OTHER_SCORE: Final = 0.75
# A detection that the mesh denies is "not human" if it is this sure and this large.
ANIMAL_MIN_SCORE: Final = 0.5
ANIMAL_MIN_SHARE: Final = 0.3
# Animals score up to 0.72, people seen from the side 0.77 to 0.95.
CERTAIN_SCORE: Final = 0.75
MAX_EYE_DISAGREEMENT: Final = 0.3  # of the detector's box; faces 0.0 to 0.2, covered or not
# Smaller faces than this share of the largest are bystanders or pictures on the wall.
MIN_RELATIVE_SIZE: Final = 0.4
MIN_FACE_PX: Final = 64
# Squeezed or blurred, smaller faces than this look like animals; one who asks why is told the size.
MIN_SURE_FACE_PX: Final = 96
MAX_YAW_RAD: Final = math.radians(40.0)
# Heads are held, and pictures hung, aslant by up to 45 degrees; beyond this they lie on their side.
MAX_ROLL_RAD: Final = math.radians(60.0)
# Upside down the detectors see something in a face, but never what it is; turned upright it scores
# 0.91 to 0.97 even with its mouth covered, and more than before. Nothing else that was refused gets
# beyond 0.86 by being turned, and then the mesh denies it.
MIN_TURNED_SCORE: Final = 0.88
MIN_TURNED_PRESENCE: Final = 0.9
# The face may leave the picture by this share of its size, with this share of its outline.
CUT_OFF_MARGIN: Final = 0.03
MAX_CUT_OFF_SHARE: Final = 0.12
# Deviation of the repeated fits of a frontal face, IOD. Mouth: visible 0.006 to 0.020 (beards
# 0.022), covered 0.022 to 0.083. Eye: visible 0.001 to 0.006, covered 0.007 to 0.1.
MAX_MOUTH_SPREAD: Final = 0.023
MAX_EYE_SPREAD: Final = 0.0075
# Drawn in lines, visible features are found less surely: mouth up to 0.039, eye up to 0.017. Faces
# drawn with a pencil have steepness 38 to 50, 31 to 46 when they are hardly shaded; photos have 15
# to 24, behind dark glasses 22 to 33.
MIN_LINES_OF_DRAWING: Final = 34.0
MAX_MOUTH_SPREAD_DRAWN: Final = 0.040
MAX_EYE_SPREAD_DRAWN: Final = 0.0173
# The shape code of animals: 0.7 to 8; of people, eyes covered or not: 0.1 to 1.6.
MAX_SHAPE_DEVIATION: Final = 1.8
# Share of the face's contrast that is finer than 1/16 of its width: portraits 0.3 to 0.7, even
# those enlarged from 40 px; blurred by 1/18 of the width 0.18 to 0.34, by 1/10 below 0.18.
MIN_SHARPNESS: Final = 0.17
# Below this, features that cannot be found are blurred, not covered.
MAX_BLURRED_SHARPNESS: Final = 0.28

EYES_HIDDEN: Final = "EYES_HIDDEN"
_NOT_UPRIGHT: Final = "FACE_NOT_UPRIGHT"
_TURNS: Final = MappingProxyType({2: "upside down", 1: "on its side", 3: "on its side"})
# These reasons name what was asked of the picture; all others may be what a turned face looks like.
_OF_THE_CHOICE: Final = ("SEVERAL_FACES", "FACE_INDEX_OUT_OF_RANGE")
_SHARPNESS_PX: Final = 128
_LINES_PX: Final = 160

# (x, y, scale) of the starts, in IOD.
_STARTS: Final = (
    (0.12, 0.0, 1.0),
    (-0.12, 0.0, 1.0),
    (0.0, 0.12, 1.0),
    (0.0, -0.12, 1.0),
    (0.0, 0.0, 1.2),
    (0.0, 0.0, 0.85),
)
_MOUTH: Final = (61, 291, 0, 17, 13, 14)
_RIGHT_EYE: Final = (33, 133, 159, 145, *face_mesh.RIGHT_IRIS)
_LEFT_EYE: Final = (263, 362, 386, 374, *face_mesh.LEFT_IRIS)


def select_face(
    tracker: FaceTracker, rgb: Uint8Array, selection: FaceSelection
) -> tuple[FaceLandmarks, list[FaceLandmarks]]:
    """Find the face that is meant, and see how it lies in the picture.

    Args:
        tracker: Runs the networks.
        rgb: uint8 [H, W, 3].
        selection: Which face when there are several.

    Returns:
        The face, and the others in the picture.

    Raises:
        PortraitRejected: With reason ``NO_FACE``, ``NOT_HUMAN``, ``SEVERAL_FACES``,
            ``FACE_INDEX_OUT_OF_RANGE``, ``FACE_TOO_SMALL``, ``FACE_NOT_UPRIGHT``,
            ``FACE_CUT_OFF`` or ``FACE_PROFILE``.
        InvalidInput: The index is negative.
    """
    with _turned_faces_told(tracker, rgb):
        faces = find_faces(tracker, rgb)
        face = _select(faces, selection)
        measures = measure_face(face.points)
        _check_size(face)
        _check_upright(measures.roll_rad)
        _check_inside(face, rgb.shape[1], rgb.shape[0])
        _check_pose(measures.yaw_rad)
    return face, [other for other in faces if other is not face]


def check_seen(tracker: FaceTracker, rgb: Uint8Array, face: FaceLandmarks) -> None:
    """Refuse a selected face that is not human, blurred or hidden.

    Comes after `select_face`, as the far eye of a profile is hidden too.

    Args:
        tracker: Runs the networks.
        rgb: uint8 [H, W, 3].
        face: Of `select_face`.

    Raises:
        PortraitRejected: With reason ``NOT_HUMAN``, ``FACE_TOO_SMALL`` (too small to be sure that
            it is human), ``BLURRY``, ``EYES_HIDDEN``, ``MOUTH_HIDDEN`` or ``FACE_NOT_UPRIGHT``.
    """
    yaw = measure_face(face.points).yaw_rad
    mouth, right_eye, left_eye = measure_stability(tracker, rgb, face)
    slack = 1.0 / math.cos(yaw) ** 2  # the far side is seen foreshortened
    is_drawn = measure_lines(rgb, face) > MIN_LINES_OF_DRAWING
    most_of_eye, most_of_mouth = (
        (MAX_EYE_SPREAD_DRAWN, MAX_MOUTH_SPREAD_DRAWN)
        if is_drawn
        else (MAX_EYE_SPREAD, MAX_MOUTH_SPREAD)
    )
    eyes_hidden = max(right_eye, left_eye) > most_of_eye * slack
    mouth_hidden = mouth > most_of_mouth * slack
    hidden = eyes_hidden or mouth_hidden
    with _turned_faces_told(tracker, rgb):
        _check_human(face, mouth, min(right_eye, left_eye))
        sharpness = measure_sharpness(rgb, _box(face))
        _check_sharp(sharpness, MAX_BLURRED_SHARPNESS if hidden else MIN_SHARPNESS)
        _check_visible(eyes_hidden=eyes_hidden, mouth_hidden=mouth_hidden)


@contextmanager
def _turned_faces_told(tracker: FaceTracker, rgb: Uint8Array) -> Iterator[None]:
    """Refuse what the block refuses for its turn, if turning the picture shows a face.

    Costs pictures that are not refused nothing.
    """
    try:
        yield
    except PortraitRejected as error:
        lies = "" if error.reason in (*_OF_THE_CHOICE, _NOT_UPRIGHT) else _find_turn(tracker, rgb)
        if lies:
            raise _not_upright(lies) from error
        raise


def _find_turn(tracker: FaceTracker, rgb: Uint8Array) -> str:
    """How a face lies that is seen only when the picture is turned; "" when there is none."""
    as_it_is = max((face.score for face in tracker.detect(rgb)), default=0.0)
    for quarters, lies in _TURNS.items():
        turned = np.ascontiguousarray(np.rot90(rgb, quarters))
        best = next(iter(tracker.detect(turned)), None)
        if best is None or best.score < max(MIN_TURNED_SCORE, as_it_is):
            continue
        face = tracker.landmarks(turned, best)
        is_upright = abs(measure_face(face.points).roll_rad) < MAX_ROLL_RAD
        if face.presence >= MIN_TURNED_PRESENCE and is_upright and _agree(face, best):
            return lies
    return ""


def find_faces(tracker: FaceTracker, rgb: Uint8Array) -> list[FaceLandmarks]:
    """Find the faces that count, from left to right.

    Raises:
        PortraitRejected: With reason ``NO_FACE`` or ``NOT_HUMAN``.
    """
    detections = tracker.detect(rgb, min_score=MIN_DETECTION_SCORE)
    found: list[FaceLandmarks] = []
    for detection in detections:
        if found and detection.score < MIN_OTHER_SCORE:
            break
        face = tracker.landmarks(rgb, detection)
        is_new = all(not is_same_face(_box(face), _box(other)) for other in found)
        if face.presence >= MIN_PRESENCE and is_new and _agree(face, detection):
            found.append(face)
    if not found:
        raise _explain_nothing(detections, rgb)
    largest = max(face.size_px for face in found)
    counted = [face for face in found if face.size_px >= MIN_RELATIVE_SIZE * largest]
    return sorted(counted, key=lambda face: float(face.points[:, 0].mean()))


def measure_stability(
    tracker: FaceTracker, rgb: Uint8Array, face: FaceLandmarks
) -> tuple[float, float, float]:
    """Fit the mesh again from several starts and measure how far the fits disagree.

    Returns:
        Mean standard deviation of the mouth, the right and the left eye, in IOD.
    """
    unit = max(face_mesh.inter_ocular_px(face.points), 1e-3)
    centre = face.points[: face_mesh.NUM_SKIN_LANDMARKS, :2].mean(axis=0)
    fits = []
    for x, y, scale in _STARTS:
        start = face.points.copy()
        shift = np.array([x, y], np.float32) * unit
        start[:, :2] = (start[:, :2] - centre) * scale + centre + shift
        moved = FaceLandmarks(points=start, presence=face.presence)
        fits.append(tracker.landmarks(rgb, moved).points[:, :2])
    spread = np.linalg.norm(np.std(np.stack(fits), axis=0), axis=-1) / unit  # [478]
    mouth, right, left = (
        float(spread[list(part)].mean()) for part in (_MOUTH, _RIGHT_EYE, _LEFT_EYE)
    )
    return mouth, right, left


def _box(face: FaceLandmarks) -> Float32Array:
    mesh = face.points[: face_mesh.NUM_SKIN_LANDMARKS, :2]
    return np.concatenate([mesh.min(axis=0), mesh.max(axis=0)])


def _agree(face: FaceLandmarks, detection: FaceDetection) -> bool:
    """Tell whether mesh and detector see the eyes in the same places."""
    eyes = np.stack(
        [face.points[[33, 133], :2].mean(axis=0), face.points[[263, 362], :2].mean(axis=0)]
    )
    distance = np.linalg.norm(eyes - detection.keypoints_px[:2], axis=1).max()
    return bool(distance <= MAX_EYE_DISAGREEMENT * detection.size_px)


def _explain_nothing(detections: list[FaceDetection], rgb: Uint8Array) -> PortraitRejected:
    short_side_px = min(rgb.shape[:2])
    for detection in detections:
        is_large = detection.size_px >= ANIMAL_MIN_SHARE * short_side_px
        if detection.score < ANIMAL_MIN_SCORE or not is_large:
            continue
        if measure_sharpness(rgb, detection.box_px) < MAX_BLURRED_SHARPNESS:
            return _blurry()
        # The detector knows faces from the side, the mesh does not.
        certain = detection.score >= CERTAIN_SCORE
        return _profile() if certain else _not_human(detection.size_px)
    return _reject(
        "NO_FACE",
        "the picture must show a person's face; none was found; use a portrait in which the face "
        "is upright, lit and not covered",
    )


def _not_human(size_px: float) -> PortraitRejected:
    """Refuse a face of that size for what it looks like, or for being too small to tell."""
    if size_px < MIN_SURE_FACE_PX:
        return _too_small(
            size_px,
            MIN_SURE_FACE_PX,
            f"the face is {round(size_px)} px high, too small to be sure that it is a person's; "
            f"use a larger or closer picture ({MIN_SURE_FACE_PX} px) that is not squeezed",
        )
    return _reject(
        "NOT_HUMAN",
        "the picture must show a human face; what was found looks like an animal, a mask or a "
        "squeezed picture; use a portrait of a person in its own proportions",
    )


def _not_upright(lies: str, **metadata: str) -> PortraitRejected:
    return _reject(
        _NOT_UPRIGHT,
        f"the face must be upright; it lies {lies}; turn the picture",
        **metadata,
    )


def _too_small(size_px: float, least_px: int, message: str) -> PortraitRejected:
    return _reject(
        "FACE_TOO_SMALL", message, face_px=str(round(size_px)), min_face_px=str(least_px)
    )


def _reject(reason: str, message: str, **metadata: str) -> PortraitRejected:
    return PortraitRejected(message, reason=reason, field="image", metadata=metadata)


def _select(faces: list[FaceLandmarks], selection: FaceSelection) -> FaceLandmarks:
    count = len(faces)
    match selection.choice:
        case FaceChoice.LARGEST:
            return max(faces, key=lambda face: face.size_px)
        case FaceChoice.INDEX:
            if selection.index < 0:
                raise InvalidInput(
                    f"a face index counts from 0, left to right; got {selection.index}",
                    reason="BAD_FACE_INDEX",
                    field="selection.index",
                )
            if selection.index >= count:
                raise _reject(
                    "FACE_INDEX_OUT_OF_RANGE",
                    f"the picture shows {count} face(s), counted from 0 from left to right; got "
                    f"index {selection.index}; choose a smaller one",
                    num_faces=str(count),
                )
            return faces[selection.index]
        case _:
            if count > 1:
                raise _reject(
                    "SEVERAL_FACES",
                    f"the picture must show one face; got {count}; crop it, or choose a face by "
                    "its index from left to right, or the largest",
                    num_faces=str(count),
                )
            return faces[0]


def _check_size(face: FaceLandmarks) -> None:
    size = round(face.size_px)
    if size < MIN_FACE_PX:
        raise _too_small(
            size,
            MIN_FACE_PX,
            f"the face must be at least {MIN_FACE_PX} px high; got {size} px; use a larger or "
            "closer picture",
        )


def _check_upright(roll: float) -> None:
    if abs(roll) > MAX_ROLL_RAD:
        # Beyond 135 degrees the chin is nearer to the top than to a side.
        lies = _TURNS[1] if abs(roll) < math.radians(135.0) else _TURNS[2]
        raise _not_upright(lies, roll_degrees=f"{math.degrees(roll):.0f}")


def _check_inside(face: FaceLandmarks, width: int, height: int) -> None:
    oval = face.points[list(face_mesh.OVAL), :2]
    margin = CUT_OFF_MARGIN * face.size_px
    limits = np.array([width, height], np.float32)
    outside = ((oval < -margin) | (oval > limits + margin)).any(axis=1)
    if outside.mean() > MAX_CUT_OFF_SHARE:
        raise _reject(
            "FACE_CUT_OFF",
            f"the whole face must be in the picture; {outside.mean():.0%} of its outline lies "
            "outside; use a picture with room around the head",
        )


def _check_human(face: FaceLandmarks, mouth: float, steadier_eye: float) -> None:
    canonical, _ = canonicalize(face.points)
    deviation = float(np.linalg.norm(encode_identity(canonical)))
    nothing_fits = mouth > 2 * MAX_MOUTH_SPREAD and steadier_eye > 2 * MAX_EYE_SPREAD
    if nothing_fits or deviation > MAX_SHAPE_DEVIATION:
        raise _not_human(face.size_px)


def _check_sharp(sharpness: float, least: float) -> None:
    if sharpness < least:
        raise _blurry()


def _blurry() -> PortraitRejected:
    return _reject(
        "BLURRY",
        "the face must show eyes and lips clearly; it is blurred all over; use a sharper picture",
    )


def _check_visible(*, eyes_hidden: bool, mouth_hidden: bool) -> None:
    if mouth_hidden and not eyes_hidden:
        raise _reject(
            "MOUTH_HIDDEN",
            "the mouth must be visible; a hand, a mask or an object seems to cover it; use a "
            "picture with a free mouth",
        )
    if eyes_hidden:
        raise _reject(
            EYES_HIDDEN,
            "both eyes must be visible; hair, a hand, an eye patch or a bar seems to cover one or "
            "both; use a picture with free eyes, or with dark glasses that are seen clearly",
            mouth="hidden" if mouth_hidden else "visible",
        )


def _check_pose(yaw: float) -> None:
    if abs(yaw) > MAX_YAW_RAD:
        raise _profile(yaw_degrees=f"{math.degrees(yaw):.0f}")


def _profile(**metadata: str) -> PortraitRejected:
    return _reject(
        "FACE_PROFILE",
        f"the face must be turned at most {math.degrees(MAX_YAW_RAD):.0f} degrees from the "
        f"camera; got {metadata.get('yaw_degrees', 'far more')}; use a picture from the front",
        **metadata,
    )


def measure_sharpness(rgb: Uint8Array, box_px: Float32Array) -> float:
    """Share of a face's contrast that is finer than 1/16 of its width, about 0.1 to 0.7.

    Args:
        rgb: uint8 [H, W, 3].
        box_px: Left, top, right, bottom, float32 [4].
    """
    grey = _grey_face(rgb, box_px, _SHARPNESS_PX)
    coarse = cv2.GaussianBlur(grey, (0, 0), 8.0)
    return float((grey - coarse).std() / max(float(grey.std()), 1.0))


def measure_lines(rgb: Uint8Array, face: FaceLandmarks) -> float:
    """How steep the steepest twentieth of a face is, levels per 1/160 of its width.

    Args:
        rgb: uint8 [H, W, 3].
        face: The face.
    """
    box = _box(face)
    grey = cv2.GaussianBlur(_grey_face(rgb, box, _LINES_PX), (0, 0), 0.5)
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *axis) / 8.0 for axis in ((1, 0), (0, 1)))
    oval = (face.points[list(face_mesh.OVAL), :2] - box[:2]) / (box[2:] - box[:2])
    inside = np.zeros(grey.shape, np.uint8)
    cv2.fillPoly(inside, [np.asarray(oval * _LINES_PX, np.int32)], 1)
    return float(np.percentile(np.hypot(x, y)[inside > 0], 95.0))


def _grey_face(rgb: Uint8Array, box_px: Float32Array, size_px: int) -> Float32Array:
    height, width = rgb.shape[:2]
    limits = np.array([width - 1, height - 1], np.float32)
    x0, y0 = np.clip(box_px[:2], 0, limits).astype(int)
    x1, y1 = np.clip(box_px[2:], 0, limits).astype(int) + 1
    grey = cv2.cvtColor(np.ascontiguousarray(rgb[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)
