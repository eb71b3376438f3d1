"""The crop: one framing of head and shoulders for every portrait.

Policy, as shares of the square frame: the face oval (hairline to chin) is 0.45 high, its top lies
at 0.25, so that hair has room above and the shoulders show below; the oval is centred sideways.
Framed with shoulders the oval is 0.30 high and begins at 0.20. Framed full the crop is the part of
the picture that moves: an oval of 0.36 leaves room for motion to fade out towards its edges.
A picture that shows less around the face is framed closer, up to an oval of 0.75, and the frame is
moved a little to stay inside it: real pixels look better than made-up ones.
The crop is never rotated: a tilted head stays tilted and its roll goes into the pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from parlante.models import face_mesh
from parlante.types import FRAME_SIZE_PX, Float32Array, Framing, Uint8Array

__all__ = ["CropPlan", "cut_crop", "plan_crop", "sample_square", "snap_plan"]

OVAL_HEIGHT: Final = 0.45
OVAL_TOP: Final = 0.25
# Height and top of the oval.
OVALS: Final = {
    Framing.HEAD: (OVAL_HEIGHT, OVAL_TOP),
    Framing.SHOULDERS: (0.30, 0.20),
    Framing.FULL: (0.36, 0.27),
}
MAX_OVAL_HEIGHT: Final = 0.75
SNAP_PX: Final = 32
MIN_SNAPPED_PX: Final = 128
# How far the frame may be moved to stay inside the picture, as a share of its size.
MAX_SHIFT: Final = 0.10
# A turned or nodding head shows a shorter oval; this is the least height by width.
MIN_OVAL_ASPECT: Final = 1.15
# Outside the picture the blur grows to this share of the frame.
MAX_BORDER_BLUR: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class CropPlan:
    """A square of the picture; may reach over its borders.

    Attributes:
        left_px: Left edge in the picture.
        top_px: Top edge in the picture.
        size_px: Edge length in the picture.
    """

    left_px: float
    top_px: float
    size_px: float

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return FRAME_SIZE_PX / self.size_px


def plan_crop(
    points: Float32Array, width_px: int, height_px: int, framing: Framing = Framing.HEAD
) -> CropPlan:
    """Frame a face.

    Args:
        points: Landmarks, float32 [>= 468, >= 2], picture px.
        width_px: Width of the picture.
        height_px: Height of the picture.
        framing: How much of the picture is wanted.
    """
    oval_height, oval_top = OVALS[framing]
    oval = points[list(face_mesh.OVAL), :2]
    low, high = oval.min(axis=0), oval.max(axis=0)
    width, height = (float(v) for v in high - low)
    height = max(height, MIN_OVAL_ASPECT * width)
    full = height / oval_height
    size = min(full, max(float(min(width_px, height_px)), height / MAX_OVAL_HEIGHT))
    if framing is Framing.FULL:
        size = full  # what lies beyond the picture is not shown
    centre_x = float(low[0] + high[0]) / 2
    # Closer up, hair and chin share what room there is in the same proportion.
    above = oval_top / (1.0 - oval_height) * (size - height)
    top = float(low[1] + high[1]) / 2 - height / 2 - above
    if framing is Framing.FULL:
        return CropPlan(left_px=centre_x - size / 2, top_px=top, size_px=size)
    return CropPlan(
        left_px=_move_inside(centre_x - size / 2, size, width_px),
        top_px=_move_inside(top, size, height_px),
        size_px=size,
    )


def snap_plan(plan: CropPlan, zoom: float) -> CropPlan:
    """Move and size a crop so that it covers whole pixels of a picture `zoom` times as large.

    What does not move then looks exactly as in the picture. The edge becomes a multiple of 32 px.
    """
    size = max(MIN_SNAPPED_PX, SNAP_PX * round(plan.size_px * zoom / SNAP_PX))
    spare = plan.size_px * zoom - size
    left, top = (round(edge * zoom + spare / 2) for edge in (plan.left_px, plan.top_px))
    return CropPlan(left_px=left / zoom, top_px=top / zoom, size_px=size / zoom)


def _move_inside(start: float, size: float, limit: int) -> float:
    """Move a span into [0, limit] as far as is allowed; one that is too long stays."""
    if size > limit:
        return start
    shift = float(np.clip(start, 0.0, limit - size)) - start
    return start + float(np.clip(shift, -MAX_SHIFT * size, MAX_SHIFT * size))


def cut_crop(
    rgb: Uint8Array, plan: CropPlan, size_px: int = FRAME_SIZE_PX
) -> tuple[Uint8Array, Uint8Array]:
    """Cut and scale the crop.

    Beyond the picture's borders its edge pixels are continued, more blurred the further out.

    Args:
        rgb: uint8 [H, W, 3].
        plan: Where to cut.
        size_px: Edge S of the crop.

    Returns:
        The crop, uint8 [S, S, 3], and which of its pixels the picture really shows, uint8 [S, S],
        255 = shown.
    """
    crop, shown = sample_square(rgb, plan, size_px)
    if shown.all() or not shown.any():
        return crop, shown
    return _soften_outside(crop, shown), shown


def sample_square(
    rgb: Uint8Array, plan: CropPlan, size_px: int = FRAME_SIZE_PX
) -> tuple[Uint8Array, Uint8Array]:
    """Do the same as `cut_crop`, but continue the edges without blur."""
    size = size_px
    source, matrix = _shrink_to_scale(rgb, plan, size_px / plan.size_px)
    height, width = source.shape[:2]
    interpolation = cv2.INTER_LANCZOS4 if matrix[0, 0] > 1.05 else cv2.INTER_CUBIC
    crop = cv2.warpAffine(
        source, matrix, (size, size), flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    x0, y0 = (round(float(matrix[i, 2]) + matrix[0, 0] / 2) for i in (0, 1))
    x1, y1 = x0 + round(width * matrix[0, 0]), y0 + round(height * matrix[1, 1])
    shown = np.zeros((size, size), np.uint8)
    shown[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = 255
    return np.asarray(crop, np.uint8), shown


def _shrink_to_scale(
    rgb: Uint8Array, plan: CropPlan, scale: float
) -> tuple[Uint8Array, Float32Array]:
    """Cut the needed part out and, where the crop is smaller, average it down.

    Gives the part and the affine [2, 3] from it to the crop, in OpenCV's pixel centres.
    """
    height, width = rgb.shape[:2]
    margin = plan.size_px * 0.02 + 4
    x0 = int(np.clip(plan.left_px - margin, 0, width - 1))
    y0 = int(np.clip(plan.top_px - margin, 0, height - 1))
    x1 = int(np.clip(plan.left_px + plan.size_px + margin, x0 + 1, width))
    y1 = int(np.clip(plan.top_px + plan.size_px + margin, y0 + 1, height))
    part = np.ascontiguousarray(rgb[y0:y1, x0:x1])
    scale_x = scale_y = scale
    if scale < 1.0:
        target = (
            max(1, round(part.shape[1] * scale)),
            max(1, round(part.shape[0] * scale)),
        )
        scale_x = scale * part.shape[1] / target[0]
        scale_y = scale * part.shape[0] / target[1]
        part = cv2.resize(part, target, interpolation=cv2.INTER_AREA)
    shift_x = (x0 - plan.left_px) * scale + 0.5 * scale_x - 0.5
    shift_y = (y0 - plan.top_px) * scale + 0.5 * scale_y - 0.5
    matrix = np.array([[scale_x, 0.0, shift_x], [0.0, scale_y, shift_y]], np.float32)
    return np.asarray(part, np.uint8), matrix


def _soften_outside(crop: Uint8Array, shown: Uint8Array) -> Uint8Array:
    """Blend continued edges into their blur with the distance from the picture."""
    size = crop.shape[0]
    distance = cv2.distanceTransform(255 - shown, cv2.DIST_L2, 3)
    reach = size * MAX_BORDER_BLUR
    weight = np.clip(distance / (2 * reach), 0.0, 1.0)[..., None]
    small = cv2.resize(crop, (size // 4, size // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), reach / 4, borderType=cv2.BORDER_REPLICATE)
    blurred = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    mixed = crop * (1.0 - weight) + blurred * weight
    return np.asarray(np.round(mixed), np.uint8)
