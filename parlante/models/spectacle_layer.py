"""Spectacles as a layer of their own: a stiff thing before the face, which only the head turns.

Their strokes are taken out of the portrait, so that brows, lids and skin move behind them, and are
drawn over the frame again with a matte. They stand on a smooth surface before the face, and not on
its sockets, nose and cheeks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import LinearNDInterpolator

from parlante.models import face_mesh as fm
from parlante.models.decoder_mesh import WarpMesh
from parlante.models.face_mesh import Int32Array
from parlante.models.face_rig import FaceRig, face_axes
from parlante.models.skin_grain import skin_grain, tile_grain
from parlante.models.spectacles import OVERLAP_PX, Spectacles, Strip
from parlante.models.stiff_layer import (
    UNCOVERED,
    Bearers,
    StiffLayer,
    clockwise,
    cut_matte,
    with_bearers,
)
from parlante.models.warp import raster_flow
from parlante.types import Float32Array, Uint8Array

__all__ = ["put_on", "take_off"]

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Beside the edges of a stroke its blur goes on, IOD; inside them its colour is whole, px.
BLUR_IOD: Final = 0.028
INSIDE_PX: Final = -0.75
MARGIN_PX: Final = 8
FILL_RADIUS_PX: Final = 5.0
# Where the frame stands, IOD: before the nose, its lower edge nearer to the cheeks, and a little
# bent around the face.
BEFORE_NOSE: Final = 0.02
TILT: Final = 0.14
WRAP: Final = 0.15
NOSE_RIDGE: Final = (168, 6)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bands:
    """Triangles along the strokes of spectacles.

    Attributes:
        points: float32 [K, 2], px.
        triangles: int32 [T, 3], clockwise.
        arm_share: float32 [K], how far along an arm each is, 0 = before it, 1 = at its end.
        arm_end: float32 [K, 2], where that arm goes into hair or behind the face, px.
    """

    points: Float32Array
    triangles: Int32Array
    arm_share: Float32Array
    arm_end: Float32Array

    @classmethod
    def of(cls, spectacles: Spectacles, grown_px: float) -> Bands:
        """Make bands that are so much wider than the strokes, on either side."""
        arms = [arm for arm in spectacles.arms if arm is not None]
        front = [strip for strip in (spectacles.bridge, *spectacles.rims) if strip is not None]
        points, triangles, shares, ends, start = [], [], [], [], 0
        for strip, is_arm in (*((arm, True) for arm in arms), *((strip, False) for strip in front)):
            num = len(strip.first)
            wide = strip.grown(grown_px)
            points += [wide.first, wide.second]
            shares += [_arm_shares(strip, grown_px) if is_arm else np.zeros(num)] * 2
            ends += [0.5 * (strip.first[-1:] + strip.second[-1:])] * (2 * num)
            a = start + np.arange(num - 1)
            b = a + num
            triangles += [np.stack([a, a + 1, b + 1], 1), np.stack([a, b + 1, b], 1)]
            start += 2 * num
        placed = np.concatenate(points).astype(np.float32)
        return cls(
            points=placed,
            triangles=clockwise(placed, np.concatenate(triangles)),
            arm_share=np.concatenate(shares).astype(np.float32),
            arm_end=np.concatenate(ends).astype(np.float32),
        )

    def covers(self, origin: tuple[int, int], size: tuple[int, int]) -> BoolArray:
        """Pixels of a box, at (x, y) and of (width, height), that they cover."""
        map_x, map_y = (np.full(size[::-1], UNCOVERED, np.float32) for _ in range(2))
        raster_flow(
            self.points - np.array(origin, np.float32), self.points, self.triangles, map_x, map_y
        )
        return np.asarray(map_x > UNCOVERED)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutOut:
    """Spectacles and portrait, parted.

    Attributes:
        bare: uint8 [S, S, 3], RGB, the portrait without them.
        pixels: As of `StiffLayer`.
        origin: Position of `pixels` in the portrait, px.
        bands: px of the portrait.
    """

    bare: Uint8Array
    pixels: Uint8Array
    origin: tuple[int, int]
    bands: Bands


def take_off(spectacles: Spectacles, image: Uint8Array, landmarks: Float32Array) -> CutOut:
    """Take spectacles out of a portrait.

    Args:
        spectacles: px of the portrait.
        image: uint8 [S, S, 3], RGB.
        landmarks: float32 [478, 3], px.
    """
    bands = Bands.of(spectacles, BLUR_IOD * fm.inter_ocular_px(landmarks))
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(bands.points.min(0)) - MARGIN_PX, 0, size).astype(int)
    high = np.clip(np.ceil(bands.points.max(0)) + MARGIN_PX, 0, size).astype(int)
    origin, extent = (int(low[0]), int(low[1])), (int(high[0] - low[0]), int(high[1] - low[1]))
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    photo = np.ascontiguousarray(image[box])
    covered = bands.covers(origin, extent)
    skin = cv2.inpaint(photo, covered.astype(np.uint8), FILL_RADIUS_PX, cv2.INPAINT_TELEA)
    bare = image.copy()
    bare[box] = skin
    grain = tile_grain(skin_grain(bare, landmarks), skin.shape[:2])
    painted = np.clip(np.rint(skin + grain), 0, 255).astype(np.uint8)
    bare[box] = np.where(covered[..., None], painted, skin)
    core = Bands.of(spectacles, INSIDE_PX).covers(origin, extent) & covered
    pixels = cut_matte(photo, bare[box], core, covered)
    return CutOut(bare=bare, pixels=pixels, origin=origin, bands=bands)


def put_on(cut: CutOut, mesh: WarpMesh, rig: FaceRig) -> tuple[StiffLayer, WarpMesh, FaceRig]:
    """Make the layer, and the mesh and the rig that have its points as their last vertices."""
    bands = cut.bands
    ones = np.ones(len(bands.points), np.float32)
    bearers = Bearers(
        points=np.c_[bands.points, _depth(bands, mesh)].astype(np.float32),
        head_weight=ones,
        shift_weight=ones,
        triangles=bands.triangles,
    )
    return with_bearers(cut.pixels, cut.origin, bearers, mesh, rig)


def _depth(bands: Bands, mesh: WarpMesh) -> Float64Array:
    """Depth of the points of bands, float64 [K], px."""
    axes = face_axes(mesh).astype(np.float64)
    scale = float(np.linalg.norm(axes[0]))
    axes /= scale

    def in_face(points: npt.NDArray[np.floating]) -> Float64Array:
        return np.asarray((points - mesh.centre) @ axes.T / scale)

    nose = in_face(mesh.vertices[list(NOSE_RIDGE)].mean(0))
    place = np.c_[bands.points, np.full(len(bands.points), mesh.centre[2])].astype(np.float64)
    for _ in range(5):  # along the line of sight to the surface
        u, v, w = in_face(place).T
        wanted = nose[2] - BEFORE_NOSE + TILT * (v - nose[1]) + WRAP * u**2
        slope = axes[2, 2] - TILT * axes[1, 2] - 2.0 * WRAP * u * axes[0, 2]
        place[:, 2] += scale * (wanted - w) / np.maximum(slope, 0.3)
    surface = LinearNDInterpolator(mesh.vertices[:, :2], mesh.vertices[:, 2])
    ends = surface(bands.arm_end)
    return np.asarray(place[:, 2] + bands.arm_share * (ends - place[:, 2]))


def _arm_shares(arm: Strip, grown_px: float) -> Float64Array:
    """How far along an arm its points are, float64 [K].

    It begins where the rim's band ends, or it would break there, and is even, so that an arm that
    turns away folds all at once.
    """
    middle = 0.5 * (arm.first + arm.second)
    step = float(np.linalg.norm(middle[-1] - middle[0])) / max(len(middle) - 1, 1)
    begin = OVERLAP_PX + 1 + grown_px / max(step, 1e-3)
    last = len(arm.first) - 1
    if last - begin < 1.0:
        return np.zeros(last + 1)
    return np.clip((np.arange(last + 1) - begin) / (last - begin), 0.0, 1.0)
