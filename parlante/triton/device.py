"""Which device a model of the Triton server draws on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from parlante.errors import FailedPrecondition
from parlante.gpu import gpu_index

__all__ = ["AUTO", "DEVICE_VARIABLE", "LOOPS", "MOTION_DEVICE_VARIABLE", "choose_device"]

AUTO: Final = "auto"
LOOPS: Final = "loops"
# Stands above the model's own parameter, for all decoders of a server.
DEVICE_VARIABLE: Final = "PARLANTE_DECODER_DEVICE"
# The same for the motion model, whose network on the CPU is what `loops` are to the decoder.
MOTION_DEVICE_VARIABLE: Final = "PARLANTE_MOTION_DEVICE"


def choose_device(
    args: Mapping[str, str], choice: str, *, num_gpus: Callable[[], int]
) -> str | None:
    """Decide where frames are drawn.

    Args:
        args: Of the model's `initialize`: kind and id of the instance's device.
        choice: ``auto``, the instance's GPU if it has one and else the CPU; ``loops``, the CPU
            whatever the instance has; or a device as torch names it, ``cuda:1`` or ``cpu``, the
            latter to have the GPU's code run without one.
        num_gpus: How many GPUs torch can use; called only when one is wanted.

    Returns:
        The device of torch, or None for the loops on the CPU, which are faster there.

    Raises:
        FailedPrecondition: NO_SUCH_DEVICE, a GPU is wanted that torch cannot use.
    """
    if choice == LOOPS:
        return None
    if choice == AUTO:
        if args["model_instance_kind"] != "GPU":
            return None
        choice = f"cuda:{args['model_instance_device_id']}"
    if choice == "cpu":
        return choice
    index = gpu_index(choice)
    if index is None:
        raise FailedPrecondition(
            f"a device must be {AUTO!r}, {LOOPS!r}, 'cpu' or 'cuda:N'; got {choice[:40]!r}",
            reason="NO_SUCH_DEVICE",
        )
    found = num_gpus()
    if index >= found:
        raise FailedPrecondition(
            f"{choice} is wanted and torch finds {found} GPUs; install torch with CUDA, or set the "
            f"device to {LOOPS!r} to decode on the CPU",
            reason="NO_SUCH_DEVICE",
        )
    return choice
