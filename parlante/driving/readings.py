"""What driving takes from the trained encoders beside the landmarks, and how much of it.

Landmarks and encoders err for different reasons, so a mixture of both is nearer to what is so than
either. Both are brought to the scale of the renderer first. Only measures that were found to be
better this way, on synthetic heads and on rendered portraits, are taken; see docs/encoders.md.
Axis letters: N pictures, K measures, R readings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from parlante.training.videos.following import Track
from parlante.training.videos.measures import BROWS, MEASURE_INDEX

if TYPE_CHECKING:  # brings torch along
    from parlante.models.face_reader import Reading

__all__ = ["READ", "TAKEN", "Mixture", "as_row", "take_over"]

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """How one measure is put together.

    Attributes:
        share: Of the encoders' reading, [0, 1]; the rest is the tracker's.
        read_gain: How much of a change in the picture is read.
        tracked_gain: How much of it the tracker sees.
    """

    share: float
    read_gain: float
    tracked_gain: float

    def mix(self, tracked: Float64Array, read: Float64Array) -> Float64Array:
        """Put a measure together, [N] each, NaN where there is no face.

        Changes are scaled, not lengths: a mouth stays as wide as the tracker sees it at the median.
        """
        if not np.isfinite(tracked + read).any():
            return tracked
        usual, usual_read = np.nanmedian(tracked), np.nanmedian(read)
        change = self.share * (read - usual_read) / self.read_gain
        change += (1.0 - self.share) * (tracked - usual) / self.tracked_gain
        return np.asarray(usual + change)


# Whoever takes brows and lids knows how little the tracker sees of them: its scale is kept.
_BROW: Final = Mixture(share=0.3, read_gain=0.58, tracked_gain=1.0)
_LID: Final = Mixture(share=0.45, read_gain=1.3, tracked_gain=1.0)
# Of smiles on rendered portraits less is driven than of corners is seen, but scaled by that, what
# the driver's rest is off by grows as well.
_CORNER: Final = Mixture(share=0.4, read_gain=0.74, tracked_gain=0.64)
# By the name of `MEASURES`. Gains and shares: of twelve rendered portraits whose motion was known,
# 2026-11; the two halves of them agree on the shares within 0.25, of brows 0.35.
TAKEN: Final = {
    "gaze_yaw": Mixture(share=0.5, read_gain=0.73, tracked_gain=0.94),
    "gaze_pitch": Mixture(share=0.45, read_gain=0.61, tracked_gain=0.77),
    "mouth_width": Mixture(share=0.8, read_gain=0.97, tracked_gain=0.46),
    **dict.fromkeys(("corner_left_y", "corner_right_y"), _CORNER),
    **dict.fromkeys(BROWS, _BROW),
    **dict.fromkeys(("eye_ratio_left", "eye_ratio_right"), _LID),
}
READ: Final = tuple(TAKEN)
_GAZE: Final = {"gaze_yaw": 0, "gaze_pitch": 1}


def as_row(reading: Reading) -> Float64Array:
    """What one face's reading says: float64 [R] in the order of `READ`."""
    return np.array(
        [
            reading.gaze[0, _GAZE[name]] if name in _GAZE else reading.measure(name)[0]
            for name in READ
        ],
        np.float64,
    )


def take_over(track: Track, readings: Float64Array) -> Track:
    """Mix readings into the measures of a track.

    Args:
        track: N pictures.
        readings: float64 [N, R]; NaN where there was no face.
    """
    values = track.values.copy()
    for column, (name, mixture) in enumerate(TAKEN.items()):
        index = MEASURE_INDEX[name]
        values[:, index] = mixture.mix(values[:, index], readings[:, column])
    return replace(track, values=values)
