"""The face network's weights: read, written, and named by settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from torch import Tensor

from parlante.models.face_net import FaceNet, FaceNetConfig
from parlante.models.face_regions import REGIONS_VERSION
from parlante.models.network_file import NetworkKind, read_network, write_network

__all__ = ["FACE_SIZES", "load_face_net", "save_face_net", "weights_of"]

FACE_SIZES: Final = ("nano", "base")
_PACKAGED: Final = Path(__file__).parent / "weights"
_KIND: Final = NetworkKind(
    name="weights of the face network",
    marks={"architecture": "2", "regions": REGIONS_VERSION},
    reason="FACE_WEIGHTS_UNUSABLE",
    advice="train some with parlante train face, or render without",
)


def weights_of(choice: str) -> Path:
    """Path of the weights that a setting names: a size of `FACE_SIZES`, or a file."""
    return _PACKAGED / f"face_{choice}.safetensors" if choice in FACE_SIZES else Path(choice)


def save_face_net(state: Mapping[str, Tensor], config: FaceNetConfig, path: Path) -> None:
    """Write weights as float16, with the network's size beside them."""
    write_network(_KIND, state, asdict(config), path)


def load_face_net(path: Path) -> tuple[FaceNet, str]:
    """Read a network, float32, in evaluation mode, and the hex SHA-256 of its file.

    Raises:
        FailedPrecondition: The file is missing, or of another release.
    """
    return read_network(_KIND, path, lambda config, _: FaceNet(FaceNetConfig.from_dict(config)))
