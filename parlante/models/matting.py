"""The person's matte: segmentation in three framings, settled by colour, refined to hair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from parlante.models import face_mesh
from parlante.models.alignment import CropPlan, sample_square
from parlante.models.busy_background import busy_beside
from parlante.models.face_tracker import FaceTracker
from parlante.models.smooth_step import smooth_steps
from parlante.types import FRAME_SIZE_PX, Float32Array, Uint8Array

__all__ = ["guided_filter", "make_matte", "refine_matte", "segment_person"]

# The segmentation also looks at larger cut-outs: long hair and pony tails need the context.
WIDE_FRAMINGS: Final = (1.3, 1.7)
ABOVE_SHARE: Final = 0.25  # how much of what a wide framing adds lies above the crop
COLOUR_SIZE_PX: Final = 128
SURE_PERSON: Final = 0.8
SURE_BACKGROUND: Final = 0.1
INNER_FACE_SHARE: Final = 0.8
HEAD_SHARE: Final = 1.2  # of a face's outline, that with hair and ears nobody else is in
SIDES_MEET: Final = 0.1  # between two people, sizes of a face
BODY_ROWS: Final = 0.5  # what a row below a face is far, of a column beside it

FILTER_RADIUS_PX: Final = 9
FILTER_EPSILON: Final = 4e-4  # of guide values in [0, 1]: below it structure counts as noise
# The refined matte keeps a haze over the background and holes in the person; this cuts both.
MATTE_FLOOR: Final = 0.08
MATTE_CEILING: Final = 0.92
# The segmentation is trusted this far (in px) away from its own contour.
TRUST_PX: Final = 14
# Beside busy backgrounds the filter follows their edges instead of the person's. There the contour
# is calmed before and after, and trusted more: of 21 photos, each put before bricks, books and
# leaves, the matte is off by a tenth less, and does not creep along lines.
BUSY_TRUST_PX: Final = 6
CALM_COARSE_PX: Final = 3.0
CALM_FINE_PX: Final = 1.5
CONTOUR_GAIN: Final = 1.5
_CALM_SHAPE: Final = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))


def guided_filter(guide: Float32Array, source: Float32Array, radius_px: int) -> Float32Array:
    """Smooth `source` so that its edges follow those of a colour picture.

    Args:
        guide: float32 [H, W, 3] in [0, 1].
        source: float32 [H, W].
        radius_px: Half the window's edge.

    Returns:
        float32 [H, W].

    Source: He, Sun, Tang, "Guided Image Filtering", ECCV 2010, the colour-guide case.
    """
    window = (2 * radius_px + 1, 2 * radius_px + 1)

    def mean(values: Float32Array) -> Float32Array:
        return np.asarray(
            cv2.boxFilter(values, -1, window, borderType=cv2.BORDER_REFLECT), np.float32
        )

    mean_guide, mean_source = mean(guide), mean(source)
    covariance = mean(guide * source[..., None]) - mean_guide * mean_source[..., None]  # [H, W, 3]
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    products = np.stack([guide[..., i] * guide[..., j] for i, j in pairs], axis=-1)
    spread = np.concatenate([mean(products[..., :3]), mean(products[..., 3:])], axis=-1)
    for channel, (i, j) in enumerate(pairs):
        spread[..., channel] -= mean_guide[..., i] * mean_guide[..., j]
        if i == j:
            spread[..., channel] += FILTER_EPSILON
    slope = _solve_symmetric(spread, covariance)
    offset = mean_source - (slope * mean_guide).sum(axis=-1)
    return np.asarray((mean(slope) * guide).sum(axis=-1) + mean(offset), np.float32)


def _solve_symmetric(matrix: Float32Array, right: Float32Array) -> Float32Array:
    """Solve a symmetric 3x3 system per pixel by its adjugate; matrix [H, W, 6], right [H, W, 3]."""
    a, b, c, d, e, f = (matrix[..., i] for i in range(6))
    inverse = (
        (d * f - e * e, c * e - b * f, b * e - c * d),
        (c * e - b * f, a * f - c * c, b * c - a * e),
        (b * e - c * d, b * c - a * e, a * d - b * b),
    )
    determinant = a * inverse[0][0] + b * inverse[0][1] + c * inverse[0][2]
    rows = [sum(row[i] * right[..., i] for i in range(3)) / determinant for row in inverse]
    return np.asarray(np.stack(rows, axis=-1), np.float32)


def make_matte(
    tracker: FaceTracker,
    rgb: Uint8Array,
    plan: CropPlan,
    crop: Uint8Array,
    points: Float32Array,
    others: Sequence[Float32Array] = (),
) -> Float32Array:
    """Cut the person out of a crop.

    Args:
        tracker: Runs the segmentation.
        rgb: The whole picture, uint8 [H, W, 3].
        plan: Where the crop lies in it.
        crop: uint8 [512, 512, 3].
        points: Landmarks in the crop, float32 [>= 468, >= 2]. The face within them is person,
            whatever the segmentation makes of a drawing.
        others: Those of other people's faces, which may lie outside the crop.

    Returns:
        float32 [512, 512], 1 = person.
    """
    own_side = _own_side(points, others)
    coarse = segment_person(tracker, rgb, plan, crop) * own_side
    x_px, y_px = points[face_mesh.NOSE_TIP, :2]
    matte = refine_matte(crop, _keep_person(coarse, float(x_px), float(y_px))) * own_side
    return np.asarray(np.maximum(matte, _inner_face(points)), np.float32)


def _own_side(points: Float32Array, others: Sequence[Float32Array]) -> Float32Array:
    """Where this person is nearer than others, whose shoulders may touch: float32 [H, W], [0, 1].

    Nearer by the sizes of the faces, and by columns more than by rows, as bodies stand below them.
    """
    if not others:
        return np.ones((FRAME_SIZE_PX, FRAME_SIZE_PX), np.float32)
    nearest = np.full((FRAME_SIZE_PX, FRAME_SIZE_PX), np.inf, np.float32)
    for other in others:
        head = _filled_oval(other, HEAD_SHARE) > 0.0
        nearest = np.minimum(nearest, np.where(head, np.float32(0.0), _distance(other)))
    lead = (nearest - _distance(points)) / np.float32(SIDES_MEET)
    lead[_filled_oval(points, HEAD_SHARE) > 0.0] = 1.0
    return np.asarray(np.clip(lead + np.float32(0.5), 0.0, 1.0), np.float32)


def _distance(points: Float32Array) -> Float32Array:
    """Of every pixel from a face, in sizes of it: float32 [H, W]."""
    oval = points[list(face_mesh.OVAL), :2]
    (x, y), size = oval.mean(axis=0), np.ptp(oval, axis=0).max()
    rows, columns = np.ogrid[:FRAME_SIZE_PX, :FRAME_SIZE_PX]
    below = (rows - y) * np.where(rows > y, BODY_ROWS, 1.0)
    return np.asarray(np.hypot(columns - x, below) / size, np.float32)


def _inner_face(points: Float32Array) -> Float32Array:
    """The face without its rim, where the mesh may reach beyond the cheek; soft edge."""
    inner = _filled_oval(points, INNER_FACE_SHARE)
    return np.asarray(cv2.GaussianBlur(inner, (0, 0), 3.0), np.float32)


def _filled_oval(points: Float32Array, share: float) -> Float32Array:
    """1 within the outline of a face, scaled about its middle: float32 [H, W]."""
    oval = points[list(face_mesh.OVAL), :2]
    centre = oval.mean(axis=0)
    polygon = np.round((oval - centre) * share + centre).astype(np.int32)
    filled = np.zeros((FRAME_SIZE_PX, FRAME_SIZE_PX), np.float32)
    cv2.fillPoly(filled, [polygon], 1.0)
    return filled


def segment_person(
    tracker: FaceTracker, rgb: Uint8Array, plan: CropPlan, crop: Uint8Array
) -> Float32Array:
    """Segment a crop in several framings; where they disagree, colour decides.

    Takes and gives what `make_matte` does; the contour is coarse.
    """
    mirrored = tracker.segment(np.ascontiguousarray(crop[:, ::-1]))[:, ::-1]
    own = tracker.segment(crop)
    votes = [own, mirrored, *(_segment_wide(tracker, rgb, plan, k) for k in WIDE_FRAMINGS)]
    least, most = np.minimum.reduce(votes), np.maximum.reduce(votes)
    disputed = ((most - least) > 0.4).astype(np.uint8)
    # Thin disagreement along the contour is settled by the guided filter.
    disputed = cv2.dilate(
        cv2.erode(disputed, np.ones((7, 7), np.uint8)), np.ones((21, 21), np.uint8)
    )
    if not disputed.any():
        return own
    by_colour = _settle_by_colour(crop, least, most)
    share = cv2.GaussianBlur(disputed.astype(np.float32), (0, 0), 3.0)
    return np.asarray(own * (1.0 - share) + by_colour * share, np.float32)


def _segment_wide(
    tracker: FaceTracker, rgb: Uint8Array, plan: CropPlan, zoom: float
) -> Float32Array:
    """Segment a cut-out `zoom` times as large and give the crop's part of it."""
    added = plan.size_px * (zoom - 1.0)
    wide = CropPlan(
        left_px=plan.left_px - added / 2,
        top_px=plan.top_px - added * ABOVE_SHARE,
        size_px=plan.size_px * zoom,
    )
    matte = tracker.segment(sample_square(rgb, wide)[0])
    shift = np.array([0.5, ABOVE_SHARE]) * (zoom - 1.0) * FRAME_SIZE_PX
    to_crop = np.array([[zoom, 0.0, -shift[0]], [0.0, zoom, -shift[1]]])
    size = (FRAME_SIZE_PX, FRAME_SIZE_PX)
    return np.asarray(
        cv2.warpAffine(matte, to_crop, size, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _settle_by_colour(crop: Uint8Array, least: Float32Array, most: Float32Array) -> Float32Array:
    """Graph cut over colours learnt where all votes agree; float32 [H, W] of 0 and 1."""
    size = (COLOUR_SIZE_PX, COLOUR_SIZE_PX)
    small, low, high = (
        cv2.resize(values, size, interpolation=cv2.INTER_AREA) for values in (crop, least, most)
    )
    labels = np.where(high > 0.25, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[low > SURE_PERSON] = cv2.GC_FGD
    labels[cv2.dilate(high, np.ones((3, 3), np.uint8)) < SURE_BACKGROUND] = cv2.GC_BGD
    if not (labels == cv2.GC_FGD).any() or not (labels == cv2.GC_BGD).any():
        return most
    cv2.setRNGSeed(0)  # its colour clusters start at random: the same portrait, the same matte
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, labels, None, *models, 2, cv2.GC_INIT_WITH_MASK)
    person = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    full = cv2.resize(person, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, np.float32)


def refine_matte(rgb: Uint8Array, coarse: Float32Array) -> Float32Array:
    """Refine a coarse matte near its contour.

    Args:
        rgb: uint8 [H, W, 3].
        coarse: float32 [H, W] in [0, 1].

    Returns:
        float32 [H, W] in [0, 1].
    """
    guide = rgb.astype(np.float32) / np.float32(255.0)
    fine = _follow_colours(guide, coarse, TRUST_PX)
    busy = busy_beside(rgb, coarse)
    if not busy.any():
        return fine
    calm = _follow_colours(guide, _contour(coarse, CALM_COARSE_PX), BUSY_TRUST_PX)
    for thin in (cv2.MORPH_OPEN, cv2.MORPH_CLOSE):
        calm = np.asarray(cv2.morphologyEx(calm, thin, _CALM_SHAPE), np.float32)
    return np.asarray(fine + busy * (_contour(calm, CALM_FINE_PX) - fine), np.float32)


def _follow_colours(guide: Float32Array, coarse: Float32Array, trust_px: float) -> Float32Array:
    """Let the contour follow edges of colour, so many px away from where it was at most."""
    fine = guided_filter(guide, coarse, FILTER_RADIUS_PX)
    fine = np.clip((fine - MATTE_FLOOR) / (MATTE_CEILING - MATTE_FLOOR), 0.0, 1.0)
    inside = (coarse > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    height = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    # Far from the contour the network is surer than any colour statistics.
    sure_in = np.clip(depth / trust_px - 0.5, 0.0, 1.0)
    sure_out = np.clip(height / trust_px - 0.7, 0.0, 1.0)
    return np.asarray(np.maximum(fine, sure_in) * (1.0 - sure_out), np.float32)


def _contour(matte: Float32Array, blur_px: float) -> Float32Array:
    """A matte whose contour has no corners narrower than a blur."""
    rising = (cv2.GaussianBlur(matte, (0, 0), blur_px) - 0.5) * CONTOUR_GAIN + 0.5
    return np.asarray(smooth_steps(rising), np.float32)


def _keep_person(coarse: Float32Array, x_px: float, y_px: float) -> Float32Array:
    """Drop other people: keep what hangs together with a point of the face.

    Args:
        coarse: float32 [H, W] in [0, 1].
        x_px: A point inside the face.
        y_px: A point inside the face.
    """
    mask = (coarse > 0.3).astype(np.uint8)
    _, labels = cv2.connectedComponents(mask)
    height, width = labels.shape
    own = labels[int(np.clip(y_px, 0, height - 1)), int(np.clip(x_px, 0, width - 1))]
    if own == 0:
        return coarse
    others = ((labels != own) & (labels != 0)).astype(np.uint8)
    others = cv2.dilate(others, np.ones((7, 7), np.uint8))
    return np.where((others > 0) & (labels != own), np.float32(0.0), coarse)
