"""Crops of synthetic heads with exact labels: one file for each head, drawn once, kept by a run.

Axis letters: F frames, U units.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from parlante.errors import InvalidInput
from parlante.models import face_mesh
from parlante.models.face_crop import cut_face, frame_of_landmarks
from parlante.synth.assets import HeadPack, load_pack
from parlante.synth.background import sample_background
from parlante.synth.gl import open_context
from parlante.synth.landmarks import LandmarkMap, load_landmark_map
from parlante.synth.light import sample_light
from parlante.synth.performance import FrameScript, arkit_of
from parlante.synth.processes import spread
from parlante.synth.renderer import Renderer
from parlante.synth.subject import Studio, SyntheticSubject, build_subject
from parlante.training.encoders.actions import sample_actions
from parlante.types import Float32Array, Uint8Array

__all__ = ["STORED_PX", "Actions", "Head", "draw_heads", "read_heads"]

STORED_PX: Final = 192  # larger than the crop: training moves, turns and scales it
RENDER_PX: Final = 320
EYES_APART: Final = (0.25, 0.29)  # outer eye corners, of the picture's edge
EYES_AT: Final = (0.5, 0.4)  # their middle in the picture
# Light and background change within a head, or they would tell who it is.
FRAMES_PER_LIGHT: Final = 7
NUM_BACKGROUNDS: Final = 5
_SETTINGS: Final = "heads.json"
_LAYOUT: Final = 1  # raised when old files lack what is read


class Actions(Protocol):
    """Draws what one head does in F frames."""

    def __call__(
        self, pack: HeadPack, rng: np.random.Generator, *, num_frames: int
    ) -> list[FrameScript]:
        """See `sample_actions`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """One person in F frames.

    Attributes:
        images: uint8 [F, 192, 192, 3], RGB: crops with a margin.
        landmarks: float32 [F, 478, 3], px of the crop with its margin; z towards the back.
        angles: float32 [F, 3], yaw, pitch and roll of the head in the picture, rad.
        crop_roll: float32 [F], tilt that the crop has taken out, rad.
        gaze: float32 [F, 2], yaw and pitch of the eyes in the head, rad.
        arkit: float32 [F, 52], in the order of `ARKIT_CHANNELS`.
        metadata: Sex, tone, glasses and so on.
    """

    images: Uint8Array
    landmarks: Float32Array
    angles: Float32Array
    crop_roll: Float32Array
    gaze: Float32Array
    arkit: Float32Array
    metadata: dict[str, Any]


def draw_heads(
    assets: Path,
    folder: Path,
    *,
    num_heads: int,
    num_frames: int,
    seed: int,
    actions: Actions = sample_actions,
    num_processes: int = 1,
    progress: Callable[[int], object] = lambda number: None,
) -> None:
    """Draw the heads that the folder lacks.

    What a head looks like follows from its number alone, whichever process draws it.

    Args:
        assets: Folder of the head parts.
        folder: Of the files; made if it is not there.
        num_heads: How many there are to be.
        num_frames: F of each.
        seed: Fixes all that is random.
        actions: Draws what a head does; a function of a module where processes are started.
        num_processes: That draw at once, each with its own OpenGL; 1 draws in this one.
        progress: Called with the number of each head after it; what it raises ends the drawing.

    Raises:
        InvalidInput: The folder holds heads of other settings.
    """
    settings = {"layout": _LAYOUT, "num_frames": num_frames, "seed": seed}
    _claim(folder, settings)
    missing = [n for n in range(num_heads) if not _path(folder, n).exists()]
    if not missing:
        return
    marks = load_landmark_map(load_pack(assets))
    job = _Job(assets, folder, marks, num_frames, seed, actions)
    if num_processes == 1:
        with _Drawer(job) as drawer:
            for number in missing:
                progress(drawer.draw(number))
        return
    open_context().release()  # where none can be started, that is said here
    spread(
        missing,
        make_worker=_make_worker,
        given=job,
        num_processes=num_processes,
        done=progress,
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """What heads are drawn from and with; see `draw_heads`."""

    assets: Path
    folder: Path
    marks: LandmarkMap
    num_frames: int
    seed: int
    actions: Actions


class _Drawer:
    """Draws heads by number, one after the other."""

    def __init__(self, job: _Job) -> None:
        pack = load_pack(job.assets)
        self._job, self._studio = job, Studio.of(pack, job.marks)
        self._renderer = Renderer(pack, size_px=RENDER_PX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._renderer.close()

    def draw(self, number: int) -> int:
        """Draw a head, write its file, and give its number back."""
        job = self._job
        rng = np.random.default_rng([job.seed, number, 1])
        frames = job.actions(self._studio.pack, rng, num_frames=job.num_frames)
        arrays = _draw(self._studio, self._renderer, rng, number, frames)
        part = _path(job.folder, number).with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        part.replace(_path(job.folder, number))
        return number


def _make_worker(job: _Job) -> Callable[[int], int]:
    return _Drawer(job).draw


def read_heads(folder: Path, numbers: range) -> list[Head]:
    """Read heads by number.

    Raises:
        InvalidInput: A file is missing or broken.
    """
    return [_read(_path(folder, number)) for number in numbers]


def _read(path: Path) -> Head:
    try:
        with np.load(path, allow_pickle=False) as data:
            return Head(
                images=data["images"],
                landmarks=data["landmarks"],
                angles=data["angles"],
                crop_roll=data["crop_roll"],
                gaze=data["gaze"],
                arkit=data["arkit"],
                metadata=json.loads(str(data["metadata"])),
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            f"{path} is no head of a run; remove it and give the same command again",
            reason="BAD_SUBJECT_FILE",
            field="out",
        ) from error


def _path(folder: Path, number: int) -> Path:
    return folder / f"head-{number:05d}.npz"


def _claim(folder: Path, settings: dict[str, int]) -> None:
    """Write what the heads were drawn with, or see that it is the same."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _SETTINGS
    if path.is_file() and json.loads(path.read_text("utf-8")) != settings:
        raise InvalidInput(
            f"{folder} holds heads of other settings than {settings}; give another folder",
            reason="OTHER_DATASET",
            field="out",
        )
    path.write_text(json.dumps(settings) + "\n", "utf-8")


def _draw(
    studio: Studio,
    renderer: Renderer,
    rng: np.random.Generator,
    number: int,
    frames: Sequence[FrameScript],
) -> dict[str, npt.NDArray[Any]]:
    subject = build_subject(studio, renderer, rng, number=number, frames=frames)
    subject = _closer(subject, rng)
    backgrounds = [sample_background(rng, RENDER_PX)[0] for _ in range(NUM_BACKGROUNDS)]
    images, landmarks, rolls = [], [], []
    for index, frame in enumerate(frames):
        if index % FRAMES_PER_LIGHT == 0:
            scene = replace(
                subject.scene, light=sample_light(rng), background=np.zeros_like(backgrounds[0])
            )
            subject = replace(subject, scene=scene)
            renderer.load(subject.mesh, scene)
        person, seen = _shoot(studio, renderer, subject, frame, index)
        rgb = _before(person, backgrounds[int(rng.integers(NUM_BACKGROUNDS))])
        crop = frame_of_landmarks(seen)
        to_crop = crop.to_crop(STORED_PX)
        images.append(cut_face(rgb, crop, STORED_PX))
        flat = seen[:, :2] @ to_crop[:, :2].T + to_crop[:, 2]
        depth = seen[:, 2:] * np.float32(math.hypot(to_crop[0, 0], to_crop[0, 1]))
        landmarks.append(np.concatenate([flat, depth], axis=1))
        rolls.append(crop.roll_rad)
    return {
        "images": np.stack(images),
        "landmarks": np.stack(landmarks).astype(np.float32),
        "angles": np.array([(f.yaw_rad, f.pitch_rad, f.roll_rad) for f in frames], np.float32),
        "crop_roll": np.array(rolls, np.float32),
        "gaze": np.array([(f.gaze_yaw_rad, f.gaze_pitch_rad) for f in frames], np.float32),
        "arkit": np.stack([arkit_of(frame.units) for frame in frames]),
        "metadata": np.array(json.dumps(_metadata(subject), sort_keys=True)),
    }


def _metadata(subject: SyntheticSubject) -> dict[str, Any]:
    return {
        "sex": subject.identity.sex,
        "tone": subject.look.tone,
        "beard": subject.look.beard,
        "glasses": "none" if subject.glasses is None else subject.glasses.shape,
        "occluder": "none" if subject.occluder is None else subject.occluder.kind,
    }


def _closer(subject: SyntheticSubject, rng: np.random.Generator) -> SyntheticSubject:
    """With a camera that shows little but the face: small pictures are drawn fast."""
    camera = subject.scene.camera
    seen = camera.project(subject.neutral_marks)[list(face_mesh.OUTER_EYE_CORNERS)]
    middle = 0.5 * (seen[0] + seen[1])
    apart = float(np.linalg.norm(seen[1, :2] - seen[0, :2]))
    zoom = float(rng.uniform(*EYES_APART)) * camera.size_px / apart
    closer = replace(
        camera,
        focal_px=zoom * camera.focal_px,
        centre_x_px=zoom * (camera.centre_x_px - middle[0]) + EYES_AT[0] * camera.size_px,
        centre_y_px=zoom * (camera.centre_y_px - middle[1]) + EYES_AT[1] * camera.size_px,
    )
    return replace(subject, scene=replace(subject.scene, camera=closer))


def _shoot(
    studio: Studio,
    renderer: Renderer,
    subject: SyntheticSubject,
    frame: FrameScript,
    number: int,
) -> tuple[tuple[Uint8Array, Uint8Array], Float32Array]:
    """The person and the matte, and landmarks: float32 [478, 3], px, as the tracker has them."""
    mesh, camera = subject.mesh, subject.scene.camera
    points, normals, matrices = mesh.pose(subject.face_pose(frame, number))
    picture = renderer.photograph(mesh, subject.scene, points, normals, matrices)
    marks = studio.landmarks.place(points)
    seen = camera.project(np.concatenate([marks, subject.eye_points.place(points)]))
    distance = seen[: len(marks), 2].mean()
    seen[:, 2] = (seen[:, 2] - distance) * camera.focal_px / distance
    return picture, seen


def _before(person: tuple[Uint8Array, Uint8Array], background: Uint8Array) -> Uint8Array:
    """Put a person that was drawn before black in front of a background."""
    rgb, matte = person
    clear = (255 - matte[..., None]).astype(np.uint16)
    behind = (background.astype(np.uint16) * clear + 127) // 255
    return np.minimum(rgb + behind, 255).astype(np.uint8)
