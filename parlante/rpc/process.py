"""The life of a service process: settings, logs, telemetry, warm-up, serving, drain."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from parlante import settings
from parlante.errors import InvalidInput, ParlanteError
from parlante.logs import configure_logging
from parlante.rpc.lifecycle import Lifecycle
from parlante.rpc.server import MIN_FLEET_PING_MS, RpcServer, ServerConfig, Service
from parlante.telemetry import configure_telemetry

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=ServerConfig)

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


class Engine(Protocol):
    """What a process does with an engine besides serving it."""

    async def warm_up(self) -> None:
        """Run once what the first call would otherwise wait for."""
        ...

    async def aclose(self) -> None:
        """Free everything."""
        ...


async def serve_engine(
    engine: Engine,
    services: Sequence[Service],
    config: ServerConfig,
    *,
    lifecycle: Lifecycle | None = None,
) -> None:
    """Serve until a signal comes; the port is open, but not SERVING, while the engine warms up.

    Args:
        engine: Warmed up at the start, closed in the end.
        services: What to serve.
        config: Settings.
        lifecycle: Shared with the servicers, so that their streams leave when the drain begins.
    """
    try:
        async with RpcServer(
            services, config, min_client_ping_ms=MIN_FLEET_PING_MS, lifecycle=lifecycle
        ) as server:
            logger.info("listening", extra={"port": server.port})
            await engine.warm_up()
            server.set_serving()
            logger.info("serving", extra={"services": [service.name for service in services]})
            await server.serve_until_signal()
    finally:
        await engine.aclose()
    logger.info("stopped")


def run_process(
    name: str,
    config_class: type[C],
    serve: Callable[[C], Awaitable[None]],
    argv: Sequence[str] | None = None,
) -> int:
    """Run one service process from its settings to its exit status.

    Args:
        name: Stage name; the program and the telemetry service are called ``parlante-<name>``.
        config_class: Settings, read from the environment and from flags.
        serve: Serves until a signal comes.
        argv: Flags; None takes those of the process.

    Returns:
        0 after a drain, 1 when the service failed, 2 for bad settings.
    """
    program = f"parlante-{name}"
    try:
        configure_logging()
        config = settings.load(config_class, argv, prog=program)
        telemetry = configure_telemetry(program)
    except InvalidInput as error:
        print(f"{program}: {error.message}", file=sys.stderr)
        return EXIT_USAGE
    logger.info("starting", extra={"service": program, "settings": settings.shown(config)})
    try:
        asyncio.run(_until_served(serve, config))
    except ParlanteError as error:
        extra = {"reason": error.reason, "detail": error.message}
        logger.error("cannot serve", extra=extra)
        return EXIT_FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        logger.info("stopped before serving")
    finally:
        telemetry.shutdown()
    return 0


async def _until_served(serve: Callable[[C], Awaitable[None]], config: C) -> None:
    # Process 1 of a container ignores SIGTERM until there is a handler, so there is one from the
    # beginning; `serve_until_signal` puts its own in its place.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await serve(config)
