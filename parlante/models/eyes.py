"""Eyes: lids that close over the eyeball and irises that turn, in the portrait's own pixels.

An eye is a function of the portrait's plane. The lids are two curves between the corners; skin
above and below is stretched towards them, except for a band at the rim that carries the lashes
unchanged. Between them lies the eyeball: the photo's own white, completed under lids and iris, and
the photo's own iris, completed to a disc, which gaze shifts over the white.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.eye_shading import NO_RIM, RIM_IOD, shade_eye
from parlante.models.eye_state import CURVE_SAMPLES, EyeState, eye_frame, rim_curve
from parlante.models.iris_edge import LOWER_LIDS, UPPER_LIDS, Iris, find_irises
from parlante.models.lid_skin import EyeOpening, lid_skin
from parlante.models.screen_box import box_around
from parlante.models.skin_grain import tile_grain
from parlante.types import MOTION_INDEX, Float32Array, Uint8Array

# Height of a shut eye, of its width, alone and beside one that is shut: 0.02 to 0.125 and 0.147 in
# 21 of 22 photos; open ones, narrow or laughing, have 0.15 and more in 256.
SHUT: Final = 0.126
SHUT_BESIDE_SHUT: Final = 0.149
PATCH_MARGIN_IOD: Final = 0.18
HIDDEN_WHITE_GREY: Final = 0.6  # how much less colour than lit skin a white has
RIM_BLUR: Final = 0.4  # along the eye, in radii of the iris
IRIS_RIM_ENDS: Final = 1.3  # in radii of the iris
RIM_DEPTH_IOD: Final = 0.003
RIM_FADES: Final = 0.85  # from this share of the rim on; the photo is known from there
BOX_MARGIN_PX: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EyeLayers:
    """One eye of a portrait.

    Attributes:
        frame: float32 [6]: corner at image left (x, y), unit vector along the eye (x, y), width
            px, inter-ocular distance px.
        upper: float32 [64], y of the upper rim from corner to corner in the eye's frame, px.
        lower: float32 [64], of the lower rim.
        zones: float32 [2], px above the upper and below the lower rim that stretch.
        crease_px: Height of the upper lid's crease above its rim.
        patch_origin: int32 [2], x and y of the patches in the portrait.
        skin: uint8 [h, w, 4], the skin of the shut eye, without lashes, which would smear when
            stretched; the matte marks white of the eye that the tracker left outside the lids.
        white: uint8 [h, w, 3], the eyeball without iris, complete.
        iris: uint8 [h, w, 4], the iris, complete, with its matte.
        rim: uint8 [h, w, 4], what the photo shows more than the eyeball along the inner side of
            the lids, + 128: shadow of lashes and wet line. It moves with the lids; RGB is over
            the iris and goes along with it from corner to corner, A is over the white.
        iris_centre: float64 [2], middle of the iris in the eye's frame as the tracker has it, px.
        bounds: int32, landmarks around the area that the eye changes.
        blink_channel: Index of eyeBlink of this eye in the motion vector.
        squint_channel: Of eyeSquint.
        wide_channel: Of eyeWide.
        is_still: True if it is shut in the photo, or hidden: it is never drawn.
    """

    frame: Float32Array
    upper: Float32Array
    lower: Float32Array
    zones: Float32Array
    crease_px: float
    patch_origin: npt.NDArray[np.int32]
    skin: Uint8Array
    white: Uint8Array
    iris: Uint8Array
    rim: Uint8Array
    iris_centre: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.int32]
    blink_channel: int
    squint_channel: int
    wide_channel: int
    is_still: bool = False


def build_eyes(
    image: Uint8Array,
    landmarks: Float32Array,
    grain: Float32Array,
    *,
    is_drawn: bool = False,
    are_hidden: bool = False,
) -> tuple[EyeLayers, EyeLayers]:
    """Prepare both eyes of a portrait: the subject's right, then left.

    Args:
        image: uint8 [512, 512, 3], RGB.
        landmarks: float32 [478, 3], px.
        grain: float32 [n, n, 3], of `skin_grain`.
        is_drawn: Whether the portrait is a drawing.
        are_hidden: Whether nothing is to be seen of them.
    """
    irises = find_irises(image, landmarks)
    shut = _are_shut(landmarks[:, :2].astype(np.float64))
    right = _build_eye(
        image, landmarks, UPPER_LIDS[0], LOWER_LIDS[0], fm.RIGHT_LID_CREASE, fm.RIGHT_BELOW_BROW,
        fm.RIGHT_BELOW_LID, fm.RIGHT_IRIS[0], irises[0], "Right", grain,
        is_drawn=is_drawn, is_still=are_hidden or shut[0],
    )  # fmt: skip
    left = _build_eye(
        image, landmarks, UPPER_LIDS[1], LOWER_LIDS[1], fm.LEFT_LID_CREASE, fm.LEFT_BELOW_BROW,
        fm.LEFT_BELOW_LID, fm.LEFT_IRIS[0], irises[1], "Left", grain,
        is_drawn=is_drawn, is_still=are_hidden or shut[1],
    )  # fmt: skip
    return right, left


def white_of(eyes: tuple[EyeLayers, EyeLayers]) -> Float32Array:
    """Colour of the eyes' white, float32 [3], RGB in [0, 255]: the portrait's own light."""
    colours = []
    for eye in eyes:
        pixels = eye.white[eye.iris[..., 3] < 128].reshape(-1, 3).astype(np.float32)
        bright = pixels.sum(1) >= np.quantile(pixels.sum(1), 0.7)
        colours.append(pixels[bright].mean(0))
    return np.asarray(np.mean(colours, 0), np.float32)


def render_eye(
    eye: EyeLayers,
    image: Uint8Array,
    state: EyeState,
    posed: Float32Array,
    maps: tuple[Float32Array, Float32Array],
    map_offset: tuple[float, float],
    out: Uint8Array,
) -> None:
    """Draw an eye over a warped frame; does nothing when the eye is as in the photo.

    Args:
        eye: The eye.
        image: uint8 [512, 512, 3], the portrait.
        state: Lids and gaze of the frame.
        posed: float32 [N, 2], vertices of the mesh on screen.
        maps: float32 [H, W] each, source position of every pixel on the canvas.
        map_offset: Position of the portrait on the canvas, px.
        out: uint8 [H, W, 3], changed in place.
    """
    if state.is_at_rest:
        return
    # Whole arrays and a box: a slice may have another memory layout, and compile anew.
    box = eye_box(eye, posed, (out.shape[1], out.shape[0]))
    if box is None:
        return
    shade_eye(
        image, eye.skin, eye.white, eye.iris, eye.rim, eye.patch_origin, eye.frame,
        eye.upper, eye.lower, state.upper, state.lower, eye.zones, eye.crease_px, state.drawn_out,
        state.blink, *state.shift_px, maps[0], maps[1], map_offset[0], map_offset[1], box, out,
    )  # fmt: skip


def eye_box(
    eye: EyeLayers, posed: Float32Array, size: tuple[int, int]
) -> npt.NDArray[np.int64] | None:
    """What an eye may change of a frame.

    Args:
        eye: The eye.
        posed: float32 [N, 2], vertices of the mesh on screen.
        size: Width and height of the frame, px.

    Returns:
        int64 [4], left, top, right and bottom, px; None if that is nothing.
    """
    return box_around(posed[eye.bounds], BOX_MARGIN_PX, size)


# --- preparation -------------------------------------------------------------------------------


def _are_shut(points: npt.NDArray[np.float64]) -> tuple[bool, bool]:
    """Whether the photo shows the eyes shut, the subject's right and left, by landmarks [K, 2].

    A lid that is shut has no eye to show, and its lashes would be painted over in a blink.
    """
    right, left = (_height(points, *rims) for rims in zip(UPPER_LIDS, LOWER_LIDS, strict=True))
    limit = SHUT_BESIDE_SHUT if min(right, left) < SHUT else SHUT
    return right < limit, left < limit


def _height(
    points: npt.NDArray[np.float64], upper: tuple[int, ...], lower: tuple[int, ...]
) -> float:
    """Mean height of an eye's opening, of its width."""
    corner, axes, width = eye_frame(points, upper)
    rims = (rim_curve((points[list(rim)] - corner) @ axes.T, width) for rim in (upper, lower))
    upper_y, lower_y = rims
    return float(np.maximum(lower_y - upper_y, 0.0).mean()) / width


def _build_eye(
    image: Uint8Array,
    landmarks: Float32Array,
    upper: tuple[int, ...],
    lower: tuple[int, ...],
    crease: tuple[int, ...],
    above: tuple[int, ...],
    below: tuple[int, ...],
    tracked_iris: int,
    iris: Iris,
    side: str,
    grain: Float32Array,
    *,
    is_drawn: bool,
    is_still: bool,
) -> EyeLayers:
    points = landmarks[:, :2].astype(np.float64)
    iod = fm.inter_ocular_px(landmarks)
    corner, axes, width = eye_frame(points, upper)
    to_eye = (points - corner) @ axes.T
    upper_y, lower_y = rim_curve(to_eye[list(upper)], width), rim_curve(to_eye[list(lower)], width)
    lower_y = np.maximum(lower_y, upper_y)
    crease_px = float(to_eye[list(upper[1:-1]), 1].mean() - to_eye[list(crease), 1].mean())
    room_above = float(to_eye[list(upper[1:-1]), 1].mean() - to_eye[list(above), 1].mean())
    room_below = float(to_eye[list(below), 1].mean() - to_eye[list(lower[1:-1]), 1].mean())
    zones = np.array([max(0.8 * room_above, 0.06 * iod), max(1.5 * room_below, 0.06 * iod)])
    box = points[[*upper, *lower]]
    margin = PATCH_MARGIN_IOD * iod
    low = np.clip(np.floor(box.min(0) - margin), 0, np.array(image.shape[1::-1]) - 2).astype(int)
    high = np.clip(np.ceil(box.max(0) + margin), low + 2, image.shape[1::-1]).astype(int)
    patch = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
    skin, white, disc, rim = _eyeball(
        patch,
        Iris(iris.centre - low, iris.radius),
        corner - low,
        axes,
        upper_y,
        lower_y,
        width,
        iod,
        grain,
        is_drawn=is_drawn,
        is_still=is_still,
    )
    return EyeLayers(
        frame=np.array([*corner, *axes[0], width, iod], np.float32),
        upper=upper_y.astype(np.float32),
        lower=lower_y.astype(np.float32),
        zones=zones.astype(np.float32),
        crease_px=max(crease_px, 0.0),
        patch_origin=low.astype(np.int32),
        skin=skin,
        white=white,
        iris=disc,
        rim=rim,
        iris_centre=to_eye[tracked_iris],
        bounds=np.array([*upper, *lower, *above, *below], np.int32),
        blink_channel=MOTION_INDEX[f"eyeBlink{side}"],
        squint_channel=MOTION_INDEX[f"eyeSquint{side}"],
        wide_channel=MOTION_INDEX[f"eyeWide{side}"],
        is_still=is_still,
    )


def _eyeball(
    patch: Uint8Array,
    iris: Iris,
    corner: npt.NDArray[np.float64],
    axes: npt.NDArray[np.float64],
    upper: npt.NDArray[np.float64],
    lower: npt.NDArray[np.float64],
    width: float,
    iod: float,
    grain: Float32Array,
    *,
    is_drawn: bool,
    is_still: bool,
) -> tuple[Uint8Array, Uint8Array, Uint8Array, Uint8Array]:
    """Skin without lashes, white without iris, iris with its matte, each complete, and the rim."""
    height, columns = patch.shape[:2]
    pixels = np.stack(np.meshgrid(np.arange(columns), np.arange(height)), -1).astype(np.float64)
    local = (pixels - corner) @ axes.T
    grid = np.linspace(0.0, width, CURVE_SAMPLES)
    rim = 0.8 * RIM_IOD * iod
    inside_upper = local[..., 1] - np.interp(local[..., 0], grid, upper, 1e3, 1e3)
    inside_lower = np.interp(local[..., 0], grid, lower, -1e3, -1e3) - local[..., 1]
    visible = (inside_upper > rim) & (inside_lower > rim)
    visible &= (local[..., 0] > rim) & (local[..., 0] < width - rim) & (not is_still)
    distance = np.linalg.norm(pixels - iris.centre, axis=-1) / iris.radius
    white = _complete_white(patch, visible & (distance > 1.2))
    disc = _complete_iris(patch, distance, visible)
    alpha = np.clip((1.25 - distance) / 0.25, 0.0, 1.0)
    matte = np.rint(255.0 * alpha * alpha * (3.0 - 2.0 * alpha))
    aside = (pixels - iris.centre) @ axes[0] / iris.radius
    ball = white + (matte / 255.0)[..., None] * (disc.astype(np.float64) - white)
    more = _rim(patch, ball, aside, (inside_upper, inside_lower), iod)
    opening = EyeOpening(below_upper=inside_upper, above_lower=inside_lower, iod_px=iod)
    skin = lid_skin(patch, opening, tile_grain(grain, patch.shape[:2]), is_even=is_drawn)
    return skin, white, np.dstack([disc, matte.astype(np.uint8)]), more


def _rim(
    patch: Uint8Array,
    ball: npt.NDArray[np.float64],
    aside: npt.NDArray[np.float64],
    inside: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    iod: float,
) -> Uint8Array:
    """What the photo shows more than the eyeball at each lid; see `EyeLayers.rim`.

    Args:
        patch: The photo.
        ball: float64 [h, w, 3], the eyeball as it would be drawn at rest.
        aside: float64 [h, w], way along the eye from the middle of the iris, in its radii.
        inside: float64 [h, w] each, distance from the upper and from the lower lid, px.
        iod: Inter-ocular distance, px.
    """
    more = patch - ball
    out = np.zeros((*more.shape[:2], 4))
    over = np.clip((IRIS_RIM_ENDS - np.abs(aside)) / (IRIS_RIM_ENDS - 1.0), 0.0, 1.0)
    for own, other in (inside, inside[::-1]):
        at = (own > 0.0) & (own < RIM_IOD * iod) & (other >= own)
        beside = over[at] == 0.0
        if not beside.any():
            continue
        x, y = aside[at] / RIM_BLUR, own[at] / (RIM_DEPTH_IOD * iod)
        apart = (x[:, None] - x[beside]) ** 2 + (y[:, None] - y[beside]) ** 2
        near = np.exp(-0.5 * (apart - apart.min(1, keepdims=True)))
        white = near @ more[at][beside].mean(1) / near.sum(1)
        fade = np.clip((1.0 - own[at] / (RIM_IOD * iod)) / (1.0 - RIM_FADES), 0.0, 1.0)
        out[at, 3] = fade * white
        out[at, :3] = (fade * over[at])[:, None] * (more[at] - white[:, None])
    return np.asarray(np.clip(np.rint(out + NO_RIM), 0, 255), np.uint8)


def _complete_white(patch: Uint8Array, known: npt.NDArray[np.bool_]) -> Uint8Array:
    if known.sum() < 12:  # hardly any white to be seen: guess it from the light on the skin
        pixels = patch.reshape(-1, 3)
        low, high = np.quantile(pixels.sum(1), (0.5, 0.8))  # neither brows nor what is behind
        lit = pixels[(pixels.sum(1) >= low) & (pixels.sum(1) <= high)].mean(0)
        colour = lit + HIDDEN_WHITE_GREY * (lit.mean() - lit)
        return np.full_like(patch, colour.astype(np.uint8))
    mean = patch[known].mean(0)
    filled = patch.copy()
    filled[~known] = mean.astype(np.uint8)
    hole = (~known).astype(np.uint8)
    near = cv2.inpaint(filled, hole, 4, cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(near, (0, 0), 1.5)
    return np.asarray(np.where(known[..., None], patch, soft), np.uint8)


def _complete_iris(
    patch: Uint8Array, distance: npt.NDArray[np.float64], visible: npt.NDArray[np.bool_]
) -> Uint8Array:
    """Fill the hidden part of the iris with the mean colour at the same radius."""
    edges = np.arange(0.0, 1.3, 0.1)
    centres, means = [], []
    for low in edges:
        ring = visible & (distance >= low) & (distance < low + 0.1)
        if ring.sum() >= 3:
            centres.append(low + 0.05)
            means.append(patch[ring].mean(0))
    if not centres:
        return patch.copy()
    table = np.array(means)
    fill = np.stack([np.interp(distance, centres, table[:, k]) for k in range(3)], -1)
    seen = cv2.GaussianBlur(visible.astype(np.float32), (0, 0), 0.8)[..., None]
    return np.asarray(np.rint(patch * seen + fill * (1.0 - seen)), np.uint8)
