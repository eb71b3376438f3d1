"""One portrait with all that makes it move, in this process: sound in, pictures out."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from parlante.evaluation.tracking import FloatArray
from parlante.media.audio_file import Recording
from parlante.models import warp
from parlante.models.decoder import Decoder
from parlante.models.face_coefficients import FaceMeasures, measure_face
from parlante.models.face_tracker import NUM_IRIS_POINTS, NUM_MESH_POINTS, FaceTracker
from parlante.models.portrait_encoder import PortraitEncoder
from parlante.training.espeak import Espeak, Voice
from parlante.training.visemes import Phone
from parlante.types import (
    BURST_DELAY_BUDGET_MS,
    FRAME_RATE_HZ,
    MODEL_SAMPLE_RATE_HZ,
    SAMPLES_PER_FRAME,
    AudioChunk,
    Controls,
    ControlUpdate,
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
USER: Final = Voice(variant="f3", pitch=60)
PIECE: Final = 2 * SAMPLES_PER_FRAME
GAZES_DEG: Final = tuple((yaw, pitch) for pitch in (-15.0, 0.0, 15.0) for yaw in (-25.0, 0.0, 25.0))
POSES_DEG: Final = ((20, 0, 0), (-20, 0, 0), (0, 12, 0), (0, -12, 0), (0, 0, 15), (0, 0, -15))
DISTANCES: Final = (0.7, 1.0, 1.4)


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


def frame_at(time_s: float) -> int:
    """Give the frame that is seen at a time."""
    return int(time_s * FRAME_RATE_HZ)


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


def decode_portrait(data: bytes, name: str) -> Uint8Array:
    """Decode a picture to RGB; ends the program where it is none."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise SystemExit(f"{name}: not a picture that OpenCV reads")
    return np.ascontiguousarray(pixels[..., ::-1])


# --- controls ----------------------------------------------------------------------------


def gaze_controls(yaw_deg: float, pitch_deg: float) -> Controls:
    """Controls that look somewhere."""
    return Controls(gaze_yaw_rad=math.radians(yaw_deg), gaze_pitch_rad=math.radians(pitch_deg))


def pose_controls(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Controls:
    """Controls that hold the head."""
    yaw, pitch, roll = (math.radians(angle) for angle in (yaw_deg, pitch_deg, roll_deg))
    return Controls(
        head_pose=HeadPose(yaw_rad=yaw, pitch_rad=pitch, roll_rad=roll), head_motion=0.0
    )


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
        self._eyes = points[[33, 263]].mean(axis=0)

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
        return list(self.draw(motion))

    def draw(self, motion: Float32Array) -> Iterator[Uint8Array]:
        """Render motion float32 [T, 60], one picture at a time."""
        for row in motion:
            yield self._decoder.render(self._avatar, np.ascontiguousarray(row))

    def posed_yaw_pitch_roll(self, motion: Float32Array) -> FloatArray:
        """Angles of one frame, rad: of the renderer's own posed mesh, its depth added.

        What the tracker sees less of is its own doing, not the renderer's.
        """
        mesh = self._avatar.mesh
        pose = warp.HeadPose.from_motion(motion, mesh.iod_px, self._avatar.yaw)
        vertices = self._avatar.rig.displace(motion, mesh.vertices)
        flat = np.empty((len(vertices), 2), np.float32)
        warp.pose_vertices(
            vertices, mesh.head_weight, mesh.shift_weight, pose.rotation, mesh.pivot, mesh.centre,
            pose.shift, pose.scale, warp.CAMERA_DISTANCE_IOD * mesh.iod_px, flat,
        )  # fmt: skip
        depth = pose.scale * (vertices @ pose.rotation[2])
        points = np.column_stack([flat, depth])[:NUM_MESH_POINTS]
        no_irises = np.repeat(points[:1], 2 * NUM_IRIS_POINTS, axis=0)
        points = np.concatenate([points, no_irises])
        face = measure_face(points.astype(np.float32))
        return np.array([face.yaw_rad, face.pitch_rad, face.roll_rad])

    def track(self, motion: Float32Array) -> list[FaceMeasures]:
        """Render motion and measure the face in every picture that shows one."""
        faces = self.tracker.track(self.draw(motion))
        return [measure_face(face.points) for face in faces if face is not None]

    def face_of(self, picture: Uint8Array) -> Uint8Array:
        """Cut out where the face is in the portrait, with some room."""
        return _cut(picture, self._centre, 0.65 * self._face_px)

    def eyes_of(self, picture: Uint8Array) -> Uint8Array:
        """Cut out where eyes and nose are in the portrait."""
        return _cut(picture, self._eyes, 0.42 * self._face_px)

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
