"""Motion on file: the public channels by name, as npz or CSV, at any frame rate.

npz (numpy, no pickles): ``values`` float32 [T, C], ``channels`` str [C], ``frame_rate_hz`` float64,
``space`` str "parlante.motion/1". CSV: one header line ``time_s,<channel>,...``, one line a frame.
Channels that a file does not have are 0; those that we do not know are refused.
"""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.errors import InvalidInput
from parlante.media.whole_file import check_folder
from parlante.types import (
    FRAME_RATE_HZ,
    MOTION_CHANNELS,
    MOTION_DIM,
    MOTION_INDEX,
    MOTION_SPACE,
    Float32Array,
)

__all__ = ["MAX_CLIP_SECONDS", "MotionClip", "check_motion_path", "load_clip", "save_clip"]

Float64Array = npt.NDArray[np.float64]

SUFFIXES: Final = (".npz", ".csv")
MAX_CLIP_SECONDS: Final = 1800.0
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
MIN_RATE_HZ: Final = 1.0
MAX_RATE_HZ: Final = 240.0
MAX_VALUE: Final = 100.0  # far beyond any angle or weight; a larger number is no motion
# What numpy and zipfile raise on files that are damaged or something else.
_DAMAGE: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionClip:
    """Motion at 25 frames per second.

    Attributes:
        values: float32 [T, 60] in the order of `MOTION_CHANNELS`, relative to a portrait at rest.

    Raises:
        InvalidInput: BAD_MOTION_SHAPE, NON_FINITE_MOTION or MOTION_TOO_LONG.
    """

    values: Float32Array

    def __post_init__(self) -> None:
        values = self.values
        if values.ndim != 2 or values.shape[1] != MOTION_DIM or not len(values):
            raise InvalidInput(
                f"motion must be [T, {MOTION_DIM}] with T >= 1; got {list(values.shape)}",
                reason="BAD_MOTION_SHAPE",
                field="motion",
            )
        if not (np.abs(values) <= MAX_VALUE).all():  # false for NaN too
            raise InvalidInput(
                "motion must be finite numbers, angles in radians and weights in [0, 1]; got NaN, "
                f"infinity or more than {MAX_VALUE:g}",
                reason="NON_FINITE_MOTION",
                field="motion",
            )
        if len(values) > MAX_CLIP_SECONDS * FRAME_RATE_HZ:
            raise InvalidInput(
                f"motion may last {MAX_CLIP_SECONDS / 60:g} minutes; "
                f"got {len(values) / FRAME_RATE_HZ / 60:.1f}; cut it",
                reason="MOTION_TOO_LONG",
                field="motion",
            )

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.values)


def check_motion_path(path: Path) -> None:
    """Raise `InvalidInput` unless motion can be written at `path`."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(
            f"motion is kept as {' or '.join(SUFFIXES)}; got {path.name!r}",
            reason="BAD_MOTION_FILE",
            field="motion",
        )
    check_folder(path, field="motion")


def save_clip(path: Path, clip: MotionClip) -> None:
    """Write motion as npz or CSV, by the name's end.

    Raises:
        InvalidInput: BAD_MOTION_FILE or OUTPUT_FOLDER_MISSING.
    """
    check_motion_path(path)
    if path.suffix.lower() == ".npz":
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                values=clip.values,
                channels=np.array(MOTION_CHANNELS),
                frame_rate_hz=np.float64(FRAME_RATE_HZ),
                space=np.array(MOTION_SPACE),
            )
        return
    with path.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(("time_s", *MOTION_CHANNELS))
        for index, row in enumerate(clip.values):
            writer.writerow((f"{index / FRAME_RATE_HZ:.2f}", *(f"{value:.6g}" for value in row)))


def load_clip(path: Path) -> MotionClip:
    """Read motion and bring it to 25 frames per second.

    Raises:
        InvalidInput: FILE_NOT_FOUND, BAD_MOTION_FILE, UNKNOWN_CHANNEL, BAD_MOTION_SHAPE,
            NON_FINITE_MOTION or MOTION_TOO_LONG.
    """
    if not path.is_file():
        raise InvalidInput(
            f"no motion file at {path}; check the path", reason="FILE_NOT_FOUND", field="motion"
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _bad(path, f"it has more than {MAX_FILE_BYTES} bytes")
    try:
        times_s, names, values = _read_csv(path) if _is_csv(path) else _read_npz(path)
    except _DAMAGE as error:
        raise _bad(path, "it is damaged or something else") from error
    unknown = [name for name in names if name not in MOTION_INDEX]
    if unknown:
        raise InvalidInput(
            f"{path.name} has a channel {unknown[0][:40]!r} that this version does not know; "
            "channels are the 52 ARKit names, headYaw, headPitch, headRoll, headX, headY, "
            "headLogScale, gazeYaw and gazePitch",
            reason="UNKNOWN_CHANNEL",
            field="motion",
        )
    if len(set(names)) != len(names) or values.shape != (len(times_s), len(names)):
        raise _bad(path, "each channel must have one value a frame")
    if not len(times_s):
        raise _bad(path, "it has no frame")
    whole = np.zeros((len(times_s), MOTION_DIM))
    whole[:, [MOTION_INDEX[name] for name in names]] = values
    return MotionClip(values=_at_frame_rate(path, times_s, whole).astype(np.float32))


def _is_csv(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES:
        raise _bad(path, f"its name must end in {' or '.join(SUFFIXES)}")
    return path.suffix.lower() == ".csv"


def _read_npz(path: Path) -> tuple[Float64Array, list[str], Float64Array]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_FILE_BYTES:
            raise _bad(path, f"it unpacks to more than {MAX_FILE_BYTES} bytes")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        space = str(data["space"]) if "space" in data.files else MOTION_SPACE
        if space != MOTION_SPACE:
            raise _bad(path, f"its space is {space[:40]!r}, not {MOTION_SPACE!r}")
        values = np.asarray(data["values"], np.float64)
        names = [str(name) for name in data["channels"]]
        rate_hz = float(data["frame_rate_hz"])
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise _bad(path, f"its frame rate must be in [{MIN_RATE_HZ:g}, {MAX_RATE_HZ:g}] Hz")
    if values.ndim != 2:
        raise _bad(path, "values must be [frames, channels]")
    return np.arange(len(values)) / rate_hz, names, values


def _read_csv(path: Path) -> tuple[Float64Array, list[str], Float64Array]:
    with path.open(newline="") as text:
        rows = csv.reader(text)
        header: Sequence[str] = next(rows, ())
        if not header or header[0].strip() != "time_s":
            raise _bad(path, "its first column must be time_s")
        table = np.array([[float(cell) for cell in row] for row in rows if row], np.float64)
    if not len(table):
        raise _bad(path, "it has no frame")
    names = [name.strip() for name in header[1:]]
    return table[:, 0], names, table[:, 1:]


def _at_frame_rate(path: Path, times_s: Float64Array, values: Float64Array) -> Float64Array:
    """Interpolate at 25 frames per second from the first frame's time on."""
    span_s = float(times_s[-1] - times_s[0])
    rises = len(times_s) == 1 or bool((np.diff(times_s) > 0).all())
    if not math.isfinite(span_s) or not rises or span_s > MAX_CLIP_SECONDS:
        raise _bad(path, f"its times must rise and span at most {MAX_CLIP_SECONDS:g} s")
    step_s = span_s / (len(times_s) - 1) if len(times_s) > 1 else 1.0 / FRAME_RATE_HZ
    # Half a frame of grace: rounding must not cost the last one.
    num_frames = int((span_s + step_s / 2) * FRAME_RATE_HZ) + 1
    grid_s = times_s[0] + np.arange(num_frames) / FRAME_RATE_HZ
    return np.stack([np.interp(grid_s, times_s, column) for column in values.T], axis=1)


def _bad(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path.name} cannot be read as motion: {why}; see the format in docs/driving.md",
        reason="BAD_MOTION_FILE",
        field="motion",
    )
