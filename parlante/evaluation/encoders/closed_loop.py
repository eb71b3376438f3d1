"""Known motion is put onto a portrait, looked at, and compared with what was put in.

What is compared are measures that the renderer's own rig gives, for the motion that was put in and
for the one that came out, so that no tracker judges itself. Axis letters: T frames at 25 Hz.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.decoder import Decoder, PreparedAvatar
from parlante.models.face_coefficients import canonicalize
from parlante.models.face_mesh import NUM_SKIN_LANDMARKS
from parlante.training.videos.measures import LIPS_AND_BROWS, shape_of
from parlante.types import MOTION_INDEX, Float32Array, Uint8Array

__all__ = ["LOOP_MEASURES", "Agreement", "agree", "told_measures"]

Float64Array = npt.NDArray[np.float64]

LOOP_MEASURES: Final = (
    "aperture", "mouth width", "smile", "jaw", "brows", "lids", "yaw", "pitch", "roll",
    "gaze yaw", "gaze pitch",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How one measure that came out follows what was put in.

    Attributes:
        correlation: Of both over time.
        gain: Slope of what came out over what was put in.
        error: Mean absolute difference; IOD, rad, or shares of a lid's way.
    """

    correlation: float
    gain: float
    error: float


def told_measures(avatar: PreparedAvatar, motion: Float32Array) -> dict[str, Float64Array]:
    """What motion [T, 60] tells a portrait's face to do: [T] by name of `LOOP_MEASURES`."""
    rest = _face(avatar, np.zeros_like(motion[0]))
    shapes = np.stack([_face(avatar, row) for row in motion]) - rest
    shape = dict(zip(LIPS_AND_BROWS, shapes.T, strict=True))
    brows = [values for name, values in shape.items() if name.startswith("brow")]
    column = {name: motion[:, index].astype(np.float64) for name, index in MOTION_INDEX.items()}
    lips = 0.5 * (shape["upper_lip_y"] + shape["lower_lip_y"])
    return {
        "aperture": shape["lower_lip_y"] - shape["upper_lip_y"],
        "mouth width": shape["mouth_width"],
        "smile": lips - 0.5 * (shape["corner_left_y"] + shape["corner_right_y"]),
        "jaw": shape["chin_y"],
        "brows": -np.mean(brows, axis=0),
        "lids": 0.5 * (column["eyeBlinkLeft"] + column["eyeBlinkRight"]),
        "yaw": column["headYaw"],
        "pitch": column["headPitch"],
        "roll": column["headRoll"],
        "gaze yaw": column["gazeYaw"],
        "gaze pitch": column["gazePitch"],
    }


def _face(avatar: PreparedAvatar, motion: Float32Array) -> Float64Array:
    """Measures of lips and brows of the portrait's face under one frame's dynamics."""
    at_rest = avatar.mesh.vertices
    moved = avatar.rig.displace(motion, at_rest)[:NUM_SKIN_LANDMARKS]
    _, rotation = canonicalize(at_rest[:NUM_SKIN_LANDMARKS])
    face = (moved - avatar.mesh.centre).astype(np.float64) @ rotation / avatar.mesh.iod_px
    return shape_of(face)


def agree(told: Mapping[str, Float64Array], found: Mapping[str, Float64Array]) -> dict[
    str, Agreement
]:
    """Compare by name; offsets count as errors, but neither in correlation nor in gain."""
    out = {}
    for name, wanted in told.items():
        seen = found[name]
        spread = float(wanted.std() * seen.std())
        correlation = float(np.corrcoef(wanted, seen)[0, 1]) if spread > 1e-12 else 0.0
        out[name] = Agreement(
            correlation=correlation,
            gain=float(np.polyfit(wanted, seen, 1)[0]) if wanted.std() > 1e-9 else 0.0,
            error=float(np.abs(seen - wanted).mean()),
        )
    return out


def rendered(
    decoder: Decoder, avatar: PreparedAvatar, motion: Float32Array
) -> Iterable[Uint8Array]:
    """Frames of a portrait in motion, one by one."""
    return (decoder.render(avatar, row) for row in motion)


Renderer = Callable[[Float32Array], Iterable[Uint8Array]]
