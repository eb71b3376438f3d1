"""Train the encoders on synthetic heads: all that the command does."""

from __future__ import annotations

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
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Draw the heads that are not there yet, then train, or go on with a run that was cut off.

    Args:
        config: The run.
        out: Heads, checkpoint and weights.
        assets: Folder of the head parts.
        hardware: What it trains on; None takes the CPU.
        tell: Called with lines for the user.

    Returns:
        Path of the weights.

    Raises:
        InvalidInput: The folder holds heads or a run of other settings.
        FailedPrecondition: Nothing can draw here.
    """

    def drawn(number: int) -> None:
        if (number + 1) % _TELL_HEADS == 0:
            tell(f"{number + 1} of {config.num_heads} heads drawn")

    folder = out / "heads"
    draw_heads(
        assets,
        folder,
        num_heads=config.num_heads,
        num_frames=config.frames_per_head,
        seed=config.seed,
        progress=drawn,
    )
    data = collect(read_heads(folder, range(config.num_heads)))
    tell(f"{len(data)} pictures of {config.num_heads} heads")
    return train_encoders(config, data, out, hardware)
