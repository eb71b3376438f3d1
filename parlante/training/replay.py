"""A training step's loss and gradients as one CUDA graph.

A step of a small network is a thousand kernels of microseconds each, which Python starts more
slowly than a GPU runs them. Recorded once and replayed, they run one after another without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["Replay"]

_WARM_UP_STEPS: Final = 3  # allocations and choices of kernels are made before recording


class Replay:
    """Loss and gradients of one kind of batch, recorded on the current GPU.

    Gradients lie in tensors of their own that every replay writes over: they must stay the
    parameters' `.grad`, so nobody may set them to None between replays.

    Args:
        loss: Of the tensors of a batch, first of what is given back; it must not wait for the GPU,
            nor draw random numbers.
        parameters: Whose gradients are made.
        example: A batch on the GPU; later ones must have its shapes.
    """

    def __init__(
        self,
        loss: Callable[[Sequence[Tensor]], Sequence[Tensor]],
        parameters: Sequence[nn.Parameter],
        example: Sequence[Tensor],
    ) -> None:
        self._inputs = [tensor.clone() for tensor in example]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_STEPS):
                _forget(parameters)
                loss(self._inputs)[0].backward()  # type: ignore[no-untyped-call]
        torch.cuda.current_stream().wait_stream(stream)
        _forget(parameters)
        self._graph = torch.cuda.CUDAGraph()
        # Another thread may wait for the GPU meanwhile, as that which pins memory does.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._given = loss(self._inputs)
            self._given[0].backward()  # type: ignore[no-untyped-call]
        self._gradients = [(p, p.grad) for p in parameters]

    def __call__(self, batch: Sequence[Tensor]) -> list[Tensor]:
        """Make the gradients of a batch; gives what the loss gave, copied."""
        for target, tensor in zip(self._inputs, batch, strict=True):
            target.copy_(tensor, non_blocking=True)
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        self._graph.replay()
        return [tensor.detach().clone() for tensor in self._given]


def _forget(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None
