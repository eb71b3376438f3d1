"""Blocks of many streams in one batch: what the motion model of the model server runs.

It keeps no state: what the network remembers of a stream is made again from the stream's last
latents, which costs less than one of its layers (docs/adr/0012).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from parlante.models.motion_dit import NUM_READ, MotionDiT
from parlante.models.motion_sampling import SamplerConfig, denoise_blocks
from parlante.models.motion_space import CONDITION_DIM, LATENT_DIM
from parlante.triton.motion_layout import BlockRow
from parlante.types import Float32Array

__all__ = ["BatchGenerator", "row_of"]


def row_of(
    speech: torch.Tensor,
    controls: torch.Tensor,
    noise: Float32Array,
    past: npt.NDArray[np.float16],
) -> BlockRow:
    """Put together what a block needs.

    Args:
        speech: [1, T, audio_width + NUM_READ].
        controls: [1, T, CONDITION_DIM].
        noise: [T, D].
        past: float16 [P, D], latents of the frames before it.
    """
    frames = np.concatenate([speech[0].numpy(), controls[0].numpy(), noise], axis=1)
    return BlockRow(frames=frames.astype(np.float32), past=past)


class BatchGenerator:
    """Denoises batches; belongs to one thread.

    Args:
        model: The network, on the default device of torch.
        sampler: How blocks are drawn.
    """

    def __init__(self, model: MotionDiT, sampler: SamplerConfig) -> None:
        self._model = model
        self._sampler = sampler
        self._widths = [model.config.audio_width + NUM_READ, CONDITION_DIM, LATENT_DIM]

    @property
    def past_frames(self) -> int:
        """How many earlier frames the network remembers."""
        return self._model.config.past_frames

    def probe(self) -> BlockRow:
        """Give a row to warm up with."""
        past = np.zeros((self.past_frames, LATENT_DIM), np.float16)
        return BlockRow(frames=np.zeros((2, sum(self._widths)), np.float32), past=past)

    @torch.inference_mode()
    def draw(
        self, frames: Float32Array, past: npt.NDArray[np.float16], num_past: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float16]:
        """Draw one block of each stream.

        Args:
            frames: float32 [B, T, F], as of `row_of`.
            past: float16 [B, P, D], the last latents of each stream at the end, P = `past_frames`.
            num_past: int32 [B, 1], how many of them there are.

        Returns:
            float16 [B, T, D].

        Raises:
            ValueError: The shapes are of another network.
        """
        if frames.shape[2] != sum(self._widths) or past.shape[2] != LATENT_DIM:
            raise ValueError(
                f"rows of {sum(self._widths)} values and latents of {LATENT_DIM} are needed; got "
                f"{frames.shape[2]} and {past.shape[2]}"
            )
        if past.shape[1] != self.past_frames:
            raise ValueError(
                f"pasts of the {self.past_frames} frames that the network remembers are needed; "
                f"got {past.shape[1]}"
            )
        device = next(self._model.parameters()).device
        joined = torch.from_numpy(np.array(frames)).to(device)
        speech, controls, noise = torch.split(joined, self._widths, dim=2)
        longest = min(int(num_past.max()), self.past_frames)
        recent = past[:, past.shape[1] - longest :].astype(np.float32)
        cache = self._model.recall(torch.from_numpy(recent).to(device))
        seen = None
        if (num_past < longest).any():
            seen = torch.arange(longest, device=device) >= longest - torch.from_numpy(
                np.array(num_past)
            ).to(device)
        latents = denoise_blocks(
            speech, controls, noise, cache, self._model, self._sampler, seen=seen
        )
        return latents.cpu().numpy().astype(np.float16)
