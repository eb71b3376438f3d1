"""Things in front of a face: a hand, a microphone, a bar, a cup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.models import face_mesh
from parlante.synth.assets import Float64Array
from parlante.synth.rig import turn_matrix
from parlante.synth.solids import Solid, ellipsoid, join_solids, tube
from parlante.types import Float32Array

__all__ = ["AWAY_DM", "Occluder", "sample_occluder", "sample_offsets"]

KINDS: Final = ("microphone", "hand", "bar", "cup")
SHARES: Final = (0.4, 0.35, 0.13, 0.12)
# Where a prop waits that a frame does not show.
AWAY_DM: Final = (60.0, 0.0, 0.0)
IN_SOURCE_SHARE: Final = 0.25  # of subjects whose portrait already shows a hand, bar or cup


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Occluder:
    """A prop at its place before the face.

    Attributes:
        kind: One of `KINDS`.
        solid: Its body, dm.
        colour: Linear RGB.
        shine: Strength of its reflections.
    """

    kind: str
    solid: Solid
    colour: tuple[float, float, float]
    shine: float


def sample_occluder(
    rng: np.random.Generator, marks: Float32Array, skin_colour: tuple[float, float, float]
) -> Occluder:
    """Draw a prop.

    Args:
        rng: Source of chance.
        marks: float32 [468, 3], landmarks of the neutral face, dm.
        skin_colour: Linear RGB; hands are about of this colour.
    """
    kind = str(rng.choice(np.array(KINDS), p=SHARES))
    chin = marks[face_mesh.CHIN].astype(np.float64)
    lips = marks[face_mesh.UPPER_LIP_CENTRE].astype(np.float64)
    if kind == "hand":
        colour = np.asarray(skin_colour) * np.exp(rng.normal(0.0, 0.15))
        where = lips + np.array(
            [rng.choice([-1, 1]) * rng.uniform(0.1, 0.7), rng.uniform(-0.7, 0.35), 0.5]
        )
        return _prop(kind, _hand(rng, where), colour, 0.5)
    if kind == "microphone":
        where = chin + np.array(
            [rng.uniform(-0.5, 0.5), rng.uniform(-0.35, 0.15), rng.uniform(0.35, 0.8)]
        )
        return _prop(kind, _microphone(rng, where), np.full(3, rng.uniform(0.01, 0.2)), 1.0)
    if kind == "bar":
        where = lips + np.array(
            [rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6), rng.uniform(0.6, 2.0)]
        )
        return _prop(kind, _bar(rng, where), rng.uniform(0.02, 0.7, 3), 0.6)
    where = chin + np.array([rng.uniform(-0.4, 0.4), rng.uniform(-0.2, 0.35), 0.75])
    return _prop(kind, _cup(rng, where), rng.uniform(0.05, 0.8, 3), 0.8)


def sample_offsets(
    rng: np.random.Generator, occluder: Occluder, num_frames: int
) -> list[tuple[float, float, float]]:
    """Where the prop is in each frame, relative to its place: it moves, comes and goes."""
    stays = occluder.kind == "microphone"
    in_source = stays or rng.random() < IN_SOURCE_SHARE
    offsets: list[tuple[float, float, float]] = []
    for frame in range(num_frames):
        there = in_source if frame == 0 else stays or rng.random() < 0.65
        drift = rng.normal(0.0, 0.03 if stays else 0.12, 3)
        offsets.append(
            (float(drift[0]), float(drift[1]), float(abs(drift[2]))) if there else AWAY_DM
        )
    return offsets


def _prop(kind: str, solid: Solid, colour: Float64Array, shine: float) -> Occluder:
    red, green, blue = (float(value) for value in colour)
    return Occluder(kind=kind, solid=solid, colour=(red, green, blue), shine=shine)


def _placed(solid: Solid, turn: Float64Array, where: Float64Array) -> Solid:
    return Solid(points=solid.points @ turn.T + where, triangles=solid.triangles, uv=solid.uv)


def _turn(x: float, y: float, z: float) -> Float64Array:
    return np.asarray(
        turn_matrix(np.array([0.0, 0.0, z]))
        @ turn_matrix(np.array([0.0, y, 0.0]))
        @ turn_matrix(np.array([x, 0.0, 0.0]))
    )


def _microphone(rng: np.random.Generator, where: Float64Array) -> Solid:
    radius = float(rng.uniform(0.16, 0.27))
    stick = np.array([[0.0, -0.1, 0.0], [0.0, -3.0, 0.0]])
    body = join_solids(
        [
            ellipsoid((0.0, 0.0, 0.0), (radius, radius * 1.15, radius), detail=14),
            tube(np.linspace(stick[0], stick[1], 8), np.linspace(0.6, 0.45, 8) * radius, sides=12),
        ]
    )
    return _placed(body, _turn(rng.uniform(0.1, 0.9), 0.0, rng.normal(0.0, 0.5)), where)


def _hand(rng: np.random.Generator, where: Float64Array) -> Solid:
    """A palm, four fingers and a thumb, more or less bent."""
    pieces = [ellipsoid((0.0, -0.45, 0.0), (0.42, 0.5, 0.16), detail=14)]
    bend = float(rng.uniform(0.0, 1.2))
    for finger, x in enumerate((-0.31, -0.11, 0.1, 0.3)):
        length = (0.72, 0.85, 0.8, 0.62)[finger] * float(rng.uniform(0.9, 1.1))
        spread = x * 0.25 + float(rng.normal(0.0, 0.04))
        t = np.linspace(0.0, 1.0, 9)
        curl = bend * t * float(rng.uniform(0.7, 1.2))
        path = np.stack(
            [x + spread * t, length * t * np.cos(curl) - 0.1, -0.6 * length * t * np.sin(curl)],
            axis=1,
        )
        radius = 0.1 * np.array([1.0, 1.02, 0.98, 0.95, 0.95, 0.9, 0.85, 0.65, 0.05])
        pieces.append(tube(path, radius, sides=12))
    thumb = np.array([[-0.3, -0.55, 0.02], [-0.52, -0.3, 0.05], [-0.62, 0.0, 0.06]])
    line = np.stack([np.interp(np.linspace(0, 2, 8), [0, 1, 2], thumb[:, k]) for k in range(3)], 1)
    pieces.append(tube(line, 0.12 * np.array([1, 1, 1, 0.95, 0.9, 0.85, 0.7, 0.05]), sides=12))
    arm = np.array([[0.0, -0.7, 0.0], [0.0, -4.0, 0.4]])
    pieces.append(tube(np.linspace(arm[0], arm[1], 8), np.linspace(0.3, 0.42, 8), sides=14))
    body = join_solids(pieces)
    mirror = np.diag([float(rng.choice([-1.0, 1.0])), 1.0, 1.0])
    turn = _turn(rng.normal(0.0, 0.3), rng.normal(0.0, 0.5), rng.normal(0.0, 0.6))
    flipped = (
        body
        if mirror[0, 0] > 0
        else Solid(
            points=body.points @ mirror, triangles=body.triangles[:, ::-1].copy(), uv=body.uv
        )
    )
    return _placed(flipped, turn, where)


def _bar(rng: np.random.Generator, where: Float64Array) -> Solid:
    radius = float(rng.uniform(0.05, 0.3))
    line = np.linspace([0.0, -5.0, 0.0], [0.0, 5.0, 0.0], 12)
    return _placed(tube(line, radius, sides=12), _turn(0.0, 0.0, rng.uniform(0.0, np.pi)), where)


def _cup(rng: np.random.Generator, where: Float64Array) -> Solid:
    radius = float(rng.uniform(0.3, 0.42))
    line = np.linspace([0.0, -0.9, 0.0], [0.0, 0.05, 0.0], 10)
    body = join_solids(
        [
            tube(line, np.linspace(0.85, 1.0, 10) * radius, sides=24),
            ellipsoid((0.0, 0.03, 0.0), (radius, 0.03, radius), detail=10),
        ]
    )
    return _placed(body, _turn(rng.uniform(-0.4, 0.2), 0.0, rng.normal(0.0, 0.15)), where)
