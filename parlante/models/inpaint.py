"""The background without the person: its rim continued inwards into a smooth fill, with grain."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.busy_background import LIGHTNESS, busy_beside, go_on
from parlante.models.film_grain import COARSE_FROM, FilmGrain
from parlante.models.nearest import nearest_known
from parlante.models.push_pull import push_pull
from parlante.models.room_fill import fill_room
from parlante.models.strands import before_calm, find_strands
from parlante.types import Float32Array, Uint8Array

__all__ = ["fill_background"]

# Hair and colour spill may reach this far beyond the matte (px of the crop). What looks like the
# person there is painted away, what does not is kept; this near the matte all is painted away.
SAFETY_PX: Final = 22
RIM_PX: Final = 3
PERSON_MATTE: Final = 0.95
NO_PERSON: Final = 0.04
# Share of the person's colour in what is more than background: beside the matte blur counts,
# further out only hair.
SPILL_SHARES: Final = (0.10, 0.45)
HAIR_SHARE: Final = 0.06  # in thin strokes
HAIR_PX: Final = 4  # half the width of the widest stroke
SAME_COLOUR: Final = 18.0  # of 255: person and background that differ by less do not show
STRAND_PX: Final = 3  # around spilt pixels
# What has the colours of the background beside it may be its structure: unlike blur and hair, it
# must not be taken for the person and travel with the head.
LIKE_BACKGROUND_PX: Final = 36
LIKE_BACKGROUND: Final = 4.0  # of 255, tolerance
LIKE_BLUR_PX: Final = 1.0
# So is what goes over into the background without an edge, as shadows and folds of a curtain do:
# by fewer levels of 255 per px.
SMOOTH_LEVELS: Final = 2.5
# Single hairs go further: strokes of the person's colour that hang together with what is spilt.
FAR_HAIR_PX: Final = 40
FAR_HAIR_SHARE: Final = 0.10
# Strokes that the background has itself, as bricks and books do, are no hair: it must be stronger
# than so many of all that is further away.
WEAKER_STROKES: Final = 0.98
CALM_PX: Final = 41
MIN_KNOWN_SHARE: Final = 0.003
SEAM_BLUR_PX: Final = 3.0
BUSY_SEAM_PX: Final = 0.8  # where what is beside has edges as well
# Ends of hair at the seam: half the width of the widest, how far from it, and of 255 by how much
# what is left of them differs at least.
END_PX: Final = 5
SEAM_REACH_PX: Final = 7
END_LEVELS: Final = 4.0
END_BLUR_PX: Final = 1.0
# How far into the hole the rim's own colours are carried before the smooth fill takes over. A turn
# of the head uncovers about 20 px of it.
RIM_REACH_PX: Final = 45.0
RIM_BLUR_PX: Final = 6.0
RIM_CALM_PX: Final = 2.5
RIM_CLEAN_PX: Final = 5
# Of 255: grain beyond the first is blurred away, up to so many px at the second, before anything is
# looked for in a picture. It would pass for hair.
COARSE_GRAIN: Final = (COARSE_FROM, 12.0)
GRAIN_BLUR_PX: Final = (0.7, 2.0)


def fill_background(
    rgb: Uint8Array, matte: Float32Array, *, shown: Uint8Array | None = None, seed: int = 0
) -> Uint8Array:
    """Paint the person away.

    Near its rim the hole continues the nearest background pixels, further in it is interpolated
    smoothly, and it gets the grain of the visible background: what a turn of the head uncovers
    neither repeats the head nor looks polished. Bricks, books or leaves go on as they are further
    out.

    Args:
        rgb: uint8 [H, W, 3].
        matte: float32 [H, W], 1 = person.
        shown: uint8 [H, W], 0 where the picture does not show the pixel; None = it shows all.
        seed: Fixes the grain.

    Returns:
        uint8 [H, W, 3].
    """
    picture = rgb.astype(np.float32)
    grain = FilmGrain.of(picture, matte <= NO_PERSON)
    seen = _seen_through(picture, grain)
    busy = busy_beside(rgb, matte)
    known = _without_person(seen, matte, busy > 0.5)
    if shown is not None:
        known = known * (cv2.erode(shown, _disc(RIM_PX), borderValue=255) > 0)
    if known.mean() < MIN_KNOWN_SHARE:
        # The person fills the frame: a calm tone from its border must do.
        border = np.concatenate([picture[0], picture[:, 0], picture[:, -1]])
        return np.broadcast_to(np.median(border, axis=0), rgb.shape).astype(np.uint8)
    smooth = _continue_rim(picture, known)
    weight = _seam(known, SEAM_BLUR_PX)
    textured = np.zeros_like(busy)
    if busy.any():
        texture, share = go_on(picture, known)
        textured = busy * share
        smooth += textured[..., None] * (texture - smooth)
        weight += busy * (_seam(known, BUSY_SEAM_PX) - weight)
    weight = weight[..., None]
    mixed = smooth + weight * (picture - smooth)
    calm = mixed if seen is picture else smooth + weight * (seen - smooth)
    plain, ends = _without_ends(calm, known, seen, matte)
    ends *= 1.0 - busy
    ended = ends > 0.0
    mixed[ended] += ends[ended, None] * (plain[ended] - mixed[ended])
    # Half of the photo's grain and half of another would be less grain than either.
    added = np.sqrt(1.0 - np.square(weight[..., 0] * (1.0 - ends))) * (1.0 - textured)
    whole = mixed + added[..., None] * grain.drawn(known.shape, seed)
    return np.asarray(np.clip(np.round(whole), 0, 255), np.uint8)


def _seam(known: Float32Array, blur_px: float) -> Float32Array:
    """How far the picture itself is seen: softly less towards what is not known, [H, W]."""
    near = cv2.GaussianBlur(known, (0, 0), blur_px) * known
    return np.asarray(np.clip(2.0 * near - 1.0, 0.0, 1.0), np.float32)


def _seen_through(picture: Float32Array, grain: FilmGrain) -> Float32Array:
    """The picture without its grain; itself where that is fine."""
    if not grain.is_coarse:
        return picture
    blur = np.interp(grain.light + grain.colour, COARSE_GRAIN, GRAIN_BLUR_PX)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(blur)), np.float32)


def _without_ends(
    mixed: Float32Array, known: Float32Array, picture: Float32Array, matte: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Find ends of hair that are left at the seam: thin strokes of the person's lightness.

    Returns:
        What is beside them, float32 [H, W, 3], and the share [H, W] to which they are one.
    """
    sure = matte > PERSON_MATTE
    if not sure.any():
        return mixed, np.zeros_like(matte)
    # Levels of eight bits: a quarter of the time that floats take.
    levels = cv2.GaussianBlur(np.clip(mixed, 0, 255).astype(np.uint8), (0, 0), LIKE_BLUR_PX)
    shape = _disc(END_PX)
    person = cv2.transform(_continued(picture, sure.astype(np.float32)), LIGHTNESS)
    is_darker = (person < cv2.transform(levels, LIGHTNESS)).astype(np.uint8)
    plain = cv2.morphologyEx(levels, cv2.MORPH_OPEN, shape)
    cv2.copyTo(cv2.morphologyEx(levels, cv2.MORPH_CLOSE, shape), is_darker, plain)
    red, green, blue = cv2.split(cv2.absdiff(plain, levels))
    change = cv2.max(cv2.max(red, green), blue).astype(np.float32)
    edge = cv2.morphologyEx(known.astype(np.uint8), cv2.MORPH_GRADIENT, _disc(1))
    seam = cv2.dilate(edge, _disc(SEAM_REACH_PX))
    share = seam * np.clip(change / END_LEVELS - 1.0, 0.0, 1.0)
    share = cv2.GaussianBlur(cv2.dilate(share, _disc(2)), (0, 0), END_BLUR_PX)
    return plain.astype(np.float32), np.asarray(share, np.float32)


def _without_person(
    picture: Float32Array, matte: Float32Array, is_busy: npt.NDArray[np.bool_]
) -> Float32Array:
    """Find pixels that show background alone: float32 [H, W], 1 = known.

    Where that is busy, bool [H, W], hair cannot be told from it.
    """
    person = (matte > NO_PERSON).astype(np.uint8)
    known = np.asarray(cv2.dilate(person, _disc(SAFETY_PX)) == 0, np.float32)
    sure = np.asarray(matte > PERSON_MATTE, np.float32)
    if known.mean() < MIN_KNOWN_SHARE or not sure.any():
        return known
    away = cv2.distanceTransform(1 - person, cv2.DIST_L2, 5)
    strands = find_strands(picture, away)
    # Colours of strands must not pass for colours of the background.
    plain = np.where(_wider(strands.mask), np.float32(0.0), known)
    behind, before = _continued(picture, plain), _continued(picture, sure)
    strands_seen = before_calm(strands, behind)
    plain = np.where(_wider(strands_seen), np.float32(0.0), known)
    towards = before - behind
    contrast = np.maximum(_dot(towards, towards), SAME_COLOUR**2)
    share = _dot(picture - behind, towards) / contrast
    limit = np.interp(away, (RIM_PX, SAFETY_PX), SPILL_SHARES)
    share = np.asarray(np.clip(share, 0.0, 1.0), np.float32)
    strokes = cv2.morphologyEx(share, cv2.MORPH_TOPHAT, _disc(HAIR_PX))
    is_like = _like_background(picture, plain) | _shaded_background(picture, plain)
    is_spilt = ((share > limit) | (strokes > HAIR_SHARE)) & ~is_like
    # Where the background is known, what is behind follows its strokes: they are measured anew.
    calm = cv2.blur(behind, (CALM_PX, CALM_PX))
    own = np.asarray(np.clip(_dot(picture - calm, towards) / contrast, 0.0, 1.0), np.float32)
    own = cv2.morphologyEx(own, cv2.MORPH_TOPHAT, _disc(HAIR_PX))[away > FAR_HAIR_PX]
    usual = float(np.quantile(own, WEAKER_STROKES)) if len(own) else 0.0
    is_hair = (strokes > max(FAR_HAIR_SHARE, usual)) & (away < FAR_HAIR_PX)
    hairs = _hanging_together(is_hair, is_spilt & (away < SAFETY_PX))
    hairs |= strands_seen & ~is_like
    hairs &= ~is_busy
    kept = (away > RIM_PX) & ~_wider((is_spilt & ~is_busy) | hairs)
    return np.asarray(np.where(_wider(hairs), 0.0, np.maximum(known, kept)), np.float32)


def _dot(one: Float32Array, other: Float32Array) -> Float32Array:
    """Products of colours [H, W, 3], added up: [H, W]."""
    return np.asarray(np.einsum("ijk,ijk->ij", one, other), np.float32)


def _like_background(picture: Float32Array, known: Float32Array) -> npt.NDArray[np.bool_]:
    """Whether each pixel lies within the range of colours that the background has around it."""
    size = 2 * LIKE_BACKGROUND_PX + 1
    window = np.ones((size, size), np.uint8)
    is_known = known[..., None] > 0
    calm = cv2.GaussianBlur(picture, (0, 0), LIKE_BLUR_PX)  # single bright pixels are no range
    low = cv2.erode(np.where(is_known, calm, 255.0).astype(np.uint8), window)
    high = cv2.dilate(np.where(is_known, calm, 0.0).astype(np.uint8), window)
    above = picture >= low.astype(np.float32) - LIKE_BACKGROUND
    below = picture <= high.astype(np.float32) + LIKE_BACKGROUND
    red, green, blue = cv2.split((above & below).astype(np.uint8))
    return np.asarray(cv2.min(cv2.min(red, green), blue) > 0)


def _shaded_background(picture: Float32Array, known: Float32Array) -> npt.NDArray[np.bool_]:
    """Whether each pixel goes over into the background without an edge."""
    levels = cv2.GaussianBlur(np.clip(picture, 0, 255).astype(np.uint8), (0, 0), LIKE_BLUR_PX)
    slopes = [cv2.Sobel(levels, cv2.CV_16S, *axis, ksize=3) for axis in ((1, 0), (0, 1))]
    steepest = cv2.max(*(cv2.convertScaleAbs(slope) for slope in slopes)).max(axis=2)
    return _hanging_together(steepest < 8 * SMOOTH_LEVELS, known > 0)  # Sobel's sum of weights


def _hanging_together(
    pixels: npt.NDArray[np.bool_], roots: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Those pixels that go on from roots."""
    near = cv2.dilate((pixels | roots).astype(np.uint8), _disc(1))
    count, labels = cv2.connectedComponents(near)
    is_rooted = np.zeros(count, bool)
    is_rooted[np.unique(labels[roots])] = True
    is_rooted[0] = False
    return np.asarray(pixels & is_rooted[labels])


def _wider(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """With what is beside it, which has some of it."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(STRAND_PX)) > 0)


def _continued(picture: Float32Array, known: Float32Array) -> Float32Array:
    """Interpolate from known pixels as `push_pull` does, smoothly: at a quarter of the size."""
    height, width = known.shape
    size = (max(width // 4, 1), max(height // 4, 1))
    weights = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    values = cv2.resize(picture * known[..., None], size, interpolation=cv2.INTER_AREA)
    small = push_pull(values / np.maximum(weights, 1e-3)[..., None], weights)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _disc(radius_px: int) -> Uint8Array:
    size = (2 * radius_px + 1, 2 * radius_px + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), np.uint8)


def _continue_rim(picture: Float32Array, known: Float32Array) -> Float32Array:
    """Carry what is beside a hole into it, fading into a smooth fill, as rooms are built.

    At half the size, which is fine enough for what is guessed.
    """
    # Right at the rim a little of the person may be left, which would be drawn out to a smear.
    clean = cv2.erode(known, _disc(RIM_CLEAN_PX), borderValue=1.0)
    clean = clean if clean.any() else known
    height, width = known.shape
    half = (max(width // 2, 1), max(height // 2, 1))
    share = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    colours = cv2.resize(picture * known[..., None], half, interpolation=cv2.INTER_AREA)
    # Single pixels of a noisy picture would be drawn out into coloured streaks.
    calm = cv2.GaussianBlur(colours, (0, 0), RIM_CALM_PX / 2.0)
    calm /= np.maximum(cv2.GaussianBlur(share, (0, 0), RIM_CALM_PX / 2.0), 1e-4)[..., None]
    is_clean = cv2.resize(clean, half, interpolation=cv2.INTER_AREA) > 0.99
    clean_half = is_clean.astype(np.float32)
    nearest, distance = nearest_known(calm, is_clean)
    carried = cv2.GaussianBlur(nearest, (0, 0), RIM_BLUR_PX / 2.0)
    share = np.exp(-distance / np.float32(RIM_REACH_PX / 2.0))[..., None]
    smooth = push_pull(calm, clean_half)
    mixed = np.where(is_clean[..., None], calm, smooth + share * (carried - smooth))
    mixed = fill_room(calm, clean_half, mixed, nearest, 0.5)
    full = cv2.resize(mixed, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.where(clean[..., None] > 0, picture, full), np.float32)
