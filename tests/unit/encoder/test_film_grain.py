"""Grain: measured as it was put in, and drawn as it was measured."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.models.film_grain import FilmGrain


def film(std: float, width_px: float, *, colour: float = 0.0) -> np.ndarray:
    """A wall with an edge in it, and grain: float32 [256, 256, 3]."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((256, 256, 1)).astype(np.float32)
    if width_px:
        noise = cv2.GaussianBlur(noise, (0, 0), width_px)[..., None]
    wall = np.full((256, 256, 3), 120.0, np.float32)
    wall[:, 128:] = 60.0
    tint = colour * rng.standard_normal(wall.shape).astype(np.float32)
    return wall + std * noise / noise.std() + tint


@pytest.mark.parametrize("std", [4.0, 14.0])
@pytest.mark.parametrize("width_px", [0.0, 0.5, 0.7, 1.0])
def test_grain_is_measured_and_drawn_again(std: float, width_px: float) -> None:
    picture = film(std, width_px)
    everywhere = np.ones(picture.shape[:2], bool)
    grain = FilmGrain.of(picture, everywhere)
    assert grain.light == pytest.approx(std, rel=0.1)
    assert grain.colour < 0.1 * std
    assert grain.width_px == pytest.approx(width_px, abs=0.1)
    drawn = grain.drawn(everywhere.shape, 1)
    assert drawn.std() == pytest.approx(std, rel=0.1)
    again = FilmGrain.of(120.0 + drawn, everywhere)
    assert again.width_px == pytest.approx(grain.width_px, abs=0.1)


def test_colour_and_lightness_are_told_apart() -> None:
    everywhere = np.ones((256, 256), bool)
    grain = FilmGrain.of(film(4.0, 0.0, colour=6.0), everywhere)
    assert grain.colour > 4.0
    assert grain.light == pytest.approx(np.hypot(4.0, 6.0 / np.sqrt(3.0)), rel=0.15)


def test_where_nothing_is_seen_there_is_no_grain() -> None:
    nowhere = np.zeros((256, 256), bool)
    grain = FilmGrain.of(film(9.0, 0.0), nowhere)
    assert not grain.drawn(nowhere.shape, 0).any()
