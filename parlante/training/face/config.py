"""The config of a run that trains the face network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from parlante.models.face_net import FaceNetConfig
from parlante.models.face_regions import REGIONS_VERSION
from parlante.training.face.losses import LossWeights
from parlante.training.run_config import bad_config, read_config

__all__ = ["FaceTrainingConfig", "read_face_config"]

CACHE_LAYOUT: Final = 4  # raised when old caches lack what is read, or show other warps


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTrainingConfig:
    """A whole run.

    Attributes:
        model: Size of the network.
        losses: Weights of the parts of the loss.
        num_steps: Optimiser steps; each sees a batch of every region.
        max_minutes: Of training by the clock; the rate of learning then falls by the clock where
            that is faster than by steps. None: only steps count, and a run can be repeated.
        mouth_batch: Samples of the mouth per step.
        eye_batch: Of single eyes.
        frame_batch: Of whole frames.
        learning_rate: Peak, reached after `warmup_steps`, then falling as a cosine.
        warmup_steps: See above.
        weight_decay: Of both optimisers.
        average_decay: Of the moving average of weights that is kept.
        part_steps: Steps that train the network which sees likeness, before the rest.
        likeness_every: Likeness is part of every so many steps.
        judged_from: Share of the run after which judges of patches begin, if `losses` has any.
        judge_rate: Their rate of learning.
        num_portraits: Portraits per subject; see `make_pairs`.
        twins: Share of pairs that come twice, with other noise of the landmarks.
        photo_share: Share of a batch that photos give, when there are any.
        held_out: One subject in so many is not trained on.
        checkpoint_steps: How often state is written.
        seed: Of everything.
        bfloat16: Whether convolutions and products run in bfloat16; None: on a GPU, and where
            the processor has it.

    Raises:
        InvalidInput: A number is out of range.
    """

    model: FaceNetConfig = field(default_factory=FaceNetConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    num_steps: int = 6000
    max_minutes: float | None = None
    mouth_batch: int = 12
    eye_batch: int = 16
    frame_batch: int = 3
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    average_decay: float = 0.998
    part_steps: int = 400
    likeness_every: int = 3
    judged_from: float = 0.3
    judge_rate: float = 4e-4
    num_portraits: int = 2
    twins: float = 0.35
    photo_share: float = 0.15
    held_out: int = 20
    checkpoint_steps: int = 250
    seed: int = 0
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        for name in ("num_steps", "mouth_batch", "eye_batch", "frame_batch", "num_portraits"):
            if getattr(self, name) < 1:
                raise bad_config(name, "at least 1", getattr(self, name))
        if self.max_minutes is not None and self.max_minutes <= 0.0:
            raise bad_config("max_minutes", "above 0", self.max_minutes)
        if self.held_out < 2:
            raise bad_config("held_out", "at least 2", self.held_out)
        for name in ("twins", "photo_share", "average_decay", "judged_from"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise bad_config(name, "in [0, 1)", getattr(self, name))

    def cache_settings(self, sources: list[str]) -> dict[str, Any]:
        """What the pairs depend on, as JSON values."""
        return {
            "regions": REGIONS_VERSION,
            "layout": CACHE_LAYOUT,
            "num_portraits": self.num_portraits,
            "twins": self.twins,
            "seed": self.seed,
            "sources": sources,
        }


def read_face_config(path: Path) -> FaceTrainingConfig:
    """Read a config from JSON: the fields of `FaceTrainingConfig`, nested.

    Raises:
        InvalidInput: There is no such file, or it is no config.
    """
    return read_config(path, _of_fields, of="the face network", page="docs/face.md")


def _of_fields(fields: dict[str, Any]) -> FaceTrainingConfig:
    model = FaceNetConfig.from_dict(fields.pop("model", {}))
    losses = LossWeights(**fields.pop("losses", {}))
    return FaceTrainingConfig(model=model, losses=losses, **fields)
