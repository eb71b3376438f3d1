"""Look at the driver: one face followed through a video, with a clear refusal for what will not do.

Axis letters: N pictures, K measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import numpy.typing as npt

from parlante.driving.readings import READ, as_row, take_over
from parlante.errors import InvalidInput, PortraitRejected
from parlante.media.video_file import Picture, read_pictures, sample_pictures, told_seconds
from parlante.models import face_mesh as fm
from parlante.models.face_coefficients import canonicalize
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.models.portrait_gate import find_faces
from parlante.training.videos.following import Flaw, Track, follow
from parlante.types import FRAME_RATE_HZ, FaceChoice, Float32Array, Uint8Array

if TYPE_CHECKING:  # brings torch along, which driving by landmarks alone does not need
    from parlante.models.face_reader import Reading

__all__ = ["MAX_SECONDS", "MIN_SECONDS", "Observation", "Reads", "Watcher", "observe"]

Float64Array = npt.NDArray[np.float64]

MIN_SECONDS: Final = 0.5
MAX_SECONDS: Final = 600.0
COUNT_EVERY: Final = 25  # pictures after which all faces are counted
MAX_CROWDED_SHARE: Final = 0.3  # of the counts; a passer-by for a moment is no second driver
# Pictures over the whole video that are looked at first: when all show several faces, far more than
# the share above will, and nobody needs to wait for the end to be told.
NUM_SAMPLES: Final = 6
MIN_SEEN_SHARE: Final = 0.5
_NOSE_BASE: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A driver through a video.

    Attributes:
        track: What `follow` gives; with a reader, its measures are taken where they are better.
        sides: float64 [N, 2], the chin and the middle of the lips to the side of the nose, IOD, + =
            image right; NaN where there is no face.
    """

    track: Track
    sides: Float64Array


class Reads(Protocol):
    """The part of `FaceReader` that driving needs."""

    def read(self, rgb: Uint8Array, points: Float32Array) -> Reading:
        """Read one face."""
        ...


class Watcher:
    """Measures a face in each picture that is followed, beyond what `follow` does.

    Args:
        reader: The trained encoders; None measures landmarks alone.
    """

    def __init__(self, reader: Reads | None = None) -> None:
        self._reader = reader
        self._sides: list[Float64Array] = []
        self._readings: list[Float64Array] = []

    def see(self, rgb: Uint8Array, mesh: FaceLandmarks | None) -> None:
        """Look at the next picture; `follow` calls this."""
        self._sides.append(_sides(mesh))
        if self._reader is None:
            return
        row = np.full(len(READ), np.nan)
        if mesh is not None:
            row = as_row(self._reader.read(rgb, mesh.points))
        self._readings.append(row)

    def observation(self, track: Track) -> Observation:
        """Put together what was seen of a track."""
        if self._reader is not None:
            track = take_over(track, np.array(self._readings).reshape(-1, len(READ)))
        return Observation(track, np.array(self._sides).reshape(-1, 2))


def observe(
    tracker: FaceTracker,
    path: Path,
    *,
    choice: FaceChoice = FaceChoice.ONLY,
    reader: Reads | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Observation:
    """Follow the face of a video.

    Args:
        tracker: Runs the networks.
        path: Any video that FFmpeg reads, at any frame rate, `MIN_SECONDS` to `MAX_SECONDS` long.
        choice: ONLY refuses a video with several faces, LARGEST follows the largest.
        reader: The trained encoders, which see some of it better; None does without.
        stopped: Asked before every picture; true ends the video there.

    Raises:
        InvalidInput: VIDEO_UNREADABLE, NO_PICTURES, VIDEO_TOO_SHORT, VIDEO_TOO_LONG, NO_FACE,
            SEVERAL_FACES or FACE_TOO_SMALL.
    """
    _check_length(path, told_seconds(path) or 0.0)
    if choice is FaceChoice.ONLY:
        _check_samples(tracker, path)
    counts: list[int] = []
    watcher = Watcher(reader)

    def pictures() -> Iterator[Picture]:
        for index, picture in enumerate(read_pictures(path, max_seconds=MAX_SECONDS + 1.0)):
            if stopped():
                return
            _check_length(path, picture.time_s)
            if choice is FaceChoice.ONLY and index % COUNT_EVERY == 0:
                counts.append(_count_faces(tracker, picture))
            yield picture

    track = follow(tracker, pictures(), seen=watcher.see)
    observation = watcher.observation(track)
    _check(path, observation, counts)
    return observation


def _check_length(path: Path, seconds: float) -> None:
    if seconds > MAX_SECONDS + 0.5:
        raise _refuse(
            "VIDEO_TOO_LONG",
            f"{path.name} may last {MAX_SECONDS / 60:g} minutes; got {seconds / 60:.1f}; cut it",
        )


def _check_samples(tracker: FaceTracker, path: Path) -> None:
    """Refuse a video that is crowded all along; done at the first picture that is not."""
    counts = []
    for picture in sample_pictures(path, NUM_SAMPLES):
        counts.append(_count_faces(tracker, picture))
        if counts[-1] <= 1:
            return
    if len(counts) == NUM_SAMPLES:
        raise _crowded(path, max(counts))


def _count_faces(tracker: FaceTracker, picture: Picture) -> int:
    try:
        return len(find_faces(tracker, picture.rgb))
    except PortraitRejected:
        return 0


def _sides(mesh: FaceLandmarks | None) -> Float64Array:
    if mesh is None:
        return np.full(2, np.nan)
    face, _ = canonicalize(mesh.points)
    x = face[:, 0].astype(np.float64)
    lips = x[[*fm.MOUTH_CORNERS, fm.UPPER_LIP_CENTRE, fm.LOWER_LIP_CENTRE]].mean()
    return np.array([x[fm.CHIN], lips], np.float64) - float(x[_NOSE_BASE])


def _seconds(times_s: Float64Array) -> float:
    """How long pictures last: the last one is shown as long as the others."""
    if not len(times_s):
        return 0.0
    step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0 / FRAME_RATE_HZ
    return float(times_s[-1]) + step_s


def _check(path: Path, observation: Observation, counts: list[int]) -> None:
    track = observation.track
    seconds = _seconds(track.times_s)
    if seconds < MIN_SECONDS:
        raise _refuse(
            "VIDEO_TOO_SHORT",
            f"{path.name} lasts {seconds:.2f} s; at least {MIN_SECONDS:g} s of a face are needed",
        )
    crowded = sum(count > 1 for count in counts)
    if crowded > MAX_CROWDED_SHARE * max(len(counts), 1):
        raise _crowded(path, max(counts))
    seen = (track.flaws != Flaw.NO_FACE) & (track.flaws != Flaw.DOUBTFUL)
    if seen.mean() < MIN_SEEN_SHARE:
        raise _refuse(
            "NO_FACE",
            f"{path.name} shows a face in {seen.mean():.0%} of its pictures; one that is seen "
            "clearly for at least half of the time is needed",
        )
    small = track.flaws == Flaw.TOO_SMALL
    if small.sum() > 0.5 * seen.sum():
        raise _refuse(
            "FACE_TOO_SMALL",
            f"the face of {path.name} is too small to see its lips; its eyes must be at least "
            "30 px apart in a picture of 1280 px; crop the video to the head",
        )


def _crowded(path: Path, num_faces: int) -> InvalidInput:
    return _refuse(
        "SEVERAL_FACES",
        f"{path.name} must show one face; it shows up to {num_faces}; crop it, or follow "
        "the largest with --video-face largest",
    )


def _refuse(reason: str, message: str) -> InvalidInput:
    return InvalidInput(message, reason=reason, field="video")
