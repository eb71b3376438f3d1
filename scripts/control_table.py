"""A table of what every control was set to and what came out.

The pictures are measured by the encoder's tracker, which knows nothing of the generator.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from motion_studio import (
    DISTANCES,
    GAZES_DEG,
    POSES_DEG,
    SENTENCE,
    USER,
    Change,
    Sound,
    Studio,
    frame_at,
    gaze_controls,
    pose_controls,
    say,
    say_for,
    silence,
)

from parlante.evaluation.controls import (
    Row,
    additive_effect,
    angle_between_deg,
    closing_ms,
    count_blinks,
    count_nods,
    half_time_ms,
    scaling_effect,
    step_ratio,
)
from parlante.evaluation.head import blinks
from parlante.evaluation.tracking import FloatArray
from parlante.models.face_coefficients import FaceMeasures
from parlante.models.motion_space import FACE, MOUTH
from parlante.types import (
    FRAME_RATE_HZ,
    MOTION_DIM,
    MOTION_INDEX,
    Controls,
    Driving,
    Float32Array,
    HeadPose,
)

SEEDS: Final = (0, 1, 2)
SETTLED: Final = FRAME_RATE_HZ  # frames of a settled second
HEAD_NAMES: Final = ("headYaw", "headPitch", "headRoll")
MAX_GAZE_ERROR_DEG: Final = 5.0
MAX_POSE_ERROR_DEG: Final = 3.0
MAX_SIZE_ERROR: Final = 0.02
SEEN_IOD: Final = 0.003  # smaller changes are within the tracker's noise
BLINK_RATES: Final = (0.0, 0.5, 1.0, 2.0)


DEFINITIONS: Final = {
    "gaze error": "angle between the asked direction and the tracked one (head + eye, camera "
    "frame), both counted from what the tracker sees in the portrait at rest; mean over a settled "
    "second, then over nine directions (worst: of the nine)",
    "gaze error, absolute": "the same without taking off what the tracker sees at rest",
    "gaze error, expression taken off": "the same, counted from what the tracker sees in the same "
    "frames with head and eyes as in the portrait: it takes a smile for a nod of 2 degrees",
    "gaze error, tracker corrected": "the same, each angle divided by the share that the tracker "
    "sees of a known turn of the same portrait: what generator and controls leave over",
    "gaze error of the channels": "the same from headYaw + gazeYaw, headPitch + gazePitch",
    "eye part": "tracked eye angle by the angle that the channels ask for, slope over the nine "
    "directions; 1 = all of it is seen. Beside it the share that the tracker sees of a known turn "
    "to - and to +: what it misses, it misses here as well",
    "head part": "the same of the head",
    "size": "tracked inter-ocular distance by that at distance 1; wanted: 1 / distance",
    "pose error": "largest of the three angles' errors, tracked pose less that of the portrait at "
    "rest, against what was asked; mean over a settled second",
    "pose error of the mesh": "the same from the renderer's own posed mesh with its depth; what is "
    "right here and wrong above is the tracker's error",
    "pose error of the channels": "the same from the channels",
    "mouth corners": "height of the corners above the lips' middle, mean over the same words",
    "mouth width": "distance of the corners, mean over the same words",
    "brows": "height of the brows above the eyes' corners, mean over the same words, less that of "
    "neutral",
    "channel": "mean of a motion channel over the same words",
    "blinks of the channels": "lids passing one half, per minute, 3 x 30 s of silence",
    "blinks tracked": "runs below 60 % of the median opening, per minute, 20 s of silence",
    "half time": "from the last frame of the old controls until half of the final effect, in the "
    "channels, median of three seeds, in speech",
    "first blink": "from the last frame of the old controls to the first blink",
    "largest step": "largest step between frames in the second after the change by the largest "
    "step of the same channels in 8 s of ordinary motion, median of three seeds",
    "nods": "dips of headPitch deeper than 1.5 degrees within 1 s, per minute, 3 x 20 s",
    "closing time": "from the end of the last phone to lips below 12 % of the 95th percentile or "
    "0.03 IOD above what the tracker sees on the portrait's shut lips; median of three sentences",
}


def channels(motion: Float32Array, names: Iterable[str]) -> FloatArray:
    """Pick channels by name, float64 [T, K]."""
    return motion[:, [MOTION_INDEX[name] for name in names]].astype(np.float64)


def camera_gaze_deg(motion: Float32Array) -> FloatArray:
    """Head + eye, yaw and pitch, float64 [T, 2]."""
    head = channels(motion, ("headYaw", "headPitch"))
    return np.degrees(head + channels(motion, ("gazeYaw", "gazePitch")))


def mean_of(measures: Sequence[FaceMeasures], *names: str) -> FloatArray:
    """Mean of measures over the frames with open eyes, float64 [K]; angles in rad."""
    lids = np.array([m.eye_ratio_left + m.eye_ratio_right for m in measures])
    seen = lids >= 0.6 * np.median(lids)
    values = np.array([[getattr(m, name) for name in names] for m in measures])
    return np.asarray(values[seen].mean(axis=0), np.float64)


def seen_in(studio: Studio, **angles: float) -> list[FaceMeasures]:
    """What the tracker sees in the portrait as it is, but for some channels (rad)."""
    motion = np.zeros((8, MOTION_DIM), np.float32)
    for name, angle in angles.items():
        motion[:, MOTION_INDEX[name]] = angle
    return studio.track(motion)[3:]


def tracker_shares(studio: Studio, rest: FloatArray) -> FloatArray:
    """Share of each angle that the tracker sees, turned to - and to +: float64 [4, 2].

    Args:
        studio: With the portrait.
        rest: `_EYE_AND_HEAD` of the portrait as it is, rad.
    """
    shares = np.empty((len(_EYE_AND_HEAD), 2))
    for row, channel in enumerate(_GAZE_CHANNELS):
        size = math.radians(12.0 if "Pitch" in channel else 16.0)
        for column, angle in enumerate((-size, size)):
            seen = mean_of(seen_in(studio, **{channel: angle}), *_EYE_AND_HEAD)
            shares[row, column] = (seen - rest)[row] / angle
    return shares


_EYE_AND_HEAD: Final = ("yaw_rad", "pitch_rad", "gaze_yaw_rad", "gaze_pitch_rad")
_GAZE_CHANNELS: Final = ("headYaw", "headPitch", "gazeYaw", "gazePitch")


def rows_gaze(studio: Studio) -> list[Row]:
    """Where the face looks."""
    rest = mean_of(seen_in(studio), *_EYE_AND_HEAD)
    shares = tracker_shares(studio, rest)
    errors, plain, corrected, of_channels, seen, asked = [], [], [], [], [], []
    expressive = []
    for direction in GAZES_DEG:
        motion = studio.move(silence(3.0), gaze_controls(*direction)).motion[-SETTLED:]
        tracked = np.degrees(mean_of(studio.track(motion), *_EYE_AND_HEAD))
        straight = np.degrees(mean_of(studio.track(_straight(motion)), *_EYE_AND_HEAD))
        turned = tracked - straight
        expressive.append(angle_between_deg(turned[:2] + turned[2:], direction))
        relative = tracked - np.degrees(rest)
        full = relative / np.where(relative < 0.0, shares[:, 0], shares[:, 1])
        corrected.append(angle_between_deg(full[:2] + full[2:], direction))
        made = camera_gaze_deg(motion).mean(axis=0)
        errors.append(angle_between_deg(relative[:2] + relative[2:], direction))
        plain.append(angle_between_deg(tracked[:2] + tracked[2:], direction))
        of_channels.append(angle_between_deg(made, direction))
        seen.append(relative)
        asked.append(np.degrees(channels(motion, _GAZE_CHANNELS).mean(axis=0)))
    slopes = [_slope(a, s) for a, s in zip(np.array(asked).T, np.array(seen).T, strict=True)]
    row = functools.partial(Row, control="gaze", asked="3x3, 25 x 15 deg")
    error, limit = float(np.mean(errors)), MAX_GAZE_ERROR_DEG
    wanted = f"<= {limit:g}"
    rows = [
        row(measure="gaze error", value=error, unit="deg", wanted=wanted, ok=error <= limit),
        row(measure="gaze error, worst", value=max(errors), unit="deg"),
        row(measure="gaze error, absolute", value=float(np.mean(plain)), unit="deg"),
        row(
            measure="gaze error, expression taken off", value=float(np.mean(expressive)), unit="deg"
        ),
        row(measure="gaze error, tracker corrected", value=float(np.mean(corrected)), unit="deg"),
        row(measure="gaze error of the channels", value=float(np.mean(of_channels)), unit="deg"),
    ]
    parts = ("head part, yaw", "head part, pitch", "eye part, yaw", "eye part, pitch")
    for part, slope, share in zip(parts, slopes, shares, strict=True):
        note = "tracker sees " + " / ".join(f"{value:.2f}" for value in share)
        rows.append(row(measure=part, value=slope, unit="", wanted=note))
    return rows


def _straight(motion: Float32Array) -> Float32Array:
    """The same expressions, head and eyes as in the portrait."""
    straight = motion.copy()
    straight[:, [MOTION_INDEX[name] for name in _GAZE_CHANNELS]] = 0.0
    return straight


def _slope(asked: FloatArray, seen: FloatArray) -> float:
    return float(np.polyfit(asked, seen, 1)[0])


def rows_distance(studio: Studio) -> list[Row]:
    """How large the face is."""
    iod_px = {}
    for distance in DISTANCES:
        controls = Controls(head_distance=distance, head_motion=0.0)
        motion = studio.move(silence(3.0), controls).motion[-SETTLED:]
        iod_px[distance] = float(mean_of(studio.track(motion), "iod_px")[0])
    rows = []
    for distance, size in iod_px.items():
        ratio = size / iod_px[1.0]
        row = functools.partial(Row, control="head_distance", asked=f"{distance:g}")
        rows.append(row(measure="inter-ocular distance", value=size, unit="px"))
        if distance != 1.0:
            ok = abs(ratio * distance - 1.0) <= MAX_SIZE_ERROR
            wanted = f"{1 / distance:.3f} +-2 %"
            rows.append(row(measure="size", value=ratio, unit="", wanted=wanted, ok=ok))
    return rows


def rows_pose(studio: Studio) -> list[Row]:
    """Where the head is held."""
    names = ("yaw_rad", "pitch_rad", "roll_rad")
    rest = mean_of(seen_in(studio), *names)
    mesh_rest = studio.posed_yaw_pitch_roll(np.zeros(MOTION_DIM, np.float32))
    rows = []
    for pose in POSES_DEG:
        motion = studio.move(silence(3.0), pose_controls(*pose)).motion[-SETTLED:]
        tracked = np.degrees(mean_of(studio.track(motion), *names) - rest)
        made = np.degrees(channels(motion, HEAD_NAMES).mean(axis=0))
        error, limit = float(np.abs(tracked - pose).max()), MAX_POSE_ERROR_DEG
        asked = " ".join(f"{angle:+d}" for angle in pose)
        row = functools.partial(Row, control="head_pose", asked=asked, unit="deg")
        seen = " ".join(f"{angle:+.1f}" for angle in tracked)
        wanted = f"<= {limit:g}, seen {seen}"
        rows.append(row(measure="pose error", value=error, wanted=wanted, ok=error <= limit))
        of_channels = float(np.abs(made - pose).max())
        mesh = np.degrees(studio.posed_yaw_pitch_roll(motion[-1]) - mesh_rest)
        rows.append(row(measure="pose error of the mesh", value=float(np.abs(mesh - pose).max())))
        rows.append(row(measure="pose error of the channels", value=of_channels))
    return rows


_HAPPY: Final = (("happy", 0.0), ("happy", 0.5), ("happy", 1.0))
# Emotion, a channel that it raises, and where it moves the brows.
_BROWS: Final = (("sad", "browInnerUp", 1), ("angry", "browDownLeft", -1),
                 ("surprised", "browOuterUpLeft", 1))  # fmt: skip


def rows_emotion(studio: Studio) -> list[Row]:
    """How high corners of the mouth and brows are."""
    sound = say(SENTENCE)

    def perform(name: str, weight: float) -> Float32Array:
        return studio.move(sound, Controls(emotion={name: weight})).motion[10:]

    rows: list[Row] = []
    rest = (0.0, 0.0)
    for name, weight in _HAPPY:
        motion = perform(name, weight)
        measures = studio.track(motion)
        corners, width, brows = mean_of(measures, "corner_height", "mouth_width", "brow_height")
        row = functools.partial(Row, control="emotion", asked=f"{name} {weight:g}")
        if not weight:
            rest = (float(corners), float(brows))
        rise = float(corners) - rest[0]
        wanted, ok = (f"higher, {rise:+.3f}", rise > SEEN_IOD) if weight else ("", None)
        rows += [
            row(measure="mouth corners", value=float(corners), unit="IOD", wanted=wanted, ok=ok),
            row(measure="mouth width", value=float(width), unit="IOD"),
            _row_channel(row, motion, "mouthSmileLeft"),
        ]
    for name, channel, sign in _BROWS:
        motion = perform(name, 1.0)
        change = float(mean_of(studio.track(motion), "brow_height")[0]) - rest[1]
        row = functools.partial(Row, control="emotion", asked=f"{name} 1")
        wanted, ok = ("> 0" if sign > 0 else "< 0"), sign * change > SEEN_IOD
        rows.append(row(measure="brows", value=change, unit="IOD", wanted=wanted, ok=ok))
        rows.append(_row_channel(row, motion, channel))
    return rows


def _row_channel(row: Callable[..., Row], motion: Float32Array, channel: str) -> Row:
    value = float(channels(motion, (channel,)).mean())
    return row(measure=f"channel {channel}", value=value, unit="")


def rows_blinks(studio: Studio) -> list[Row]:
    """How often the eyes blink."""
    seconds, tracked_seconds = 30.0, 20.0
    rows = []
    for rate in BLINK_RATES:
        takes = [
            studio.move(silence(seconds), Controls(blink_rate=rate), seed=seed).motion
            for seed in SEEDS
        ]
        lids = [channels(motion, ("eyeBlinkLeft",))[:, 0] for motion in takes]
        made = sum(map(count_blinks, lids)) * 60.0 / (seconds * len(SEEDS))
        measures = studio.track(takes[0][: frame_at(tracked_seconds)])
        ratio = np.array([(m.eye_ratio_left + m.eye_ratio_right) / 2 for m in measures])
        tracked = len(blinks(ratio)) * 60.0 / tracked_seconds
        row = functools.partial(Row, control="blink_rate", asked=f"{rate:g}", unit="per min")
        rows.append(row(measure="blinks of the channels", value=made))
        rows.append(row(measure="blinks tracked", value=tracked))
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A control that changes while the stream runs.

    Attributes:
        control: Its name.
        asked: From what to what.
        after: The new controls; before, all are default.
        curve: The channels that it acts on, float64 [T, K].
        scales: Whether it brings motion to rest; otherwise it adds something.
    """

    control: str
    asked: str
    after: Controls
    curve: Callable[[Float32Array], FloatArray]
    scales: bool = False


def _sided(names: Iterable[str]) -> list[str]:
    """Channels of latents: those with a side have two."""
    pairs = ([n] if n in MOTION_INDEX else [f"{n}Left", f"{n}Right"] for n in names)
    return [name for pair in pairs for name in pair if name in MOTION_INDEX]


def _pick(*names: str) -> Callable[[Float32Array], FloatArray]:
    return functools.partial(channels, names=_sided(names))


# Corners of the mouth rise with spread vowels as well, which is speech and stays.
EXPRESSION: Final = tuple(name for name in FACE if name != "mouthSmile")
STEPS: Final = (
    Step("gaze", "yaw 0 to 25", gaze_controls(25, 0), camera_gaze_deg),
    Step("gaze, head part", "yaw 0 to 25", gaze_controls(25, 0), _pick("headYaw")),
    Step("head_distance", "1 to 1.4", Controls(head_distance=1.4), _pick("headLogScale")),
    Step("emotion", "none to happy 1", Controls(emotion={"happy": 1.0}), _pick(*MOUTH, *FACE)),
    Step("emotion", "none to sad 1", Controls(emotion={"sad": 1.0}), _pick(*MOUTH, *FACE)),
    Step(
        "head_pose",
        "free to yaw 17",
        Controls(head_pose=HeadPose(yaw_rad=0.3)),
        _pick(*HEAD_NAMES),
    ),
    Step("head_motion", "1 to 0", Controls(head_motion=0.0), _pick(*HEAD_NAMES), True),
    Step("expression", "1 to 0", Controls(expression=0.0), _pick(*EXPRESSION), True),
    Step("driving", "full to pose_only", Controls(driving=Driving.POSE_ONLY), _pick(*MOUTH), True),
    Step(
        "driving",
        "full to expression_only",
        Controls(driving=Driving.EXPRESSION_ONLY),
        _pick(*HEAD_NAMES),
        True,
    ),
)
CHANGE_AT_S: Final = 4.0


def rows_changes(studio: Studio) -> list[Row]:
    """How fast and how smoothly a control acts."""
    sound = say_for(8.0)
    references = [studio.move(sound, seed=seed).motion for seed in SEEDS]
    rows = []
    for step in STEPS:
        times, ratios = [], []
        for seed, reference in zip(SEEDS, references, strict=True):
            take = studio.move(sound, seed=seed, change=Change(CHANGE_AT_S, step.after))
            changed, ordinary = step.curve(take.motion), step.curve(reference)
            at = take.changed_from
            if step.scales:
                effect = scaling_effect(changed[at:], ordinary[at:])
            else:
                effect = additive_effect(changed[at:], ordinary[at:], SETTLED)
            times.append(None if effect is None else half_time_ms(effect))
            ratios.append(step_ratio(changed[at - 1 : at + SETTLED], ordinary))
        row = functools.partial(Row, control=step.control, asked=step.asked)
        rows.append(row(measure="half time", value=_median(times), unit="ms"))
        rows.append(row(measure="largest step", value=_median(ratios), unit="x"))
    return [*rows, _row_blink_change(studio, sound)]


def _row_blink_change(studio: Studio, sound: Sound) -> Row:
    times: list[float | None] = []
    for seed in SEEDS:
        change = Change(CHANGE_AT_S, Controls(blink_rate=3.0))
        take = studio.move(sound, Controls(blink_rate=0.0), seed=seed, change=change)
        lids = channels(take.motion, ("eyeBlinkLeft",))[take.changed_from :, 0]
        shut = np.flatnonzero(lids >= 0.5)
        times.append((int(shut[0]) + 1) * 1000.0 / FRAME_RATE_HZ if shut.size else None)
    value = _median(times)
    return Row(control="blink_rate", asked="0 to 3", measure="first blink", value=value, unit="ms")


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if len(known) > len(values) / 2 else None


def rows_nods(studio: Studio) -> list[Row]:
    """Whether a listener nods."""
    seconds = 20.0
    rows = []
    for asked, user in (("idle", None), ("listening", say_for(seconds, USER))):
        nods, stirs = 0, []
        for seed in SEEDS:
            motion = studio.move(silence(seconds), seed=seed, user=user).motion
            head = np.degrees(channels(motion, HEAD_NAMES))
            nods += count_nods(head[:, 1])
            stirs.append(float(head[:, 1].std()))
        row = functools.partial(Row, control="listening", asked=asked)
        per_min = nods * 60.0 / (seconds * len(SEEDS))
        rows.append(row(measure="nods", value=per_min, unit="per min"))
        rows.append(row(measure="headPitch std", value=float(np.mean(stirs)), unit="deg"))
    return rows


def rows_closing(studio: Studio) -> list[Row]:
    """How soon lips shut when speech ends."""
    rest = mean_of(seen_in(studio), "aperture")[0]
    times = []
    for text in (SENTENCE, "That is a big surprise to me.", "Where do you want to go?"):
        sound = say(text, tail_s=1.2)
        measures = studio.track(studio.move(sound).motion)
        aperture = np.array([m.aperture for m in measures]) - rest
        times.append(closing_ms(np.maximum(aperture, 0.0), sound.end_s))
    row = functools.partial(Row, control="speech", asked="end", measure="closing time", unit="ms")
    value = _median(times)
    return [row(value=value, wanted="<= 300", ok=value is not None and value <= 300.0)]


TABLE: Final[tuple[Callable[[Studio], list[Row]], ...]] = (
    rows_gaze,
    rows_distance,
    rows_pose,
    rows_emotion,
    rows_blinks,
    rows_changes,
    rows_nods,
    rows_closing,
)
