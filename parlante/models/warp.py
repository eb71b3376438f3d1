"""Dense warp: head pose, the flow raster and compositing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.models.face_coefficients import rotation_matrix
from parlante.models.face_mesh import Int32Array
from parlante.models.jit import kernel
from parlante.types import MOTION_INDEX, Float32Array, Uint8Array

# Distance of the virtual camera in inter-ocular distances: a portrait lens at about two metres.
CAMERA_DISTANCE_IOD: Final = 20.0

# A portrait turned by less than the first is free to turn; from the second it is fully damped.
FREE_YAW: Final = 0.15
DAMPED_YAW: Final = 0.45
MAX_YAW_TO_FRONT: Final = 0.11
MAX_YAW_FROM_FRONT: Final = 0.22
MAX_PITCH: Final = 0.11
FREE_BOTH: Final = 0.44  # of yaw and pitch together; either alone may be 25 degrees
MAX_BOTH: Final = 0.58


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPose:
    """Pose of one frame relative to the portrait.

    Attributes:
        rotation: float32 [3, 3], image axes (x right, y down, z to the back).
        shift: float32 [2], px.
        scale: Size relative to the portrait.
    """

    rotation: Float32Array
    shift: Float32Array
    scale: float

    @classmethod
    def from_motion(cls, motion: Float32Array, iod_px: float, portrait_yaw: float) -> HeadPose:
        """Read the pose channels of a motion frame, float32 [60].

        Args:
            motion: float32 [60].
            iod_px: Inter-ocular distance, px.
            portrait_yaw: How far the portrait itself is turned, rad; turns and nods of a portrait
                that is not frontal are damped, see `damp_yaw`.
        """
        yaw, pitch, roll, x, y, log_scale = (
            float(motion[MOTION_INDEX[name]])
            for name in ("headYaw", "headPitch", "headRoll", "headX", "headY", "headLogScale")
        )
        yaw, pitch = damp_both(damp_yaw(yaw, portrait_yaw), damp_pitch(pitch, portrait_yaw))
        shift = np.array([x * iod_px, y * iod_px], np.float32)
        return cls(
            rotation=rotation_matrix(yaw, pitch, roll).astype(np.float32),
            shift=shift,
            scale=math.exp(log_scale),
        )


def damp_yaw(yaw: float, portrait_yaw: float) -> float:
    """Limit a turn to what a turned portrait can give.

    The side of a three-quarter view that is turned away has hardly any pixels: turned to the
    front, it would be a smear. Nearly frontal portraits are not damped.

    Args:
        yaw: Turn relative to the portrait, rad.
        portrait_yaw: Turn of the portrait, rad.
    """
    limit = MAX_YAW_TO_FRONT if yaw * portrait_yaw < 0.0 else MAX_YAW_FROM_FRONT
    return _damp(yaw, limit, portrait_yaw)


def damp_pitch(pitch: float, portrait_yaw: float) -> float:
    """Limit a nod likewise, rad: it would draw lips down into the far side of the chin."""
    return _damp(pitch, MAX_PITCH, portrait_yaw)


def damp_both(yaw: float, pitch: float) -> tuple[float, float]:
    """Limit a turn and a nod at once, rad: together they tear nose and hair sooner than alone."""
    both = abs(yaw) + abs(pitch)
    if both <= FREE_BOTH:
        return yaw, pitch
    room = MAX_BOTH - FREE_BOTH
    share = (FREE_BOTH + room * math.tanh((both - FREE_BOTH) / room)) / both
    return share * yaw, share * pitch


def _damp(angle: float, limit: float, portrait_yaw: float) -> float:
    share = min(max((abs(portrait_yaw) - FREE_YAW) / (DAMPED_YAW - FREE_YAW), 0.0), 1.0)
    return (1.0 - share) * angle + share * limit * math.tanh(angle / limit)


@kernel
def pose_vertices(
    vertices: Float32Array,
    head_weight: Float32Array,
    shift_weight: Float32Array,
    rotation: Float32Array,
    pivot: Float32Array,
    centre: Float32Array,
    shift: Float32Array,
    scale: float,
    camera_px: float,
    out: Float32Array,
) -> None:
    """Rotate about the pivot by head weight, then scale about the centre, then shift.

    The rotation leaves the centre in place: shifts are a matter of the shift channels alone.

    Args:
        vertices: float32 [N, 3], px.
        head_weight: float32 [N], 1 = turns with the head, 0 = stays.
        shift_weight: float32 [N], share of the shift.
        rotation: float32 [3, 3].
        pivot: float32 [3], px.
        centre: float32 [3], px.
        shift: float32 [2], px.
        scale: Size factor.
        camera_px: Distance of the camera, px.
        out: float32 [N, 2], px, written.
    """
    r = rotation
    cx, cy, cz = centre[0] - pivot[0], centre[1] - pivot[1], centre[2] - pivot[2]
    dz = r[2, 0] * cx + r[2, 1] * cy + r[2, 2] * cz
    k = (camera_px + cz) / (camera_px + dz)
    back_x = cx - (r[0, 0] * cx + r[0, 1] * cy + r[0, 2] * cz) * k
    back_y = cy - (r[1, 0] * cx + r[1, 1] * cy + r[1, 2] * cz) * k
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0] - pivot[0], vertices[i, 1] - pivot[1], vertices[i, 2] - pivot[2]
        w = head_weight[i]
        if w > 0.0:
            zz = r[2, 0] * x + r[2, 1] * y + r[2, 2] * z
            k = (camera_px + z) / (camera_px + zz)
            xx = (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z) * k + back_x
            yy = (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z) * k + back_y
            x += (xx - x) * w
            y += (yy - y) * w
        out[i, 0] = centre[0] + (x - cx) * scale + shift[0] * shift_weight[i]
        out[i, 1] = centre[1] + (y - cy) * scale + shift[1] * shift_weight[i]


@kernel
def raster_flow(
    target: Float32Array,
    source: Float32Array,
    triangles: Int32Array,
    map_x: Float32Array,
    map_y: Float32Array,
) -> None:
    """Write the source position of every target pixel that a triangle covers.

    Later triangles overwrite earlier ones; triangles seen from behind are skipped.

    Args:
        target: float32 [N, 2], px of the output.
        source: float32 [N, 2], px of the source.
        triangles: int32 [M, 3], clockwise on screen.
        map_x: float32 [H, W], written.
        map_y: float32 [H, W], written.
    """
    height, width = map_x.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0 = target[a, 0], target[a, 1]
        x1, y1 = target[b, 0] - x0, target[b, 1] - y0
        x2, y2 = target[c, 0] - x0, target[c, 1] - y0
        area = x1 * y2 - x2 * y1
        if area <= 1e-6:
            continue
        inverse = 1.0 / area
        # Barycentric weights of b and c are linear in the pixel position.
        bx, by = y2 * inverse, -x2 * inverse
        cx, cy = -y1 * inverse, x1 * inverse
        u0, v0 = source[a, 0], source[a, 1]
        u1, v1 = source[b, 0] - u0, source[b, 1] - v0
        u2, v2 = source[c, 0] - u0, source[c, 1] - v0
        ux, uy = bx * u1 + cx * u2, by * u1 + cy * u2
        vx, vy = bx * v1 + cx * v2, by * v1 + cy * v2
        top = max(0, math.ceil(y0 + min(0.0, y1, y2)))
        bottom = min(height - 1, math.floor(y0 + max(0.0, y1, y2)))
        for y in range(top, bottom + 1):
            row = y - y0
            left, right = 0.0, width - 1.0
            # Each weight k + s * x >= 0 cuts the span from one side; the margin closes cracks.
            for edge in range(3):
                if edge == 0:
                    s, k = bx, by * row - bx * x0
                elif edge == 1:
                    s, k = cx, cy * row - cx * x0
                else:
                    s, k = -bx - cx, 1.0 - (by + cy) * row + (bx + cx) * x0
                k += 1e-4
                if s > 1e-9:
                    left = max(left, -k / s)
                elif s < -1e-9:
                    right = min(right, -k / s)
                elif k < 0.0:
                    right = -1.0
            if right < left:
                continue
            first, last = math.ceil(left), math.floor(right)
            u = u0 + uy * row + ux * (first - x0)
            v = v0 + vy * row + vx * (first - x0)
            for x in range(first, last + 1):
                map_x[y, x] = u + ux * (x - first)
                map_y[y, x] = v + vx * (x - first)


@kernel
def blend_over(rgba: Uint8Array, background: Uint8Array, out: Uint8Array) -> None:
    """Composite the warped person over the background: uint8 [H, W, 4], [H, W, 3] -> [H, W, 3]."""
    height, width = out.shape[:2]
    for y in range(height):
        for x in range(width):
            a = np.int32(rgba[y, x, 3])
            for channel in range(3):
                b = np.int32(background[y, x, channel])
                f = np.int32(rgba[y, x, channel])
                out[y, x, channel] = np.uint8(b + ((f - b) * a * 257 + 32768 >> 16))
