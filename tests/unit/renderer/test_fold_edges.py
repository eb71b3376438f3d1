"""Edges of a fold are soft, and nothing else is."""

from __future__ import annotations

import numpy as np

from parlante.models.fold_edges import soften_folds

SIZE = 12


def _maps(jump_px):
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    return x + jump_px * (x >= SIZE // 2), y


def _stripes():
    picture = np.zeros((SIZE, SIZE, 4), np.uint8)
    picture[:, SIZE // 2 :] = 200
    picture[..., 3] = 255
    return picture


def _softened(picture, maps):
    out = picture.copy()
    soften_folds(picture, *maps, out)
    return out


def test_both_sides_of_a_fold_are_mixed():
    out = _softened(_stripes(), _maps(20.0))
    row = out[5, :, 0].astype(int)
    assert row[: SIZE // 2 - 1].max() == 0
    assert row[SIZE // 2 - 1] == 50
    assert row[SIZE // 2] == 150
    assert row[SIZE // 2 + 1 :].min() == 200
    assert (out[..., 3] == 255).all()


def test_edge_that_the_portrait_itself_has_stays_sharp():
    picture = _stripes()
    assert (_softened(picture, _maps(0.0)) == picture).all()


def test_what_nothing_covers_is_left_alone():
    picture = _stripes()
    map_x, map_y = _maps(0.0)
    map_x[:, SIZE // 2 :] = -16.0
    out = _softened(picture, (map_x, map_y))
    assert (out[:, SIZE // 2 :] == picture[:, SIZE // 2 :]).all()
