"""Show and measure what sound and controls do to a face, from the sound to the finished picture.

Usage: python scripts/motion_gallery.py --output DIR [--portrait FILE] [--weights FILE]
       [--only sheets|table]
Writes contact sheets (PNG), and controls.json and controls.md: a table of what each control was
set to and what came out. Rendered faces are measured by the encoder's tracker, which knows nothing
of the generator. The voice is espeak-ng's, the portrait the demonstration's.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from parlante.cli.sample import sample_portrait
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
    table_lines,
)
from parlante.evaluation.head import blinks
from parlante.evaluation.sheets import Cell, draw_sheet
from parlante.evaluation.tracking import FloatArray
from parlante.media.audio_file import Recording
from parlante.models.decoder import Decoder
from parlante.models.face_coefficients import FaceMeasures, measure_face
from parlante.models.face_tracker import FaceTracker
from parlante.models.motion_space import FACE, MOUTH
from parlante.models.portrait_encoder import PortraitEncoder
from parlante.training.espeak import Espeak, Voice
from parlante.training.visemes import Phone
from parlante.types import (
    BURST_DELAY_BUDGET_MS,
    EMOTIONS,
    FRAME_RATE_HZ,
    MODEL_SAMPLE_RATE_HZ,
    MOTION_DIM,
    MOTION_INDEX,
    SAMPLES_PER_FRAME,
    AudioChunk,
    Controls,
    ControlUpdate,
    Driving,
    FaceChoice,
    FaceSelection,
    Float32Array,
    HeadPose,
    Int16Array,
    ListeningChunk,
    MotionConfig,
    MotionInput,
    Uint8Array,
)
from services.motion.engine import MotionEngine

SENTENCE: Final = "I had no idea that you were coming over today."
STORY: Final = (
    "People in the park were happy about the warm weather. My brother bought five big apples, "
    "and we ate them on the bench by the river. Maybe we should do that more often."
)
GERMAN: Final = Voice(language="de", rate_wpm=110)  # has all six vowels
USER: Final = Voice(variant="f3", pitch=60)
SEEDS: Final = (0, 1, 2)
SETTLED: Final = FRAME_RATE_HZ  # frames of a settled second
PIECE: Final = 2 * SAMPLES_PER_FRAME

HEAD_NAMES: Final = ("headYaw", "headPitch", "headRoll")
MIXTURE: Final = {"happy": 0.5, "surprised": 0.5}
GAZES_DEG: Final = tuple((yaw, pitch) for pitch in (-15.0, 0.0, 15.0) for yaw in (-25.0, 0.0, 25.0))
POSES_DEG: Final = ((20, 0, 0), (-20, 0, 0), (0, 12, 0), (0, -12, 0), (0, 0, 15), (0, 0, -15))
DISTANCES: Final = (0.7, 1.0, 1.4)
BLINK_RATES: Final = (0.0, 0.5, 1.0, 2.0)

MAX_GAZE_ERROR_DEG: Final = 5.0
MAX_POSE_ERROR_DEG: Final = 3.0
MAX_SIZE_ERROR: Final = 0.02


# --- sound ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """int16 [S] at 16 kHz, its phones, and when the last of them ends, s."""

    samples: Int16Array
    phones: list[Phone] = field(default_factory=list)
    end_s: float = 0.0


@functools.cache
def synthesiser() -> Espeak:
    """Give the process's only synthesiser."""
    return Espeak()


def silence(seconds: float) -> Sound:
    """Give nothing to hear."""
    return Sound(np.zeros(round(seconds * MODEL_SAMPLE_RATE_HZ), np.int16))


def say(*texts: str, voice: Voice | None = None, gap_s: float = 0.4, tail_s: float = 0.8) -> Sound:
    """Speak texts with silence before, between and after them."""
    parts, phones, at_s = [silence(gap_s).samples], [], gap_s
    for text in texts:
        speech = synthesiser().speak(text, voice or Voice())
        recording = Recording(
            samples=speech.samples.astype(np.float32) / 32768.0,
            sample_rate_hz=speech.sample_rate_hz,
        )
        samples = recording.pcm16(MODEL_SAMPLE_RATE_HZ)
        phones += [Phone(p.ipa, at_s + p.start_s, at_s + p.end_s) for p in speech.phones]
        parts += [samples, silence(gap_s).samples]
        at_s += len(samples) / MODEL_SAMPLE_RATE_HZ + gap_s
    parts.append(silence(tail_s).samples)
    return Sound(np.concatenate(parts), phones, phones[-1].end_s)


def say_for(seconds: float, voice: Voice | None = None) -> Sound:
    """Tell a story again and again until the time is up."""
    story = say(STORY, voice=voice, gap_s=0.3, tail_s=0.3).samples
    num_wanted = round(seconds * MODEL_SAMPLE_RATE_HZ)
    return Sound(np.tile(story, -(-num_wanted // len(story)))[:num_wanted])


# --- from sound to pictures ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """New controls in the middle of a stream: sent with the sound at `at_s`."""

    at_s: float
    controls: Controls


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """Motion float32 [T, 60], and the first frame that changed controls hold for."""

    motion: Float32Array
    changed_from: int = 0


class Studio:
    """One portrait with all that makes it move, in this process.

    Args:
        portrait: uint8 [H, W, 3], RGB.
        weights: Of the motion model; None takes the packaged ones.
    """

    def __init__(self, portrait: Uint8Array, weights: Path | None) -> None:
        self.engine = MotionEngine.load(weights)
        self.tracker = FaceTracker()
        latents = PortraitEncoder().encode(portrait, FaceSelection(choice=FaceChoice.LARGEST))
        self._decoder = Decoder()
        self._avatar = self._decoder.prepare(latents)
        points = np.asarray(latents.tensors["landmarks"])[:, :2]
        low, high = points.min(axis=0), points.max(axis=0)
        self._centre = (low + high) / 2
        self._face_px = float((high - low).max())
        self._mouth = points[[13, 14]].mean(axis=0)

    def move(
        self,
        sound: Sound,
        controls: Controls | None = None,
        *,
        seed: int = 0,
        change: Change | None = None,
        user: Sound | None = None,
    ) -> Take:
        """Make the motion of a stream; `user` is what the avatar listens to."""
        config = MotionConfig(
            seed=seed,
            controls=controls or Controls(),
            delay_budget_ms=BURST_DELAY_BUDGET_MS,
        )
        return asyncio.run(_stream(self.engine, config, sound, change, user))

    def render(self, motion: Float32Array) -> list[Uint8Array]:
        """Render motion float32 [T, 60] to RGB pictures."""
        return [self._decoder.render(self._avatar, np.ascontiguousarray(row)) for row in motion]

    def track(self, motion: Float32Array) -> list[FaceMeasures]:
        """Render motion and measure the face in every picture that shows one."""
        faces = self.tracker.track(self.render(motion))
        return [measure_face(face.points) for face in faces if face is not None]

    def face_of(self, picture: Uint8Array) -> Uint8Array:
        """Cut out where the face is in the portrait, with some room."""
        return _cut(picture, self._centre, 0.75 * self._face_px)

    def mouth_of(self, picture: Uint8Array) -> Uint8Array:
        """Cut out where the mouth is in the portrait."""
        return _cut(picture, self._mouth, 0.34 * self._face_px)


async def _stream(
    engine: MotionEngine,
    config: MotionConfig,
    sound: Sound,
    change: Change | None,
    user: Sound | None,
) -> Take:
    blocks: list[Float32Array] = []
    num_made = changed_from = 0

    async def inputs() -> AsyncIterator[MotionInput]:
        nonlocal changed_from
        waiting = change
        for start in range(0, len(sound.samples), PIECE):
            if waiting is not None and start >= waiting.at_s * MODEL_SAMPLE_RATE_HZ:
                changed_from = num_made
                yield ControlUpdate(controls=waiting.controls)
                waiting = None
            if user is not None:
                heard = user.samples[start : start + PIECE]
                yield ListeningChunk(start_sample=start, samples=heard)
            yield AudioChunk(start_sample=start, samples=sound.samples[start : start + PIECE])

    async for block in engine.stream(config, inputs()):
        blocks.append(block.values)
        num_made += len(block.values)
    return Take(np.concatenate(blocks), changed_from)


def _cut(picture: Uint8Array, centre: Float32Array, half_px: float) -> Uint8Array:
    half = int(min(half_px, min(picture.shape[:2]) / 2))
    limits = np.array(picture.shape[1::-1]) - half
    x, y = np.clip(centre.astype(int), half, limits)
    return picture[y - half : y + half, x - half : x + half]


# --- sheets --------------------------------------------------------------------------------


def frame_at(time_s: float) -> int:
    """Give the frame that is seen at a time."""
    return int(time_s * FRAME_RATE_HZ)


def middle_of(phone: Phone) -> int:
    """Give the frame at the middle of a phone."""
    return frame_at((phone.start_s + phone.end_s) / 2)


def strip(studio: Studio, motion: Float32Array, frames: Sequence[int], prefix: str) -> list[Cell]:
    """Make one row of whole pictures, labelled with their time."""
    pictures = studio.render(motion[list(frames)])
    return [
        Cell(f"{prefix} {frame / FRAME_RATE_HZ:.2f} s".strip(), picture)
        for frame, picture in zip(frames, pictures, strict=True)
    ]


def sheet_vowels(studio: Studio, path: Path) -> None:
    """Six vowels: the face and the mouth at the middle of each."""
    names = "aeiouy"
    sound = say(*(f"[[d'{name}:]]" for name in names), voice=GERMAN)
    vowels = [phone for phone in sound.phones if not phone.ipa.startswith("d")]
    motion = studio.move(sound).motion
    pictures = studio.render(motion[[middle_of(phone) for phone in vowels]])
    faces = [Cell(f"[{n}]", studio.face_of(p)) for n, p in zip(names, pictures, strict=True)]
    mouths = [Cell(f"[{n}]", studio.mouth_of(p)) for n, p in zip(names, pictures, strict=True)]
    draw_sheet("Vowels, at the middle of each", [faces, mouths], path, tile_px=220)


def sheet_closures(studio: Studio, path: Path) -> None:
    """Frames around the middle of p, b, m, f and v between two a."""
    names = "pbmfv"
    sound = say(*(f"[[a{name}'a:]]" for name in names), voice=GERMAN)
    consonants = [phone for phone in sound.phones if phone.ipa in names]
    motion = studio.move(sound).motion
    rows = []
    for name, phone in zip(names, consonants, strict=True):
        at = middle_of(phone)
        pictures = studio.render(motion[at - 4 : at + 4])
        rows.append(
            [
                Cell(f"[{name}] {40 * offset:+d} ms", studio.mouth_of(picture))
                for offset, picture in zip(range(-4, 4), pictures, strict=True)
            ]
        )
    draw_sheet("Closures: consecutive frames, 0 = middle of the consonant", rows, path, tile_px=170)


def sheet_emotions(studio: Studio, path: Path) -> None:
    """The same words in every emotion: in an open vowel, in a closure, and after the end."""
    sound = say(SENTENCE)
    times = {
        "vowel": middle_of(next(p for p in sound.phones if p.ipa.endswith("aɪ"))),
        "[m]": middle_of(next(p for p in sound.phones if p.ipa == "m")),
        "after": frame_at(sound.end_s + 0.6),
    }
    rows = []
    for name in EMOTIONS:
        rows.append([])
        for weight in (0.5, 1.0):
            motion = studio.move(sound, Controls(emotion={name: weight})).motion
            pictures = studio.render(motion[list(times.values())])
            for label, picture in zip(times, pictures, strict=True):
                rows[-1].append(Cell(f"{name} {weight:g}, {label}", studio.face_of(picture)))
    rows.append([])
    for emotion in (MIXTURE, {"sad": 0.5, "angry": 0.5}):
        motion = studio.move(sound, Controls(emotion=emotion)).motion
        mixture = "+".join(emotion)
        for label, picture in zip(times, studio.render(motion[list(times.values())]), strict=True):
            rows[-1].append(Cell(f"{mixture}, {label}", studio.face_of(picture)))
    title = "Emotions at weight 0.5 (left) and 1 (right), same words, same seed; mixtures of 0.5"
    draw_sheet(title, rows, path, tile_px=190)


def sheet_gaze(studio: Studio, path: Path) -> None:
    """Nine directions of gaze, after two seconds of silence."""
    cells = []
    for yaw, pitch in GAZES_DEG:
        motion = studio.move(silence(2.4), gaze_controls(yaw, pitch)).motion
        cells.append(
            Cell(f"yaw {yaw:+g}, pitch {pitch:+g}", studio.face_of(last_open(studio, motion)))
        )
    title = "Gaze, degrees: yaw + = image right, pitch + = down"
    draw_sheet(title, [cells[row : row + 3] for row in (0, 3, 6)], path, tile_px=280)


def last_open(studio: Studio, motion: Float32Array) -> Uint8Array:
    """Render the last frame in which the eyes are open."""
    is_open = motion[:, MOTION_INDEX["eyeBlinkLeft"]] < 0.1
    at = int(np.flatnonzero(is_open)[-1]) if is_open.any() else -1
    return studio.render(motion[at][None])[0]


def sheet_distance(studio: Studio, path: Path) -> None:
    """Three distances."""
    cells = []
    for distance in DISTANCES:
        motion = studio.move(silence(2.0), Controls(head_distance=distance, head_motion=0.0)).motion
        cells.append(Cell(f"distance {distance:g}", last_open(studio, motion)))
    draw_sheet("Head distance", [cells], path, tile_px=320)


def sheet_poses(studio: Studio, path: Path) -> None:
    """The head held in six poses."""
    cells = []
    for yaw, pitch, roll in POSES_DEG:
        motion = studio.move(silence(2.0), pose_controls(yaw, pitch, roll)).motion
        label = f"yaw {yaw:+g}, pitch {pitch:+g}, roll {roll:+g}"
        cells.append(Cell(label, last_open(studio, motion)))
    draw_sheet("Head pose held, degrees", [cells[:3], cells[3:]], path, tile_px=280)


def sheet_driving(studio: Studio, path: Path) -> None:
    """The same speech drives all, the expression, or the pose."""
    sound = say(SENTENCE)
    frames = [frame_at(t) for t in np.linspace(0.6, sound.end_s, 7)]
    rows = [
        strip(studio, studio.move(sound, Controls(driving=driving)).motion, frames, driving.value)
        for driving in Driving
    ]
    draw_sheet("Driving: the same speech and seed", rows, path, tile_px=200)


def sheet_idle(studio: Studio, path: Path) -> None:
    """Ten seconds of silence."""
    motion = studio.move(silence(10.0)).motion
    cells = strip(studio, motion, range(6, 250, 12), "")[:20]
    draw_sheet("Idle: silence", _wrap(cells, 7), path, tile_px=200)


def sheet_listening(studio: Studio, path: Path) -> None:
    """Ten seconds of listening to a user."""
    motion = studio.move(silence(10.0), user=say_for(10.0, USER)).motion
    cells = strip(studio, motion, range(6, 250, 12), "")[:20]
    draw_sheet("Listening: own silence, the user speaks", _wrap(cells, 7), path, tile_px=200)


def sheet_seeds(studio: Studio, path: Path) -> None:
    """Five seeds of the same sentence."""
    sound = say(SENTENCE)
    frames = [frame_at(t) for t in np.linspace(0.6, sound.end_s + 0.5, 8)]
    rows = [
        strip(studio, studio.move(sound, seed=seed).motion, frames, f"seed {seed},")
        for seed in range(5)
    ]
    draw_sheet("Five performances of the same sentence", rows, path, tile_px=180)


def _wrap(cells: list[Cell], columns: int) -> list[list[Cell]]:
    return [cells[start : start + columns] for start in range(0, len(cells), columns)]


SHEETS: Final[dict[str, Callable[[Studio, Path], None]]] = {
    "vowels": sheet_vowels,
    "closures": sheet_closures,
    "emotions": sheet_emotions,
    "gaze": sheet_gaze,
    "distance": sheet_distance,
    "head_pose": sheet_poses,
    "driving": sheet_driving,
    "idle": sheet_idle,
    "listening": sheet_listening,
    "seeds": sheet_seeds,
}


# --- table ---------------------------------------------------------------------------------

DEFINITIONS: Final = {
    "gaze error": "angle between the asked direction and the tracked one (head + eye, camera "
    "frame), both counted from what the tracker sees in the portrait at rest; mean over a settled "
    "second, then over nine directions (worst: of the nine)",
    "gaze error, uncorrected": "the same without taking off what the tracker sees at rest",
    "gaze error of the channels": "the same from headYaw + gazeYaw, headPitch + gazePitch",
    "eye part": "tracked eye angle by the angle that the channels ask for, slope over the nine "
    "directions; 1 = all of it is seen",
    "head part": "the same of the head",
    "size": "tracked inter-ocular distance by that at distance 1; wanted: 1 / distance",
    "pose error": "largest of the three angles' errors, tracked pose less that of the portrait at "
    "rest, against what was asked; mean over a settled second",
    "pose error of the channels": "the same from the channels",
    "mouth corners": "height of the corners above the lips' middle, mean over the same words",
    "brows": "height of the brows above the eyes' corners, mean over the same words, less that of "
    "neutral",
    "channel": "mean of a motion channel over the same words",
    "blinks of the channels": "lids passing one half, per minute, 3 x 40 s of silence",
    "blinks tracked": "runs below 60 % of the median opening, per minute, 40 s of silence",
    "half time": "from the last frame of the old controls until half of the final effect, in the "
    "channels, median of three seeds, in speech",
    "first blink": "from the last frame of the old controls to the first blink",
    "largest step": "largest step between frames in the second after the change by the largest "
    "step of the same channels in 8 s of ordinary motion, median of three seeds",
    "nods": "dips of headPitch deeper than 1.5 degrees within 1 s, per minute, 3 x 20 s",
    "closing time": "from the end of the last phone to lips below 12 % of the 95th percentile or "
    "0.03 IOD, tracked, mean of three sentences",
}


def gaze_controls(yaw_deg: float, pitch_deg: float) -> Controls:
    """Controls that look somewhere."""
    return Controls(gaze_yaw_rad=math.radians(yaw_deg), gaze_pitch_rad=math.radians(pitch_deg))


def pose_controls(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Controls:
    """Controls that hold the head."""
    yaw, pitch, roll = (math.radians(angle) for angle in (yaw_deg, pitch_deg, roll_deg))
    return Controls(
        head_pose=HeadPose(yaw_rad=yaw, pitch_rad=pitch, roll_rad=roll), head_motion=0.0
    )


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


def at_rest(studio: Studio) -> FaceMeasures:
    """What the tracker sees in the portrait as it is."""
    return studio.track(np.zeros((2, MOTION_DIM), np.float32))[-1]


_EYE_AND_HEAD: Final = ("yaw_rad", "pitch_rad", "gaze_yaw_rad", "gaze_pitch_rad")


def rows_gaze(studio: Studio) -> list[Row]:
    """Where the face looks."""
    rest = np.degrees([getattr(at_rest(studio), name) for name in _EYE_AND_HEAD])
    errors, plain, of_channels, seen, asked = [], [], [], [], []
    for direction in GAZES_DEG:
        motion = studio.move(silence(3.0), gaze_controls(*direction)).motion[-SETTLED:]
        tracked = np.degrees(mean_of(studio.track(motion), *_EYE_AND_HEAD))
        relative = tracked - rest
        made = camera_gaze_deg(motion).mean(axis=0)
        errors.append(angle_between_deg(relative[:2] + relative[2:], direction))
        plain.append(angle_between_deg(tracked[:2] + tracked[2:], direction))
        of_channels.append(angle_between_deg(made, direction))
        seen.append(relative)
        names = ("headYaw", "headPitch", "gazeYaw", "gazePitch")
        asked.append(np.degrees(channels(motion, names).mean(axis=0)))
    slopes = [_slope(a, s) for a, s in zip(np.array(asked).T, np.array(seen).T, strict=True)]
    row = functools.partial(Row, control="gaze", asked="3x3, 25 x 15 deg")
    error, limit = float(np.mean(errors)), MAX_GAZE_ERROR_DEG
    wanted = f"<= {limit:g}"
    return [
        row(measure="gaze error", value=error, unit="deg", wanted=wanted, ok=error <= limit),
        row(measure="gaze error, worst", value=max(errors), unit="deg"),
        row(measure="gaze error, uncorrected", value=float(np.mean(plain)), unit="deg"),
        row(measure="gaze error of the channels", value=float(np.mean(of_channels)), unit="deg"),
        row(measure="head part, yaw", value=slopes[0], unit="", wanted="1"),
        row(measure="head part, pitch", value=slopes[1], unit="", wanted="1"),
        row(measure="eye part, yaw", value=slopes[2], unit="", wanted="1"),
        row(measure="eye part, pitch", value=slopes[3], unit="", wanted="1"),
    ]


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
    rest = np.array([getattr(at_rest(studio), name) for name in names])
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
        rows.append(row(measure="pose error of the channels", value=of_channels))
    return rows


def rows_emotion(studio: Studio) -> list[Row]:
    """How high corners of the mouth and brows are."""
    sound = say(SENTENCE)
    seen: dict[tuple[str, float], FloatArray] = {}
    made: dict[tuple[str, float], FloatArray] = {}
    names = ("mouthSmileLeft", "browInnerUp", "browDownLeft", "browOuterUpLeft")
    cases = (("happy", 0.0), ("happy", 0.5), ("happy", 1.0))
    cases += tuple((name, 1.0) for name in ("sad", "angry", "surprised"))
    for case in cases:
        motion = studio.move(sound, Controls(emotion=dict([case]))).motion[10:]
        seen[case] = mean_of(studio.track(motion), "corner_height", "brow_height")
        made[case] = channels(motion, names).mean(axis=0)
    rows = []
    base = seen["happy", 0.0]
    for case in cases[:3]:
        row = functools.partial(Row, control="emotion", asked=f"{case[0]} {case[1]:g}")
        higher = f"{seen[case][0] - base[0]:+.3f}" if case[1] else ""
        ok = bool(seen[case][0] > base[0] + 0.01 * case[1]) if case[1] else None
        rows.append(
            row(measure="mouth corners", value=float(seen[case][0]), unit="IOD",
                wanted=f"higher; {higher}" if higher else "", ok=ok)
        )  # fmt: skip
        rows.append(row(measure="channel mouthSmileLeft", value=float(made[case][0]), unit=""))
    for case, index, sign in (("sad", 1, 1), ("angry", 2, -1), ("surprised", 1, 1)):
        row = functools.partial(Row, control="emotion", asked=f"{case} 1")
        change = float(seen[case, 1.0][1] - base[1])
        wanted = "> 0" if sign > 0 else "< 0"
        rows.append(
            row(measure="brows", value=change, unit="IOD", wanted=wanted, ok=sign * change > 0.003)
        )
        value = float(made[case, 1.0][index])
        rows.append(row(measure=f"channel {names[index]}", value=value, unit=""))
    return rows


def rows_blinks(studio: Studio) -> list[Row]:
    """How often the eyes blink."""
    seconds = 40.0
    rows = []
    for rate in BLINK_RATES:
        takes = [
            studio.move(silence(seconds), Controls(blink_rate=rate), seed=seed).motion
            for seed in SEEDS
        ]
        lids = [channels(motion, ("eyeBlinkLeft",))[:, 0] for motion in takes]
        made = sum(map(count_blinks, lids)) * 60.0 / (seconds * len(SEEDS))
        measures = studio.track(takes[0])
        ratio = np.array([(m.eye_ratio_left + m.eye_ratio_right) / 2 for m in measures])
        tracked = len(blinks(ratio)) * 60.0 / seconds
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
    Step("expression", "1 to 0", Controls(expression=0.0), _pick(*FACE), True),
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
    times = []
    for text in (SENTENCE, "That is a big surprise to me.", "Where do you want to go?"):
        sound = say(text, tail_s=1.2)
        measures = studio.track(studio.move(sound).motion)
        times.append(closing_ms(np.array([m.aperture for m in measures]), sound.end_s))
    row = functools.partial(Row, control="speech", asked="end", measure="closing time", unit="ms")
    return [row(value=_median(times), wanted="<= 300", ok=all(t is not None for t in times))]


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


def write_table(rows: list[Row], studio: Studio, folder: Path) -> None:
    """Write controls.json and controls.md."""
    report = {
        "bundle_digest": studio.engine.bundle_digest,
        "definitions": DEFINITIONS,
        "rows": [asdict(row) for row in rows],
    }
    (folder / "controls.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = ["# What controls do", "", *table_lines(rows), "", "## Definitions", ""]
    lines += [f"- {name}: {text}." for name, text in DEFINITIONS.items()]
    (folder / "controls.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Make the sheets and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--portrait", type=Path, metavar="FILE")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the motion model")
    parser.add_argument("--only", choices=("sheets", "table"))
    parser.add_argument("--sheet", action="append", choices=tuple(SHEETS), help="only these")
    arguments = parser.parse_args()
    data = arguments.portrait.read_bytes() if arguments.portrait else sample_portrait()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise SystemExit(f"{arguments.portrait}: not a picture that OpenCV reads")
    arguments.output.mkdir(parents=True, exist_ok=True)
    studio = Studio(np.ascontiguousarray(pixels[..., ::-1]), arguments.weights)
    start_s = time.perf_counter()

    def tell(what: str) -> None:
        print(f"{time.perf_counter() - start_s:5.0f} s  {what}", file=sys.stderr)

    if arguments.only != "table":
        for name in arguments.sheet or SHEETS:
            tell(f"sheet {name}")
            SHEETS[name](studio, arguments.output / f"{name}.png")
    if arguments.only != "sheets":
        rows: list[Row] = []
        for measure in TABLE:
            tell((measure.__doc__ or measure.__name__).strip())
            rows += measure(studio)
            write_table(rows, studio, arguments.output)
        print("\n".join(table_lines(rows)))
    asyncio.run(studio.engine.aclose())


if __name__ == "__main__":
    main()
