"""What can go wrong at a Triton server, as far as it decides what a caller does about it."""

from __future__ import annotations

import enum

__all__ = ["Fault", "TritonFault"]


class Fault(enum.Enum):
    """Kinds of failed calls."""

    UNREACHABLE = "unreachable"  # down, starting, or the model is not loaded
    TIMED_OUT = "timed_out"  # frozen, or far too slow
    MODEL_DEAD = "model_dead"  # a model's process has died; the server never restarts it
    SHARED_MEMORY = "shared_memory"  # the server cannot grow its shared memory
    REFUSED = "refused"  # the server finds the call wrong


class TritonFault(Exception):
    """A call failed as a whole.

    Args:
        kind: What went wrong.
        message: For the log.
    """

    def __init__(self, kind: Fault, message: str) -> None:
        super().__init__(f"{kind.value}: {message}")
        self.kind = kind
