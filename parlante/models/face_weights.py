"""Read and write the face network's weights: one safetensors file that knows its own shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from parlante.errors import FailedPrecondition
from parlante.models.face_net import FaceNet, FaceNetConfig
from parlante.models.face_regions import REGIONS_VERSION

__all__ = ["FACE_SIZES", "load_face_net", "save_face_net", "weights_of"]

FACE_SIZES: Final = ("nano", "base")
_PACKAGED: Final = Path(__file__).parent / "weights"
ARCHITECTURE: Final = "2"  # raised when old weights no longer fit


def weights_of(choice: str) -> Path:
    """Path of the weights that a setting names: a size of `FACE_SIZES`, or a file."""
    return _PACKAGED / f"face_{choice}.safetensors" if choice in FACE_SIZES else Path(choice)


def save_face_net(state: Mapping[str, Tensor], config: FaceNetConfig, path: Path) -> None:
    """Write weights as float16, with the network's size beside them."""
    metadata = {
        "architecture": ARCHITECTURE,
        "regions": REGIONS_VERSION,
        "config": json.dumps(asdict(config), sort_keys=True),
    }
    halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in state.items()}
    save_file(halves, path, metadata=metadata)


def load_face_net(path: Path) -> tuple[FaceNet, str]:
    """Read a network, float32, in evaluation mode, and the hex SHA-256 of its file.

    Raises:
        FailedPrecondition: The file is missing, or of another release.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            found = (metadata.get("architecture"), metadata.get("regions"))
            if found != (ARCHITECTURE, REGIONS_VERSION):
                raise FailedPrecondition(
                    f"{path.name} must hold weights of architecture {ARCHITECTURE} and regions "
                    f"{REGIONS_VERSION}; got {found[0]} and {found[1]}; train or fetch weights of "
                    "this release",
                    reason="FACE_WEIGHTS_UNUSABLE",
                )
            net = FaceNet(FaceNetConfig.from_dict(json.loads(metadata["config"])))
            names = stored.keys()
            net.load_state_dict({name: stored.get_tensor(name).float() for name in names})
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise FailedPrecondition(
            f"weights of the face network are needed; {path.name} is missing or cannot be read; "
            "train some with parlante train face, or render without",
            reason="FACE_WEIGHTS_UNUSABLE",
        ) from error
    return net.eval(), hashlib.sha256(path.read_bytes()).hexdigest()
