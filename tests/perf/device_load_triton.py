"""A bundled Triton server for a load bench, with the models' settings as asked."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from parlante.errors import Unavailable
from parlante.triton.device import DEVICE_VARIABLE, MOTION_DEVICE_VARIABLE
from parlante.triton.installation import find_installation
from parlante.triton.server import TritonServer
from parlante.triton.tuning import DecoderTuning

__all__ = ["running_triton"]

# Fusing on a machine that has not done so before takes minutes.
_START_TIMEOUT_S = 600.0
_POLL_S = 0.2


@asynccontextmanager
async def running_triton(
    *, tuning: DecoderTuning, device: str, motion_device: str, log: Path
) -> AsyncIterator[TritonServer]:
    """Run a server until the context is left.

    Args:
        tuning: Of the decoder.
        device: Of the decoder: auto, loops, cpu or cuda:N.
        motion_device: Of the motion model, which only runs if a motion service asks for it.
        log: Gets the server's log at the end.

    Raises:
        Unavailable: It did not come up; the message shows the end of its log.
    """
    server = TritonServer(
        find_installation(),
        environment={DEVICE_VARIABLE: device, MOTION_DEVICE_VARIABLE: motion_device},
        tuning=tuning,
    )
    try:
        # Launched by this thread, not by one of a pool: the server goes with what launched it.
        server.launch()
        await _until_ready(server)
        yield server
    finally:
        if server.log.exists():
            shutil.copyfile(server.log, log)
        server.stop()


async def _until_ready(server: TritonServer) -> None:
    start_s = time.monotonic()
    while not await asyncio.to_thread(server.is_ready):
        if not server.is_running or time.monotonic() - start_s > _START_TIMEOUT_S:
            raise Unavailable(f"the Triton server did not come up: {server.log_tail()}")
        await asyncio.sleep(_POLL_S)
    server.start_s = time.monotonic() - start_s
