"""Where the face tracker's network files lie, and how they get there.

The files (Apache-2.0) come out of one pinned wheel at set-up (`scripts/fetch_tracker.py`); they
are not part of this repository. Nothing here touches the network.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parlante.errors import FailedPrecondition

__all__ = [
    "TRACKER_FILES",
    "TrackerFile",
    "extract_tracker_files",
    "find_missing_files",
    "require_tracker_files",
    "tracker_digest",
    "tracker_dir",
    "user_cache_dir",
]

ENV_MODEL_DIR: Final = "PARLANTE_MODEL_DIR"
FETCH_COMMAND: Final = "make setup (or: python scripts/fetch_tracker.py)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerFile:
    """One file of the tracker.

    Attributes:
        name: File name in the cache folder.
        member: Path inside the wheel.
        sha256: Hex digest of its content.
    """

    name: str
    member: str
    sha256: str


_MODULES: Final = "mediapipe/modules"
TRACKER_FILES: Final[tuple[TrackerFile, ...]] = (
    TrackerFile(
        name="face_detection_short_range.tflite",
        member=f"{_MODULES}/face_detection/face_detection_short_range.tflite",
        sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    TrackerFile(
        name="face_detection_full_range_sparse.tflite",
        member=f"{_MODULES}/face_detection/face_detection_full_range_sparse.tflite",
        sha256="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    TrackerFile(
        name="face_landmark.tflite",
        member=f"{_MODULES}/face_landmark/face_landmark.tflite",
        sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    TrackerFile(
        name="iris_landmark.tflite",
        member=f"{_MODULES}/iris_landmark/iris_landmark.tflite",
        sha256="d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
    ),
    TrackerFile(
        name="selfie_segmentation.tflite",
        member=f"{_MODULES}/selfie_segmentation/selfie_segmentation.tflite",
        sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    TrackerFile(
        name="LICENSE",
        member="mediapipe-0.10.21.dist-info/LICENSE",
        sha256="8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
    ),
)


def tracker_dir() -> Path:
    """Give the folder of the tracker's files: `PARLANTE_MODEL_DIR`, or the user's cache."""
    configured = os.environ.get(ENV_MODEL_DIR)
    if configured:
        return Path(configured)
    return user_cache_dir() / "parlante" / "tracker"


def user_cache_dir() -> Path:
    """The platform's cache folder, by the XDG rule on Linux."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rule: a relative path is invalid and must be ignored.
    return Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache"


def find_missing_files(directory: Path) -> list[str]:
    """Name the files that are absent from `directory` or differ from the pinned digest."""
    return [file.name for file in TRACKER_FILES if not _is_intact(directory, file)]


def _is_intact(directory: Path, file: TrackerFile) -> bool:
    try:
        content = (directory / file.name).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == file.sha256


def require_tracker_files(directory: Path | None = None) -> Path:
    """Give the folder of the tracker's files, once they are all there and intact.

    Args:
        directory: Where to look; the default is `tracker_dir()`.

    Raises:
        FailedPrecondition: A file is missing or damaged (reason ``TRACKER_FILES_MISSING``).
    """
    directory = directory or tracker_dir()
    missing = find_missing_files(directory)
    if missing:
        raise FailedPrecondition(
            f"the face tracker's files must lie in {directory}; missing or damaged: "
            f"{', '.join(missing)}; run {FETCH_COMMAND}, or set {ENV_MODEL_DIR} to their folder",
            reason="TRACKER_FILES_MISSING",
            metadata={"missing": ",".join(missing)},
        )
    return directory


def extract_tracker_files(wheel: Path, directory: Path) -> None:
    """Unpack the tracker's files from a wheel, each checked and put in place atomically.

    Args:
        wheel: The downloaded wheel.
        directory: Target folder; made if absent.

    Raises:
        FailedPrecondition: The wheel lacks a file or its content is not the pinned one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for file in TRACKER_FILES:
        try:
            with zipfile.ZipFile(wheel) as archive:
                content = archive.read(file.member)
        except (KeyError, zipfile.BadZipFile):
            content = b""
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise FailedPrecondition(
                f"{wheel.name} must hold {file.member} with SHA-256 {file.sha256}; it does "
                "not; delete the wheel and fetch it again",
                reason="TRACKER_FILES_DAMAGED",
            )
        _write_atomically(directory / file.name, content)


def _write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target and rename, so that a reader never sees half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
        part.write(content)
    try:
        Path(part.name).chmod(0o644)
        Path(part.name).replace(path)
    except OSError:
        Path(part.name).unlink(missing_ok=True)
        raise


def tracker_digest() -> str:
    """Give a hex SHA-256 that names this set of tracker files."""
    joined = "\n".join(f"{file.name} {file.sha256}" for file in TRACKER_FILES)
    return hashlib.sha256(joined.encode()).hexdigest()
