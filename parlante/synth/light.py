"""Light: one source that casts shadows, soft fills without, and the sky."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.synth.assets import Float64Array

__all__ = ["Light", "sample_light"]

NUM_FILLS: Final = 2
LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722])
# Towards the viewer and a little up: the skin that exposure is set by.
FACING: Final = np.array([0.0, 0.2, 0.98])
COLOURED_SHARE: Final = 0.15  # of scenes with a clearly coloured fill


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Light:
    """The light of one scene; linear colours.

    Attributes:
        key_direction: float64 [3], towards the source.
        key: float64 [3], irradiance of a surface that faces it.
        softness_dm: Radius of the shadow's edge.
        fill_directions: float64 [2, 3].
        fills: float64 [2, 3], irradiance.
        sky: float64 [3], irradiance from above.
        ground: float64 [3], irradiance from below.
        kind: Name for the metadata.
    """

    key_direction: Float64Array
    key: Float64Array
    softness_dm: float
    fill_directions: Float64Array
    fills: Float64Array
    sky: Float64Array
    ground: Float64Array
    kind: str


def sample_light(rng: np.random.Generator) -> Light:
    """Draw a light: soft or hard, from in front or the side, warm or cool."""
    kind = str(
        rng.choice(["soft", "studio", "sun", "side", "back"], p=[0.3, 0.3, 0.15, 0.17, 0.08])
    )
    side = {"soft": 0.5, "studio": 0.8, "sun": 1.0, "side": 1.4, "back": 2.3}[kind]
    azimuth = (
        float(rng.normal(0.0, 0.5) * side) if kind != "back" else float(rng.choice([-2.3, 2.3]))
    )
    if kind == "side":
        azimuth = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.8, 1.5))
    height = float(rng.uniform(0.05, 0.9))
    warmth = float(rng.normal(0.0, 1.0))
    key = (
        _tinted(rng, warmth)
        * {"soft": 0.7, "studio": 1.4, "sun": 2.4, "side": 1.7, "back": 1.2}[kind]
    )
    sky = _tinted(rng, -0.6 * warmth) * rng.uniform(0.25, 0.8)
    fills = np.stack([_fill(rng, warmth) for _ in range(NUM_FILLS)])
    light = Light(
        key_direction=_direction(azimuth, height),
        key=key,
        softness_dm=float(
            {"soft": 0.16, "studio": 0.09, "sun": 0.03, "side": 0.07, "back": 0.08}[kind]
        ),
        fill_directions=np.stack(
            [_direction(rng.uniform(-2.6, 2.6), rng.uniform(-0.3, 0.8)) for _ in range(NUM_FILLS)]
        ),
        fills=fills,
        sky=sky,
        ground=sky * rng.uniform(0.25, 0.8) * np.array([1.05, 1.0, 0.93]),
        kind=kind,
    )
    return _exposed(light, float(rng.uniform(0.75, 1.2)))


def _direction(azimuth: float, height: float) -> Float64Array:
    flat = np.cos(height)
    return np.array([flat * np.sin(azimuth), np.sin(height), flat * np.cos(azimuth)])


def _tinted(rng: np.random.Generator, warmth: float) -> Float64Array:
    base = np.array([1.0 + 0.12 * warmth, 1.0, 1.0 - 0.16 * warmth])
    return np.asarray(np.clip(base, 0.3, 2.0) * np.exp(rng.normal(0.0, 0.05, 3)))


def _fill(rng: np.random.Generator, warmth: float) -> Float64Array:
    amount = float(rng.uniform(0.05, 0.6))
    if rng.random() < COLOURED_SHARE:
        return (
            amount * 1.3 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 0.8), 1.0))
        )
    return amount * _tinted(rng, warmth * float(rng.normal(0.0, 1.0)))


def _exposed(light: Light, target: float) -> Light:
    """Scale everything so that skin which faces the viewer gets an irradiance of `target`."""
    total = light.key * max(float(light.key_direction @ FACING), 0.0)
    for direction, fill in zip(light.fill_directions, light.fills, strict=True):
        total = total + fill * (0.5 + 0.5 * float(direction @ FACING)) ** 2
    total = total + light.ground + (light.sky - light.ground) * (0.5 + 0.5 * FACING[1])
    gain = target / max(float(total @ LUMINANCE), 1e-6)
    return Light(
        key_direction=light.key_direction,
        key=light.key * gain,
        softness_dm=light.softness_dm,
        fill_directions=light.fill_directions,
        fills=light.fills * gain,
        sky=light.sky * gain,
        ground=light.ground * gain,
        kind=light.kind,
    )
