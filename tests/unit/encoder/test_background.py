"""What is background beside a head, and what is its hair."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.models.busy_background import busy_beside, go_on
from parlante.models.inpaint import fill_background
from parlante.models.matting import refine_matte
from parlante.types import Uint8Array
from tests.unit.encoder.conftest import Bricks


def _plain_head(*, beyond: int) -> tuple[Uint8Array, np.ndarray]:
    """A dark head on a light wall, with a hair that ends `beyond` px outside the matte."""
    rgb = np.full((256, 256, 3), 190, np.uint8)
    cv2.circle(rgb, (128, 128), 60, (40, 30, 30), -1, cv2.LINE_AA)
    matte = np.zeros((256, 256), np.float32)
    cv2.circle(matte, (128, 128), 60, 1.0, -1, cv2.LINE_AA)
    cv2.line(rgb, (150, 128), (188 + beyond, 150), (60, 50, 50), 3, cv2.LINE_AA)
    return rgb, matte


@pytest.mark.parametrize("beyond", [8, 20, 32])
def test_background_loses_a_hair_that_hangs_out_of_the_head(beyond: int) -> None:
    rgb, matte = _plain_head(beyond=beyond)
    background = fill_background(rgb, matte)
    assert background.min() > 150


def test_background_keeps_an_edge_that_runs_to_the_head() -> None:
    rgb, matte = _plain_head(beyond=0)
    shelf = rgb.copy()
    shelf[60:72] = (70, 60, 60)  # a dark board behind the head, from side to side
    cv2.circle(shelf, (128, 128), 60, (40, 30, 30), -1, cv2.LINE_AA)
    background = fill_background(shelf, matte)
    beside = 128 + 60 + 8
    assert np.abs(background[62:70, beside:].astype(int) - shelf[62:70, beside:]).max() < 12


def test_background_loses_ends_of_hair_that_have_its_colours_too() -> None:
    """A post as dark as the hair stands nearby: what is dark beside the head may be its own."""
    rgb, matte = _plain_head(beyond=0)
    rgb[:, 214:226] = (40, 30, 30)
    rgb[100:112, 194:196] = (70, 60, 60)
    filled = fill_background(rgb, matte).astype(int)
    assert filled[100:112, 192:198].min() > 140
    assert filled[60:200, 216:224].max() < 90  # the post stays


def _light_head() -> tuple[Uint8Array, np.ndarray]:
    """A face with a strand beside it that is darker than the wall, and than skin, and hangs far."""
    rgb = np.full((320, 320, 3), 130, np.uint8)
    cv2.circle(rgb, (130, 130), 60, (215, 175, 155), -1, cv2.LINE_AA)
    matte = np.zeros((320, 320), np.float32)
    cv2.circle(matte, (130, 130), 60, 1.0, -1, cv2.LINE_AA)
    cv2.line(rgb, (180, 130), (215, 195), (60, 40, 30), 5, cv2.LINE_AA)
    return rgb, matte


def test_background_loses_a_strand_that_is_darker_than_the_face_beside_it() -> None:
    background = fill_background(*_light_head()).astype(int)
    assert np.abs(background[160:200, 196:222] - 130).max() < 20


def test_background_keeps_a_thin_line_that_goes_on_beyond_any_hair() -> None:
    rgb, matte = _light_head()
    cv2.line(rgb, (180, 110), (319, 90), (60, 40, 30), 3, cv2.LINE_AA)
    background = fill_background(rgb, matte)
    assert background[88:106, 225:].min(0).max() < 90


def test_background_keeps_thin_structure_that_has_another_structure_beside_it() -> None:
    rgb, matte = _light_head()
    cv2.rectangle(rgb, (185, 60), (240, 120), (150, 80, 20), -1)  # a board with a line on it
    cv2.circle(rgb, (130, 130), 60, (215, 175, 155), -1, cv2.LINE_AA)
    cv2.line(rgb, (185, 90), (235, 90), (40, 30, 20), 3, cv2.LINE_AA)
    background = fill_background(rgb, matte).astype(int)
    assert np.abs(background[88:93, 215:232] - rgb[88:93, 215:232]).max() < 12


def test_background_keeps_a_shade_that_has_no_edge() -> None:
    """A fold of a curtain beside dark hair: it is darker than all of the wall around the head."""
    rgb, matte = _plain_head(beyond=0)
    row, column = np.mgrid[:256, :256].astype(np.float32)
    shade = 45.0 * np.exp(-(((column - 190.0) / 18.0) ** 2) - ((row - 128.0) / 40.0) ** 2)
    shaded = np.where(matte[..., None] > 0.0, rgb, rgb - shade[..., None]).round().astype(np.uint8)
    background = fill_background(shaded, matte).astype(int)
    away = np.hypot(column - 128.0, row - 128.0) - 60.0
    beside = (away > 11.0) & (column > 128.0)
    assert np.abs(background - shaded)[beside].max() <= 8


def test_background_keeps_a_wall_of_bricks_whose_mortar_is_as_light_as_the_face(
    bricks: Bricks,
) -> None:
    rgb, matte, away = bricks.behind((200, 160, 140))
    change = np.abs(fill_background(rgb, matte).astype(int) - rgb).max(axis=-1)
    assert (change > 12)[(away > 16) & (away < 45)].mean() < 0.3


@pytest.mark.parametrize("face", [(200, 160, 140), (60, 45, 40)])
def test_a_matte_does_not_creep_along_the_lines_of_a_wall(
    bricks: Bricks, face: tuple[int, int, int]
) -> None:
    rgb, matte, away = bricks.behind(face)
    coarse = np.zeros((320, 320), np.float32)
    cv2.circle(coarse, (160, 160), 73, 1.0, -1, cv2.LINE_AA)
    coarse = np.asarray(cv2.GaussianBlur(coarse, (0, 0), 2.5), np.float32)
    fine = refine_matte(rgb, coarse)
    assert np.abs(fine - matte).sum() < 0.7 * np.abs(coarse - matte).sum()
    assert ((fine > 0.1) & (away > 4)).sum() < 200


def test_bricks_go_on_behind_the_face(bricks: Bricks) -> None:
    rgb, matte, _ = bricks.behind((60, 45, 40))
    depth = cv2.distanceTransform((matte > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    beside = (depth > 2) & (depth < 22) & (np.abs(np.arange(320)[:, None] - 160) < 45)
    filled = fill_background(rgb, matte).astype(float)
    wrong = np.abs(filled - bricks.wall).mean(axis=-1)
    shuffled = np.abs(filled - np.roll(bricks.wall, (10, 22), (0, 1))).mean(axis=-1)
    assert wrong[beside].mean() < 25.0
    assert wrong[beside].mean() < 0.7 * shuffled[beside].mean()


def test_only_beside_bricks_is_busy(bricks: Bricks) -> None:
    rgb, matte, away = bricks.behind((60, 45, 40))
    near = (away > 0) & (away < 10)
    assert busy_beside(rgb, matte)[near].min() > 0.8
    rgb[:, :160] = (150, 90, 70)
    cv2.circle(rgb, (160, 160), 70, (60, 45, 40), -1, cv2.LINE_AA)
    busy = busy_beside(rgb, matte)
    assert busy[:, :90][near[:, :90]].max() == 0.0
    assert busy[:, 230:][near[:, 230:]].min() > 0.8


def test_a_texture_is_seen_where_nothing_else_is(bricks: Bricks) -> None:
    rgb, _, away = bricks.behind((60, 45, 40))
    known = (away > 3.0).astype(np.float32)
    texture, share = go_on(rgb.astype(np.float32), known)
    assert share[away > 6.0].max() == 0.0
    assert share[(away == 0.0)].max() == 1.0
    dark = texture[share > 0].mean(axis=-1) < 55.0  # the face's colour
    assert dark.mean() < 0.01
    _, nowhere = go_on(rgb.astype(np.float32), np.zeros_like(known))
    assert nowhere.max() == 0.0


def test_background_goes_on_upright_without_an_outline_of_the_head() -> None:
    """A strip of light on the wall, which the head hides from its top on."""
    rgb, matte = _plain_head(beyond=0)
    strip = 60.0 * np.exp(-(((np.arange(256) - 150.0) / 18.0) ** 4))
    wall = np.clip(rgb + strip[None, :, None], 0.0, 255.0).round().astype(np.uint8)
    lit = np.where(matte[..., None] > 0.0, rgb, wall)
    background = fill_background(lit, matte).astype(int).mean(axis=-1)
    assert np.abs(np.diff(background[:140], axis=0)).max() < 16.0
    assert background[100, 150] > 205.0
