"""What can go wrong at a Triton server, as far as it decides what a caller does about it."""

from __future__ import annotations

import enum

__all__ = ["Fault", "TritonFault", "fault_from"]


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


def fault_from(status: str, text: str) -> TritonFault:
    """Tell what a failed call means.

    Args:
        status: Name of its gRPC status; empty where only the text is known.
        text: Its message: Triton says much in texts only.
    """
    return TritonFault(_kind_of(status, text), f"{status} {text[:300]}")


def _kind_of(status: str, text: str) -> Fault:
    if status == "DEADLINE_EXCEEDED":
        return Fault.TIMED_OUT
    if "shared memory pool" in text:
        return Fault.SHARED_MEMORY
    if "Stub process" in text or "not healthy" in text:
        return Fault.MODEL_DEAD
    if status in ("UNAVAILABLE", "CANCELLED") or "unknown model" in text or "not ready" in text:
        return Fault.UNREACHABLE
    return Fault.REFUSED
