"""Asks a Triton server for a frame, as a check by hand."""

from __future__ import annotations

import asyncio
import time

from parlante.errors import Unavailable
from parlante.triton.client import TritonClient
from parlante.triton.faults import TritonFault

__all__ = ["make_a_frame"]

_TIMEOUT_S = 10.0


def make_a_frame(address: str) -> float:
    """Have a server make a frame and give the time that it took, milliseconds.

    Raises:
        Unavailable: It made none within 10 s.
    """
    return asyncio.run(_make_a_frame(address))


async def _make_a_frame(address: str) -> float:
    client = TritonClient(address)
    try:
        await client.probe(timeout_s=_TIMEOUT_S)  # connects, too
        start_s = time.perf_counter()
        await client.probe(timeout_s=_TIMEOUT_S)
        return (time.perf_counter() - start_s) * 1000
    except TritonFault as fault:
        raise Unavailable(
            f"a frame of the Triton server at {address} is needed; got {fault}",
            reason="TRITON_UNAVAILABLE",
        ) from fault
    finally:
        await client.aclose()
