"""A TCP proxy that can be slow, silent or cut: a bad network on one machine."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from parlante.aio import cancel_and_wait

_PIECE = 64 * 1024


class Proxy:
    """Passes connections on to an address; an async context manager.

    Args:
        target: ``HOST:PORT``.

    Attributes:
        delay_s: Added to each piece, each way.
        silent: While True nothing is passed on, and nothing is said about it.
    """

    def __init__(self, target: str) -> None:
        self.lead_to(target)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.delay_s = 0.0

    @property
    def address(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lead_to(self, target: str) -> None:
        """Let new connections lead to an address, ``HOST:PORT``."""
        host, _, port = target.rpartition(":")
        self._target = host, int(port)

    def silence(self, silent: bool) -> None:
        """Pass nothing on from now on, or pass everything on again."""
        if silent:
            self._open.clear()
        else:
            self._open.set()

    def cut(self) -> None:
        """Break all connections; new ones are taken."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await cancel_and_wait(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        both = ((reader, far_writer), (far_reader, writer))
        tasks = [asyncio.create_task(self._pass(*ends)) for ends in both]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, far_writer):
            one.transport.abort()
        self._writers -= {writer, far_writer}
        await cancel_and_wait(*tasks)
        self._tasks.difference_update(tasks)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                await asyncio.sleep(self.delay_s)
                await self._open.wait()
                writer.write(piece)
                await writer.drain()
