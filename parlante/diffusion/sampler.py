"""Few-step deterministic sampling of one block."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from parlante.diffusion.schedule import step

DEFAULT_TIMES = (1.0, 0.75, 0.5, 0.25)


def sample(
    denoise: Callable[[Tensor, float], Tensor],
    noise: Tensor,
    times: tuple[float, ...] = DEFAULT_TIMES,
) -> Tensor:
    """Follow the flow from noise to a clean block with one network pass per time.

    Args:
        denoise: (z, t) -> predicted clean latents, all [B, T, D].
        noise: Start, standard normal [B, T, D].
        times: Falling, the first is 1.

    Returns:
        Clean latents [B, T, D].
    """
    z = noise
    for time, next_time in zip(times, (*times[1:], 0.0), strict=True):
        z = step(z, denoise(z, time), time, next_time)
    return z
