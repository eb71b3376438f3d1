"""One set of clips out of shards on disk and the synthetic corpus, by share.

Shards stay on disk: a batch reads only its crops, and only so many shards are open at a time.
Axis letters: C clips, V performances, T frames.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final, cast

import numpy as np

from parlante.models.speech_encoder import SpeechEncoder
from parlante.training.corpus import Corpus
from parlante.training.speech_features import encode_clips
from parlante.training.videos.clips import PCM
from parlante.training.videos.folder import Manifest
from parlante.training.videos.shards import MappedShard, map_shard
from parlante.types import Float32Array

__all__ = ["HELD_OUT_SHARE", "MixedClips", "mix"]

HELD_OUT_SHARE: Final = 30  # one clip in so many, as `loop.train` holds out
_HELD_OUT_VIDEOS: Final = 15  # one video in so many is never trained on
OPEN_SHARDS: Final = 64


@dataclass(frozen=True, slots=True)
class ClipRef:
    """One clip: of a shard, or of the synthetic corpus (`shard` is None)."""

    shard: Path | None
    index: int


Rows = Callable[[ClipRef], np.ndarray]


class ClipColumn:
    """One array of all clips, indexed as the array itself would be: `column[clip, ...]`."""

    def __init__(self, refs: Sequence[ClipRef], rows: Rows, shape: tuple[int, ...]) -> None:
        self._refs = refs
        self._rows = rows
        self.shape = shape

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, key: tuple[int | slice, ...]) -> np.ndarray:
        clip, *rest = key
        assert isinstance(clip, int)
        row = self._rows(self._refs[clip])
        if len(rest) == 2 and isinstance(rest[0], int):
            rest[0] %= len(row)  # of performances; a video has one
        return row[tuple(rest)]


class MixedClips:
    """Clips with the arrays of `Corpus`; the last thirtieth is held out of training.

    Args:
        refs: Which clips, in order.
        synthetic: Where refs without a shard point to; None when there are none.
        open_shards: Shards that are open at a time.
    """

    def __init__(
        self, refs: Sequence[ClipRef], synthetic: Corpus | None, open_shards: int = OPEN_SHARDS
    ) -> None:
        self.refs = tuple(refs)
        opened = functools.lru_cache(maxsize=open_shards)(map_shard)
        performances = 1 if synthetic is None else synthetic.latents.shape[1]

        def rows(name: str) -> Rows:
            def row(ref: ClipRef) -> np.ndarray:
                source: MappedShard | None = None if ref.shard is None else opened(ref.shard)
                array = getattr(synthetic, name) if source is None else source[name]
                return np.asarray(array[ref.index])

            return row

        size = len(self.refs)
        self.log_mel = ClipColumn(self.refs, rows("log_mel"), (size,))
        self.latents = ClipColumn(self.refs, rows("latents"), (size, performances))
        self.conditions = ClipColumn(self.refs, rows("conditions"), (size, performances))
        self.activity = ClipColumn(self.refs, rows("activity"), (size,))
        self.visemes = ClipColumn(self.refs, rows("visemes"), (size,))
        self.speech: tuple[Path, ...] = ()

    def hear(self, encoder: SpeechEncoder, synthetic: Corpus | None, cache: Path) -> None:
        """Give all clips the features of a speech encoder.

        Args:
            encoder: Hears the videos.
            synthetic: The corpus, which it has heard already.
            cache: Where features are kept.
        """
        files: dict[Path | None, tuple[Path, ...]] = {}
        files[None] = () if synthetic is None else synthetic.speech
        for shard in {ref.shard for ref in self.refs if ref.shard is not None}:
            audio = map_shard(shard)["audio"]

            def sounds(audio: np.ndarray = audio) -> Iterator[Float32Array]:
                return (row.astype(np.float32) / np.float32(PCM) for row in audio)

            files[shard] = encode_clips(shard.stem, len(audio), sounds, encoder, cache)
        self.speech = tuple(files[ref.shard][ref.index] for ref in self.refs)

    @property
    def num_clips(self) -> int:
        """C."""
        return len(self.refs)

    def as_corpus(self) -> Corpus:
        """The same object under the name that the training loop knows; it indexes alike."""
        return cast("Corpus", self)


def mix(
    manifest: Manifest,
    synthetic: Corpus | None,
    video_share: float,
    *,
    open_shards: int = OPEN_SHARDS,
) -> MixedClips:
    """Mix the clips of videos with synthetic ones.

    Whole videos are held out, so that what is tested was never seen. Clips that repeat a short
    video are drawn less often.

    Args:
        manifest: Of a prepared folder.
        synthetic: None when `video_share` is 1.
        video_share: Of the clips that are drawn, (0, 1].
        open_shards: Shards that are open at a time.
    """
    training, testing = _split(manifest, open_shards)
    num_synthetic = 0 if synthetic is None else synthetic.num_clips
    share = video_share if num_synthetic else 1.0
    wanted = len(training) / share if share > 0 else 0.0
    if share < 1.0:
        wanted = max(wanted, num_synthetic / (1.0 - share))
    num_held_out = max(1, math.ceil(wanted / (HELD_OUT_SHARE - 1)))
    num_training = (HELD_OUT_SHARE - 1) * num_held_out
    num_videos = round(share * num_training)
    video_refs = _spread(training, num_videos)
    spoken = (ClipRef(None, index) for index in cycle(range(max(1, num_synthetic))))
    refs = [*video_refs, *islice(spoken, num_training - num_videos)]
    held_out = testing or [ref for ref, _ in training[-1:]]
    return MixedClips([*refs, *islice(cycle(held_out), num_held_out)], synthetic, open_shards)


def _split(
    manifest: Manifest, open_shards: int
) -> tuple[list[tuple[ClipRef, float]], list[ClipRef]]:
    """Clips to train on with their share of fresh frames, and clips to test on."""
    usable = sorted(manifest.usable, key=lambda report: report.key)  # by content: an even draw
    num_testing = math.ceil(len(usable) / _HELD_OUT_VIDEOS) if len(usable) > 1 else 0
    opened = functools.lru_cache(maxsize=open_shards)(map_shard)
    training: list[tuple[ClipRef, float]] = []
    testing: list[ClipRef] = []
    for order, report in enumerate(usable):
        path = manifest.path_of(report)
        for index in range(report.num_clips):
            if order < num_testing:
                testing.append(ClipRef(path, index))
            else:
                training.append((ClipRef(path, index), float(opened(path)["fresh"][index])))
    return training, testing


def _spread(clips: list[tuple[ClipRef, float]], count: int) -> list[ClipRef]:
    """Choose `count` times among clips, each about as often as its weight asks."""
    weights = np.array([max(weight, 0.05) for _, weight in clips])
    edges = np.cumsum(weights) / weights.sum()
    places = (np.arange(count) + 0.5) / count
    return [clips[int(index)][0] for index in np.searchsorted(edges, places)]
