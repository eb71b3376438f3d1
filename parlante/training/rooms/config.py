"""The config of a run that teaches the reading of sound to hear across rooms and through noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parlante.training.run_config import bad_config, read_config
from parlante.training.speakers import check_populations

__all__ = ["RoomsConfig", "read_rooms_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomsConfig:
    """A whole run.

    Attributes:
        spoken: Clips of 32 s of each population that speaks.
        takes_seed: Of what is said, and of the rooms.
        num_rooms: In which each clip is heard, beside close by and without noise.
        noisy_share: Of these that have noise, and now and then a poor microphone.
        close_share: Of the noisy ones that are close by and no room.
        room_share: Of crops that are heard in one of these, 0 to 1.
        spared_share: Of the others, which are heard as well as the teacher hears them.
        num_steps: Optimiser steps.
        batch_size: Crops of a step.
        num_frames: Of a crop.
        learning_rate: Peak, reached after `warmup_steps`, then falling as a cosine.
        warmup_steps: See above.
        naming_share: Weight of the names of visemes.
        average_decay: Of the moving average of weights that is kept.
        checkpoint_steps: How often state is written.
        seed: Of crops and microphones.

    Raises:
        InvalidInput: A number is out of range.
    """

    spoken: dict[str, int] = field(default_factory=lambda: {"espeak": 200})
    takes_seed: int = 41
    num_rooms: int = 5
    noisy_share: float = 0.65
    close_share: float = 0.5
    room_share: float = 0.8
    spared_share: float = 0.6
    num_steps: int = 2000
    batch_size: int = 16
    num_frames: int = 96
    learning_rate: float = 1.2e-3
    warmup_steps: int = 100
    naming_share: float = 0.6
    average_decay: float = 0.996
    checkpoint_steps: int = 300
    seed: int = 7

    def __post_init__(self) -> None:
        for name in ("num_rooms", "num_steps", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise bad_config(name, "at least 1", getattr(self, name))
        if self.batch_size < 4:
            raise bad_config("batch_size", "at least 4", self.batch_size)
        if not 2 <= self.num_frames <= 400:
            raise bad_config("num_frames", "in [2, 400]", self.num_frames)
        if not self.spoken:
            raise bad_config("spoken", "clips by population, of one at the least", self.spoken)
        check_populations("spoken", self.spoken)
        if sum(self.spoken.values()) < 2:
            raise bad_config("spoken", "two clips at the least, one is held out", self.spoken)
        for name in ("noisy_share", "close_share", "room_share", "spared_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise bad_config(name, "in [0, 1]", getattr(self, name))


def read_rooms_config(path: Path) -> RoomsConfig:
    """Read a config from JSON: the fields of `RoomsConfig`.

    Raises:
        InvalidInput: There is no such file, or it is no config.
    """
    return read_config(path, _of_fields, of="rooms", page="docs/training.md")


def _of_fields(fields: dict[str, Any]) -> RoomsConfig:
    return RoomsConfig(**fields)
