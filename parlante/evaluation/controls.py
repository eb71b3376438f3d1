"""What a control does to a face, in numbers: measures on curves of motion or of a tracked face.

Everything here works on plain arrays at 25 Hz; who makes the curves does not matter. Axis letters:
T frames, K channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.evaluation.lips import shut_below
from parlante.evaluation.tracking import FloatArray
from parlante.types import FRAME_RATE_HZ

__all__ = [
    "NOD_DEG",
    "Row",
    "additive_effect",
    "angle_between_deg",
    "closing_ms",
    "count_blinks",
    "count_nods",
    "half_time_ms",
    "scaling_effect",
    "step_ratio",
    "table_lines",
]

FRAME_MS: Final = 1000.0 / FRAME_RATE_HZ
NOD_DEG: Final = 1.5
_NOD_FRAMES: Final = FRAME_RATE_HZ  # down and up again within 1 s
_SHUT_LID: Final = 0.5
_HELD_FRAMES: Final = 5  # an effect counts as reached when it stays so on average
_NOTHING: Final = 1e-9
_MOVING_SHARE: Final = 0.1  # of the mean power; weaker frames tell nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        control: What was steered.
        measure: What was measured, a key of the definitions.
        asked: What the control was set to.
        value: What came out; None where it could not be measured.
        unit: Of the value.
        wanted: What it should be, in words; "" where nothing is demanded.
        ok: Whether it is; None where nothing is demanded.
    """

    control: str
    measure: str
    asked: str
    value: float | None
    unit: str
    wanted: str = ""
    ok: bool | None = None


def additive_effect(changed: FloatArray, reference: FloatArray, settled: int) -> FloatArray | None:
    """Tell how much of its final effect a change has had, frame by frame.

    Args:
        changed: float64 [T, K], channels from the first frame on that the new controls hold for.
        reference: float64 [T, K], the same frames without the change.
        settled: Last frames, in which the effect is whole.

    Returns:
        float64 [T], 1 = the mean difference of the settled frames; None where there is none.
    """
    difference = changed - reference
    whole = difference[-settled:].mean(axis=0)
    size = float(whole @ whole)
    if size < _NOTHING:
        return None
    return np.asarray(difference @ whole / size, np.float64)


def scaling_effect(changed: FloatArray, reference: FloatArray) -> FloatArray | None:
    """Tell how much of a motion is gone, frame by frame: 0 = all there, 1 = at rest.

    Frames in which the reference itself is nearly at rest are bridged; None where it always is.

    Args:
        changed: float64 [T, K], deviations from rest.
        reference: float64 [T, K], the same frames without the change.
    """
    power = np.square(reference).sum(axis=1)
    if power.max() < _NOTHING:
        return None
    moving = power > _MOVING_SHARE * power.mean()
    gone = 1.0 - (changed * reference).sum(axis=1)[moving] / power[moving]
    frames = np.arange(len(reference))
    return np.asarray(np.interp(frames, frames[moving], gone), np.float64)


def half_time_ms(effect: FloatArray) -> float | None:
    """Time from the last frame of old controls until half the effect is there, and stays.

    Args:
        effect: float64 [T]; the frame before the first one had none.

    Returns:
        Milliseconds, to a fraction of a frame; None where half is never reached.
    """
    padded = np.concatenate([effect, np.full(_HELD_FRAMES - 1, effect[-1])])
    held = np.lib.stride_tricks.sliding_window_view(padded, _HELD_FRAMES).mean(axis=1)
    reached = np.flatnonzero((effect >= 0.5) & (held >= 0.5))
    if not reached.size:
        return None
    at = int(reached[0])
    before = min(float(effect[at - 1]), 0.5) if at > 0 else 0.0
    share = (0.5 - before) / max(float(effect[at]) - before, _NOTHING)
    return (at + share) * FRAME_MS


def step_ratio(changed: FloatArray, reference: FloatArray) -> float | None:
    """Largest step from frame to frame, by the largest ordinary one; None at rest.

    Args:
        changed: float64 [T, K], around the change.
        reference: float64 [N, K], ordinary motion.
    """
    steps = [np.linalg.norm(np.diff(curve, axis=0), axis=1).max() for curve in (changed, reference)]
    return float(steps[0] / steps[1]) if steps[1] > _NOTHING else None


def count_blinks(lids: FloatArray) -> int:
    """Count how often lids [T] (0 = open, 1 = shut) pass one half on their way down."""
    shut = np.concatenate([[False], lids >= _SHUT_LID]).astype(np.int8)
    return int(np.sum(np.diff(shut) == 1))


def count_nods(pitch_deg: FloatArray) -> int:
    """Count dips of the head by more than `NOD_DEG`, down and up again within one second.

    Args:
        pitch_deg: float64 [T], + = down.
    """
    count, at = 0, 1
    while at < len(pitch_deg) - 1:
        up_again = _frames_until(pitch_deg[at] - pitch_deg[at + 1 : at + _NOD_FRAMES])
        down = _frames_until(pitch_deg[at] - pitch_deg[max(0, at - _NOD_FRAMES + 1) : at][::-1])
        if up_again and down and up_again + down <= _NOD_FRAMES:
            count += 1
            at += up_again
        else:
            at += 1
    return count


def _frames_until(depth_deg: FloatArray) -> int:
    deep = np.flatnonzero(depth_deg > NOD_DEG)
    return int(deep[0]) + 1 if deep.size else 0


def closing_ms(aperture: FloatArray, end_s: float) -> float | None:
    """Time from the end of speech to shut lips; None where they stay open.

    Args:
        aperture: float64 [T], of speech and the silence after it.
        end_s: When the speech ends.
    """
    first = int(np.ceil(end_s * FRAME_RATE_HZ - 1e-6))
    shut = np.flatnonzero(aperture[first:] < shut_below(aperture))
    if not shut.size:
        return None
    return max(0.0, (first + int(shut[0])) * FRAME_MS - 1000.0 * end_s) if shut[0] else 0.0


def angle_between_deg(a_deg: npt.ArrayLike, b_deg: npt.ArrayLike) -> float:
    """Angle between two directions given by yaw and pitch."""
    rays = []
    for yaw, pitch in (np.radians(a_deg), np.radians(b_deg)):
        rays.append((np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)))
    cosine = float(np.dot(rays[0], rays[1]))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def table_lines(rows: Sequence[Row]) -> list[str]:
    """Write the table in Markdown, which reads well as text too."""
    cells = [("control", "asked", "measure", "value", "wanted", "")]
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.{_digits(row.value)}f} {row.unit}"
        verdict = {None: "", True: "ok", False: "MISSED"}[row.ok]
        cells.append((row.control, row.asked, row.measure, value.strip(), row.wanted, verdict))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
             for line in cells]  # fmt: skip
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
