"""Train the encoders on synthetic heads: all that the command does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Final

from parlante.training.device import Hardware
from parlante.training.encoders.batches import collect
from parlante.training.encoders.config import EncodersConfig
from parlante.training.encoders.loop import train_encoders
from parlante.training.encoders.shards import draw_heads, read_heads

__all__ = ["DEFAULT_CONFIG", "train_on_heads"]

DEFAULT_CONFIG: Final = Path(__file__).parents[1] / "configs" / "encoders_nano.json"
_TELL_HEADS: Final = 25


def train_on_heads(
    config: EncodersConfig,
    out: Path,
    *,
    assets: Path,
    hardware: Hardware | None = None,
    draw_processes: int = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Draw the heads that are not there yet, then train, or go on with a run that was cut off.

    Args:
        config: The run.
        out: Heads, checkpoint and weights.
        assets: Folder of the head parts.
        hardware: What it trains on; None takes the CPU.
        draw_processes: That draw heads at once.
        tell: Called with lines for the user.

    Returns:
        Path of the weights.

    Raises:
        InvalidInput: The folder holds heads or a run of other settings.
        FailedPrecondition: Nothing can draw here.
    """

    numbers = itertools.count(1)

    def drawn(_: int) -> None:
        number = next(numbers)
        if number % _TELL_HEADS == 0:
            tell(f"{number} heads drawn, of {config.num_heads} there are to be")

    folder = out / "heads"
    draw_heads(
        assets,
        folder,
        num_heads=config.num_heads,
        num_frames=config.frames_per_head,
        seed=config.seed,
        num_processes=draw_processes,
        progress=drawn,
    )
    data = collect(read_heads(folder, range(config.num_heads)))
    tell(f"{len(data)} pictures of {config.num_heads} heads")
    return train_encoders(config, data, out, hardware)
