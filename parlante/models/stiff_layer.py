"""What is drawn stiff over a face: spectacles, and things before the chin.

They are cut out of the portrait with a matte, so that the face moves behind them, and are carried
by vertices of their own, which only the head moves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.decoder_mesh import WarpMesh
from parlante.models.face_mesh import Int32Array
from parlante.models.face_rig import FaceRig
from parlante.models.nearest import nearest_known
from parlante.models.screen_box import box_around
from parlante.models.smooth_step import smooth_steps
from parlante.models.warp import blend_over, raster_flow
from parlante.types import Float32Array, Uint8Array

__all__ = [
    "UNCOVERED",
    "Bearers",
    "StiffLayer",
    "clockwise",
    "cut_matte",
    "draw_stiff",
    "stiff_box",
    "with_bearers",
]

BoolArray = npt.NDArray[np.bool_]

UNCOVERED: Final = -16.0  # source position of pixels that the layer does not reach, px
LEAST_CONTRAST: Final = 10.0  # levels, by which a matte can be told
GLEAM: Final = (10.0, 30.0)  # levels beside the skin that are none and all of a gleam
GLEAM_PX: Final = 1.5  # how far beside a stroke one is
SEEN_MORE: Final = 0.5  # matte from which a pixel tells their colour


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StiffLayer:
    """Things that were cut out of a portrait.

    Attributes:
        pixels: uint8 [h, w, 4], colours, not premultiplied, and matte.
        source: float32 [K, 2], points that carry it, px of `pixels`.
        triangles: int32 [T, 3], of these points, clockwise.
        first: Which vertex of the mesh is the first of them; the others follow.
    """

    pixels: Uint8Array
    source: Float32Array
    triangles: Int32Array
    first: int

    @property
    def num_bytes(self) -> int:
        """Memory of the larger arrays."""
        return self.pixels.nbytes

    def with_next(self, other: StiffLayer) -> StiffLayer:
        """Both as one, the other, whose vertices are the next ones, over this one."""
        (rows, columns), (more_rows, more_columns) = (
            layer.pixels.shape[:2] for layer in (self, other)
        )
        pixels = np.zeros((rows + more_rows, max(columns, more_columns), 4), np.uint8)
        pixels[:rows, :columns], pixels[rows:, :more_columns] = self.pixels, other.pixels
        shift = np.array([0.0, rows], np.float32)
        return StiffLayer(
            pixels=pixels,
            source=np.concatenate([self.source, other.source + shift]),
            triangles=np.concatenate([self.triangles, other.triangles + len(self.source)]),
            first=self.first,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bearers:
    """Points that carry a thing.

    Attributes:
        points: float32 [K, 3], px of the portrait, z as in the mesh.
        head_weight: float32 [K], as of `WarpMesh`.
        shift_weight: float32 [K], as of `WarpMesh`.
        triangles: int32 [T, 3], clockwise.
    """

    points: Float32Array
    head_weight: Float32Array
    shift_weight: Float32Array
    triangles: Int32Array


def with_bearers(
    pixels: Uint8Array,
    origin: tuple[int, int],
    bearers: Bearers,
    mesh: WarpMesh,
    rig: FaceRig,
) -> tuple[StiffLayer, WarpMesh, FaceRig]:
    """Make a layer, and the mesh and the rig that have its points as their last vertices.

    Args:
        pixels: As of `StiffLayer`.
        origin: Position of `pixels` in the portrait, px.
        bearers: Its points.
        mesh: Of the portrait.
        rig: Of the portrait.
    """
    num = len(bearers.points)
    worn = replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, bearers.points]),
        head_weight=np.concatenate([mesh.head_weight, bearers.head_weight]),
        shift_weight=np.concatenate([mesh.shift_weight, bearers.shift_weight]),
        is_far=np.concatenate([mesh.is_far, np.ones(num, bool)]),
    )
    layer = StiffLayer(
        pixels=pixels,
        source=bearers.points[:, :2] - np.array(origin, np.float32),
        triangles=bearers.triangles,
        first=len(mesh.vertices),
    )
    return layer, worn, rig.with_still(num)


def cut_matte(
    photo: Uint8Array,
    skin: Uint8Array,
    core: BoolArray,
    covered: BoolArray,
    gleam_px: float = GLEAM_PX,
) -> Uint8Array:
    """Colours and matte that are the photo again over the skin: uint8 [h, w, 4].

    Args:
        photo: uint8 [h, w, 3].
        skin: uint8 [h, w, 3], the same without the thing.
        core: Where there is nothing but the thing.
        covered: Where it is, with its blur.
        gleam_px: How far beside the core it may have other colours than its own.
    """
    own, far = nearest_known(photo, core)
    behind = skin.astype(np.float32)
    way, seen = own - behind, photo - behind
    square = (way * way).sum(-1)
    alpha = (seen * way).sum(-1) / np.maximum(square, 1.0)
    alpha[square < 3.0 * LEAST_CONTRAST**2] = 0.0
    # A gleam beside a stroke has another colour than it has, but is none of the skin's either.
    other = np.sqrt((seen * seen).mean(-1))
    gleam = smooth_steps((other - GLEAM[0]) / (GLEAM[1] - GLEAM[0]))
    alpha = np.maximum(alpha, gleam * np.clip(gleam_px + 1.0 - far, 0.0, 1.0))
    alpha = np.where(core, 1.0, np.where(covered, np.clip(alpha, 0.0, 1.0), 0.0))
    share = alpha[..., None]
    colour = behind + seen / np.maximum(share, SEEN_MORE)
    rgba = np.dstack([colour, 255.0 * alpha])
    return np.asarray(np.clip(np.rint(rgba), 0, 255), np.uint8)


def stiff_box(
    layer: StiffLayer, posed: Float32Array, size: tuple[int, int]
) -> npt.NDArray[np.int64] | None:
    """What the layer may change of a frame.

    Args:
        layer: The layer.
        posed: float32 [N, 2], vertices of the mesh on screen.
        size: Width and height of the frame, px.

    Returns:
        int64 [4], left, top, right and bottom, px; None if that is nothing.
    """
    return box_around(posed[layer.first :], 0, size)


def draw_stiff(layer: StiffLayer, posed: Float32Array, out: Uint8Array, matte: Uint8Array) -> None:
    """Draw the layer over a frame.

    Args:
        layer: The layer.
        posed: float32 [N, 2], vertices of the mesh on screen.
        out: uint8 [S, S, 3], changed in place.
        matte: uint8 [S, S], of the person, changed in place.
    """
    box = stiff_box(layer, posed, (out.shape[1], out.shape[0]))
    if box is None:
        return
    left, top, right, bottom = box.tolist()
    map_x, map_y = (np.full((bottom - top, right - left), UNCOVERED, np.float32) for _ in range(2))
    target = posed[layer.first :] - np.array([left, top], np.float32)
    raster_flow(target, layer.source, layer.triangles, map_x, map_y)
    seen = cv2.remap(layer.pixels, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    part = np.ascontiguousarray(out[top:bottom, left:right])
    blend_over(seen, part, part)
    out[top:bottom, left:right] = part
    over = matte[top:bottom, left:right]
    np.maximum(over, seen[..., 3], out=over)


def clockwise(points: Float32Array, triangles: npt.NDArray[np.int64]) -> Int32Array:
    """Turn triangles, int [T, 3], of points, float32 [K, 2], clockwise on screen."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    out = triangles.copy()
    out[area < 0.0] = out[area < 0.0][:, ::-1]
    return np.ascontiguousarray(out, np.int32)
