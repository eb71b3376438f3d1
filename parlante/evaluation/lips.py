"""Lips without and with phones: how they move, and whether they do what the phones need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from parlante.evaluation.phones import BILABIALS, OPEN_VOWELS, ROUNDED, SPREAD, PhoneSpan
from parlante.evaluation.tracking import FaceCurves, FloatArray, correlation
from parlante.types import FRAME_RATE_HZ

__all__ = [
    "CONTROL_SHIFTS_FRAMES",
    "Closure",
    "Lips",
    "PhoneTally",
    "auc",
    "closures",
    "lip_statistics",
    "shut_below",
    "tally_phones",
]

# IOD; the tracker sees 0.01 to 0.025 on lips that are shut.
TRACKER_FLOOR: Final = 0.03
SHUT_SHARE_OF_P95: Final = 0.12
# Lips move ahead of the sound: a phone's frames begin this much before it.
LEAD_S: Final = 0.04
SLOWEST_ARTICULATION_HZ: Final = 0.5
# 0.7 to 2.1 s, no two at the same distance, so that no rhythm of speech survives them.
CONTROL_SHIFTS_FRAMES: Final = (17, -23, 29, -37, 43, -53)


class Lips(Protocol):
    """What phones are compared with: lips as a tracker sees them, or as motion has them."""

    @property
    def aperture(self) -> FloatArray:
        """Distance of the inner lips [T], IOD."""
        ...

    @property
    def mouth_width(self) -> FloatArray:
        """Distance of the mouth's corners [T], in any unit."""
        ...

    @property
    def num_frames(self) -> int:
        """T."""
        ...

    @property
    def tracked(self) -> npt.NDArray[np.bool_]:
        """False [T] where lips were not seen."""
        ...


@dataclass(frozen=True, slots=True)
class Closure:
    """What the lips did at one P, B or M."""

    symbol: str
    start_s: float
    min_aperture: float
    shut: bool


@dataclass(frozen=True, slots=True)
class PhoneTally:
    """Counts that add up over videos; each video's lips are judged by their own measure.

    Attributes:
        bilabials: P, B and M seen.
        shut: Those in which lips met.
        strictly_shut: Those below 12 % of the 95th percentile, without the tracker's floor.
        aperture_wins: Pairs of a P, B or M and an open vowel in which the vowel is opener.
        aperture_pairs: Such pairs.
        width_wins: Pairs of a rounded and a spread phone in which the rounded one is narrower.
        width_pairs: Such pairs.
    """

    bilabials: int = 0
    shut: int = 0
    strictly_shut: int = 0
    aperture_wins: float = 0.0
    aperture_pairs: int = 0
    width_wins: float = 0.0
    width_pairs: int = 0

    def __add__(self, other: PhoneTally) -> PhoneTally:
        return PhoneTally(
            *(getattr(self, n) + getattr(other, n) for n in PhoneTally.__dataclass_fields__)
        )

    @property
    def shut_share(self) -> float | None:
        """P, B and M whose lowest aperture lies below `shut_below`, of all; None without any."""
        return self.shut / self.bilabials if self.bilabials else None

    @property
    def strictly_shut_share(self) -> float | None:
        """The same without the tracker's floor."""
        return self.strictly_shut / self.bilabials if self.bilabials else None

    @property
    def auc_aperture(self) -> float | None:
        """Chance that a P, B or M has a smaller mean aperture than an open vowel of the video."""
        return self.aperture_wins / self.aperture_pairs if self.aperture_pairs else None

    @property
    def auc_width(self) -> float | None:
        """Chance that a rounded phone has a smaller mean width than a spread one of the video."""
        return self.width_wins / self.width_pairs if self.width_pairs else None


def lip_statistics(curves: FaceCurves, speaking: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """How the lips and brows move.

    `aperture_mean_iod` is over frames with speech; 95th percentiles and standard deviations are
    over all frames. `mouth_width_change_p95_iod` is from one frame to the next.
    `aperture_centroid_hz` is the mean frequency of the aperture's movement above 0.5 Hz, weighted
    by power. `aperture_width_correlation` tells whether the mouth widens (+) or narrows (-) as it
    opens.
    """
    aperture = curves.aperture
    return {
        "aperture_mean_iod": float(aperture[speaking].mean()) if speaking.any() else None,
        "aperture_p95_iod": float(np.percentile(aperture, 95)),
        "aperture_centroid_hz": spectral_centroid_hz(aperture),
        "aperture_width_correlation": correlation(aperture, curves.mouth_width),
        "mouth_width_std_iod": float(curves.mouth_width.std()),
        "mouth_width_change_p95_iod": _usual_change(curves.mouth_width),
        "brow_std_iod": float(curves.brow_height.std()),
    }


def _usual_change(values: FloatArray) -> float | None:
    """95th percentile of the change from frame to frame; None for a single frame."""
    return float(np.percentile(np.abs(np.diff(values)), 95)) if len(values) > 1 else None


def spectral_centroid_hz(values: FloatArray) -> float | None:
    """Mean frequency of a curve above 0.5 Hz, weighted by power; None if it does not move there.

    What is slower is not articulation: a smile, or speaking and being silent.
    """
    power = np.abs(np.fft.rfft(values - values.mean())) ** 2
    frequencies = np.fft.rfftfreq(len(values), 1 / FRAME_RATE_HZ)
    fast = frequencies > SLOWEST_ARTICULATION_HZ
    if power[fast].sum() <= 1e-12:
        return None
    return float((power * frequencies)[fast].sum() / power[fast].sum())


def shut_below(aperture: FloatArray) -> float:
    """Aperture that counts as shut: 12 % of the 95th percentile, but what the tracker can see."""
    return max(SHUT_SHARE_OF_P95 * float(np.percentile(aperture, 95)), TRACKER_FLOOR)


def closures(curves: Lips, phones: list[PhoneSpan]) -> list[Closure]:
    """Look at every P, B and M."""
    limit = shut_below(curves.aperture)
    found = []
    for phone in phones:
        frames = _frames(phone, curves)
        if phone.symbol in BILABIALS and frames is not None:
            low = float(curves.aperture[frames].min())
            found.append(Closure(phone.symbol, phone.start_s, low, low < limit))
    return found


@dataclass(slots=True)
class _Seen:
    """Values at the phones of one video, for one shift in time."""

    lows: list[float] = field(default_factory=list)
    shut: list[float] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    rounded: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)


def tally_phones(curves: Lips, phones: list[PhoneSpan], shift_frames: int = 0) -> PhoneTally:
    """Compare lips at phones.

    A phone's frames reach from 40 ms before its start to its end. P, B and M are shut when the
    lowest aperture in their frames is below `shut_below`; for the two rankings a phone counts
    with the mean over its frames. Phones during which the face was lost do not count.

    Args:
        curves: The lips.
        phones: In time.
        shift_frames: Move the face against the phones, around the end of the video: a control,
            which must fall to chance.
    """
    aperture = np.roll(curves.aperture, shift_frames)
    width = np.roll(curves.mouth_width, shift_frames)
    seen = _Seen()
    for phone in phones:
        frames = _frames(phone, curves)
        if frames is None:
            continue
        if phone.symbol in BILABIALS:
            seen.lows.append(float(aperture[frames].min()))
            seen.shut.append(float(aperture[frames].mean()))
        if phone.symbol in OPEN_VOWELS:
            seen.opened.append(float(aperture[frames].mean()))
        if phone.symbol in ROUNDED:
            seen.rounded.append(float(width[frames].mean()))
        if phone.symbol in SPREAD:
            seen.spread.append(float(width[frames].mean()))
    p95 = float(np.percentile(aperture, 95))
    return PhoneTally(
        bilabials=len(seen.lows),
        shut=sum(low < shut_below(aperture) for low in seen.lows),
        strictly_shut=sum(low < SHUT_SHARE_OF_P95 * p95 for low in seen.lows),
        aperture_wins=_wins(seen.shut, seen.opened),
        aperture_pairs=len(seen.shut) * len(seen.opened),
        width_wins=_wins(seen.rounded, seen.spread),
        width_pairs=len(seen.rounded) * len(seen.spread),
    )


def auc(low: list[float], high: list[float]) -> float:
    """Chance that a value of `low` is below one of `high`; NaN where there are none."""
    num_pairs = len(low) * len(high)
    return _wins(low, high) / num_pairs if num_pairs else float("nan")


def _wins(low: list[float], high: list[float]) -> float:
    if not low or not high:
        return 0.0
    difference = np.subtract.outer(np.array(high), np.array(low))
    return float(np.sum((difference > 0) + 0.5 * (difference == 0)))


def _frames(phone: PhoneSpan, curves: Lips) -> slice | None:
    """Frames in which a phone shows; None outside the video and where the face was lost."""
    first = max(int(np.floor((phone.start_s - LEAD_S) * FRAME_RATE_HZ)), 0)
    last = min(int(np.ceil(phone.end_s * FRAME_RATE_HZ)), curves.num_frames)
    if first >= last or not curves.tracked[first:last].all():
        return None
    return slice(first, last)
