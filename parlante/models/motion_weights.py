"""The motion network's weights: read and written."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open
from torch import Tensor

from parlante.errors import FailedPrecondition
from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.network_file import NetworkKind, read_network, write_network
from parlante.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from parlante.models.voice_net import load_voice_net
from parlante.types import MOTION_SPACE

DEFAULT_WEIGHTS: Final = Path(__file__).parent / "weights" / "motion_nano.safetensors"
_KIND: Final = NetworkKind(
    name="weights of the motion model",
    marks={"space": MOTION_SPACE, "architecture": "4"},
    reason="MOTION_WEIGHTS_UNUSABLE",
    advice="train some with parlante train motion, or reinstall the package",
)


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
    extra = None if speech_encoder is None else speech_encoder.to_metadata()
    write_network(_KIND, state, asdict(config), path, extra)


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
        FailedPrecondition: The file is missing, or of another motion space or architecture; the
            speech encoder is another one, the weights need none, or `transformers` is missing.
        InvalidInput: The speech encoder's folder is missing, or cannot be read.
    """
    voice_net, voice_digest = load_voice_net()

    def build(config: dict[str, Any], metadata: dict[str, str]) -> MotionDiT:
        encoder = _encoder_of(path, metadata, speech_encoder)
        return MotionDiT(MotionDiTConfig(**config), encoder, voice_net)

    model, digest = read_network(_KIND, path, build)
    return model, hashlib.sha256(f"{digest}{voice_digest}".encode()).hexdigest()


def _encoder_of(path: Path, metadata: dict[str, str], folder: Path | None) -> SpeechEncoder | None:
    """The speech encoder that weights were trained with."""
    wanted = SpeechEncoderConfig.from_metadata(metadata, folder)
    if wanted is None and folder is not None:
        raise FailedPrecondition(
            f"{path.name} was trained without a speech encoder; leave {folder} out, or "
            "name weights that were trained with it",
            reason="SPEECH_ENCODER_NOT_USED",
            field="speech_encoder",
        )
    return None if wanted is None else SpeechEncoder.load(wanted)


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
