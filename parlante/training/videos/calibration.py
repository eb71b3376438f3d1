"""The rig's calibration, turned round: how lips and brows are shaped -> how much of each channel.

The rig moves landmarks linearly in its channels, and the measures are linear in the landmarks, so a
frame is a small linear system. It has more channels than measures: each channel has a prior, and
what the picture does not say stays at none. Axis letters: T frames, K measures, C channels.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.face_channels import LipHandles, channel_fields
from parlante.models.face_coefficients import load_reference
from parlante.training.videos.measures import BROWS, LIPS, shape_of

__all__ = ["CHANNELS", "channel_shapes", "invert", "resting_shape"]

Float64Array = npt.NDArray[np.float64]

# Channels that are looked for, each a sum of the rig's, with the size it usually has. Smiles,
# frowns and brows have sides; what speech moves does not.
_PARTS: Final[dict[str, tuple[tuple[str, ...], float]]] = {
    "jawOpen": (("jawOpen",), 0.30),
    "mouthFunnel": (("mouthFunnel",), 0.25),
    "mouthPucker": (("mouthPucker",), 0.30),
    "mouthStretch": (("mouthStretchLeft", "mouthStretchRight"), 0.25),
    "mouthRollLower": (("mouthRollLower",), 0.15),
    "mouthPress": (("mouthPressLeft", "mouthPressRight"), 0.20),
    "mouthLowerDown": (("mouthLowerDownLeft", "mouthLowerDownRight"), 0.20),
    "mouthUpperUp": (("mouthUpperUpLeft", "mouthUpperUpRight"), 0.15),
    "mouthSmileLeft": (("mouthSmileLeft",), 0.25),
    "mouthSmileRight": (("mouthSmileRight",), 0.25),
    "mouthFrownLeft": (("mouthFrownLeft",), 0.25),
    "mouthFrownRight": (("mouthFrownRight",), 0.25),
    "browInnerUp": (("browInnerUp",), 0.30),
    "browOuterUpLeft": (("browOuterUpLeft",), 0.30),
    "browOuterUpRight": (("browOuterUpRight",), 0.30),
    "browDownLeft": (("browDownLeft",), 0.30),
    "browDownRight": (("browDownRight",), 0.30),
}
CHANNELS: Final = tuple(_PARTS)
_PRIOR: Final = np.array([size for _, size in _PARTS.values()])

# How far a measure may be off, IOD: the tracker's noise, and what the rig cannot express.
_TOLERANCE: Final = {
    "upper_lip_y": 0.020,
    "lower_lip_y": 0.010,
    "chin_y": 0.030,
    "corner_left_y": 0.010,
    "corner_right_y": 0.010,
    "mouth_width": 0.010,
    "upper_lip_height": 0.020,
    "lower_lip_height": 0.020,
} | dict.fromkeys(BROWS, 0.012)
_WEIGHT: Final = 1.0 / np.array([_TOLERANCE[name] for name in LIPS + BROWS])
# Smiles, frowns and brows rest most of the time: noise must not move them (an exponential prior).
_SPARSE: Final = np.array(
    [name.startswith(("mouthSmile", "mouthFrown", "brow")) for name in CHANNELS]
)
_SPARSITY: Final = 2.0
# The tracker reports so much of what the rig does to a measure; measured on nine rendered heads
# (2026-11): it does not see that the mouth narrows as the jaw drops, and shrinks brows.
_TRACKED_BROWS: Final = 0.7
_NUM_ROUNDS: Final = 60


@functools.cache
def resting_shape() -> Float64Array:
    """Measures [K] of the mean face at rest, in the order of `LIPS_AND_BROWS`."""
    return shape_of(load_reference().mean)


@functools.cache
def channel_shapes() -> Float64Array:
    """What one unit of each channel adds to the measures of the mean face as tracked, [K, C]."""
    face = load_reference().mean
    fields = dict(channel_fields(LipHandles.of(face), face))
    rest = resting_shape()
    columns = [
        shape_of(face + sum(fields[part] for part in parts)) - rest for parts, _ in _PARTS.values()
    ]
    shapes = np.stack(columns, axis=1)
    shapes[LIPS.index("mouth_width"), CHANNELS.index("jawOpen")] = 0.0
    shapes[len(LIPS) :] *= _TRACKED_BROWS
    return shapes


def invert(change: Float64Array) -> Float64Array:
    """Find the channels that shape the mean face like this.

    Args:
        change: float64 [T, K], measures less those at rest, in the order of `LIPS_AND_BROWS`.

    Returns:
        float64 [T, C] in [0, 1], in the order of `CHANNELS`: the most likely ones under
        independent priors, by coordinate descent.
    """
    shapes = channel_shapes() * _WEIGHT[:, None]
    wanted = change * _WEIGHT
    gram = shapes.T @ shapes + np.diag(1.0 / _PRIOR**2)
    pull = wanted @ shapes - _SPARSITY * _SPARSE / _PRIOR  # [T, C]
    channels = np.zeros((len(change), len(CHANNELS)))
    for _ in range(_NUM_ROUNDS):
        for index in range(len(CHANNELS)):
            rest = channels @ gram[index] - channels[:, index] * gram[index, index]
            channels[:, index] = np.clip((pull[:, index] - rest) / gram[index, index], 0.0, 1.0)
    return channels
