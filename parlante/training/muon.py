"""Muon beside AdamW: matrices between layers move along their orthogonalised momentum.

After Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, with the step sizes of Liu et
al. 2025 (arXiv 2502.16982), so that AdamW's learning rates serve. The motion model's reader of
sound learns in 400 steps what takes AdamW 1100. `torch.optim.Muon` takes no kernels of
convolutions, and multiplies in bfloat16, which is nine times slower than float32 on processors
that lack it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn

_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5
_MATCH_ADAMW: Final = 0.2  # root mean square of AdamW's steps


class Muon(torch.optim.Optimizer):
    """See the module. Kernels [out, in, taps] count as matrices [out, in * taps].

    Args:
        parameters: Of two or more axes.
        lr: Learning rate, as for AdamW.
        momentum: Of the running mean of gradients (Nesterov's).
        weight_decay: As for AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient; `closure` is not called."""
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moving and moving[0].device.type != "cpu":
                self.move_together(moving, group)
                continue
            for parameter in moving:
                self._move(parameter, parameter.grad, group)

    @torch.no_grad()
    def move_together(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Move parameters with few operations, equal shapes as one: for devices with slow starts.

        Gives what moving them one by one does, but for the rounding of sums.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["mean"] = torch.zeros_like(parameter)
        means = [self.state[parameter]["mean"] for parameter in parameters]
        torch._foreach_lerp_(means, gradients, 1.0 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, means, group["momentum"])
        torch._foreach_mul_(parameters, 1.0 - group["lr"] * group["weight_decay"])
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, step in enumerate(ahead):
            alike.setdefault(_wide(step.flatten(1)).shape, []).append(index)
        for shape, indexes in alike.items():
            steps = orthogonalise_all(torch.stack([_wide(ahead[i].flatten(1)) for i in indexes]))
            steps = steps * (-group["lr"] * _MATCH_ADAMW * math.sqrt(max(shape)))
            shaped = [
                (step.T if _is_tall(ahead[i].flatten(1)) else step).reshape(ahead[i].shape)
                for i, step in zip(indexes, steps.unbind(), strict=True)
            ]
            torch._foreach_add_([parameters[i] for i in indexes], shaped)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(parameter)
        mean = state["mean"].lerp_(gradient, 1.0 - group["momentum"])
        step = orthogonalise(gradient.lerp(mean, group["momentum"]).flatten(1))
        size = _MATCH_ADAMW * math.sqrt(max(step.shape))
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        parameter.sub_(step.reshape(parameter.shape), alpha=group["lr"] * size)


class MuonAndAdamW:
    """Muon for a network's inner matrices and kernels, AdamW for all else.

    Args:
        model: The network.
        lr: Learning rate of both.
        least_side: Of an inner matrix; what is narrower reads in or out.
        weight_decay: Of both.
    """

    def __init__(
        self, model: nn.Module, lr: float, *, least_side: int = 64, weight_decay: float = 0.01
    ) -> None:
        inner = [p for p in model.parameters() if is_inner(p, least_side)]
        other = [p for p in model.parameters() if not is_inner(p, least_side)]
        self._fused = True if other[0].is_cuda else None
        self._parts: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(
                other, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay, fused=self._fused
            )
        }
        if inner:
            self._parts["muon"] = Muon(inner, lr, weight_decay=weight_decay)

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next steps."""
        for part in self._parts.values():
            for group in part.param_groups:
                group["lr"] = lr

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self._parts.values():
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Move all parameters that have gradients."""
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the state of `state_dict`, also where it was made on another device."""
        for name, part in self._parts.items():
            groups = state[name]["param_groups"]
            if name == "adamw":  # how it runs belongs to the device, not to the state
                groups = [group | {"fused": self._fused} for group in groups]
            part.load_state_dict(state[name] | {"param_groups": groups})


def orthogonalise(matrix: Tensor) -> Tensor:
    """Bring singular values near 1 (0.7 to 1.2) by the iteration of Newton and Schulz."""
    a, b, c = _COEFFICIENTS
    wide = _wide(matrix)
    x: Tensor = wide / wide.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if _is_tall(matrix) else x


def orthogonalise_all(matrices: Tensor) -> Tensor:
    """Do the same for matrices [N, rows, columns] that are not tall, all at once."""
    a, b, c = _COEFFICIENTS
    x = matrices / matrices.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(_ITERATIONS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x  # type: ignore[no-any-return]


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _wide(matrix: Tensor) -> Tensor:
    return matrix.T if _is_tall(matrix) else matrix


def cosine_with_warmup(step: int, num_steps: int, warmup_steps: int) -> float:
    """Share of the peak learning rate: rises evenly, then falls as a cosine to 2 %.

    Args:
        step: From 0.
        num_steps: Of the run.
        warmup_steps: Until the peak.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done))


def is_inner(parameter: nn.Parameter, least_side: int = 64) -> bool:
    """Whether a parameter is a matrix or kernel that Muon moves, neither of its sides narrow."""
    if parameter.ndim < 2:
        return False
    rows = parameter.shape[0]
    return min(rows, parameter.numel() // rows) >= least_side
