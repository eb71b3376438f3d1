"""A pretrained speech encoder in place of our own reading of mel features (docs/adr/0011).

Wav2Vec2, HuBERT or WavLM, from a folder on this machine; nothing is ever downloaded. These networks
look at everything they are given, in both directions. A live stream cannot give them a whole
recording, so they are always given *windows*: some context before a block of motion frames, the
block, and the look-ahead that the stream has. Training uses the same windows, so that what the
model learns from is what it will hear. They give 50 vectors a second; a motion frame is the mean of
two, which lie exactly on it.

Axis letters: B batch, T motion frames (25 Hz), S samples (16 kHz), E width of the encoder.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models.audio_features import DEFAULT_LOOK, LOOK_AHEAD_HOPS
from parlante.types import FRAME_RATE_HZ, MODEL_SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Float32Array

__all__ = ["MIN_LOOK_AHEAD_SAMPLES", "SpeechEncoder", "SpeechEncoderConfig", "SpeechProjection"]

KINDS: Final = ("wav2vec2", "hubert", "wavlm")
STRIDE_SAMPLES: Final = 320  # 50 Hz
REACH_SAMPLES: Final = 400  # that one vector is made of, from where it begins
PER_FRAME: Final = SAMPLES_PER_FRAME // STRIDE_SAMPLES  # 2
# The last vector of a block reaches so far beyond it.
MIN_LOOK_AHEAD_SAMPLES: Final = REACH_SAMPLES - STRIDE_SAMPLES
MIN_CONTEXT_MS: Final = 200
MAX_CONTEXT_MS: Final = 1_400  # a stream's checkpoint holds it, and has 64 KiB
FRAME_MS: Final = 1000 // FRAME_RATE_HZ
METADATA_KEY: Final = "speech_encoder"
_VARIANCE_FLOOR: Final = 1e-7  # as the encoders' own normalisation has it
# Not used without masking, so that files without it are whole.
_MAY_BE_MISSING: Final = ("masked_spec_embed",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechEncoderConfig:
    """Which encoder, and how it is asked; saved beside the weights that were trained with it.

    Attributes:
        path: Folder of the encoder as `transformers` saves it.
        layer: Transformer layer whose output is taken, from 1; 0 takes the last.
        context_ms: Sound before a block that the encoder is given, [200, 1400], whole frames.
        look: Index into `LOOK_AHEAD_HOPS`: the look-ahead that weights are trained with.
        frozen: Whether training leaves the encoder as it is.
        digest: Hex SHA-256 of the encoder's files; "" before it was loaded. Weights work with the
            encoder that they were trained with alone.

    Raises:
        InvalidInput: A number is out of range.
    """

    path: str
    layer: int = 0
    context_ms: int = 1000
    look: int = DEFAULT_LOOK
    frozen: bool = True
    digest: str = ""

    def __post_init__(self) -> None:
        if not MIN_CONTEXT_MS <= self.context_ms <= MAX_CONTEXT_MS or self.context_ms % FRAME_MS:
            raise InvalidInput(
                f"context_ms must be a multiple of {FRAME_MS} in [{MIN_CONTEXT_MS}, "
                f"{MAX_CONTEXT_MS}]; got {self.context_ms}",
                reason="BAD_SPEECH_ENCODER",
                field="context_ms",
            )
        if self.layer < 0:
            raise InvalidInput(
                f"layer must be 0 (the last) or more; got {self.layer}",
                reason="BAD_SPEECH_ENCODER",
                field="layer",
            )
        if not 0 <= self.look < len(LOOK_AHEAD_HOPS):
            raise InvalidInput(
                f"look must be in [0, {len(LOOK_AHEAD_HOPS) - 1}]; got {self.look}",
                reason="BAD_SPEECH_ENCODER",
                field="look",
            )

    @property
    def context_samples(self) -> int:
        """Samples before a block."""
        return self.context_ms * MODEL_SAMPLE_RATE_HZ // 1000

    def to_metadata(self) -> dict[str, str]:
        """Entries for the metadata of a weights file."""
        return {METADATA_KEY: json.dumps(asdict(self), sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Path | None = None) -> Self | None:
        """Read a weights file's metadata; None when the weights need no encoder.

        Args:
            metadata: Of the weights file.
            path: Where the encoder lies on this machine; None takes the path it was trained with.
        """
        if METADATA_KEY not in metadata:
            return None
        config = cls(**json.loads(metadata[METADATA_KEY]))
        return config if path is None else replace(config, path=str(path))


class SpeechEncoder(nn.Module):
    """Windows of sound -> one vector per motion frame.

    Args:
        network: A Wav2Vec2, HuBERT or WavLM model, cut after the layer that is taken.
        config: How it is asked.
        normalises: Whether the encoder wants windows of zero mean and unit variance.
    """

    def __init__(self, network: nn.Module, config: SpeechEncoderConfig, normalises: bool) -> None:
        super().__init__()
        self.network: Any = network
        self.config = config
        self.normalises = normalises
        if config.frozen:
            network.requires_grad_(False)
        self.eval()

    @classmethod
    def load(cls, config: SpeechEncoderConfig) -> Self:
        """Load an encoder from its folder.

        Raises:
            FailedPrecondition: `transformers` is not installed, or it is another encoder than the
                digest says.
            InvalidInput: There is no such folder, or no encoder of a known kind in it.
        """
        folder = Path(config.path)
        description = _describe(folder)
        digest = _digest(folder)
        if config.digest not in ("", digest):
            raise FailedPrecondition(
                f"{folder} must hold the speech encoder that the weights were trained with "
                f"(SHA-256 {config.digest[:12]}); it holds {digest[:12]}; name the right folder",
                reason="SPEECH_ENCODER_DIFFERS",
            )
        network = _load_network(folder)
        num_layers = int(description["num_hidden_layers"])
        if config.layer > num_layers:
            raise InvalidInput(
                f"layer must be at most {num_layers} for {folder}; got {config.layer}",
                reason="BAD_SPEECH_ENCODER",
                field="layer",
            )
        # What lies above the layer would be computed for nothing.
        network.encoder.layers = network.encoder.layers[: config.layer or num_layers]
        return cls(network, replace(config, digest=digest), _normalises(folder))

    @property
    def width(self) -> int:
        """E."""
        return int(self.network.config.hidden_size)

    def train(self, mode: bool = True) -> Self:
        """Dropout and masking stay off: a frozen encoder is a fixed function of its window."""
        return super().train(mode and not self.config.frozen)

    def forward(self, windows: Tensor, num_frames: int) -> Tensor:
        """Encode blocks.

        Args:
            windows: float32 [B, context + 640 T + look-ahead], in [-1, 1]; the look-ahead is at
                least `MIN_LOOK_AHEAD_SAMPLES`.
            num_frames: T.

        Returns:
            float32 [B, T, E].
        """
        context = self.config.context_samples
        needed = context + num_frames * SAMPLES_PER_FRAME + MIN_LOOK_AHEAD_SAMPLES
        assert windows.shape[1] >= needed, (windows.shape, needed)
        if self.normalises:
            mean = windows.mean(dim=1, keepdim=True)
            variance = windows.var(dim=1, keepdim=True, correction=0)
            windows = (windows - mean) * torch.rsqrt(variance + _VARIANCE_FLOOR)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            hidden = self.network(windows, output_hidden_states=True).hidden_states[-1]
        first = context // STRIDE_SAMPLES
        block = hidden[:, first : first + PER_FRAME * num_frames]  # [B, 2 T, E]
        pairs: Tensor = block.unflatten(1, (num_frames, PER_FRAME)).mean(dim=2)
        return pairs

    # --- a live stream: block by block ----------------------------------------------------------

    def silent_past(self) -> Float32Array:
        """Return what `read_block` takes as the sound before a stream's first block."""
        return np.zeros(self.config.context_samples, np.float32)

    @torch.inference_mode()
    def read_block(
        self, past: Float32Array, sound: Float32Array, num_frames: int
    ) -> tuple[Tensor, Float32Array]:
        """Encode the next block of a stream.

        Args:
            past: float32 [context], the sound before the block.
            sound: float32 [640 T + look-ahead], from the block's first sample on.
            num_frames: T.

        Returns:
            float32 [1, T, E], and the next block's `past`.
        """
        window = torch.from_numpy(np.concatenate([past, sound]))[None]
        block = sound[: num_frames * SAMPLES_PER_FRAME]
        return self(window, num_frames), np.concatenate([past, block])[-len(past) :]

    # --- a whole clip, as the stream would have heard it ----------------------------------------

    @torch.inference_mode()
    def read_clip(
        self,
        audio: Float32Array,
        num_frames: int,
        *,
        block_frames: int,
        look_ahead_samples: int,
        batch_size: int = 16,
    ) -> Float32Array:
        """Encode a clip in the windows of a live stream.

        Args:
            audio: float32 [S], in [-1, 1], from the first frame on; what is missing is silence.
            num_frames: T.
            block_frames: Frames of a block.
            look_ahead_samples: Sound beyond a block that a stream has.
            batch_size: Windows at a time.

        Returns:
            float32 [T, E].
        """
        step = block_frames * SAMPLES_PER_FRAME
        num_blocks = math.ceil(num_frames / block_frames)
        context = self.config.context_samples
        length = context + step + look_ahead_samples
        padded = np.zeros((num_blocks - 1) * step + length, np.float32)
        heard = audio[: len(padded) - context]
        padded[context : context + len(heard)] = heard
        windows = np.lib.stride_tricks.sliding_window_view(padded, length)[::step]
        device = next(self.parameters()).device
        parts = [
            self(torch.tensor(windows[begin : begin + batch_size], device=device), block_frames)
            for begin in range(0, num_blocks, batch_size)
        ]
        frames = torch.cat(parts).flatten(0, 1)[:num_frames]
        return np.asarray(frames.float().cpu().numpy(), np.float32)


class SpeechProjection(nn.Module):
    """Vectors of a speech encoder -> the speech code of the motion model; this part is trained.

    Works frame by frame: what a frame means is the encoder's matter. Gives what `AudioEncoder`
    gives, so that the rest of the model does not know which of them reads the sound.

    Args:
        width_in: E.
        width: Of the speech code.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width_in),
            nn.Linear(width_in, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.RMSNorm(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Project features [B, T, E] to [B, T, width]."""
        code: Tensor = self.layers(features)
        return code


# --- loading ----------------------------------------------------------------------------------


def _describe(folder: Path) -> dict[str, Any]:
    """The encoder's own config, if it is of a kind that fits."""
    try:
        description: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"a speech encoder must lie in {folder}, as `transformers` saves it; there is no "
            "readable config.json; fetch one and name its folder: nothing is downloaded",
            reason="SPEECH_ENCODER_NOT_FOUND",
            field="path",
        ) from error
    kind = description.get("model_type")
    stride = math.prod(description.get("conv_stride", (5, 2, 2, 2, 2, 2, 2)))
    if kind not in KINDS or stride != STRIDE_SAMPLES:
        raise InvalidInput(
            f"a speech encoder must be one of {', '.join(KINDS)} with a vector per "
            f"{STRIDE_SAMPLES} samples; {folder} holds {kind!r} with one per {stride}",
            reason="SPEECH_ENCODER_UNSUITABLE",
            field="path",
        )
    return description | {"num_hidden_layers": description.get("num_hidden_layers", 12)}


def _digest(folder: Path) -> str:
    """Hex SHA-256 over config and weights."""
    digest = hashlib.sha256()
    weights = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
    for path in sorted([folder / "config.json", *weights]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _normalises(folder: Path) -> bool:
    """Whether the encoder was trained on normalised sound; most were."""
    try:
        fields = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return True
    return bool(fields.get("do_normalize", True))


def _load_network(folder: Path) -> Any:
    # Before the import: the hub's client reads them once.
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")
    try:
        import transformers
    except ImportError as error:
        raise FailedPrecondition(
            "a pretrained speech encoder needs the package transformers; run: "
            "pip install 'parlante[speech-encoder]'",
            reason="SPEECH_ENCODER_PACKAGE_MISSING",
        ) from error
    transformers.utils.logging.disable_progress_bar()
    try:
        network, info = transformers.AutoModel.from_pretrained(
            str(folder), local_files_only=True, output_loading_info=True, apply_spec_augment=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            f"the speech encoder in {folder} cannot be read: {error}; fetch it again",
            reason="SPEECH_ENCODER_UNREADABLE",
            field="path",
        ) from error
    missing = sorted(name for name in info["missing_keys"] if name not in _MAY_BE_MISSING)
    if missing:
        raise InvalidInput(
            f"the speech encoder in {folder} lacks {len(missing)} of its weights, such as "
            f"{missing[0]}; fetch it again",
            reason="SPEECH_ENCODER_UNREADABLE",
            field="path",
        )
    return network.float()
