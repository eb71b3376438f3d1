"""Draws subjects: every frame of one with its labels, as arrays."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parlante.errors import InvalidInput
from parlante.models import face_mesh
from parlante.synth.assets import Int32Array
from parlante.synth.dataset import encode_picture
from parlante.synth.kernels import resolve_pixels
from parlante.synth.labels import Part
from parlante.synth.performance import FrameScript, arkit_of, sample_frames
from parlante.synth.renderer import Renderer
from parlante.synth.subject import Studio, SyntheticSubject, build_subject
from parlante.types import Float32Array

__all__ = ["SynthOptions", "Timer", "render_subject"]

logger = logging.getLogger(__name__)

MIN_SIZE_PX: Final = 64
MAX_SIZE_PX: Final = 2048
MAX_SUBJECTS: Final = 100_000
MAX_FRAMES: Final = 64
# A landmark is hidden by the head where the skin in front of it is nearer by more than this.
LANDMARK_TOLERANCE_DM: Final = 0.06
HEAD_PARTS: Final = (
    Part.SKIN, Part.EYE, Part.UPPER_TEETH, Part.LOWER_TEETH, Part.TONGUE, Part.CAVITY, Part.LIPS,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthOptions:
    """What to make.

    Attributes:
        num_subjects: How many subjects, [1, 100000].
        frames_per_subject: F, [1, 64]; frame 0 is the source portrait.
        seed: Fixes all that is random.
        size_px: Edge of the pictures, [64, 2048].

    Raises:
        InvalidInput: A value is out of range.
    """

    num_subjects: int
    frames_per_subject: int = 6
    seed: int = 0
    size_px: int = 512

    def __post_init__(self) -> None:
        for name, low, high in (
            ("num_subjects", 1, MAX_SUBJECTS),
            ("frames_per_subject", 1, MAX_FRAMES),
            ("seed", 0, 2**31 - 1),
            ("size_px", MIN_SIZE_PX, MAX_SIZE_PX),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidInput(
                    f"{name} must be in [{low}, {high}]; got {value}",
                    reason="BAD_OPTION",
                    field=name,
                )


@dataclass(slots=True)
class Timer:
    """Adds up how long each step takes, s."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def render_subject(
    studio: Studio,
    renderer: Renderer,
    options: SynthOptions,
    number: int,
    *,
    timer: Timer | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Draw one subject; the same options and number give the same arrays.

    Args:
        studio: The pack, prepared.
        renderer: Of the options' size.
        options: Seed and number of frames.
        number: Of the subject.
        timer: Adds up the time of the steps.

    Returns:
        The arrays of the subject's file.
    """
    timer = timer or Timer()
    rng = np.random.default_rng([options.seed, number])
    with timer.step("subject"):
        frames = sample_frames(studio.pack, rng, num_frames=options.frames_per_subject)
        subject = build_subject(studio, renderer, rng, number=number, frames=frames)
    recorder = _Recorder(studio, subject, timer)
    for index, frame in enumerate(frames):
        recorder.add(renderer, index, frame)
    with timer.step("encode"):
        return recorder.arrays(options, number)


class _Recorder:
    """Collects a subject's arrays, frame by frame."""

    def __init__(self, studio: Studio, subject: SyntheticSubject, timer: Timer) -> None:
        self._studio = studio
        self._subject = subject
        self._timer = timer
        self._neutral_eyes = _eye_middle(subject.scene.camera.project(subject.neutral_marks))
        self._pictures: dict[str, npt.NDArray[Any]] = {}
        self._indexes: list[Int32Array] = []
        self._weights: list[npt.NDArray[np.uint16]] = []
        self._projected: list[Float32Array] = []
        self._frames: list[FrameScript] = []
        self._poses: list[Float32Array] = []
        self._landmarks: list[Float32Array] = []
        self._visible: list[npt.NDArray[np.bool_]] = []

    def add(self, renderer: Renderer, number: int, frame: FrameScript) -> None:
        """Draw a frame and label it."""
        subject, mesh = self._subject, self._subject.mesh
        with self._timer.step("pose"):
            points, normals, matrices = mesh.pose(subject.face_pose(frame, number))
            projected = subject.scene.camera.project(points)
        with self._timer.step("draw"):
            picture = renderer.draw(mesh, subject.scene, points, normals, matrices)
        with self._timer.step("label"):
            shape = picture.index.shape
            parts = np.empty(shape, np.uint8)
            depth = np.empty(shape, np.float32)
            weights = np.empty((*shape, 2), np.uint16)
            resolve_pixels(
                picture.index, mesh.triangles, projected, mesh.masks, mesh.labels, parts, depth,
                weights, int(Part.LIPS), int(Part.CAVITY), int(Part.SKIN),
            )  # fmt: skip
            self._measure(frame, points, normals, projected, parts, depth)
        with self._timer.step("encode"):
            middle = np.float32(subject.scene.camera.middle_depth_dm)
            self._pictures[f"image_{number}"] = encode_picture(picture.rgb)
            self._pictures[f"parts_{number}"] = encode_picture(parts)
            self._pictures[f"matte_{number}"] = encode_picture(picture.matte)
            self._pictures[f"depth_{number}"] = (depth - middle).astype(np.float16)
        self._indexes.append(picture.index)
        self._weights.append(weights)
        self._projected.append(projected)
        self._frames.append(frame)

    def _measure(
        self,
        frame: FrameScript,
        points: Float32Array,
        normals: Float32Array,
        projected: Float32Array,
        parts: npt.NDArray[np.uint8],
        depth: Float32Array,
    ) -> None:
        """Landmarks, which of them are seen, and where the head is."""
        studio, subject = self._studio, self._subject
        camera = subject.scene.camera
        marks = studio.landmarks.place(points)
        seen = camera.project(np.concatenate([marks, subject.eye_points.place(points)]))
        toward = camera.eye.astype(np.float32) - marks
        facing = (studio.landmarks.place(normals) * toward).sum(axis=1) > 0.0
        skin = seen[: len(marks)]
        self._visible.append(facing & _in_front(skin, parts, depth))
        middle, iod_px, nearness = self._neutral_eyes
        now, _, near_now = _eye_middle(skin)
        shift = (now - middle) / iod_px
        angles = (frame.yaw_rad, frame.pitch_rad, frame.roll_rad)
        self._poses.append(np.array([*angles, *shift, np.log(near_now / nearness)], np.float32))
        # As the tracker has it: the mean of the face is 0 and the unit that of x and y.
        away = seen[:, 2] - skin[:, 2].mean()
        landmarks = seen.copy()
        landmarks[:, 2] = away * camera.focal_px / skin[:, 2].mean()
        self._landmarks.append(landmarks)

    def arrays(self, options: SynthOptions, number: int) -> dict[str, npt.NDArray[Any]]:
        """Everything, with the triangles and points that some frame shows."""
        mesh = self._subject.mesh
        shown = np.unique(np.concatenate([np.unique(index) for index in self._indexes]))
        shown = shown[shown > 0] - 1
        renumbered = np.zeros(len(mesh.triangles) + 1, np.uint16)
        renumbered[shown + 1] = np.arange(1, len(shown) + 1)
        used, corners = np.unique(mesh.triangles[shown], return_inverse=True)
        for frame, (index, weights) in enumerate(zip(self._indexes, self._weights, strict=True)):
            surface = np.concatenate([renumbered[index][..., None], weights], axis=2)
            self._pictures[f"surface_{frame}"] = encode_picture(surface)
        names = [name for name in self._studio.pack.unit_names if name != "Rest"]
        units = [[frame.units.get(name, 0.0) for name in names] for frame in self._frames]
        return {
            **self._pictures,
            "landmarks": np.stack(self._landmarks),
            "visible": np.stack(self._visible),
            "pose": np.stack(self._poses),
            "gaze": np.array(
                [(f.gaze_yaw_rad, f.gaze_pitch_rad) for f in self._frames], np.float32
            ),
            "units": np.array(units, np.float32),
            "unit_names": np.array(names),
            "arkit": np.stack([arkit_of(frame.units) for frame in self._frames]),
            "triangles": corners.reshape(-1, 3).astype(np.int32),
            "points": np.stack([projected[used] for projected in self._projected]),
            "middle_depth_dm": np.array(self._subject.scene.camera.middle_depth_dm, np.float32),
            "metadata": np.array(json.dumps(self._metadata(options, number), sort_keys=True)),
        }

    def _metadata(self, options: SynthOptions, number: int) -> dict[str, Any]:
        subject = self._subject
        look, identity = subject.look, subject.identity
        return {
            "seed": options.seed,
            "number": number,
            "sex": identity.sex,
            "age": round(identity.age, 3),
            "ancestry": [round(share, 3) for share in identity.ancestry],
            "tone": look.tone,
            "skin_luminance": round(subject.skin_luminance, 4),
            "skin": look.skin,
            "hair": look.hair,
            "eyes": look.eyes,
            "teeth": look.teeth,
            "garment": look.garment,
            "stubble": round(look.stubble, 3),
            "beard": look.beard,
            "glasses": "none" if subject.glasses is None else subject.glasses.shape,
            "lens_opacity": 0.0
            if subject.glasses is None
            else round(subject.glasses.lens_opacity, 3),
            "make_up": look.make_up.is_there,
            "occluder": "none" if subject.occluder is None else subject.occluder.kind,
            "light": subject.scene.light.kind,
            "background": subject.background,
            "frames": [frame.kind for frame in self._frames],
        }


def _eye_middle(skin: Float32Array) -> tuple[npt.NDArray[np.float32], float, float]:
    """Middle of the outer eye corners, px; their distance, px; and their nearness, 1 / dm."""
    right, left = skin[list(face_mesh.OUTER_EYE_CORNERS)]
    middle = 0.5 * (right[:2] + left[:2])
    iod_px = float(np.linalg.norm(left[:2] - right[:2]))
    return middle, iod_px, 2.0 / float(right[2] + left[2])


def _in_front(
    skin: Float32Array, parts: npt.NDArray[np.uint8], depth: Float32Array
) -> npt.NDArray[np.bool_]:
    """Whether no part of the head lies between a landmark and the camera."""
    height, width = parts.shape
    x = np.clip(np.rint(skin[:, 0]).astype(int), 0, width - 1)
    y = np.clip(np.rint(skin[:, 1]).astype(int), 0, height - 1)
    covered_by_head = np.isin(parts[y, x], HEAD_PARTS)
    nearer = depth[y, x] < skin[:, 2] - LANDMARK_TOLERANCE_DM
    return np.asarray(~(covered_by_head & nearer), np.bool_)
