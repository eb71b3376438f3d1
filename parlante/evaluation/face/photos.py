"""Photos: what stays as it was, and whether a tracker sees the motion that was put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.evaluation.face.metrics import flicker, psnr_db, squared_error
from parlante.media.image import decode_image
from parlante.models.decoder import Decoder, PreparedAvatar
from parlante.models.face_coefficients import FaceMeasures, measure_face
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.models.portrait_encoder import PortraitEncoder
from parlante.types import (
    FRAME_RATE_HZ,
    MOTION_DIM,
    MOTION_INDEX,
    AvatarLatents,
    FaceChoice,
    FaceSelection,
    Float32Array,
    Uint8Array,
)

__all__ = ["LOOP_CHANNELS", "PhotoScores", "judge_photos"]

Float64Array = npt.NDArray[np.float64]

# What is put in and what is seen: channels (both sides of a pair), amplitude, and a measure.
LOOP_CHANNELS: Final[Mapping[str, tuple[tuple[str, ...], float, str]]] = {
    "aperture": (("jawOpen",), 0.5, "aperture"),
    "width": (("mouthPucker",), 0.8, "mouth_width"),
    "yaw": (("headYaw",), 0.25, "yaw_rad"),
    "pitch": (("headPitch",), 0.18, "pitch_rad"),
    "roll": (("headRoll",), 0.2, "roll_rad"),
    "brows": (("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), 0.8, "brow_height"),
    "lids": (("eyeBlinkLeft", "eyeBlinkRight"), 1.0, "eye_opening"),
    "gaze": (("gazeYaw",), 0.35, "gaze_yaw_rad"),
}
SIGNED: Final = ("yaw", "pitch", "roll", "gaze")
STEPS: Final = 17
TALK_FRAMES: Final = 50
STILL_LEVELS: Final = 2.0  # a pixel whose warp changes by less has not moved


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhotoScores:
    """Scores of renderers on photos.

    Attributes:
        neutral_psnr_db: By renderer and photo: motion of zero against the aligned photo, within
            the face.
        still_psnr_db: By renderer and photo: against the warp alone, where the warp moves nothing.
        loop: By renderer and channel: correlation and gain of what is seen, means over photos.
            The gain of an angle is what is seen by what was put in; any other is relative to the
            first renderer's.
        flicker: By renderer: what goes back and forth while a mouth talks, levels.
        strips: By photo: frames of each renderer, side by side, to be looked at.
    """

    neutral_psnr_db: Mapping[str, Mapping[str, float]]
    still_psnr_db: Mapping[str, Mapping[str, float]]
    loop: Mapping[str, Mapping[str, Mapping[str, float]]]
    flicker: Mapping[str, float]
    strips: Mapping[str, Mapping[str, Sequence[Uint8Array]]]


def judge_photos(
    paths: Sequence[Path],
    renderers: Mapping[str, Decoder],
    tracker: FaceTracker,
    looks: Sequence[Float32Array],
) -> PhotoScores:
    """Judge renderers on photos.

    Args:
        paths: Portraits.
        renderers: By name; the first is what the others are compared with.
        tracker: Sees the motion.
        looks: Motions to keep pictures of, float32 [60] each.
    """
    encoder = PortraitEncoder()
    neutral: dict[str, dict[str, float]] = {name: {} for name in renderers}
    still: dict[str, dict[str, float]] = {name: {} for name in renderers}
    loops: dict[str, dict[str, list[Float64Array]]] = {name: {} for name in renderers}
    jitter: dict[str, list[float]] = {name: [] for name in renderers}
    strips: dict[str, dict[str, list[Uint8Array]]] = {}
    for path in paths:
        selection = FaceSelection(choice=FaceChoice.LARGEST)
        latents = encoder.encode(decode_image(path.read_bytes()), selection)
        avatars = {name: decoder.prepare(latents) for name, decoder in renderers.items()}
        plain: list[Uint8Array] = []
        moves = _still_moves()
        strips[path.stem] = {}
        for name, decoder in renderers.items():
            avatar = avatars[name]
            neutral[name][path.stem] = _neutral(decoder, avatar, latents)
            frames = [decoder.render(avatar, motion) for motion in moves]
            plain = plain or frames
            still[name][path.stem] = _still(frames, plain, avatar.image)
            jitter[name].append(flicker([decoder.render(avatar, m) for m in _talk()]))
            for channel in LOOP_CHANNELS:
                seen = _loop(decoder, avatar, tracker, channel, latents)
                loops[name].setdefault(channel, []).append(seen)
            strips[path.stem][name] = [decoder.render(avatar, motion) for motion in looks]
    first = next(iter(renderers))
    return PhotoScores(
        neutral_psnr_db=neutral,
        still_psnr_db=still,
        loop={
            name: {c: _agreement(seen, loops[first][c], c) for c, seen in by_channel.items()}
            for name, by_channel in loops.items()
        },
        flicker={name: float(np.mean(values)) for name, values in jitter.items()},
        strips=strips,
    )


def _neutral(decoder: Decoder, avatar: PreparedAvatar, latents: AvatarLatents) -> float:
    frame = decoder.render(avatar, np.zeros(MOTION_DIM, np.float32))
    return psnr_db(float(squared_error(frame, np.asarray(latents.tensors["image"])).mean()))


def _still_moves() -> list[Float32Array]:
    """Moves of single parts of the face: most of a frame must stay."""
    moves = []
    for names, value in ((("jawOpen",), 0.4), (("eyeBlinkLeft", "eyeBlinkRight"), 1.0)):
        motion = np.zeros(MOTION_DIM, np.float32)
        motion[[MOTION_INDEX[name] for name in names]] = value
        moves.append(motion)
    return moves


def _still(frames: list[Uint8Array], plain: list[Uint8Array], image: Uint8Array) -> float:
    errors = []
    for frame, bare in zip(frames, plain, strict=True):
        has_not_moved = np.abs(bare.astype(int) - image.astype(int)).max(-1) <= STILL_LEVELS
        errors.append(squared_error(frame, bare)[has_not_moved].mean())
    return psnr_db(float(np.mean(errors)))


def _talk() -> list[Float32Array]:
    """Two seconds of a mouth that talks and a head that sways, all of it smooth."""
    time = np.arange(TALK_FRAMES) / FRAME_RATE_HZ
    motion = np.zeros((TALK_FRAMES, MOTION_DIM), np.float32)
    motion[:, MOTION_INDEX["jawOpen"]] = 0.12 * (1.0 - np.cos(2 * np.pi * 1.5 * time))
    motion[:, MOTION_INDEX["mouthPucker"]] = 0.2 * (1.0 - np.cos(2 * np.pi * 0.9 * time))
    motion[:, MOTION_INDEX["headYaw"]] = 0.08 * np.sin(2 * np.pi * 0.4 * time)
    return list(motion)


def _loop(
    decoder: Decoder,
    avatar: PreparedAvatar,
    tracker: FaceTracker,
    channel: str,
    latents: AvatarLatents,
) -> Float64Array:
    """What the tracker sees while one channel goes through its range: float64 [STEPS]."""
    names, amplitude, measure = LOOP_CHANNELS[channel]
    start = FaceLandmarks(points=np.array(latents.tensors["landmarks"], np.float32), presence=1.0)
    seen = []
    for value in _values(channel):
        motion = np.zeros(MOTION_DIM, np.float32)
        motion[[MOTION_INDEX[name] for name in names]] = value * amplitude
        frame = decoder.render(avatar, motion)
        face: FaceMeasures = measure_face(tracker.landmarks(frame, start, num_passes=2).points)
        seen.append(float(getattr(face, measure)))
    return np.array(seen)


def _values(channel: str) -> Float64Array:
    return np.linspace(-1.0 if channel in SIGNED else 0.0, 1.0, STEPS)


def _agreement(
    seen: list[Float64Array], first: list[Float64Array], channel: str
) -> dict[str, float]:
    """Correlation with what was put in, and the slope: of angles, or by the first renderer's."""
    wanted = _values(channel)
    _, amplitude, measure = LOOP_CHANNELS[channel]
    correlations = [abs(float(np.corrcoef(wanted, row)[0, 1])) for row in seen]
    slopes = [float(np.polyfit(wanted, row, 1)[0]) for row in seen]
    unit = amplitude
    if not measure.endswith("_rad"):
        unit = float(np.mean([np.polyfit(wanted, row, 1)[0] for row in first])) or 1e-9
    gain = float(np.mean(slopes)) / unit
    return {"correlation": float(np.mean(correlations)), "gain": gain}
