"""Faces made of the rig's own calibration, and tiny videos: no tracker, no portrait, no network."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.face_channels import LipHandles, channel_fields, column_field
from parlante.models.face_coefficients import (
    EYEBALL_RADIUS,
    LEVEL_IRIS_RISE,
    TRACKED_GAZE_SHARE,
    load_reference,
    rotation_matrix,
)
from parlante.training.videos.following import Flaw, Track
from parlante.training.videos.measures import measure
from parlante.types import MOTION_DIM, MOTION_INDEX

SIZE_PX = 120.0  # of the eyes' distance


class MadeFace:
    """The mean face, moved as the rig moves it."""

    def __init__(self) -> None:
        self.mean = load_reference().mean.copy()
        lips = LipHandles.of(self.mean)
        self.fields = dict(channel_fields(lips, self.mean))
        count = len(self.mean)
        # The mean face is a little open; at rest its lips touch.
        self.lower = sum(column_field(lips, c, count, lower=True) for c in range(9))
        self.upper = sum(column_field(lips, c, count, lower=False) for c in range(9))
        self.gap = float(self.mean[14, 1] - self.mean[13, 1]) - 0.012

    def points(self, motion: np.ndarray) -> np.ndarray:
        """Landmarks [478, 3] of one frame of motion [60]."""
        moved = sum(motion[MOTION_INDEX[name]] * field for name, field in self.fields.items())
        face = self.mean + moved - 0.7 * self.gap * self.lower + 0.3 * self.gap * self.upper
        opened = face[14, 1] - face[13, 1] - 0.012
        close = motion[MOTION_INDEX["mouthClose"]] * opened
        face = face - 0.7 * close * self.lower + 0.3 * close * self.upper
        irises = []
        for side, upper, lower, corners in (
            ("Right", fm.RIGHT_UPPER_LID, fm.RIGHT_LOWER_LID, fm.RIGHT_EYE_CORNERS),
            ("Left", fm.LEFT_UPPER_LID, fm.LEFT_LOWER_LID, fm.LEFT_EYE_CORNERS),
        ):
            shut = motion[MOTION_INDEX[f"eyeBlink{side}"]]
            face[list(upper), 1] += shut * (face[list(lower), 1] - face[list(upper), 1])
            centre = face[list(corners)].mean(axis=0)
            look = np.sin([motion[MOTION_INDEX[n]] for n in ("gazeYaw", "gazePitch")])
            centre[:2] += look * EYEBALL_RADIUS * np.array(TRACKED_GAZE_SHARE)
            centre[1] -= LEVEL_IRIS_RISE
            irises.append(np.repeat(centre[None], 5, axis=0))
        whole = np.concatenate([face, *irises])
        yaw, pitch, roll, x, y, size = motion[:6]
        turned = whole @ rotation_matrix(yaw, pitch, roll).T * SIZE_PX * np.exp(size)
        middle = np.array([320 + x * SIZE_PX, 240 + y * SIZE_PX, 0.0])
        return (turned + middle).astype(np.float32)

    def track(self, motion: np.ndarray) -> Track:
        """A flawless track at 25 Hz of motion [T, 60]."""
        values = np.stack([measure(self.points(frame)) for frame in motion])
        count = len(motion)
        return Track(
            np.arange(count) / 25.0,
            values,
            np.full(count, Flaw.NONE, np.uint8),
            np.zeros(count, np.int32),
        )


@pytest.fixture(scope="session")
def made_face() -> MadeFace:
    return MadeFace()


def waves(num_frames: int, hz: float, seed: int) -> np.ndarray:
    """Smooth noise of unit variance around a frequency [T]."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(num_frames) / 25.0
    parts = [
        np.sin(2 * np.pi * hz * factor * time_s + rng.uniform(0, 6.3)) for factor in (0.6, 1.0, 1.5)
    ]
    return np.sum(parts, axis=0) / np.sqrt(1.5)


@pytest.fixture(scope="session")
def talking() -> np.ndarray:
    """12 s of motion [T, 60]: syllables, closures, blinks, nods and glances."""
    count = 300
    motion = np.zeros((count, MOTION_DIM), np.float32)

    def put(name: str, values: np.ndarray) -> None:
        motion[:, MOTION_INDEX[name]] = values

    put("jawOpen", np.clip(0.3 + 0.22 * waves(count, 2.2, 0), 0.12, 0.8))
    rounding = waves(count, 0.8, 1)
    put("mouthPucker", np.clip(0.5 * rounding, 0.0, 1.0))
    for side in ("Left", "Right"):
        put(f"mouthStretch{side}", np.clip(-0.5 * rounding, 0.0, 1.0))
        put(f"mouthSmile{side}", np.clip(0.4 * waves(count, 0.2, 3), 0.0, 1.0))
        put(f"browOuterUp{side}", np.clip(0.4 * waves(count, 0.3, 4) - 0.2, 0.0, 1.0))
    put("browInnerUp", np.clip(0.4 * waves(count, 0.3, 4) - 0.2, 0.0, 1.0))
    motion[:, :6] = np.stack(
        [
            scale * waves(count, 0.5, 5 + i)
            for i, scale in enumerate((0.1, 0.06, 0.06, 0.08, 0.06, 0.01))
        ],
        axis=1,
    )
    put("gazeYaw", 0.12 * np.sign(waves(count, 0.6, 12)) - 0.9 * motion[:, 0])
    put("gazePitch", 0.06 * np.sign(waves(count, 0.5, 13)) - 0.9 * motion[:, 1])
    for start in range(20, count - 10, 37):  # two to three frames of a P
        motion[start : start + 3, MOTION_INDEX["mouthClose"]] = 1.0
    motion[:12, MOTION_INDEX["jawOpen"]] = 0.0  # a rest
    for start in BLINKS:
        for side in ("Left", "Right"):
            motion[start : start + 6, MOTION_INDEX[f"eyeBlink{side}"]] = (
                0.45, 1.0, 1.0, 0.72, 0.38, 0.12,
            )  # fmt: skip
    return motion


BLINKS = (33, 90, 180, 251)


@pytest.fixture
def write_video() -> Callable[..., Path]:
    """Write a small video: brightness of each frame, sound or None."""

    def write(
        path: Path,
        levels: list[int],
        sound: np.ndarray | None = None,
        rate: Fraction | int = 25,
        times: list[int] | None = None,
    ) -> Path:
        with av.open(str(path), "w") as container:
            video = container.add_stream("mpeg4", rate=rate)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000) if times else 1 / Fraction(rate)
            audio = None
            if sound is not None:
                audio = container.add_stream("aac", rate=16_000, layout="mono")
            for index, level in enumerate(levels):
                rgb = np.full((64, 96, 3), level, np.uint8)
                rgb[:32, :48] = 255 - level  # which way is up
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts = times[index] if times else index
                frame.time_base = Fraction(1, 1000) if times else 1 / Fraction(rate)
                container.mux(video.encode(frame))
            container.mux(video.encode())
            if audio is not None:
                for start in range(0, len(sound), 1024):
                    block = np.ascontiguousarray(sound[None, start : start + 1024], np.float32)
                    frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                    frame.sample_rate, frame.pts = 16_000, start
                    frame.time_base = Fraction(1, 16_000)
                    container.mux(audio.encode(frame))
                container.mux(audio.encode())
        return path

    return write
