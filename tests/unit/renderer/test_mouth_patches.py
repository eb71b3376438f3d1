"""The ends of a mouth: of a photo's, beside lips that round, and of a drawn opening."""

from __future__ import annotations

import cv2
import numpy as np

from parlante.models import face_mesh as fm
from parlante.models.frame_geometry import INNER_LIPS, geometry_from_motion
from parlante.models.mouth_patches import plain_corners_of
from parlante.models.skin_grain import skin_grain


def test_the_shade_around_a_dark_corner_leaves_no_ring(draw):
    portrait = draw()
    points, iod = portrait.landmarks, portrait.iod_px
    plain = np.full((512, 512, 3), (200.0, 165.0, 145.0), np.float32)
    y, x = np.mgrid[:512, :512]
    shaded = plain.copy()
    places = [points[corner, :2] + [side * 0.02 * iod, 0.0] for corner, side in _CORNERS]
    for place in places:
        away = np.hypot(x - place[0], y - place[1]) / iod
        shaded *= 1.0 - 0.15 * np.exp(-((away / 0.05) ** 2))[..., None]
        shaded *= 1.0 - 0.5 * np.exp(-((away / 0.015) ** 2))[..., None]
    face = shaded.astype(np.uint8)
    patch = plain_corners_of(face, points, skin_grain(face, points), 0.0)
    left, top = patch.origin
    height, width = patch.pixels.shape[:2]
    cut = np.s_[top : top + height, left : left + width]
    share = patch.pixels[..., 3:] / 255.0
    shown = shaded[cut] + share * (patch.pixels[..., :3] - shaded[cut])
    darker = cv2.GaussianBlur((plain[cut] - shown).mean(-1), (0, 0), 1.0)
    for place, (_, side) in zip(places, _CORNERS, strict=True):
        away = np.hypot(x[cut] - place[0], y[cut] - place[1]) / iod
        beside = (away < 0.08) & ((x[cut] - place[0]) * side > 0.02 * iod)
        assert darker[beside].max() < 0.06 * plain.mean()


def test_shade_around_a_corner_ends_along_the_lips_not_at_an_upright_edge(draw):
    """Drawn together, the edge stood beside rounded lips as a whisker and cut their ends square."""
    portrait = draw()
    points, iod = portrait.landmarks, portrait.iod_px
    face = np.full((512, 512, 3), (200, 165, 145), np.uint8)
    for corner, _ in _CORNERS:
        x, y = np.rint(points[corner, :2] * 16).astype(int)
        cv2.circle(face, (x, y), int(0.06 * iod * 16), (150, 120, 100), -1, cv2.LINE_AA, 4)
    outline = np.rint(points[list(fm.OUTER_LIPS), :2] * 16).astype(np.int32)
    cv2.fillPoly(face, [outline], (170, 80, 80), cv2.LINE_AA, 4)
    patch = plain_corners_of(face, points, skin_grain(face, points), 0.0)
    for corner, side in _CORNERS:
        inwards = points[corner, :2] - [side * 0.025 * iod, 0.0] - patch.origin
        above, within = inwards - [0.0, 0.045 * iod], inwards - [side * 0.06 * iod, 0.0]
        shade, lip = (patch.pixels[tuple(np.rint(at[::-1]).astype(int))] for at in (above, within))
        assert shade[3] > 0.2 * 255
        assert lip[3] < 0.1 * 255


_CORNERS = tuple(zip(fm.MOUTH_CORNERS, (-1.0, 1.0), strict=True))


def test_thin_ends_of_an_opening_are_no_black_wedges(decoder, avatar, motion):
    values = motion(jawOpen=0.15)
    lips = geometry_from_motion(avatar, values).posed[INNER_LIPS]
    frame = decoder.render(avatar, values)
    for column in (1, 9):
        x, y = np.round(0.5 * (lips[column] + lips[11 + column])).astype(int)
        shown = frame[y, x].astype(float)
        line = avatar.mouth.line
        assert shown.sum() > 0.5 * line.sum()


def test_a_beard_around_the_mouth_is_not_painted_over(draw):
    portrait = draw()
    points = portrait.landmarks
    face = np.full((512, 512, 3), (200, 165, 145), np.uint8)
    ticks = plain_corners_of(face, points, skin_grain(face, points), 0.0)
    strands = np.random.default_rng(0).random((512, 512)) < 0.8
    bearded = np.where(strands[..., None], np.uint8(40), face)
    patch = plain_corners_of(bearded, points, skin_grain(bearded, points), 0.0)
    assert patch.pixels.shape == ticks.pixels.shape
    assert patch.pixels[..., 3].max() < 40
