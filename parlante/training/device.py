"""What a training run computes on: the device, who draws its batches, and how its losses run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.gpu import gpu_index

__all__ = ["AUTO", "FUSE_MODES", "Hardware", "choose_device", "send"]

logger = logging.getLogger(__name__)

AUTO: Final = "auto"
FUSE_MODES: Final = ("none", "kernels", "graphs")
MAX_WORKERS: Final = 12  # a batch of 16 takes one core 25 to 60 ms to draw, and a GPU less to use
_SPARE_CORES: Final = 2  # for the process that feeds the GPU

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """How this machine runs a training; what is learnt depends on it by rounding alone.

    Attributes:
        device: Of model, optimiser and batches.
        num_workers: Processes that draw batches ahead; 0 draws between steps.
        fuse: One of `FUSE_MODES`: losses as plain operations, compiled into fewer kernels, or
            recorded with their gradients as CUDA graphs (`replay`).
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    num_workers: int = 0
    fuse: str = "none"

    @classmethod
    def choose(cls, device: str = AUTO, num_workers: int | None = None, fuse: str = "none") -> Self:
        """Decide from options.

        Args:
            device: As of `choose_device`.
            num_workers: At least 0; None takes none on the CPU, whose cores train, and beside a
                GPU as many as there are cores to spare, up to 12.
            fuse: One of `FUSE_MODES`.

        Raises:
            InvalidInput: An option is out of range.
            FailedPrecondition: Torch cannot use the device.
        """
        if fuse not in FUSE_MODES:
            raise _bad_option("fuse", f"one of {', '.join(FUSE_MODES)}", fuse)
        if num_workers is not None and num_workers < 0:
            raise _bad_option("num_workers", "at least 0", num_workers)
        chosen = choose_device(device)
        if fuse == "graphs" and chosen.type == "cpu":
            raise _bad_option("fuse", "none or kernels where no GPU trains", fuse)
        if num_workers is None:
            num_workers = 0 if chosen.type == "cpu" else _workers_beside_a_gpu()
        return cls(device=chosen, num_workers=num_workers, fuse=fuse)

    def prepare(self) -> None:
        """Set what torch is to know of the run before it begins, for this process."""
        if self.device.type != "cuda":
            return
        torch.cuda.set_device(self.device)
        torch.backends.cudnn.benchmark = True  # every batch has the same shapes
        # For Muon's products, which need no more and are not in bfloat16; several times faster.
        torch.set_float32_matmul_precision("high")
        # Preferred on Hopper, and gives no gradient to a bias of attention, which here is learnt.
        torch.backends.cuda.enable_cudnn_sdp(False)
        name = torch.cuda.get_device_name(self.device)
        logger.info("training on %s, batches drawn by %d processes", name, self.num_workers)

    def fused(self, function: Function) -> Function:
        """Compile a function of tensors of ever the same shapes, if kernels are to be fused."""
        if self.fuse != "kernels":
            return function
        compiled: Any = torch.compile(function, dynamic=False)
        return compiled  # type: ignore[no-any-return]


def choose_device(choice: str = AUTO) -> torch.device:
    """Decide what to train on.

    Args:
        choice: ``auto``, a GPU if torch can use one and else the CPU; or ``cpu``, ``cuda`` or
            ``cuda:N``.

    Raises:
        InvalidInput: It is none of these.
        FailedPrecondition: NO_SUCH_DEVICE, torch cannot use the GPU that is wanted.
    """
    if choice == AUTO:
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    if choice == "cpu":
        return torch.device("cpu")
    index = gpu_index(choice)
    if index is None:
        raise _bad_option("device", f"{AUTO}, cpu, cuda or cuda:N", choice[:40])
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= found:
        raise FailedPrecondition(
            f"{choice} is wanted and torch {torch.__version__} finds {found} GPUs; install torch "
            "with CUDA and its driver, or train with --device cpu",
            reason="NO_SUCH_DEVICE",
            field="device",
        )
    return torch.device("cuda", index)


def send(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Bring arrays to a device; to the CPU without a copy.

    A GPU copies from pinned memory on its own while Python goes on; the arrays themselves may be
    written over as soon as this returns.
    """
    tensors = [torch.from_numpy(array) for array in arrays]
    if device.type == "cuda":
        tensors = [tensor.pin_memory() for tensor in tensors]
    return [tensor.to(device, non_blocking=True) for tensor in tensors]


def _workers_beside_a_gpu() -> int:
    if not hasattr(os, "fork"):
        return 0
    return max(1, min(MAX_WORKERS, len(os.sched_getaffinity(0)) - _SPARE_CORES))


def _bad_option(name: str, wanted: str, got: object) -> InvalidInput:
    return InvalidInput(f"{name} must be {wanted}; got {got}", reason="BAD_OPTION", field=name)
