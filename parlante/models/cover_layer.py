"""A thing before the chin as a stiff layer, and the face that goes on behind it.

It stays where the photo has it when jaw and lips move, and goes with head and body as the skin at
its place does. What lies behind it is painted: the face's skin up to its outline, the neck below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import LinearNDInterpolator

from parlante.models import face_mesh as fm
from parlante.models.chin_cover import ChinCover
from parlante.models.decoder_mesh import WarpMesh
from parlante.models.face_rig import FaceRig
from parlante.models.portrait_layers import Layers
from parlante.models.push_pull import push_pull
from parlante.models.skin_grain import skin_grain, tile_grain
from parlante.models.smooth_step import smooth_steps
from parlante.models.stiff_layer import Bearers, StiffLayer, clockwise, cut_matte, with_bearers
from parlante.types import FRAME_SIZE_PX, Float32Array, Uint8Array

__all__ = ["CoverCut", "put_before", "take_out"]

BoolArray = npt.NDArray[np.bool_]

# From the contour that was found: how far in the thing is alone, and how far out its blur goes.
CORE_IOD: Final = 0.02
BLUR_IOD: Final = 0.04
SMOOTH: Final = 0.5  # of a pixel of the mask, by which its contour is smoothed
AROUND_IOD: Final = 0.35  # of what lies behind, that tells what it looks like
LIPS_IOD: Final = 0.05
SEAM_IOD: Final = 0.02  # between face and neck
HALF, SURE_PERSON = 127, 242  # of a matte
THIN_IOD: Final = 0.03
WHOLLY: Final = 0.99
BORDER_PX: Final = (6.0, 14.0)  # of 512: what is drawn out beyond the photo is left to it
CELL_IOD: Final = 0.1  # of the grid that carries it
NEAR_CELLS: Final = 5  # from which it takes the nearest depth
FLAT_CELLS: Final = 2.5  # by which the relief beneath it is smoothed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoverCut:
    """A thing and the portrait, parted.

    Attributes:
        bare: uint8 [S, S, 3], RGB, the portrait without it.
        pixels: As of `StiffLayer`.
        origin: Position of `pixels` in the portrait, px.
    """

    bare: Uint8Array
    pixels: Uint8Array
    origin: tuple[int, int]


def take_out(cover: ChinCover, layers: Layers, landmarks: Float32Array) -> CoverCut | None:
    """Take a thing before the chin out of a portrait.

    Args:
        cover: The thing, px of the portrait.
        layers: Of the portrait.
        landmarks: float32 [478, 3], px.

    Returns:
        Both, or None where nothing of it is before the person.
    """
    iod = fm.inter_ocular_px(landmarks)
    contour, kept = _on_portrait(cover, layers.matte, iod)
    row, column = np.nonzero((contour > -BLUR_IOD) & (kept > 0.0))
    if len(row) == 0:
        return None
    margin = round(AROUND_IOD * iod)
    top, left = max(int(row.min()) - margin, 0), max(int(column.min()) - margin, 0)
    box = (slice(top, int(row.max()) + margin), slice(left, int(column.max()) + margin))
    photo, matte, room = (
        np.ascontiguousarray(layer[box])
        for layer in (layers.image, layers.matte, layers.background)
    )
    contour, kept = contour[box], kept[box]
    covered, core = contour > -BLUR_IOD, contour > CORE_IOD
    points = landmarks - np.array([left, top, 0.0], np.float32)
    behind = _behind(photo, covered, points, iod)
    behind += tile_grain(skin_grain(layers.image, landmarks), photo.shape[:2])
    # At the person's outline the room is behind.
    person = smooth_steps((matte.astype(np.float32) - HALF) / (SURE_PERSON - HALF))[..., None]
    behind = np.clip(np.rint(room + person * (behind - room)), 0, 255).astype(np.uint8)
    painted = np.where(covered[..., None], behind, photo)
    pixels = cut_matte(photo, painted, core, covered, (CORE_IOD + BLUR_IOD) * iod)
    # Where it is not kept wholly the photo stays as it is beneath it.
    is_taken = (kept == 1.0)[..., None]
    pixels[..., 3] = np.rint(pixels[..., 3] * kept)
    pixels[..., :3] = np.where(is_taken, pixels[..., :3], photo)
    bare = layers.image.copy()
    bare[box] = np.where(is_taken, painted, photo)
    return CoverCut(bare=bare, pixels=pixels, origin=(left, top))


def _on_portrait(
    cover: ChinCover, matte: Uint8Array, iod: float
) -> tuple[Float32Array, Float32Array]:
    """Distance inside the contour, IOD, and how far it is kept stiff: float32 [S, S] each."""
    size = matte.shape[0]
    zoom = iod / cover.iod_px

    def bring(values: Float32Array) -> Float32Array:
        soft = cv2.GaussianBlur(values, (0, 0), SMOOTH)
        return np.asarray(
            cv2.warpAffine(soft, cover.back, (size, size), borderMode=cv2.BORDER_REPLICATE),
            np.float32,
        )

    mask = cv2.GaussianBlur(bring(cover.covers.astype(np.float32)), (0, 0), SMOOTH * zoom)
    inside = ((mask > 0.5) & (matte > HALF)).astype(np.uint8)
    # What is before the room does not move, and leaves a rim along the person.
    thin = 2 * round(THIN_IOD * iod) + 1
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((thin, thin), np.uint8))
    contour = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    contour -= cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    place = np.arange(size, dtype=np.float32) * np.float32(FRAME_SIZE_PX / size)
    nearest = np.minimum(place, place[::-1])
    near, far = BORDER_PX
    off_border = smooth_steps((np.minimum(nearest, nearest[:, None]) - near) / (far - near))
    kept = np.clip(bring(cover.kept), 0.0, 1.0) * off_border
    kept[kept > WHOLLY] = 1.0
    return np.asarray(contour / iod, np.float32), np.asarray(kept, np.float32)


def _behind(
    photo: Uint8Array, covered: BoolArray, points: Float32Array, iod: float
) -> Float32Array:
    """Face and neck with what is covered painted: float32 [h, w, 3]."""
    shape = covered.shape
    face, lips = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    cv2.fillPoly(face, [np.rint(points[list(fm.OVAL), :2]).astype(np.int32)], 1)
    cv2.fillPoly(lips, [np.rint(points[list(fm.OUTER_LIPS), :2]).astype(np.int32)], 1)
    around = 2 * round(LIPS_IOD * iod) + 1
    lips = cv2.dilate(lips, np.ones((around, around), np.uint8))
    picture = photo.astype(np.float32)
    is_skin = (face > 0) & ~covered & (lips == 0)
    skin = push_pull(picture, is_skin.astype(np.float32))
    # Neck, and what is beside it: strips of it are uncovered when the head turns.
    is_beyond = (face == 0) & ~covered
    neck = push_pull(picture, is_beyond.astype(np.float32)) if is_beyond.any() else skin
    share = cv2.GaussianBlur(face.astype(np.float32), (0, 0), SEAM_IOD * iod)[..., None]
    painted = neck + share * (skin - neck)
    return np.where(covered[..., None], painted, picture)


def put_before(cut: CoverCut, mesh: WarpMesh, rig: FaceRig) -> tuple[StiffLayer, WarpMesh, FaceRig]:
    """Make the layer, and the mesh and the rig that have its points as their last vertices."""
    height, width = cut.pixels.shape[:2]
    cell = CELL_IOD * mesh.iod_px
    columns, rows = (
        np.linspace(0.0, length - 1.0, int(np.ceil(length / cell)) + 1)
        for length in (width, height)
    )
    x, y = np.meshgrid(columns + cut.origin[0], rows + cut.origin[1])
    known = np.c_[mesh.vertices[:, 2], mesh.head_weight, mesh.shift_weight]
    found = LinearNDInterpolator(mesh.vertices[:, :2], known)(x, y).astype(np.float32)
    # Without the face's own relief: what is stiff does not bend over chin and throat.
    # What is held before a chin is as near as it is, also below it, and does not bend over it.
    found[..., 0] = cv2.erode(found[..., 0], np.ones((NEAR_CELLS, NEAR_CELLS), np.uint8))
    depth, head, shift = (cv2.GaussianBlur(found[..., k], (0, 0), FLAT_CELLS) for k in range(3))
    corner = np.arange(x.size).reshape(x.shape)
    cells = (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1])
    is_shown = (cut.pixels[..., 3] > 0).astype(np.float32)
    share = cv2.resize(is_shown, (len(columns) - 1, len(rows) - 1), interpolation=cv2.INTER_AREA)
    a, b, c, d = (cell[cv2.dilate(share, np.ones((3, 3), np.uint8)) > 0.0] for cell in cells)
    points = np.stack([x, y, depth], -1).reshape(-1, 3).astype(np.float32)
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    bearers = Bearers(
        points=points,
        head_weight=head.ravel(),
        shift_weight=shift.ravel(),
        triangles=clockwise(points[:, :2], triangles),
    )
    return with_bearers(cut.pixels, cut.origin, bearers, mesh, rig)
