"""A fleet of processes on this machine: started, killed, stopped and replaced one by one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from tests.fakes.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
READY_TIMEOUT_S = 60.0
MODULES = {
    "gateway": ("gateway",),
    "encoder": ("tests.fakes.stage_process", "encoder"),
    "motion": ("tests.fakes.stage_process", "motion"),
    "renderer": ("tests.fakes.stage_process", "renderer"),
}
REAL_MODULES = {
    "gateway": ("gateway",),
    "encoder": ("services.encoder",),
    "motion": ("services.motion",),
    "renderer": ("services.renderer",),
}


@dataclass(kw_only=True)
class Member:
    """One process of the fleet."""

    stage: str
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)


@dataclass(kw_only=True)
class LocalFleet:
    """Two gateways, three of motion and renderer, two encoders, unless told otherwise.

    Attributes:
        cache: That the renderers share; None where there is no Redis.
    """

    folder: Path
    real: bool = False
    ready_timeout_s: float = READY_TIMEOUT_S
    cache: RedisServer | None = None
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)

    def of(self, stage: str) -> list[Member]:
        """Give the members of a stage."""
        return [member for member in self.members if member.stage == stage]

    @property
    def targets(self) -> str:
        """Addresses of the gateways, for clients."""
        return self._addresses("gateway")

    def _addresses(self, stage: str) -> str:
        return ",".join(member.address for member in self.of(stage))

    async def start(self, member: Member) -> None:
        """Start a process on its port, and wait until it serves."""
        flags: list[str] = ["--host", HOST, "--port", str(member.port), "--drain-grace-s", "5"]
        match member.stage:
            case "gateway":
                flags += ["--resume-key-file", str(self.folder / "resume.key")]
                for stage in ("encoder", "motion", "renderer"):
                    flags += [f"--{stage}-address", self._addresses(stage)]
            case "encoder":
                flags += ["--store-dir", str(self.folder / "store")]
            case "renderer":
                flags += ["--encoder", self._addresses("encoder")]
                if self.cache is not None:
                    flags += ["--latent-cache-url-file", str(self.folder / "cache.url")]
        modules = REAL_MODULES if self.real else MODULES
        log = (self.folder / f"{member.stage}-{member.port}.log").open("ab")
        with log:
            member.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *modules[member.stage],
                *flags,
                *self.flags.get(member.stage, ()),
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": _python_path(), "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await self.wait_ready(member)

    async def wait_ready(self, member: Member) -> None:
        """Wait until health says SERVING."""
        options = (
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 100),
        )
        async with grpc.aio.insecure_channel(member.address, options=options) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            async with asyncio.timeout(self.ready_timeout_s):
                while True:
                    assert member.process is not None
                    assert member.process.returncode is None, self.log_of(member)
                    with suppress(grpc.aio.AioRpcError):
                        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
                        if answer.status == health_pb2.HealthCheckResponse.SERVING:
                            return
                    await asyncio.sleep(0.05)

    async def stop(self, member: Member, *, timeout_s: float = 8.0) -> float:
        """Send SIGTERM; gives the seconds until the process was gone."""
        assert member.process is not None
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        member.signal(signal.SIGTERM)
        async with asyncio.timeout(timeout_s):
            await member.process.wait()
        return loop.time() - begin_s

    async def kill(self, member: Member) -> None:
        """Send SIGKILL."""
        assert member.process is not None
        member.signal(signal.SIGKILL)
        await member.process.wait()

    def log_of(self, member: Member) -> str:
        """Give what a process wrote."""
        return (self.folder / f"{member.stage}-{member.port}.log").read_text()[-4000:]

    async def aclose(self) -> None:
        """Kill what still runs."""
        if self.cache is not None:
            self.cache.client.close()
            self.cache.stop()
        for member in self.members:
            if member.process is not None and member.process.returncode is None:
                with suppress(ProcessLookupError):
                    member.process.kill()
                await member.process.wait()


@asynccontextmanager
async def local_fleet(
    *,
    gateways: int = 2,
    motions: int = 3,
    renderers: int = 3,
    encoders: int = 2,
    real: bool = False,
    flags: dict[str, tuple[str, ...]] | None = None,
    folder: Path | None = None,
    with_cache: bool = True,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> AsyncIterator[LocalFleet]:
    """Run a fleet until the context is left.

    Args:
        gateways: Processes of the stage; so are the next three.
        motions: See above.
        renderers: See above.
        encoders: See above.
        real: Run the real engines.
        flags: Further flags of the processes, by stage.
        folder: For logs, and what the fleet keeps; None takes one that goes with it.
        with_cache: Its renderers share a Redis if there is one.
        ready_timeout_s: Time that each process has until it serves.
    """
    counts = {"encoder": encoders, "motion": motions, "renderer": renderers, "gateway": gateways}
    ports = _free_ports(sum(counts.values()))
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = LocalFleet(
            folder=place, real=real, flags=flags or {}, ready_timeout_s=ready_timeout_s
        )
        (fleet.folder / "resume.key").write_text("k" * 64)
        if with_cache:
            await _start_cache(fleet)
        for stage, count in counts.items():
            fleet.members += [Member(stage=stage, port=ports.pop()) for _ in range(count)]
        try:
            # Gateways last: those that serve have heard of every replica then.
            for stages in (("encoder", "motion", "renderer"), ("gateway",)):
                members = [member for stage in stages for member in fleet.of(stage)]
                await asyncio.gather(*(fleet.start(member) for member in members))
            yield fleet
        finally:
            await fleet.aclose()


async def _start_cache(fleet: LocalFleet) -> None:
    # Imported here: a fleet without one needs no client of it.
    from tests.fakes.redis_server import RedisServer, has_redis

    if has_redis():
        fleet.cache = RedisServer(fleet.folder)
        (fleet.folder / "cache.url").write_text(fleet.cache.url)
        await asyncio.to_thread(fleet.cache.start)


def _python_path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
