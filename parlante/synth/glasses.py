"""Glasses: two rims, a bridge, temples and lenses, fitted to a face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.models import face_mesh
from parlante.synth.assets import Float64Array
from parlante.synth.solids import Solid, fan, join_solids, tube
from parlante.types import Float32Array

__all__ = ["Glasses", "make_glasses", "sample_glasses"]

RIM_SEGMENTS: Final = 36
EAR_SIDES: Final = (234, 454)  # landmarks before the ears, image left and right
SUNGLASSES_SHARE: Final = 0.14
TINTED_SHARE: Final = 0.22
NAMES: Final = ("round", "oval", "rectangular", "square")
EXPONENTS: Final = (2.0, 2.2, 4.0, 3.2)
# Half width and half height of a rim, shares of the eye's own half width.
HALF_SIZES: Final = ((1.35, 1.35), (1.65, 1.15), (1.75, 1.05), (1.65, 1.35))


@dataclass(frozen=True, slots=True, kw_only=True)
class Glasses:
    """A kind of glasses.

    Attributes:
        shape: One of `NAMES`.
        thickness_dm: Radius of the frame's wire.
        frame_colour: Linear RGB.
        lens_colour: Linear RGB of the tint.
        lens_opacity: 0 = clear.
        scale: Size of the rims.
    """

    shape: str
    thickness_dm: float
    frame_colour: tuple[float, float, float]
    lens_colour: tuple[float, float, float]
    lens_opacity: float
    scale: float


def sample_glasses(rng: np.random.Generator) -> Glasses:
    """Draw glasses: mostly clear, some tinted, few dark."""
    chance = float(rng.random())
    if chance < SUNGLASSES_SHARE:
        opacity = float(rng.uniform(0.75, 0.97))
    elif chance < SUNGLASSES_SHARE + TINTED_SHARE:
        opacity = float(rng.uniform(0.12, 0.45))
    else:
        opacity = float(rng.uniform(0.0, 0.05))
    dark = rng.random() < 0.65
    frame = rng.uniform(0.004, 0.05, 3) if dark else rng.uniform(0.05, 0.7, 3)
    tint = rng.uniform(0.01, 0.12, 3)
    return Glasses(
        shape=str(rng.choice(np.array(NAMES))),
        thickness_dm=float(rng.uniform(0.008, 0.032)),
        frame_colour=(float(frame[0]), float(frame[1]), float(frame[2])),
        lens_colour=(float(tint[0]), float(tint[1]), float(tint[2])),
        lens_opacity=opacity,
        scale=float(rng.uniform(0.92, 1.12)),
    )


def make_glasses(glasses: Glasses, marks: Float32Array) -> tuple[Solid, Solid]:
    """Fit glasses to a face at rest.

    Args:
        glasses: The kind.
        marks: float32 [468, 3], landmarks at rest, dm.

    Returns:
        The frame and the lenses.
    """
    face = marks.astype(np.float64)
    rims = [
        _rim(glasses, face, corners, side)
        for corners, side in (
            (face_mesh.RIGHT_EYE_CORNERS, -1.0),
            (face_mesh.LEFT_EYE_CORNERS, 1.0),
        )
    ]
    wire = glasses.thickness_dm
    pieces = [tube(rim, wire, closed=True) for rim in rims]
    pieces.append(tube(_bridge(rims), wire * 1.05))
    for rim, side, ear in zip(rims, (-1.0, 1.0), EAR_SIDES, strict=True):
        pieces.append(tube(_temple(rim, side, face[ear]), wire * 0.95))
    lenses = [fan(rim, rim.mean(axis=0) + np.array([0.0, 0.0, 0.02])) for rim in rims]
    return join_solids(pieces), join_solids(lenses)


def _rim(
    glasses: Glasses, face: Float64Array, corners: tuple[int, int], side: float
) -> Float64Array:
    """A superellipse before the eye, counter-clockwise, a little turned around the face."""
    outer, inner = face[list(corners)]
    half_eye = 0.5 * float(np.linalg.norm(outer - inner))
    index = NAMES.index(glasses.shape)
    half_width, half_height = (v * half_eye * glasses.scale for v in HALF_SIZES[index])
    # Both rims leave room for the nose.
    half_width = min(half_width, abs(float(inner[0])) * 0.72 + half_eye)
    angle = np.linspace(0.0, 2.0 * np.pi, RIM_SEGMENTS, endpoint=False)
    power = 2.0 / EXPONENTS[index]
    x = half_width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    y = half_height * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    middle = 0.5 * (outer + inner)
    nose_z = float(face[168, 2])
    wrapped = 0.10 * (side * x + half_width)  # outwards, back
    tilted = 0.14 * y  # the lower edge nearer to the cheeks
    return np.stack(
        [middle[0] + 0.01 * side + x, middle[1] - 0.025 + y, nose_z + 0.09 - wrapped + tilted],
        axis=1,
    )


def _bridge(rims: list[Float64Array]) -> Float64Array:
    left = rims[0][np.argmax(rims[0][:, 0] + 0.3 * rims[0][:, 1])]
    right = rims[1][np.argmin(rims[1][:, 0] - 0.3 * rims[1][:, 1])]
    t = np.linspace(0.0, 1.0, 7)[:, None]
    arch = 0.05 * np.sin(np.pi * t) * [[0.0, 0.6, 0.5]]
    return np.asarray(left + (right - left) * t + arch)


def _temple(rim: Float64Array, side: float, ear: Float64Array) -> Float64Array:
    start = rim[np.argmax(side * rim[:, 0] + 0.25 * rim[:, 1])]
    hinge = start + np.array([0.05 * side, 0.0, -0.05])
    at_ear = np.array([max(abs(ear[0]) + 0.07, abs(hinge[0])) * side, ear[1] + 0.16, ear[2] - 0.35])
    behind = at_ear + np.array([-0.02 * side, -0.12, -0.25])
    t = np.linspace(0.0, 1.0, 6)[:, None]
    return np.concatenate([start[None], hinge + (at_ear - hinge) * t, behind[None]])
