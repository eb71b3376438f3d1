"""A bundled Triton server for a load bench, with the models' settings as asked."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from parlante.errors import Unavailable
from parlante.triton.device import DEVICE_VARIABLE, MOTION_DEVICE_VARIABLE
from parlante.triton.installation import find_installation
from parlante.triton.server import TritonServer

__all__ = ["copy_repository", "running_triton"]

# Fusing on a machine that has not done so before takes minutes.
_START_TIMEOUT_S = 600.0
_POLL_S = 0.2


def copy_repository(
    source: Path, target: Path, *, max_batch: int, fuse: bool, decode_threads: int
) -> None:
    """Copy a model repository with other settings of its decoder."""
    shutil.copytree(source, target)
    path = target / "decoder" / "config.pbtxt"
    text = path.read_text()
    for pattern, value in (
        (r"(max_batch_size: )\d+", max_batch),
        (r'(name: "full"\s+batch_size: )\d+', max_batch),
        (r'(key: "FUSE" value \{ string_value: ")\d', int(fuse)),
        (r'(key: "DECODE_THREADS" value \{ string_value: ")\d+', decode_threads),
    ):
        text, num_found = re.subn(pattern, rf"\g<1>{value}", text)
        if num_found != 1:
            raise ValueError(f"{source} must have one {pattern} for its decoder; got {num_found}")
    path.write_text(text)


@asynccontextmanager
async def running_triton(
    *,
    max_batch: int,
    fuse: bool,
    device: str,
    motion_device: str,
    decode_threads: int,
    log: Path,
) -> AsyncIterator[TritonServer]:
    """Run a server until the context is left.

    Args:
        max_batch: Rows of the decoder's largest batch.
        fuse: Have torch fuse the decoder's pixel work.
        device: Of the decoder: auto, loops, cpu or cuda:N.
        motion_device: Of the motion model, which only runs if a motion service asks for it.
        decode_threads: 0 takes one per core, 4 at most.
        log: Gets the server's log at the end.

    Raises:
        Unavailable: It did not come up; the message shows the end of its log.
    """
    found = find_installation()
    with tempfile.TemporaryDirectory(prefix="parlante-models-") as folder:
        repository = Path(folder) / "models"
        copy_repository(
            found.repository,
            repository,
            max_batch=max_batch,
            fuse=fuse,
            decode_threads=decode_threads,
        )
        server = TritonServer(
            replace(found, repository=repository),
            environment={DEVICE_VARIABLE: device, MOTION_DEVICE_VARIABLE: motion_device},
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
