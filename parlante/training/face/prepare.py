"""Make the cache of pairs from what a run is given: synthetic heads, photos, videos."""

from __future__ import annotations

import functools
import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from parlante.errors import InvalidInput
from parlante.models.face_tracker import FaceTracker
from parlante.synth.processes import spread
from parlante.training.face.cache import (
    JOINED,
    RegionData,
    is_made,
    join_shards,
    mark,
    open_cache,
    write_shard,
)
from parlante.training.face.config import FaceTrainingConfig
from parlante.training.face.pairs import make_pairs
from parlante.training.face.sources import (
    Subject,
    find_synthetic,
    photo_files,
    photo_subject,
    read_synthetic,
)
from parlante.training.face.video_source import find_clips, video_subject

__all__ = ["prepare_photos", "prepare_synthetic", "prepare_videos"]

logger = logging.getLogger(__name__)

_TELL_SUBJECTS: Final = 20


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a subject comes from: a file, and what reads it."""

    path: Path
    read: Callable[[Path, FaceTracker | None, np.random.Generator], Subject | None]


def prepare_synthetic(
    folder: Path,
    cache: Path,
    config: FaceTrainingConfig,
    tracker: FaceTracker | None,
    num_processes: int = 1,
) -> dict[str, RegionData]:
    """Pairs of synthetic heads; made, or taken from the cache."""
    sources = {path.stem: _Source(path, _synthetic) for path in find_synthetic(folder)}
    return _prepare(sources, cache, config, tracker, num_processes)


def prepare_photos(
    folder: Path,
    cache: Path,
    config: FaceTrainingConfig,
    tracker: FaceTracker,
    num_processes: int = 1,
) -> dict[str, RegionData]:
    """Pairs of photos and of copies that the warp has moved."""
    sources = {path.stem: _Source(path, _photo) for path in photo_files(folder)}
    return _prepare(sources, cache, config, tracker, num_processes)


def prepare_videos(
    folder: Path,
    cache: Path,
    config: FaceTrainingConfig,
    tracker: FaceTracker,
    num_processes: int = 1,
) -> dict[str, RegionData]:
    """Pairs of frames of talking videos."""
    sources: dict[str, _Source] = {}
    for path in find_clips(folder):
        # By place in the folder, which may move, and by size: another video of that name is new.
        place = f"{path.relative_to(folder)} {path.stat().st_size}"
        sources[f"{path.stem}-{zlib.crc32(place.encode()):08x}"] = _Source(path, _video)
    return _prepare(sources, cache, config, tracker, num_processes)


def _synthetic(path: Path, _: FaceTracker | None, __: np.random.Generator) -> Subject:
    return read_synthetic(path)


def _photo(path: Path, tracker: FaceTracker | None, rng: np.random.Generator) -> Subject | None:
    assert tracker is not None
    return photo_subject(path, tracker, rng)


def _video(path: Path, tracker: FaceTracker | None, _: np.random.Generator) -> Subject | None:
    assert tracker is not None
    return video_subject(path, tracker)


def _prepare(
    sources: dict[str, _Source],
    cache: Path,
    config: FaceTrainingConfig,
    tracker: FaceTracker | None,
    num_processes: int,
) -> dict[str, RegionData]:
    settings = config.cache_settings(list(sources))
    try:
        made = is_made(cache, settings)
    except ValueError as error:
        raise InvalidInput(
            f"{cache} holds pairs of another run ({error}); give another folder",
            reason="CACHE_OF_OTHER_RUN",
            field="cache",
        ) from error
    if made:
        return open_cache(cache)
    mark(cache, settings, complete=False)
    if not (cache / JOINED).exists():
        _make_shards(sources, cache, config, tracker, num_processes)
        if not any(path.is_dir() for path in cache.iterdir()):
            raise InvalidInput(
                f"none of {len(sources)} subjects gives a pair of pictures; each must show one "
                "face, ahead and with open eyes at least once",
                reason="NO_USABLE_SUBJECT",
            )
        join_shards(cache)
    mark(cache, settings, complete=True)
    return open_cache(cache)


def _make_shards(
    sources: dict[str, _Source],
    cache: Path,
    config: FaceTrainingConfig,
    tracker: FaceTracker | None,
    num_processes: int,
) -> None:
    """Make the pairs of all subjects that are not there yet."""
    jobs = [
        _Job(index, cache / name, source)
        for index, (name, source) in enumerate(sources.items())
        if not (cache / name).exists()
    ]
    num_done, num_pairs = len(sources) - len(jobs), 0

    def done(count: int) -> None:
        nonlocal num_done, num_pairs
        num_done, num_pairs = num_done + 1, num_pairs + count
        if num_done % _TELL_SUBJECTS == 0:
            logger.info("%d of %d subjects, %d pairs made", num_done, len(sources), num_pairs)

    if num_processes == 1:
        for job in jobs:
            done(_make_shard(job, config, tracker))
        return
    spread(
        jobs,
        make_worker=_make_worker,
        given=(config, tracker is not None),
        num_processes=num_processes,
        done=done,
    )


class _Job(NamedTuple):
    """One subject: its place among all, the folder of its pairs, and where it comes from."""

    place: int
    folder: Path
    source: _Source


def _make_shard(job: _Job, config: FaceTrainingConfig, tracker: FaceTracker | None) -> int:
    """Make the pairs of a subject, which follow from its place alone; gives their number."""
    rng = np.random.default_rng((config.seed, job.place))
    subject = job.source.read(job.source.path, tracker, rng)
    if subject is None:
        return 0
    pairs = make_pairs(
        subject, rng, tracker=tracker, num_portraits=config.num_portraits, twins=config.twins
    )
    return write_shard(pairs, job.folder)


def _make_worker(given: tuple[FaceTrainingConfig, bool]) -> Callable[[_Job], int]:
    config, has_tracker = given
    tracker = FaceTracker() if has_tracker else None
    return functools.partial(_make_shard, config=config, tracker=tracker)
