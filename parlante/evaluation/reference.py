"""What people and VASA-1's demonstration clips measure, and the range that counts as human.

The two columns are means over clips, by a tracker of the same kind at 512x512 and 25 Hz (16 clips
of VASA-1's demonstration, 11 of real speech; tracked for this project, 2026-11). Ranges of head,
eyes and brows reach from the 10th to the 90th percentile of 14 clips of people of at least ten
seconds (public examples of LivePortrait, MuseTalk, EchoMimic and LatentSync). Ranges of lips reach
from 3/4 of the smaller to 4/3 of the larger column, those of closures and rankings begin five
points below the smaller one. The rest is what we ask of ourselves, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["REFERENCES", "Reference"]


@dataclass(frozen=True, slots=True)
class Reference:
    """One line of the table.

    Attributes:
        key: Name in the pooled report.
        label: For people, with the unit.
        vasa: VASA-1's demonstration; None where nobody measured it.
        people: Real speech.
        low: Below is outside; None has no lower end.
        high: Above is outside; None has no upper end.
        decimals: To print.
        note: What to know about the range.
    """

    key: str
    label: str
    vasa: float | None = None
    people: float | None = None
    low: float | None = None
    high: float | None = None
    decimals: int = 2
    note: str = ""

    def verdict(self, value: float | None) -> str:
        """ "inside", "below" or "above" the range; "" without a value or a range."""
        if value is None or (self.low is None and self.high is None):
            return ""
        if self.low is not None and value < self.low:
            return "below"
        if self.high is not None and value > self.high:
            return "above"
        return "inside"


_OURS: Final = "our own demand"
_SYNC_NOTE: Final = "columns by another sync model, fitted on people: not comparable"

REFERENCES: Final = (
    Reference("bilabials_shut", "P/B/M fully shut, share", 0.835, 0.88, 0.76),
    Reference("auc_aperture", "AUC, aperture: P/B/M below open vowels", 0.88, 0.88, 0.83),
    Reference("auc_width", "AUC, width: rounded below spread", 0.91, 0.88, 0.83),
    Reference("aperture_mean_iod", "aperture in speech, mean, IOD", 0.115, 0.099, 0.074, 0.153, 3),
    Reference("aperture_p95_iod", "aperture, 95th percentile, IOD", 0.253, 0.201, 0.151, 0.337, 3),
    Reference("aperture_centroid_hz", "aperture, spectral centroid, Hz", 2.2, 2.3, 1.65, 3.1, 1),
    Reference("mouth_width_std_iod", "mouth width std, IOD", 0.059, 0.046, 0.034, 0.079, 3),
    Reference(
        "mouth_width_change_p95_iod",
        "mouth width, change per frame, 95th percentile, IOD",
        people=0.036,
        low=0.022,
        high=0.053,
        decimals=3,
        note="0.029 to 0.040 in the three clips with speech",
    ),
    Reference(
        "aperture_width_correlation",
        "correlation of aperture and width",
        people=0.25,
        note="median of 14 clips; 0.43 to 0.63 in the three with speech",
    ),
    Reference("silence_shut", "silent frames with the mouth shut, share", low=0.9, note=_OURS),
    Reference(
        "shut_delay_ms_median",
        "end of speech to shut mouth, median, ms",
        high=300.0,
        decimals=0,
        note=_OURS,
    ),
    Reference("shut_delay_ms_p95", "end of speech to shut mouth, 95th percentile, ms", decimals=0),
    Reference("sync_aperture", "sync score, aperture", 0.58, 0.47, note=_SYNC_NOTE),
    Reference("sync_mouth_width", "sync score, mouth width", 0.47, 0.31, note=_SYNC_NOTE),
    Reference("sync_lip_height", "sync score, outer-lip height", 0.56, 0.53, note=_SYNC_NOTE),
    Reference("sync_jaw", "sync score, jaw", 0.58, 0.36, note=_SYNC_NOTE),
    Reference(
        "sync_lag_ms",
        "sync lag, + = face late, ms",
        0.0,
        low=-40.0,
        high=40.0,
        decimals=0,
        note=f"+-20 in VASA-1 by its own model; the range is {_OURS}",
    ),
    Reference("yaw_std_deg", "head yaw std, degrees", 5.4, 4.5, 0.9, 7.5, 1),
    Reference("pitch_std_deg", "head pitch std, degrees", 3.7, 3.7, 0.8, 5.6, 1),
    Reference("roll_std_deg", "head roll std, degrees", 3.5, 3.6, 0.6, 6.0, 1),
    Reference("head_speed_deg_s", "head speed, degrees/s", 17.6, 22.0, 11.4, 40.0, 1),
    Reference(
        "pose_variation_deg",
        "pose variation (dP), degrees per frame",
        people=0.42,
        low=0.22,
        high=0.79,
        note="median of 14 clips",
    ),
    Reference(
        "yaw_roll_correlation",
        "yaw-roll correlation",
        0.27,
        0.23,
        note="-0.96 to 0.62 from clip to clip; yaw of the columns was counted the other way round: "
        "in their clips a head that turns to + moves to image left",
    ),
    Reference("blinks_per_min", "blinks per minute", 33.0, 40.0, 8.6, 53.0, 0),
    Reference(
        "blink_ms",
        "blink duration, mean, ms",
        people=219.0,
        low=120.0,
        high=507.0,
        decimals=0,
        note="median of 13 clips",
    ),
    Reference("brow_std_iod", "brow height std, IOD", 0.025, 0.018, 0.008, 0.027, 3),
    Reference(
        "iris_std",
        "gaze: std of irises between the eyes' corners",
        people=0.013,
        low=0.007,
        high=0.030,
        decimals=3,
        note="median of 14 clips",
    ),
    Reference(
        "gaze_against_head",
        "correlation of head yaw and eye yaw",
        note="negative where eyes hold on to what they look at",
    ),
    Reference("seam_aperture", "seams, aperture velocity, 1 = none", high=1.25, note=_OURS),
    Reference("seam_head", "seams, head velocity, 1 = none", high=1.25, note=_OURS),
    Reference(
        "head_sound_speed",
        "head speed expected from loudness, correlation",
        people=0.14,
        note="people -0.18 to 0.36 in three clips: tells nothing yet",
    ),
    Reference(
        "head_sound_nod",
        "nodding expected from loudness, correlation",
        people=0.26,
        note="people 0.16 to 0.37 in three clips: tells nothing yet",
    ),
)
