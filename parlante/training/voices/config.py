"""The config of a run that trains the network that hears voices."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parlante.models.voice_net import VoiceNetConfig
from parlante.training.run_config import bad_config, read_config
from parlante.training.speakers import check_populations

__all__ = ["VoicesConfig", "read_voices_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoicesConfig:
    """A whole run.

    Attributes:
        model: Size of the network.
        spoken: Clips of 32 s of each population that speaks.
        sung: Clips of each population that sings; those of "sung" are heard once as they are and
            once at another speed.
        num_sampled: Pieces of music with sampled instruments.
        num_electronic: Pieces with electronic sounds.
        num_other: Clips of other sounds without a voice.
        num_steps: Optimiser steps.
        batch_size: Crops of a step.
        num_frames: Of a crop.
        learning_rate: Peak, reached after `warmup_steps`, then falling as a cosine.
        warmup_steps: See above.
        average_decay: Of the moving average of weights that is kept.
        checkpoint_steps: How often state is written.
        seed: Of everything.

    Raises:
        InvalidInput: A number is out of range.
    """

    model: VoiceNetConfig = field(default_factory=VoiceNetConfig)
    spoken: dict[str, int] = field(default_factory=lambda: {"espeak": 110})
    sung: dict[str, int] = field(default_factory=dict)
    num_sampled: int = 640
    num_electronic: int = 330
    num_other: int = 80
    num_steps: int = 1500
    batch_size: int = 24
    num_frames: int = 400
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    average_decay: float = 0.995
    checkpoint_steps: int = 250
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "checkpoint_steps", "num_other"):
            if getattr(self, name) < 1:
                raise bad_config(name, "at least 1", getattr(self, name))
        if not self.spoken:
            raise bad_config("spoken", "clips by population, of one at the least", self.spoken)
        check_populations("spoken", self.spoken)
        check_populations("sung", self.sung)
        if self.num_sampled + self.num_electronic < 1:
            raise bad_config("num_sampled", "at least 1 with num_electronic", self.num_sampled)
        if not 20 <= self.num_frames <= 800:
            raise bad_config("num_frames", "in [20, 800]", self.num_frames)


def read_voices_config(path: Path) -> VoicesConfig:
    """Read a config from JSON: the fields of `VoicesConfig`, nested.

    Raises:
        InvalidInput: There is no such file, or it is no config.
    """
    return read_config(path, _of_fields, of="voices", page="docs/training.md")


def _of_fields(fields: dict[str, Any]) -> VoicesConfig:
    return VoicesConfig(model=VoiceNetConfig(**fields.pop("model", {})), **fields)
