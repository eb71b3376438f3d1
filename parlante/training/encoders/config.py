"""The config of a run that trains the encoders of motion."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parlante.models.face_codes import FaceCodesConfig
from parlante.training.encoders.losses import LossWeights
from parlante.training.run_config import bad_config, read_config

__all__ = ["EncodersConfig", "read_encoders_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodersConfig:
    """A whole run.

    Attributes:
        model: Size of the network.
        losses: Weights of the parts of the loss.
        num_heads: Synthetic heads that are drawn.
        frames_per_head: Pictures of each.
        num_steps: Optimiser steps.
        max_minutes: Of training by the clock; the rate of learning then falls by the clock where
            that is faster than by steps. None: only steps count, and a run can be repeated.
        heads_per_batch: Each step sees two pictures of so many heads.
        learning_rate: Peak, reached after `warmup_steps`, then falling as a cosine.
        warmup_steps: See above.
        weight_decay: Of both optimisers.
        average_decay: Of the moving average of weights that is kept.
        held_out: One head in so many is not trained on.
        checkpoint_steps: How often state is written.
        seed: Of everything.
        bfloat16: Whether convolutions and products run in bfloat16; None: on a GPU, and where
            the processor has it.

    Raises:
        InvalidInput: A number is out of range.
    """

    model: FaceCodesConfig = field(default_factory=FaceCodesConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    num_heads: int = 1000
    frames_per_head: int = 20
    num_steps: int = 4000
    max_minutes: float | None = None
    heads_per_batch: int = 32
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    average_decay: float = 0.995
    held_out: int = 25
    checkpoint_steps: int = 200
    seed: int = 1
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        for name in ("num_heads", "frames_per_head", "heads_per_batch", "held_out"):
            if getattr(self, name) < 2:
                raise bad_config(name, "at least 2", getattr(self, name))
        for name in ("num_steps", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise bad_config(name, "at least 1", getattr(self, name))
        if self.max_minutes is not None and self.max_minutes <= 0.0:
            raise bad_config("max_minutes", "above 0", self.max_minutes)
        if not 0.0 <= self.average_decay < 1.0:
            raise bad_config("average_decay", "in [0, 1)", self.average_decay)
        if self.num_heads < self.held_out:
            raise bad_config("held_out", f"at most num_heads, {self.num_heads}", self.held_out)


def read_encoders_config(path: Path) -> EncodersConfig:
    """Read a config from JSON: the fields of `EncodersConfig`, nested.

    Raises:
        InvalidInput: There is no such file, or it is no config.
    """
    return read_config(path, _of_fields, of="the encoders", page="docs/encoders.md")


def _of_fields(fields: dict[str, Any]) -> EncodersConfig:
    model = FaceCodesConfig.from_dict(fields.pop("model", {}))
    losses = LossWeights(**fields.pop("losses", {}))
    return EncodersConfig(model=model, losses=losses, **fields)
