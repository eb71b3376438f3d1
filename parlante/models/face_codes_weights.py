"""Read and write the encoders' weights: one safetensors file that knows its own shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from parlante.errors import FailedPrecondition
from parlante.models.face_codes import FaceCodesConfig, FaceCodesNet

__all__ = ["PACKAGED_CODES", "load_face_codes", "save_face_codes"]

PACKAGED_CODES: Final = Path(__file__).parent / "weights" / "encoders_nano.safetensors"
ARCHITECTURE: Final = "1"  # raised when old weights no longer fit
_COUNTER: Final = "num_batches_tracked"  # of batch norms; only training reads it


def save_face_codes(state: Mapping[str, Tensor], config: FaceCodesConfig, path: Path) -> None:
    """Write weights as float16, with the network's size beside them."""
    metadata = {
        "architecture": ARCHITECTURE,
        "config": json.dumps(config.to_dict(), sort_keys=True),
    }
    halves = {
        name: tensor.to(torch.float16).contiguous()
        for name, tensor in state.items()
        if not name.endswith(_COUNTER)
    }
    save_file(halves, path, metadata=metadata)


def load_face_codes(path: Path = PACKAGED_CODES) -> tuple[FaceCodesNet, str]:
    """Read a network, float32, in evaluation mode, and the hex SHA-256 of its file.

    Raises:
        FailedPrecondition: The file is missing, or of another release.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("architecture") != ARCHITECTURE:
                raise FailedPrecondition(
                    f"{path.name} must hold encoders of architecture {ARCHITECTURE}; got "
                    f"{metadata.get('architecture')}; train or fetch weights of this release",
                    reason="ENCODER_WEIGHTS_UNUSABLE",
                )
            net = FaceCodesNet(FaceCodesConfig.from_dict(json.loads(metadata["config"])))
            state = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
            missing, unknown = net.load_state_dict(state, strict=False)
            if unknown or any(not name.endswith(_COUNTER) for name in missing):
                raise ValueError("other tensors than the network's")
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise FailedPrecondition(
            f"weights of the encoders are needed; {path.name} is missing or cannot be read; "
            "train some with parlante train encoders",
            reason="ENCODER_WEIGHTS_UNUSABLE",
        ) from error
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval().requires_grad_(False), hashlib.sha256(path.read_bytes()).hexdigest()
