"""Judge the face in a video against its sound, with the tracker of the encoder.

Usage: python scripts/measure_video.py VIDEO [--phones FILE.json] [--sheet FILE.png] [--json]

Re-tracks every frame and prints statistics of lips, head, blinks and silence; the reference
figures are those of real people in `docs/quality.md`. With --phones, a JSON list of
[ARPAbet symbol, start_s, end_s] from any aligner, it also says how lips meet on P, B and M and how
the mouth rounds, each beside a control whose phones are shifted in time. The tracker is not part
of the motion generator and knows nothing of its labels. --sheet draws frames, at the middle of
phones where there are any.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from parlante.models.face_coefficients import FaceMeasures, measure_face
from parlante.models.face_tracker import FaceTracker
from parlante.types import FRAME_RATE_HZ, Uint8Array

Floats = npt.NDArray[np.float64]
Phone = tuple[str, float, float]

SHUT_APERTURE = 0.03  # IOD; the tracker sees 0.01 to 0.025 on closed lips
SILENCE_BELOW_PEAK_DB = 42.0
SPEECH_BELOW_PEAK_DB = 30.0
QUIET_MARGIN_FRAMES = 3
CONTROL_SHIFTS_FRAMES = (0, 17, -23)
BILABIALS = frozenset({"P", "B", "M"})
OPEN_VOWELS = frozenset({"AA", "AE", "AH", "AO", "AY", "AW", "EH"})
ROUNDED = frozenset({"UW", "OW", "W", "UH", "OY", "SH", "CH", "JH"})
SPREAD = frozenset({"IY", "EY", "IH", "S", "Z", "AE"})
NO_PHONES = frozenset({"SIL", "<sil>", "+SPN+", "+NSN+"})
NUM_SHEET_FRAMES = 24


def read_video(path: Path) -> tuple[list[Uint8Array], Floats]:
    """Read frames, uint8 [H, W, 3] RGB each, and the loudness of each frame's sound in dB."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        parts = [
            out.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for out in resampler.resample(frame)
        ]
    sound = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    hop = 16_000 // FRAME_RATE_HZ
    sound = np.pad(sound, (0, max(0, hop * len(frames) - len(sound))))[: hop * len(frames)]
    power = np.square(sound.astype(np.float64)).reshape(-1, hop).mean(axis=1)
    return frames, 10.0 * np.log10(power + 1e-12)


def track(frames: list[Uint8Array]) -> list[FaceMeasures | None]:
    """Measure the face in every frame; None where it was lost."""
    return [measure_face(f.points) if f else None for f in FaceTracker().track(frames)]


def curve(measures: list[FaceMeasures | None], name: str) -> Floats:
    """One measure over time; lost frames are filled from their neighbours."""
    values = np.array([getattr(m, name) if m else np.nan for m in measures])
    found = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(len(values)), found, values[found])


def motion_statistics(measures: list[FaceMeasures | None], loudness_db: Floats) -> dict[str, Any]:
    """Statistics that need no phones."""
    aperture = curve(measures, "aperture")
    angles = [np.degrees(curve(measures, f"{n}_rad")) for n in ("yaw", "pitch", "roll")]
    lids = (curve(measures, "eye_ratio_left") + curve(measures, "eye_ratio_right")) / 2
    shut = lids < 0.6 * np.median(lids)
    peak_db = loudness_db.max()
    quiet = loudness_db < peak_db - SILENCE_BELOW_PEAK_DB
    width = 2 * QUIET_MARGIN_FRAMES + 1
    silent = np.convolve(~quiet, np.ones(width), "same") == 0
    speech = loudness_db > peak_db - SPEECH_BELOW_PEAK_DB
    speed = np.sqrt(sum(np.square(np.diff(a)) for a in angles)) * FRAME_RATE_HZ
    statistics: dict[str, Any] = {
        "frames": len(measures),
        "frames_lost": sum(m is None for m in measures),
        "aperture_mean_iod": aperture[speech].mean(),
        "aperture_p95_iod": np.percentile(aperture, 95),
        "mouth_width_std_iod": curve(measures, "mouth_width").std(),
        "brow_std_iod": curve(measures, "brow_height").std(),
        "yaw_pitch_roll_std_deg": [a.std() for a in angles],
        "head_speed_deg_s": speed.mean(),
        "blinks_per_min": np.sum(np.diff(shut.astype(int)) == 1) * 60 * FRAME_RATE_HZ / len(lids),
        "silent_frames": int(silent.sum()),
    }
    if silent.any():
        statistics["silent_frames_shut"] = np.mean(aperture[silent] < SHUT_APERTURE)
    return statistics


def lip_statistics(measures: list[FaceMeasures | None], phones: list[Phone]) -> dict[str, Any]:
    """Closures and rounding at phones, beside controls that are shifted in time."""
    aperture, width = curve(measures, "aperture"), curve(measures, "mouth_width")
    shut_below = max(0.12 * np.percentile(aperture, 95), SHUT_APERTURE)
    result: dict[str, Any] = {}
    for shift in CONTROL_SHIFTS_FRAMES:
        spans = [(name, *_span(start, end, shift, len(aperture))) for name, start, end in phones]
        lows = {
            kind: [aperture[a:b].min() for name, a, b in spans if name in names and a < b]
            for kind, names in (("bilabial", BILABIALS), ("open", OPEN_VOWELS))
        }
        highs = [aperture[a:b].max() for name, a, b in spans if name in OPEN_VOWELS and a < b]
        widths = {
            kind: [width[a:b].mean() for name, a, b in spans if name in names and a < b]
            for kind, names in (("rounded", ROUNDED), ("spread", SPREAD))
        }
        result["aligned" if shift == 0 else f"shifted_by_{shift}_frames"] = {
            "bilabials": len(lows["bilabial"]),
            "bilabials_shut": np.mean(np.array(lows["bilabial"]) < shut_below),
            "auc_bilabial_below_open": auc(lows["bilabial"], highs),
            "auc_bilabial_below_open_minima": auc(lows["bilabial"], lows["open"]),
            "auc_rounded_below_spread": auc(widths["rounded"], widths["spread"]),
        }
    return result


def _span(start_s: float, end_s: float, shift: int, num_frames: int) -> tuple[int, int]:
    first = int(np.floor((start_s - 0.04) * FRAME_RATE_HZ)) + shift
    last = int(np.ceil(end_s * FRAME_RATE_HZ)) + shift
    return max(first, 0), min(last, num_frames)


def auc(low: list[float], high: list[float]) -> float:
    """Chance that a value of `low` is below one of `high`."""
    if not low or not high:
        return float("nan")
    difference = np.subtract.outer(np.array(high), np.array(low))
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def draw_sheet(frames: list[Uint8Array], phones: list[Phone], path: Path) -> None:
    """Draw frames in three rows, at the middle of phones where there are any."""
    spoken = [
        (int((start + end) / 2 * FRAME_RATE_HZ), f"{name} {start:.2f}")
        for name, start, end in phones
        if name not in NO_PHONES and end * FRAME_RATE_HZ < len(frames)
    ]
    marks = spoken or [(i, f"{i / FRAME_RATE_HZ:.2f}") for i in range(len(frames))]
    tiles = []
    for pick in np.linspace(0, len(marks) - 1, NUM_SHEET_FRAMES).astype(int):
        index, text = marks[pick]
        tile = cv2.resize(frames[index], (256, 256), interpolation=cv2.INTER_AREA)
        cv2.putText(tile, text, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 0), 2)
        tiles.append(tile)
    rows = [np.hstack(tiles[i : i + 8]) for i in range(0, NUM_SHEET_FRAMES, 8)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def main() -> None:
    """Measure one video."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--phones", type=Path, help="JSON list of [symbol, start_s, end_s]")
    parser.add_argument("--sheet", type=Path, help="PNG to draw")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    arguments = parser.parse_args()
    frames, loudness_db = read_video(arguments.video)
    phones: list[Phone] = json.loads(arguments.phones.read_text()) if arguments.phones else []
    measures = track(frames)
    report = motion_statistics(measures, loudness_db)
    if phones:
        report |= lip_statistics(measures, phones)
    rounded = json.loads(
        json.dumps(report, default=float), parse_float=lambda v: round(float(v), 3)
    )
    print(json.dumps(rounded, indent=None if arguments.json else 2))
    if arguments.sheet:
        draw_sheet(frames, phones, arguments.sheet)


if __name__ == "__main__":
    main()
