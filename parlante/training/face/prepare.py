"""Make the cache of pairs from what a run is given: synthetic heads, photos, videos."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from parlante.errors import InvalidInput
from parlante.models.face_tracker import FaceTracker
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

Maker = Callable[[np.random.Generator], Subject | None]


def prepare_synthetic(
    folder: Path, cache: Path, config: FaceTrainingConfig, tracker: FaceTracker | None
) -> dict[str, RegionData]:
    """Pairs of synthetic heads; made, or taken from the cache."""
    paths = find_synthetic(folder)
    makers = {path.stem: _synthetic(path) for path in paths}
    return _prepare(makers, cache, config, tracker)


def prepare_photos(
    folder: Path, cache: Path, config: FaceTrainingConfig, tracker: FaceTracker
) -> dict[str, RegionData]:
    """Pairs of photos and of copies that the warp has moved."""
    makers = {path.stem: _photo(path, tracker) for path in photo_files(folder)}
    return _prepare(makers, cache, config, tracker)


def prepare_videos(
    folder: Path, cache: Path, config: FaceTrainingConfig, tracker: FaceTracker
) -> dict[str, RegionData]:
    """Pairs of frames of talking videos."""
    makers: dict[str, Maker] = {}
    for path in find_clips(folder):
        # By place in the folder, which may move, and by size: another video of that name is new.
        place = f"{path.relative_to(folder)} {path.stat().st_size}"
        makers[f"{path.stem}-{zlib.crc32(place.encode()):08x}"] = _video(path, tracker)
    return _prepare(makers, cache, config, tracker)


def _synthetic(path: Path) -> Maker:
    return lambda _: read_synthetic(path)


def _photo(path: Path, tracker: FaceTracker) -> Maker:
    return lambda rng: photo_subject(path, tracker, rng)


def _video(path: Path, tracker: FaceTracker) -> Maker:
    return lambda _: video_subject(path, tracker)


def _prepare(
    makers: dict[str, Maker],
    cache: Path,
    config: FaceTrainingConfig,
    tracker: FaceTracker | None,
) -> dict[str, RegionData]:
    settings = config.cache_settings(list(makers))
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
    num_pairs = 0
    for index, (name, count) in enumerate(_shards(makers, cache, config, tracker)):
        num_pairs += count
        if index % 20 == 19:
            logger.info(
                "%d of %d subjects, %s last, %d pairs", index + 1, len(makers), name, num_pairs
            )
    if not (cache / JOINED).exists():
        if not any(path.is_dir() for path in cache.iterdir()):
            raise InvalidInput(
                f"none of {len(makers)} subjects gives a pair of pictures; each must show one "
                "face, ahead and with open eyes at least once",
                reason="NO_USABLE_SUBJECT",
            )
        join_shards(cache)
    mark(cache, settings, complete=True)
    return open_cache(cache)


def _shards(
    makers: dict[str, Maker],
    cache: Path,
    config: FaceTrainingConfig,
    tracker: FaceTracker | None,
) -> Iterator[tuple[str, int]]:
    for index, (name, make) in enumerate(makers.items()):
        folder = cache / name
        if folder.exists() or (cache / JOINED).exists():
            yield name, 0
            continue
        rng = np.random.default_rng((config.seed, index))
        subject = make(rng)
        if subject is None:
            continue
        pairs = make_pairs(
            subject, rng, tracker=tracker, num_portraits=config.num_portraits, twins=config.twins
        )
        yield name, write_shard(pairs, folder)
