"""Read and write the motion network's weights: one safetensors file that knows its own shape."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from parlante.errors import FailedPrecondition
from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from parlante.models.voice_net import load_voice_net
from parlante.types import MOTION_SPACE

ARCHITECTURE: Final = "3"  # of the network, raised when old weights no longer fit
DEFAULT_WEIGHTS: Final = Path(__file__).parent / "weights" / "motion_nano.safetensors"


def save_weights(
    state: dict[str, Tensor],
    config: MotionDiTConfig,
    path: Path,
    speech_encoder: SpeechEncoderConfig | None = None,
) -> None:
    """Write weights as float16, with the network's size beside them.

    Args:
        state: Of the network; a speech encoder's weights are not part of it.
        config: Size of the network.
        path: Of the file.
        speech_encoder: Which one the network was trained with, if any.
    """
    metadata = {
        "space": MOTION_SPACE,
        "architecture": ARCHITECTURE,
        "config": json.dumps(asdict(config), sort_keys=True),
    }
    if speech_encoder is not None:
        metadata |= speech_encoder.to_metadata()
    halves = {name: tensor.to("cpu", torch.float16).contiguous() for name, tensor in state.items()}
    save_file(halves, path, metadata=metadata)


def load_weights(
    path: Path = DEFAULT_WEIGHTS, speech_encoder: Path | None = None
) -> tuple[MotionDiT, str]:
    """Read a network, and the speech encoder that it was trained with.

    Args:
        path: A file of `save_weights`.
        speech_encoder: Folder of the encoder; None takes the one it was trained with.

    Returns:
        The network in float32, evaluation mode, with the packaged `VoiceNet`, and the hex SHA-256
        of the files of both.

    Raises:
        ValueError: The file is of another motion space or architecture.
        InvalidInput: The speech encoder's folder is missing, or cannot be read.
        FailedPrecondition: It is another encoder, the weights need none, or `transformers` is
            missing.
    """
    with safe_open(path, framework="pt") as stored:
        metadata = stored.metadata()
        if metadata.get("space") != MOTION_SPACE:
            raise ValueError(
                f"{path.name} must hold weights of {MOTION_SPACE}; got {metadata.get('space')!r}; "
                "train or fetch weights of this release"
            )
        if metadata.get("architecture") != ARCHITECTURE:
            raise ValueError(
                f"{path.name} must hold weights of architecture {ARCHITECTURE}; got "
                f"{metadata.get('architecture', '1')}; train or fetch weights of this release"
            )
        config = MotionDiTConfig(**json.loads(metadata["config"]))
        state = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
    wanted = SpeechEncoderConfig.from_metadata(metadata, speech_encoder)
    if wanted is None and speech_encoder is not None:
        raise FailedPrecondition(
            f"{path.name} was trained without a speech encoder; leave {speech_encoder} out, or "
            "name weights that were trained with it",
            reason="SPEECH_ENCODER_NOT_USED",
            field="speech_encoder",
        )
    encoder = None if wanted is None else SpeechEncoder.load(wanted)
    voice_net, voice_digest = load_voice_net()
    model = MotionDiT(config, encoder, voice_net)
    model.load_state_dict(state)
    model.eval()
    digest = hashlib.sha256(path.read_bytes())
    digest.update(voice_digest.encode())
    return model, digest.hexdigest()


def load_matching(model: MotionDiT, path: Path) -> None:
    """Take over every tensor of a weights file whose name and shape the model has."""
    with safe_open(path, framework="pt") as stored:
        wanted = model.state_dict()
        for name in set(stored.keys()) & set(wanted):
            tensor = stored.get_tensor(name)
            if tensor.shape == wanted[name].shape:
                wanted[name].copy_(tensor)


def bundle_digest_of(weights_digest: str, sampler: SamplerConfig) -> str:
    """Name weights and sampler together: hex SHA-256 of the two."""
    return hashlib.sha256(f"{weights_digest} {sampler}".encode()).hexdigest()
