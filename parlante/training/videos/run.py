"""Train the motion model on a folder of videos, mixed with synthetic speech."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from parlante.errors import InvalidInput
from parlante.models.face_tracker import FaceTracker
from parlante.models.motion_weights import DEFAULT_WEIGHTS, load_weights
from parlante.training.corpus import join, load_or_make
from parlante.training.device import Hardware
from parlante.training.loop import TrainingConfig, train
from parlante.training.motion import config_of
from parlante.training.videos.folder import find_videos, prepare_folder
from parlante.training.videos.mixing import OPEN_SHARDS, mix
from parlante.training.videos.synchrony import open_lip_reader

__all__ = ["DEFAULT_CONFIG", "VideoTrainingConfig", "read_video_config", "train_on_videos"]

logger = logging.getLogger(__name__)

DEFAULT_CONFIG: Final = Path(__file__).parents[1] / "configs" / "motion_videos.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTrainingConfig:
    """A run on videos.

    Attributes:
        training: The run; its corpora are what the videos are mixed with. The size of the network
            is that of the weights it starts from.
        video_share: Share of the crops that come from videos, (0, 1]; 1 needs no corpora.
        open_shards: How many videos' clips are open at a time, at least 1.

    Raises:
        InvalidInput: A number is out of range.
    """

    training: TrainingConfig
    video_share: float = 0.5
    open_shards: int = OPEN_SHARDS

    def __post_init__(self) -> None:
        if not 0.0 < self.video_share <= 1.0:
            raise InvalidInput(
                f"video_share must be in (0, 1]; got {self.video_share}", reason="BAD_CONFIG"
            )
        if self.open_shards < 1:
            raise InvalidInput(
                f"open_shards must be at least 1; got {self.open_shards}", reason="BAD_CONFIG"
            )


def read_video_config(path: Path = DEFAULT_CONFIG) -> VideoTrainingConfig:
    """Read a config: the fields of `TrainingConfig`, and those of `VideoTrainingConfig` beside.

    Raises:
        InvalidInput: There is no such file, or it is no config.
    """
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        own = {name: fields.pop(name) for name in ("video_share", "open_shards") if name in fields}
        return VideoTrainingConfig(training=config_of(fields), **own)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path} is no config of a run on videos ({error}); see docs/training.md",
            reason="BAD_CONFIG",
            field="config",
        ) from error


def train_on_videos(
    folder: Path,
    out: Path,
    config: VideoTrainingConfig,
    *,
    start: Path | None = DEFAULT_WEIGHTS,
    corpus_cache: Path,
    hardware: Hardware | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Measure the videos that are new, then train, or go on with a run that was cut off.

    Args:
        folder: Videos of people who talk.
        out: Shards, manifest, checkpoint and weights.
        config: The run.
        start: Weights to begin with; None begins with random ones of the config's size.
        corpus_cache: Where synthetic corpora are kept.
        hardware: What it trains on; None takes the CPU.
        tell: Called with lines for the user.

    Returns:
        Path of the weights.

    Raises:
        InvalidInput: Nothing in the folder can be used.
        FailedPrecondition: The weights or the tracker's files are missing.
    """
    find_videos(folder)  # before anything that takes time
    training = config.training
    if start is not None:
        training = replace(training, model=load_weights(start)[0].config)
    encoder = training.load_speech_encoder()
    # Always the packaged weights: shards must not depend on what a run starts from.
    reader = open_lip_reader(DEFAULT_WEIGHTS)
    manifest = prepare_folder(folder, out, FaceTracker(), reader, tell=tell)
    tell(manifest.summary())
    synthetic = None
    if config.video_share < 1.0:
        parts = [load_or_make(part, corpus_cache, encoder) for part in training.corpora]
        synthetic = join(parts)
    clips = mix(manifest, synthetic, config.video_share, open_shards=config.open_shards)
    if encoder is not None:
        clips.hear(encoder, synthetic, corpus_cache)
    logger.info("%d entries to draw from", clips.num_clips)
    return train(training, clips.as_corpus(), out, start, encoder, hardware)
