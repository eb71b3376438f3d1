"""Where the network's passes run: the seam between the engine and its backends."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor
from functools import partial
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from parlante.aio import cancel_and_wait
from parlante.errors import FailedPrecondition
from parlante.models.motion_batch import BatchGenerator, row_of
from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_sampling import SamplerConfig
from parlante.triton.faults import Fault, TritonFault
from parlante.triton.motion_layout import OTHER_BUNDLE, BlockRow
from parlante.types import MotionBlock
from services.motion import session
from services.motion.drawing import noise_of
from services.motion.session import Draft, SessionState

__all__ = ["BlockServer", "LocalNetwork", "Network", "TritonNetwork"]

logger = logging.getLogger(__name__)

# Some blocks' worth: a live stream has that much in hand, and then goes on in this process.
DRAW_TIMEOUT_S: Final = 0.3
PROBE_TIMEOUT_S: Final = 10.0
PROBE_INTERVAL_S: Final = 0.5
START_S: Final = 30.0


class Network(Protocol):
    """Makes the next block of any stream."""

    async def start(self) -> None:
        """Return once blocks can be made."""
        ...

    async def advance(
        self, state: SessionState, thread: Executor
    ) -> tuple[MotionBlock | None, SessionState]:
        """Make the next block of a stream; see `session.advance`.

        Args:
            state: Of the stream.
            thread: The way to the engine's thread that the stream's urgency takes.
        """
        ...

    async def aclose(self) -> None:
        """Free what it holds; the threads are not its own."""
        ...


class LocalNetwork:
    """Makes blocks on the engine's thread, one after the other; repeats itself to the bit."""

    def __init__(self, model: MotionDiT, sampler: SamplerConfig) -> None:
        self._model = model
        self._sampler = sampler

    async def start(self) -> None:
        """Nothing to wait for."""

    async def advance(
        self, state: SessionState, thread: Executor
    ) -> tuple[MotionBlock | None, SessionState]:
        """Make the next block of a stream."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            thread, session.advance, state, self._model, self._sampler
        )

    async def aclose(self) -> None:
        """Nothing to free."""


class BlockServer(Protocol):
    """What a server can do; `parlante.triton.motion_client.MotionClient` is one."""

    @property
    def address(self) -> str:
        """For logs."""
        ...

    async def draw(self, row: BlockRow, *, timeout_s: float) -> npt.NDArray[np.float16]:
        """Have a block drawn; raises `TritonFault`."""
        ...

    async def load(self) -> None:
        """Have the model loaded if it is not; raises `TritonFault`."""
        ...

    async def reload(self) -> None:
        """Bring back a model whose process has died; raises `TritonFault`."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


class TritonNetwork:
    """Has the passes run by a Triton server, where blocks of many streams share them.

    A batch rounds otherwise than a stream alone: streams repeat themselves closely, not to the bit.
    While the server is away blocks are made here, as `LocalNetwork` makes them.

    Args:
        server: Closed with the network.
        model: For what is made of each stream by itself, and while the server is away.
        sampler: How blocks are drawn.

    Attributes:
        is_healthy: True while blocks are sent to the server.
        num_local: Blocks made here.
    """

    def __init__(self, server: BlockServer, model: MotionDiT, sampler: SamplerConfig) -> None:
        self._server = server
        self._model = model
        self._sampler = sampler
        self._recovery: asyncio.Task[None] | None = None
        self._is_dead = False
        self.is_healthy = False
        self.num_local = 0

    async def start(self) -> None:
        """Wait for the server, for a while; without it blocks are made here.

        Raises:
            FailedPrecondition: OTHER_NETWORK, it runs other weights or another sampler.
        """
        try:
            async with asyncio.timeout(START_S):
                await self._recover(is_first=True)
        except TimeoutError:
            logger.warning(
                "no server for motion: blocks are made here until it comes",
                extra={"server": self._server.address},
            )
            self._watch()

    async def advance(
        self, state: SessionState, thread: Executor
    ) -> tuple[MotionBlock | None, SessionState]:
        """Make the next block of a stream."""
        run = partial(asyncio.get_running_loop().run_in_executor, thread)
        draft, state = await run(session.begin, state, self._model)
        if draft is None:
            return None, state
        latents = await self._drawn_there(draft, state)
        if latents is None:
            self.num_local += 1
            latents = await run(session.draw_draft, draft, state, self._model, self._sampler)
        return await run(session.finish, draft, latents, state, self._model)

    async def aclose(self) -> None:
        """Stop watching and close the connection."""
        if self._recovery is not None:
            await cancel_and_wait(self._recovery)
        await self._server.aclose()

    async def _drawn_there(
        self, draft: Draft, state: SessionState
    ) -> npt.NDArray[np.float16] | None:
        """Have the server draw a block; None when it cannot."""
        if not self.is_healthy:
            return None
        noise = noise_of(draft.place, self._sampler)
        row = row_of(draft.speech, draft.controls, noise, state.latents)
        try:
            return await self._server.draw(row, timeout_s=DRAW_TIMEOUT_S)
        except TritonFault as fault:
            self._suspect(fault)
            return None

    def _suspect(self, fault: TritonFault) -> None:
        self._is_dead |= fault.kind is Fault.MODEL_DEAD
        if not self.is_healthy:
            return
        self.is_healthy = False
        logger.warning(
            "the server for motion has failed: blocks are made here",
            extra={"server": self._server.address, "reason": str(fault)[:200]},
        )
        self._watch()

    def _watch(self) -> None:
        self._recovery = asyncio.create_task(self._recover(), name="recover-motion")

    async def _recover(self, *, is_first: bool = False) -> None:
        """Probe until a block comes, repairing what can be repaired."""
        probe = BatchGenerator(self._model, self._sampler).probe()
        while True:
            try:
                if self._is_dead:
                    self._is_dead = False
                    await self._server.reload()
                await self._server.load()
                await self._server.draw(probe, timeout_s=PROBE_TIMEOUT_S)
                break
            except TritonFault as fault:
                self._is_dead |= fault.kind is Fault.MODEL_DEAD
                if is_first and OTHER_BUNDLE in str(fault):
                    raise _other_network(fault) from fault
                logger.info(
                    "waiting for the server for motion",
                    extra={"server": self._server.address, "reason": str(fault)[:200]},
                )
            await asyncio.sleep(PROBE_INTERVAL_S)
        self.is_healthy = True
        logger.info("motion is made by the server", extra={"server": self._server.address})


def _other_network(fault: TritonFault) -> FailedPrecondition:
    return FailedPrecondition(
        "the motion model of the Triton server must run the weights and guidance of this service; "
        f"got {str(fault)[:200]}; set WEIGHTS and GUIDANCE in its config.pbtxt",
        reason="OTHER_NETWORK",
    )
