"""Hears whether somebody speaks or sings, in whatever else there is to be heard.

A small recurrent network over the features that the reader of mouths takes. It is independent of
that reader, so that it goes on working when motion is trained anew.

Axis letters: B batch, T frames, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from torch import Tensor, nn
from torch.nn import functional as F

from parlante.models.audio_features import HOPS_PER_FRAME, NUM_FEATURES
from parlante.models.network_file import NetworkKind, read_network, write_network

__all__ = [
    "EARLIER_HOPS",
    "PACKAGED_VOICE_NET",
    "VoiceNet",
    "VoiceNetConfig",
    "load_voice_net",
    "save_voice_net",
]

PACKAGED_VOICE_NET: Final = Path(__file__).parent / "weights" / "voices.safetensors"
_KIND: Final = NetworkKind(
    name="weights that hear voices",
    marks={"architecture": "1"},
    reason="VOICE_WEIGHTS_UNUSABLE",
    advice="reinstall the package",
)
_KERNEL: Final = 5  # hops
EARLIER_HOPS: Final = _KERNEL - 1  # what a frame's reading wants before its own hops


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceNetConfig:
    """Size of the network.

    Attributes:
        narrow: Channels at 100 Hz.
        width: Channels at 25 Hz.
        hidden: H, numbers that it remembers.
    """

    narrow: int = 48
    width: int = 64
    hidden: int = 96


class VoiceNet(nn.Module):
    """Features at 100 Hz -> how likely a voice is heard, at 25 Hz.

    Args:
        config: Its size.
    """

    def __init__(self, config: VoiceNetConfig) -> None:
        super().__init__()
        self.config = config
        self.hops = nn.Conv1d(NUM_FEATURES, config.narrow, _KERNEL)
        self.frames = nn.Conv1d(config.narrow, config.width, HOPS_PER_FRAME, stride=HOPS_PER_FRAME)
        self.memory = nn.GRU(config.width, config.hidden, batch_first=True)
        self.out = nn.Linear(config.hidden, 1)

    def forward(self, features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Hear T frames.

        Args:
            features: [B, EARLIER_HOPS + 4 T, NUM_FEATURES] of `audio_features.normalise`.
            memory: [1, B, H], zeros before a stream begins.

        Returns:
            Logits [B, T], and the next memory.
        """
        x = F.gelu(self.hops(features.transpose(1, 2)))
        x = F.gelu(self.frames(x)).transpose(1, 2)
        codes, memory = self.memory(x, memory)
        logits: Tensor = self.out(codes)[..., 0]
        return logits, memory


def save_voice_net(state: Mapping[str, Tensor], config: VoiceNetConfig, path: Path) -> None:
    """Write weights as float16, with the network's size beside them."""
    write_network(_KIND, state, asdict(config), path)


def load_voice_net(path: Path = PACKAGED_VOICE_NET) -> tuple[VoiceNet, str]:
    """Read a network, float32, in evaluation mode, and the hex SHA-256 of its file.

    Raises:
        FailedPrecondition: The file is missing, or of another release.
    """
    net, digest = read_network(_KIND, path, lambda config, _: VoiceNet(VoiceNetConfig(**config)))
    return net.requires_grad_(False), digest
