"""The pixel work of a batch as functions of tensors alone, so that a compiler may fuse each.

As they are, every operation in them is a kernel of its own, some thousand for a batch of any size:
on a GPU the time of small batches goes into starting them. Fused they are a few dozen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import torch

from parlante.models.torch_canvas import blend_over, sample_cubic, sample_linear, soften_folds
from parlante.models.torch_eyes import shade_eyes
from parlante.models.torch_mouth import blend_patches, shade_mouths
from parlante.models.torch_raster import flow_at, planes_of, spans_of

__all__ = ["PLAIN", "Kernels", "fused"]

F = TypeVar("F", bound=Callable[..., Any])


class Kernels(NamedTuple):
    """The functions; see their modules."""

    planes_of: Callable[..., Any]
    spans_of: Callable[..., Any]
    flow_at: Callable[..., Any]
    sample_linear: Callable[..., Any]
    sample_cubic: Callable[..., Any]
    soften_folds: Callable[..., Any]
    blend_over: Callable[..., Any]
    shade_eyes: Callable[..., Any]
    blend_patches: Callable[..., Any]
    shade_mouths: Callable[..., Any]


PLAIN: Final = Kernels(
    planes_of=planes_of,
    spans_of=spans_of,
    flow_at=flow_at,
    sample_linear=sample_linear,
    sample_cubic=sample_cubic,
    soften_folds=soften_folds,
    blend_over=blend_over,
    shade_eyes=shade_eyes,
    blend_patches=blend_patches,
    shade_mouths=shade_mouths,
)


def fused(backend: str) -> Kernels:
    """The same functions, each compiled when it is first called.

    Args:
        backend: Of `torch.compile`: ``inductor`` makes kernels.
    """

    def compiled(function: F) -> F:
        # Dynamic: numbers of pixels and boxes change with every batch.
        made = torch.compile(function, backend=backend, dynamic=True, fullgraph=True)
        return cast("F", made)

    return Kernels(*(compiled(function) for function in PLAIN))
