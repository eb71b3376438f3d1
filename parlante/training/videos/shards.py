"""Shards: one file per source video with its clips, and beside it what was kept and why.

A shard is named by the content of its video and the version of all that made it, so a video is
measured once, wherever it lies and however often a run is begun again.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from parlante.models.motion_space import CONDITION_DIM
from parlante.models.tracker_files import tracker_digest
from parlante.training.videos.cleaning import Loss
from parlante.training.videos.clips import ARRAYS, Clips
from parlante.types import MOTION_SPACE

__all__ = ["Report", "find_report", "map_shard", "shard_key", "write_shard"]

VERSION: Final = 1  # of measuring, cleaning and conversion
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of one video.

    Attributes:
        file: Path of the video relative to its folder.
        key: Names the shard.
        skipped: Why nothing of it is used; "" when something is.
        seconds: Length of the pictures.
        kept: Stretches that are used, (start, end) in seconds.
        losses: What is not used, and why.
        num_clips: Clips in the shard.
        offset_ms: How much later the sound was than the lips; it was moved by that.
        lip_correlation: Of the lips with those read from the sound; None where not compared.
        offset_is_clear: Whether the offset could be told.
    """

    file: str
    key: str
    skipped: str = ""
    seconds: float = 0.0
    kept: tuple[tuple[float, float], ...] = ()
    losses: tuple[Loss, ...] = ()
    num_clips: int = 0
    offset_ms: float = 0.0
    lip_correlation: float | None = None
    offset_is_clear: bool = False

    @property
    def kept_seconds(self) -> float:
        """Seconds that are used."""
        return sum(end - start for start, end in self.kept)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Report:
        """Read what `to_json` gave."""
        fields = dict(fields)
        fields["kept"] = tuple((start, end) for start, end in fields["kept"])
        fields["losses"] = tuple(Loss(**loss) for loss in fields["losses"])
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to what matters."""
        rounded: dict[str, Any] = json.loads(
            json.dumps(asdict(self)), parse_float=lambda text: round(float(text), 3)
        )
        return rounded


def shard_key(path: Path) -> str:
    """Name the shard of a video: by its bytes, the version and the tracker."""
    made_by = f"{VERSION} {MOTION_SPACE} {CONDITION_DIM} {tracker_digest()}"
    digest = hashlib.sha256(made_by.encode())
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()[:20]


def write_shard(folder: Path, report: Report, clips: Clips | None) -> None:
    """Write clips and report; the report comes last and marks the shard as whole."""
    folder.mkdir(parents=True, exist_ok=True)
    if clips is not None:
        part = folder / f".{report.key}.part.npz"
        # Not compressed: a part of it can be mapped into memory.
        np.savez(part, **{name: getattr(clips, name) for name in ARRAYS})
        part.replace(folder / f"{report.key}.npz")
    part = folder / f".{report.key}.part.json"
    part.write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")
    part.replace(folder / f"{report.key}.json")


def find_report(folder: Path, key: str) -> Report | None:
    """Read the report of a shard that is whole, or None."""
    try:
        report = Report.from_json(json.loads((folder / f"{key}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_whole = report.num_clips == 0 or (folder / f"{key}.npz").is_file()
    return report if is_whole else None


@dataclass(frozen=True, slots=True, eq=False)
class MappedShard:
    """Arrays of a shard, on disk until they are looked at."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


def map_shard(path: Path) -> MappedShard:
    """Map the arrays of a shard into memory without reading them.

    Args:
        path: A file of `np.savez`.
    """
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED, member.filename
            # The local header's name and extra field may be longer than the directory says.
            file.seek(member.header_offset + 26)
            name_bytes, extra_bytes = np.frombuffer(file.read(4), "<u2")
            file.seek(member.header_offset + 30 + int(name_bytes) + int(extra_bytes))
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            name = member.filename.removesuffix(".npy")
            arrays[name] = np.memmap(path, dtype, "r", file.tell(), shape)
    return MappedShard(arrays)
