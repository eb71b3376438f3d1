"""Train the face network on synthetic heads, videos and photos: all that the command does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.models.face_features import DEFAULT_FEATURES
from parlante.models.face_tracker import FaceTracker
from parlante.models.face_weights import load_face_net
from parlante.training.device import Hardware
from parlante.training.face.config import FaceTrainingConfig
from parlante.training.face.loop import FEATURES, FaceData, train_face
from parlante.training.face.prepare import prepare_photos, prepare_synthetic, prepare_videos

__all__ = ["DEFAULT_CONFIG", "train_on_pictures"]

logger = logging.getLogger(__name__)

DEFAULT_CONFIG: Final = Path(__file__).parents[1] / "configs" / "face_nano.json"


def train_on_pictures(
    config: FaceTrainingConfig,
    out: Path,
    *,
    synth: Path | None = None,
    videos: Path | None = None,
    portraits: Path | None = None,
    start: Path | None = None,
    hardware: Hardware | None = None,
    prepare_processes: int = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Make the pairs that are not there yet, then train, or go on with a run that was cut off.

    Args:
        config: The run.
        out: Pairs, checkpoint and weights.
        synth: Folder of synthetic heads.
        videos: Folder of talking videos.
        portraits: Folder of photos whose skin is to be left alone.
        start: Weights to begin with; None begins with random ones.
        hardware: What it trains on; None takes the CPU.
        prepare_processes: That make pairs at once.
        tell: Called with lines for the user.

    Returns:
        Path of the weights.

    Raises:
        InvalidInput: There is nothing to train on.
        FailedPrecondition: The weights or the tracker's files are missing.
    """
    if synth is None and videos is None:
        raise InvalidInput(
            "the face network needs synthetic heads or videos; give --synth DIR, --videos DIR or "
            "both",
            reason="BAD_OPTION",
            field="synth",
        )
    state = None
    if start is not None:
        net, _ = load_face_net(start)
        if net.config != config.model:
            raise InvalidInput(
                f"{start.name} is of another size than the config's model; name others, or none",
                reason="FACE_WEIGHTS_UNUSABLE",
                field="start",
            )
        state = net.state_dict()
    tracker = FaceTracker()
    pairs = out / "pairs"
    main = []
    if synth is not None:
        main.append(
            prepare_synthetic(
                synth, pairs / "synth", config, tracker, num_processes=prepare_processes
            )
        )
    if videos is not None:
        main.append(
            prepare_videos(
                videos, pairs / "videos", config, tracker, num_processes=prepare_processes
            )
        )
    photos = None
    if portraits is not None:
        photos = prepare_photos(
            portraits, pairs / "portraits", config, tracker, num_processes=prepare_processes
        )
    for source in main:
        num_subjects = len(np.unique(source["frame"].subject))
        tell(f"{len(source['frame'])} pairs of pictures, {num_subjects} subjects")
    parts = _features_beside(start) if synth is None else None
    data = FaceData(main, photos)
    return train_face(config, data, out, start=state, parts=parts, hardware=hardware)


def _features_beside(start: Path | None) -> Path:
    """What sees likeness in videos, which have no labels: of the run that is begun with, if any."""
    beside = None if start is None else start.with_name(FEATURES)
    return beside if beside is not None and beside.exists() else DEFAULT_FEATURES
