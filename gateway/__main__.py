"""Run the gateway: ``python -m gateway --wiring remote --encoder-address HOST:50051 ...``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from gateway.config import GatewayConfig
from gateway.serving import running_gateway
from parlante.rpc.process import run_process

logger = logging.getLogger(__name__)


async def serve(config: GatewayConfig) -> None:
    """Serve until a signal comes."""
    async with running_gateway(config) as server:
        logger.info("serving", extra={"port": server.port, "wiring": config.wiring})
        await server.serve_until_signal()
    logger.info("stopped")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``parlante-gateway``; returns the exit status."""
    return run_process("gateway", GatewayConfig, serve, argv)


if __name__ == "__main__":
    sys.exit(main())
