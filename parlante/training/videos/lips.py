"""Lips and brows of a measured segment: the person's rest taken out, shapes and closures found.

Axis letters: T frames (25 Hz), K measures.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.face_channels import APERTURE_PER_JAW_OPEN, LOWER_DOWN, UPPER_UP
from parlante.models.motion_channels import (
    REST_DEAD_ZONE,
    ROUNDED_LOSES,
    kept_by_rounded,
    shape_lips,
)
from parlante.models.motion_space import MOUTH
from parlante.training.videos.calibration import CHANNELS, channel_shapes, resting_shape
from parlante.training.videos.cleaning import Segment
from parlante.training.videos.measures import LIPS_AND_BROWS, MEASURE_INDEX

__all__ = [
    "aperture_of",
    "change_of",
    "mouth_of",
    "mouth_weights",
    "opening_of",
    "with_dead_zone",
]

Float64Array = npt.NDArray[np.float64]

# Lips count as met below this much above the person's own closed lips, IOD.
CONTACT_APERTURE: Final = 0.013
# Lips part so far before the tracker sees them part; measured on nine rendered heads (2026-11):
# openings of 0.03, 0.09 and 0.18 IOD are seen as 0.01, 0.06 and 0.16.
UNSEEN_APERTURE: Final = 0.02
MAX_CLOSED_APERTURE: Final = 0.05  # a mouth that is never less open than this never closes
CLOSED_PERCENTILE: Final = 4.0
# Lips that meet for longer than this rest, and are at none; shorter, they close for a P, B or M.
MAX_CONTACT_FRAMES: Final = 8
CONTACT_PRESS: Final = 0.4  # that a contact has at least, as synthetic ones do
# How open lips are parted in the corpus. The tracker sees little of it, so it is taken for granted.
LIPS_PART: Final = {"mouthLowerDown": 0.20, "mouthUpperUp": 0.12}
PARTED_APERTURE: Final = 0.08  # IOD
FUNNEL_OPENS: Final = 0.08  # IOD per unit, as the rig does
NEUTRAL_FRAMES: Final = 25  # that show closed lips, at least, to take the rest of the mouth from
BROW_PERCENTILE: Final = 75.0  # of brow places (y down): at rest most of the time, else raised


def opening_of(mouth: Float64Array) -> Float64Array:
    """Inner-lip aperture [T] that mouth weights [T, 9] ask for, IOD."""
    index = {name: i for i, name in enumerate(MOUTH)}
    opened = (
        APERTURE_PER_JAW_OPEN * mouth[:, index["jawOpen"]]
        + FUNNEL_OPENS * mouth[:, index["mouthFunnel"]]
        + LOWER_DOWN * mouth[:, index["mouthLowerDown"]]
        + UPPER_UP * mouth[:, index["mouthUpperUp"]]
    )
    return np.asarray(opened * (1.0 - np.clip(mouth[:, index["mouthClose"]], 0.0, 1.0)))


def aperture_of(values: Float64Array) -> Float64Array:
    """Signed distance of the inner lips [T] in measures [T, K], IOD."""
    lower, upper = (values[:, MEASURE_INDEX[name]] for name in ("lower_lip_y", "upper_lip_y"))
    return np.asarray(lower - upper)


def _closed_aperture(raw: Float64Array) -> float:
    """What the tracker sees between this person's closed lips."""
    return float(min(np.percentile(aperture_of(raw), CLOSED_PERCENTILE), MAX_CLOSED_APERTURE))


def _contacts(segment: Segment) -> npt.NDArray[np.bool_]:
    """Frames [T] in which the lips meet."""
    aperture = aperture_of(segment.raw)
    return np.asarray(aperture < _closed_aperture(segment.raw) + CONTACT_APERTURE)


def change_of(segment: Segment) -> Float64Array:
    """Measures of lips and brows less the person's rest, at the mean face's size [T, K]."""
    columns = [MEASURE_INDEX[name] for name in LIPS_AND_BROWS]
    values = segment.values[:, columns]
    rest = _rest(segment)[None]
    # Widths and heights of lips are shares of the person's own.
    relative = [
        LIPS_AND_BROWS.index(n) for n in ("mouth_width", "upper_lip_height", "lower_lip_height")
    ]
    change = values - rest
    own = np.maximum(rest[:, relative], 1e-3)
    change[:, relative] *= np.clip(resting_shape()[relative] / own, 0.5, 2.0)
    return np.asarray(change)


def _rest(segment: Segment) -> Float64Array:
    """The person's own lips when they are shut and their brows at rest [K]."""
    columns = [MEASURE_INDEX[name] for name in LIPS_AND_BROWS]
    values = segment.values[:, columns]
    aperture = aperture_of(segment.values)
    # The frames with the least open lips; the median of them is no single odd one.
    count = min(len(values), max(NEUTRAL_FRAMES, int(0.15 * len(values))))
    shut = np.argsort(aperture, kind="stable")[:count]
    rest = np.median(values[shut], axis=0)
    brows = [i for i, name in enumerate(LIPS_AND_BROWS) if name.startswith("brow")]
    rest[brows] = np.percentile(values[:, brows], BROW_PERCENTILE, axis=0)
    lower, upper = (LIPS_AND_BROWS.index(n) for n in ("lower_lip_y", "upper_lip_y"))
    # Lips that were not quite shut in those frames: what is missing, the lower lip goes.
    rest[lower] -= max(0.0, rest[lower] - rest[upper] - _closed_aperture(segment.raw))
    return np.asarray(rest)


def mouth_of(segment: Segment, channels: dict[str, Float64Array]) -> Float64Array:
    """Mouth weights [T, 9] as the generator's latents have them; see `mouth_weights`."""
    weights = mouth_weights(segment, channels)
    out = np.stack([with_dead_zone(weights[name]) for name in MOUTH], axis=1)
    out[:, MOUTH.index("mouthClose")] = weights["mouthClose"]  # whole or none, as its decoding is
    # What rounded lips will lose when they are drawn, the person's have lost already.
    drawn = dict(zip(MOUTH, out.T, strict=True))
    shape_lips(drawn)
    for name in ROUNDED_LOSES:
        out[:, MOUTH.index(name)] /= kept_by_rounded(name, drawn["mouthPucker"])
    return out


def mouth_weights(segment: Segment, channels: dict[str, Float64Array]) -> dict[str, Float64Array]:
    """Weights [T] by name of `MOUTH`: shapes as inverted, the aperture as measured, closures whole.

    Args:
        segment: T frames.
        channels: What `invert` found for `change_of`, [T] each, by name.
    """
    contact = _contacts(segment)
    seen = np.maximum(aperture_of(segment.values) - _closed_aperture(segment.raw), 0.0)
    opened = seen + UNSEEN_APERTURE * np.minimum(1.0, seen / CONTACT_APERTURE)
    weights = {str(name): channels[name].copy() for name in MOUTH if name in channels}
    for name, usual in LIPS_PART.items():
        weights[name] = np.maximum(weights[name], usual * np.minimum(1.0, opened / PARTED_APERTURE))
    shares = dict(zip(CHANNELS, _opening_shares(), strict=True))
    shapes = ("mouthLowerDown", "mouthFunnel", "mouthUpperUp")
    explained = sum(shares[name] * weights[name] for name in shapes)
    jaw = (opened - explained) / APERTURE_PER_JAW_OPEN
    # Where the shapes alone open too much, they give back what the jaw cannot.
    surplus = np.clip(-jaw, 0.0, None) * APERTURE_PER_JAW_OPEN
    for name in shapes:
        taken = np.minimum(weights[name] * shares[name], surplus)
        weights[name] -= taken / shares[name]
        surplus -= taken
    jaw = np.clip(jaw, 0.0, 1.0)
    weights["jawOpen"] = jaw
    spoken = _short(contact)
    weights["mouthClose"] = spoken.astype(np.float64)
    weights["mouthPress"] = np.maximum(weights["mouthPress"], CONTACT_PRESS * spoken)
    for name in ("jawOpen", "mouthLowerDown", "mouthUpperUp"):
        weights[name] = np.where(contact & ~spoken, 0.0, weights[name])
    return {name: weights[name] for name in MOUTH}


def _opening_shares() -> Float64Array:
    """Aperture that one unit of each channel opens [C], IOD."""
    lower, upper = (LIPS_AND_BROWS.index(n) for n in ("lower_lip_y", "upper_lip_y"))
    shapes = channel_shapes()
    return np.asarray(shapes[lower] - shapes[upper])


def _short(contact: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Contacts that are between two openings and too short to be a rest."""
    out = np.zeros_like(contact)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], contact, [False]]).astype(np.int8)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        out[start:end] = start > 0 and end < len(contact) and end - start <= MAX_CONTACT_FRAMES
    return out


def with_dead_zone(weight: Float64Array) -> Float64Array:
    """What a channel must be before `motion_space` takes its dead zone off; none stays none."""
    lifted = (1.0 - REST_DEAD_ZONE) * weight + REST_DEAD_ZONE * np.minimum(1.0, weight / 0.05)
    return np.asarray(lifted)
