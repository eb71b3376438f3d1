"""Procedural backgrounds: walls, rooms, landscapes, lights out of focus."""

from __future__ import annotations

import colorsys
from typing import Final

import cv2
import numpy as np

from parlante.synth.assets import Float64Array
from parlante.types import Float32Array, Uint8Array

__all__ = ["sample_background"]

KINDS: Final = ("wall", "room", "outdoor", "bokeh", "clutter")
SHARES: Final = (0.28, 0.27, 0.18, 0.10, 0.17)


def sample_background(rng: np.random.Generator, size_px: int) -> tuple[Uint8Array, str]:
    """Draw a background.

    Args:
        rng: Source of chance.
        size_px: Edge of the picture.

    Returns:
        uint8 [H, W, 3], RGB, and the name of its kind.
    """
    kind = str(rng.choice(np.array(KINDS), p=SHARES))
    hue = float(rng.random())
    picture = _gradient(rng, size_px, hue)
    if kind == "outdoor":
        picture = _landscape(rng, size_px)
    elif kind in ("room", "clutter", "bokeh"):
        num_shapes = int(rng.integers(5, 28)) if kind != "clutter" else int(rng.integers(40, 120))
        picture = _shapes(rng, picture, hue, num_shapes, round_ones=kind == "bokeh")
    picture = picture * (1.0 + rng.uniform(0.0, 0.25) * _noise(rng, 6, size_px))
    picture = picture * (1.0 + rng.uniform(0.0, 0.12) * _noise(rng, 40, size_px))
    blur = float(rng.choice([3.0, 6.0, 10.0, 18.0]) if kind != "clutter" else rng.uniform(0.4, 4.0))
    small = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), blur * size_px / 512)
    return np.asarray(np.clip(small, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8), kind


def _colour(hue: float, saturation: float, value: float) -> Float64Array:
    rgb = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return np.array(rgb)


def _noise(rng: np.random.Generator, cells: int, size_px: int) -> Float32Array:
    """Smooth noise about 0, float32 [H, W, 1]."""
    coarse = rng.normal(0.0, 0.3, (cells, cells)).astype(np.float32)
    fine = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine[..., None], np.float32)


def _gradient(rng: np.random.Generator, size_px: int, hue: float) -> Float32Array:
    axis = np.linspace(-0.5, 0.5, size_px, dtype=np.float32)
    angle = float(rng.uniform(0.0, 2.0 * np.pi))
    along = 0.5 + axis[None, :, None] * np.cos(angle) + axis[:, None, None] * np.sin(angle)
    first = _colour(hue, rng.beta(1.2, 4.0), rng.uniform(0.05, 0.97))
    second = np.clip(first * rng.uniform(0.5, 1.25), 0.0, 1.0)
    return np.asarray(first + (second - first) * np.clip(along, 0.0, 1.0), np.float32)


def _landscape(rng: np.random.Generator, size_px: int) -> Float32Array:
    y = np.linspace(0.0, 1.0, size_px, dtype=np.float32)[:, None, None]
    horizon = float(rng.uniform(0.25, 0.7))
    sky = _colour(0.58 + rng.normal(0.0, 0.03), rng.uniform(0.05, 0.5), rng.uniform(0.6, 1.0))
    ground = _colour(rng.uniform(0.15, 0.38), rng.uniform(0.15, 0.6), rng.uniform(0.15, 0.5))
    steep = float(rng.uniform(12.0, 40.0))
    edge = (y - horizon + 0.4 * _noise(rng, 7, size_px)) * steep
    below = 1.0 / (1.0 + np.exp(-np.clip(edge, -30.0, 30.0)))
    texture = 1.0 + sum(_noise(rng, cells, size_px) for cells in (24, 64, 150))
    lower = ground * np.clip(texture, 0.1, 3.0)
    return np.asarray(sky * (1.0 - 0.25 * y) * (1.0 - below) + lower * below, np.float32)


def _shapes(
    rng: np.random.Generator,
    picture: Float32Array,
    hue: float,
    num_shapes: int,
    *,
    round_ones: bool,
) -> Float32Array:
    """Boxes like furniture, or discs like lights out of focus."""
    size_px = picture.shape[0]
    canvas = np.ascontiguousarray(picture)
    for _ in range(num_shapes):
        x, y = (float(v) * size_px for v in rng.uniform(-0.2, 1.0, 2))
        width, height = (
            float(v) * size_px for v in np.exp(rng.uniform(np.log(0.03), np.log(0.6), 2))
        )
        tone = _colour(hue + rng.normal(0.0, 0.2), rng.beta(1.2, 3.5), rng.beta(1.2, 1.4))
        colour = tuple(float(v) for v in tone)
        if round_ones or rng.random() < 0.15:
            cv2.circle(canvas, (int(x), int(y)), max(1, int(0.2 * width)), colour, -1)
        else:
            tall = height * float(rng.choice([0.3, 1.0, 2.0]))
            cv2.rectangle(canvas, (int(x), int(y)), (int(x + width), int(y + tall)), colour, -1)
    return canvas
