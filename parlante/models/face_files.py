"""Where the packaged weights of the face network are; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["FACE_SIZES", "packaged_face_weights", "weights_of"]

FACE_SIZES: Final = ("nano", "base")
_WEIGHTS: Final = Path(__file__).parent / "weights"


def weights_of(name: str) -> Path:
    """Path of the packaged weights of a size of `FACE_SIZES`; there may be none."""
    return _WEIGHTS / f"face_{name}.safetensors"


def packaged_face_weights() -> list[Path]:
    """All packaged weights that are there."""
    return [path for name in FACE_SIZES if (path := weights_of(name)).is_file()]
