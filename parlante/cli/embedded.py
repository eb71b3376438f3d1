"""A gateway inside this process, for commands that are not given a server.

The commands reach it over loopback with the same client as a remote one, so both ways run the same
code and give the same frames.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from parlante.settings import default_store_dir

if TYPE_CHECKING:
    from gateway.stages import Stages

__all__ = ["DEFAULT_PORT", "EmbeddedGateway", "embedded_gateway", "gateway_target", "store_dir"]

DEFAULT_PORT: Final = 50050
_HOST: Final = "127.0.0.1"


def store_dir() -> Path:
    """Give the folder of this user's avatars: ``PARLANTE_STORE_DIR``, or in the user's cache."""
    configured = os.environ.get("PARLANTE_STORE_DIR")
    return Path(configured) if configured else default_store_dir()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedGateway:
    """A gateway in this process.

    Attributes:
        target: Its address, ``host:port``.
        stages: The engines behind it.
    """

    target: str
    stages: Stages


@asynccontextmanager
async def embedded_gateway(
    store: Path | None = None, *, face_net: str | None = None
) -> AsyncIterator[EmbeddedGateway]:
    """Run a gateway for the length of the block, on a free port of the loopback interface.

    Args:
        store: Folder of the avatars; None takes `store_dir()`.
        face_net: Network that retouches frames; None takes ``PARLANTE_FACE_NET``, or ``none``.
    """
    # Imported here: a client of a server needs none of the stages' libraries.
    from gateway.config import EMBEDDED, GatewayConfig
    from gateway.serving import running_gateway
    from gateway.wiring import open_stages

    config = GatewayConfig(
        host=_HOST,
        port=0,
        wiring=EMBEDDED,
        reflection=False,
        store_dir=store or store_dir(),
        face_net=face_net or os.environ.get("PARLANTE_FACE_NET") or "none",
    )
    async with (
        open_stages(config) as stages,
        running_gateway(config, stages=stages) as running,
    ):
        yield EmbeddedGateway(target=f"{_HOST}:{running.port}", stages=stages)


@asynccontextmanager
async def gateway_target(server: str | None, *, face_net: str | None = None) -> AsyncIterator[str]:
    """Give the address of a gateway: `server`, or one that runs here for the length of the block.

    Args:
        server: ``host:port``; None runs a gateway in this process.
        face_net: Of a gateway in this process; see `embedded_gateway`.
    """
    if server is not None:
        yield server
        return
    async with embedded_gateway(face_net=face_net) as gateway:
        yield gateway.target
