"""Spectacles as a layer of their own: a stiff thing before the face, which only the head turns.

Their strokes are taken out of the portrait, so that brows, lids and skin move behind them, and are
drawn over the frame again with a matte. They stand on a smooth surface before the face, and not on
its sockets, nose and cheeks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import LinearNDInterpolator

from parlante.models import face_mesh as fm
from parlante.models.decoder_mesh import WarpMesh
from parlante.models.face_mesh import Int32Array
from parlante.models.face_rig import FaceRig, face_axes
from parlante.models.push_pull import push_pull
from parlante.models.skin_grain import skin_grain, tile_grain
from parlante.models.smooth_step import smooth_steps
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
# What is behind a lens is no brighter than an eye's white, and hardly darker than a lash.
MOST_OF_SKIN: Final = 1.15
LEAST_WHITE: Final = 170.0  # levels
LEAST_OF_SKIN: Final = 0.1
# Behind what hides the eyes brows go on, IOD; then there is nothing but skin, which is what is
# around but for brows, shades and lights.
BROWS_END_IOD: Final = 0.06
AROUND_IOD: Final = 0.15
PLAIN_QUANTILES: Final = (0.4, 0.85)
# Where the frame stands, IOD: before the nose, its lower edge nearer to the cheeks, and a little
# bent around the face.
BEFORE_NOSE: Final = 0.02
TILT: Final = 0.14
WRAP: Final = 0.15
NOSE_RIDGE: Final = (168, 6)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bands:
    """Triangles along the strokes of spectacles, and over their lenses if these are tinted.

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
        points, triangles, start = [], [], 0
        shares: list[Float64Array] = []
        ends: list[npt.NDArray[np.floating]] = []
        for rim in spectacles.rims if spectacles.lenses is not None else ():
            points += [rim.first[:-1], rim.first[:-1].mean(0, keepdims=True)]
            num = len(rim.first) - 1
            shares.append(np.zeros(num + 1))
            ends.append(np.zeros((num + 1, 2)))
            a = np.arange(num)
            middle = np.full(num, start + num)
            triangles.append(np.stack([start + a, start + (a + 1) % num, middle], 1))
            start += num + 1
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
        hides_eyes: Whether nothing is to be seen of the eyes.
        bare: uint8 [S, S, 3], RGB, the portrait without them.
        pixels: As of `StiffLayer`.
        origin: Position of `pixels` in the portrait, px.
        bands: px of the portrait.
    """

    bare: Uint8Array
    pixels: Uint8Array
    origin: tuple[int, int]
    bands: Bands
    hides_eyes: bool


def take_off(spectacles: Spectacles, image: Uint8Array, landmarks: Float32Array) -> CutOut:
    """Take spectacles out of a portrait.

    Args:
        spectacles: px of the portrait.
        image: uint8 [S, S, 3], RGB.
        landmarks: float32 [478, 3], px.
    """
    iod = fm.inter_ocular_px(landmarks)
    bands = Bands.of(spectacles, BLUR_IOD * iod)
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(bands.points.min(0)) - MARGIN_PX, 0, size).astype(int)
    high = np.clip(np.ceil(bands.points.max(0)) + MARGIN_PX, 0, size).astype(int)
    origin, extent = (int(low[0]), int(low[1])), (int(high[0] - low[0]), int(high[1] - low[1]))
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    photo = np.ascontiguousarray(image[box])
    opaque = replace(spectacles, lenses=spectacles.lenses if spectacles.hides_eyes else None)
    covered = Bands.of(opaque, BLUR_IOD * iod).covers(origin, extent)
    glass, clear = None, photo
    if spectacles.lenses is not None and not spectacles.hides_eyes:
        glass, clear = Glass.of(spectacles, origin, extent).taken_off(photo, covered)
    skin = cv2.inpaint(clear, covered.astype(np.uint8), FILL_RADIUS_PX, cv2.INPAINT_TELEA)
    if spectacles.hides_eyes:
        skin = _plain_inside(skin, covered, iod)
    bare = image.copy()
    bare[box] = skin
    grain = tile_grain(skin_grain(bare, landmarks), skin.shape[:2])
    painted = np.clip(np.rint(skin + grain), 0, 255).astype(np.uint8)
    bare[box] = np.where(covered[..., None], painted, skin)
    core = Bands.of(opaque, INSIDE_PX).covers(origin, extent) & covered
    behind = bare[box] if glass is None else glass.put_on(bare[box])
    pixels = cut_matte(photo, behind, core, covered)
    if glass is not None:
        pixels = glass.under(pixels)
    return CutOut(
        bare=bare, pixels=pixels, origin=origin, bands=bands, hides_eyes=spectacles.hides_eyes
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Glass:
    """Tinted lenses of a piece of the portrait, through which the eyes are seen.

    Attributes:
        through: float32 [h, w, 1], share of what is behind that comes through; 1 = no lens.
        own: float32 [h, w, 3], the lens' own light, levels.
        skin: float32 [3], colour of the skin around them.
    """

    through: Float32Array
    own: Float32Array
    skin: Float32Array

    @classmethod
    def of(cls, spectacles: Spectacles, origin: tuple[int, int], size: tuple[int, int]) -> Glass:
        """The lenses, each up to the middle of its rim, in a box at (x, y), of (width, height)."""
        through = np.ones((size[1], size[0], 1), np.float32)
        own = np.zeros((size[1], size[0], 3), np.float32)
        skins = []
        place = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1)
        left, right = (rim.first[:-1].mean(0) for rim in spectacles.rims)
        down = np.array([left[1] - right[1], right[0] - left[0]]) / np.hypot(*(left - right))
        for rim, lens in zip(spectacles.rims, spectacles.lenses or (), strict=True):
            outline = 0.5 * (rim.first + rim.second) - np.array(origin)
            inside = np.zeros((size[1], size[0]), np.uint8)
            fine = np.rint(outline * 16.0).astype(np.int32)
            cv2.fillPoly(inside, [fine], 255, cv2.LINE_AA, 4)
            matte = inside[..., None] / np.float32(255.0)
            height = outline @ down
            share = np.clip((place @ down - height.min()) / np.ptp(height), 0.0, 1.0)[..., None]
            skins.append(lens.skin)
            at = lens.through[0] + share * (lens.through[1] - lens.through[0])
            through += matte * (at - 1.0)
            own += matte * (lens.own[0] + share * (lens.own[1] - lens.own[0]))
        return cls(
            through=np.asarray(through, np.float32),
            own=np.asarray(own, np.float32),
            skin=np.mean(skins, 0).astype(np.float32),
        )

    def taken_off(self, photo: Uint8Array, rims: BoolArray) -> tuple[Glass, Uint8Array]:
        """Part lenses, with what they mirror, from what is behind them.

        Args:
            photo: uint8 [h, w, 3].
            rims: bool [h, w], where there are rims.

        Returns:
            The lenses as they are beside the rims, and what is behind, uint8 [h, w, 3].
        """
        levels = photo.astype(np.float32)
        bare = (levels - self.own) / self.through
        # What is brighter than skin can be is mirrored, and stays where it is.
        most = np.maximum(MOST_OF_SKIN * self.skin, LEAST_WHITE)
        least = np.minimum(LEAST_OF_SKIN * self.skin, levels / self.through)
        bare = np.rint(np.clip(bare, least, np.maximum(most, least)))
        is_lens = (self.through < 1.0) & ~rims[..., None]
        own = np.where(is_lens, np.maximum(levels - self.through * bare, 0.0), self.own)
        return replace(self, own=own), np.where(self.through < 1.0, bare, photo).astype(np.uint8)

    def put_on(self, bare: Uint8Array) -> Uint8Array:
        """What is seen through the lenses, uint8 [h, w, 3]."""
        seen = bare * self.through + self.own
        return np.asarray(np.clip(np.rint(seen), 0, 255), np.uint8)

    def under(self, pixels: Uint8Array) -> Uint8Array:
        """Rims with the lenses under them: uint8 [h, w, 4], colours and matte."""
        rim = pixels[..., 3:] / np.float32(255.0)
        own = rim * pixels[..., :3] + (1.0 - rim) * self.own
        matte = 1.0 - (1.0 - rim) * self.through
        colour = own / np.maximum(matte, 1e-3)
        return np.asarray(np.clip(np.rint(np.dstack([colour, 255.0 * matte])), 0, 255), np.uint8)


def _plain_inside(skin: Uint8Array, covered: BoolArray, iod_px: float) -> Uint8Array:
    """Have nothing but skin far behind a cover, uint8 [h, w, 3]: brows would be drawn out."""
    inside = cv2.distanceTransform(covered.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 5)
    around = ~covered & (outside < AROUND_IOD * iod_px)
    if not around.any():
        return skin
    light = cv2.GaussianBlur(skin, (0, 0), 1.0).sum(-1)
    low, high = np.quantile(light[around], PLAIN_QUANTILES)
    known = around & (light >= low) & (light <= high)
    plain = push_pull(skin.astype(np.float32), known.astype(np.float32))
    share = smooth_steps(inside / (BROWS_END_IOD * iod_px))[..., None]
    return np.asarray(np.rint(skin + share * (plain - skin)), np.uint8)


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
