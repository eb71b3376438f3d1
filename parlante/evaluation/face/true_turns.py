"""How much the tracker sees of true turns of a head, on synthetic heads whose pose is known.

What it sees of a rendered turn says little without: a tracker that sees nine tenths of every turn
is no fault of the renderer. Axis letter: F frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models.face_coefficients import measure_face
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.types import Float32Array, Uint8Array

__all__ = ["ANGLES", "PosedFrame", "seen_of_turns", "shared_slope"]

Float64Array = npt.NDArray[np.float64]

ANGLES: Final = ("yaw", "pitch", "roll")  # the first of `POSE_CHANNELS`
MIN_PRESENCE: Final = 0.5  # below, a prop hides the face


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PosedFrame:
    """A picture of a head whose pose is known.

    Attributes:
        rgb: uint8 [H, W, 3].
        landmarks: float32 [478, 3], px, where the tracker begins.
        angles: float [3], true yaw, pitch and roll, rad.
    """

    rgb: Uint8Array
    landmarks: Float32Array
    angles: npt.NDArray[np.floating]


def seen_of_turns(heads: Iterable[Iterable[PosedFrame]], tracker: FaceTracker) -> dict[str, float]:
    """Share of true turns that the tracker sees, by angle.

    Args:
        heads: Frames of each head.
        tracker: The tracker.
    """
    both = [np.array(rows, np.float64) for head in heads if (rows := list(_rows(head, tracker)))]
    num = len(ANGLES)
    return {
        name: shared_slope([rows[:, k] for rows in both], [rows[:, num + k] for rows in both])
        for k, name in enumerate(ANGLES)
    }


def _rows(head: Iterable[PosedFrame], tracker: FaceTracker) -> Iterator[list[float]]:
    """True and seen angles of the frames in which the face is seen."""
    for frame in head:
        start = FaceLandmarks(points=np.array(frame.landmarks, np.float32), presence=1.0)
        face = tracker.landmarks(np.ascontiguousarray(frame.rgb), start, num_passes=2)
        if face.presence >= MIN_PRESENCE:
            measures = measure_face(face.points)
            yield [*frame.angles, *(getattr(measures, f"{name}_rad") for name in ANGLES)]


def shared_slope(true: Sequence[Float64Array], seen: Sequence[Float64Array]) -> float:
    """Slope of what is seen over what is true, with an offset of its own for each head.

    Args:
        true: float64 [F] of each head.
        seen: float64 [F] of each head.
    """
    x = np.concatenate([values - values.mean() for values in true])
    y = np.concatenate([values - values.mean() for values in seen])
    return float(x @ y / max(float(x @ x), 1e-12))
