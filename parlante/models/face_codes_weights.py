"""The encoders' weights: read and written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from parlante.models.face_codes import FaceCodesConfig, FaceCodesNet
from parlante.models.network_file import NetworkKind, read_network, write_network

__all__ = ["PACKAGED_CODES", "load_face_codes", "save_face_codes"]

PACKAGED_CODES: Final = Path(__file__).parent / "weights" / "encoders_nano.safetensors"
_KIND: Final = NetworkKind(
    name="weights of the encoders",
    marks={"architecture": "1"},
    reason="ENCODER_WEIGHTS_UNUSABLE",
    advice="train some with parlante train encoders",
)


def save_face_codes(state: Mapping[str, Tensor], config: FaceCodesConfig, path: Path) -> None:
    """Write weights as float16, with the network's size beside them."""
    write_network(_KIND, state, config.to_dict(), path)


def load_face_codes(path: Path = PACKAGED_CODES) -> tuple[FaceCodesNet, str]:
    """Read a network, float32, in evaluation mode, and the hex SHA-256 of its file.

    Raises:
        FailedPrecondition: The file is missing, or of another release.
    """
    net, digest = read_network(
        _KIND, path, lambda config, _: FaceCodesNet(FaceCodesConfig.from_dict(config))
    )
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.requires_grad_(False), digest
