"""The motion stage: live sound and controls -> motion, by the block-causal diffusion transformer.

Implements the port `parlante.ports.Motion`. All computing is done by one thread per engine, off the
event loop; streams take turns block by block, those that somebody waits for first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from parlante.aio import closing
from parlante.errors import FailedPrecondition, InternalError, Unavailable
from parlante.media.resample import Resampler
from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_weights import DEFAULT_WEIGHTS, bundle_digest_of, load_weights
from parlante.shared_threads import SharedThreads
from parlante.types import (
    FRAME_RATE_HZ,
    MAX_SAMPLE_RATE_HZ,
    MODEL_SAMPLE_RATE_HZ,
    AudioChunk,
    ControlUpdate,
    Int16Array,
    ListeningChunk,
    MotionBlock,
    MotionConfig,
    MotionInput,
)
from services.motion import checkpoint, incoming, session
from services.motion.delay import algorithmic_delay_ms, choose_look
from services.motion.network import LocalNetwork, Network, TritonNetwork
from services.motion.session import SessionState

__all__ = ["MotionEngine"]


class MotionEngine:
    """Generates motion for any number of streams.

    Args:
        model: The network, in evaluation mode.
        bundle_digest: Hex SHA-256 that names weights and sampler.
        sampler: How blocks are drawn.
        triton_url: ``HOST:PORT`` of a Triton server that runs the network's passes, for blocks of
            all streams together; empty runs them here.
    """

    def __init__(
        self, model: MotionDiT, bundle_digest: str, sampler: SamplerConfig, *, triton_url: str = ""
    ) -> None:
        self._model = model
        self.bundle_digest = bundle_digest
        self._closed = False
        # One intra-op thread: blocks are small, and services scale by process.
        self._threads = SharedThreads(
            1, name="motion", initializer=torch.set_num_threads, initargs=(1,)
        )
        self._sampler = sampler
        self._triton_url = triton_url
        self._network: Network = LocalNetwork(model, sampler)

    @classmethod
    def load(
        cls,
        weights: Path | None = None,
        *,
        speech_encoder: Path | None = None,
        sampler: SamplerConfig | None = None,
        triton_url: str = "",
    ) -> Self:
        """Load an engine.

        Args:
            weights: A safetensors file of `parlante.training.motion`; None takes the packaged one.
            speech_encoder: Folder of the pretrained encoder that the weights need, if they need
                one; None takes the folder that they were trained with.
            sampler: How blocks are drawn; None takes the settings the weights were judged with.
            triton_url: As of the engine.

        Raises:
            FailedPrecondition: There is no such file, or it is of another motion space; or the
                folder holds another encoder than that of training.
            InvalidInput: There is no speech encoder in the folder.
        """
        path = weights or DEFAULT_WEIGHTS
        sampler = sampler or SamplerConfig()
        model, digest = load_weights(path, speech_encoder)
        digest = bundle_digest_of(digest, sampler)
        return cls(model, digest, sampler, triton_url=triton_url)

    def delay_ms(self, config: MotionConfig) -> int:
        """Tell the algorithmic delay of a stream; see `parlante.ports.Motion.delay_ms`."""
        resampler = Resampler(config.sample_rate_hz)
        look = choose_look(config.delay_budget_ms, resampler)
        return math.ceil(algorithmic_delay_ms(resampler, look))

    @property
    def algorithmic_delay_ms(self) -> float:
        """The default's longest wait, over all sample rates, from a frame to the sound it needs."""
        return float(self.delay_ms(MotionConfig(sample_rate_hz=MAX_SAMPLE_RATE_HZ)))

    async def warm_up(self) -> None:
        """Run half a second of silence through, so that the first client finds everything hot.

        Raises:
            FailedPrecondition: The Triton server runs another network.
        """
        if self._triton_url and isinstance(self._network, LocalNetwork):
            self._network = self._on_triton()
        await self._network.start()

        async def silence() -> AsyncIterator[MotionInput]:
            samples = np.zeros(MODEL_SAMPLE_RATE_HZ // 2, np.int16)
            yield AudioChunk(start_sample=0, samples=samples)

        async for _ in self.stream(MotionConfig(), silence()):
            pass

    async def aclose(self) -> None:
        """Stop the computing thread; streams that still run end with `Unavailable`."""
        self._closed = True
        await self._network.aclose()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def stream(
        self, config: MotionConfig, inputs: AsyncIterator[MotionInput]
    ) -> AsyncIterator[MotionBlock]:
        """Generate motion for a stream of sound; see `parlante.ports.Motion.stream`."""
        resampler = Resampler(config.sample_rate_hz)
        self._check_open()
        thread = self._threads.lane(in_background=config.in_background)
        # On the engine's thread: several would round otherwise, and the memory that a checkpoint
        # stands for must be the same to the bit.
        state = await asyncio.get_running_loop().run_in_executor(
            thread, self._open, config, resampler
        )
        async with closing(inputs) as items:
            async for item in items:
                match item:
                    case ControlUpdate():
                        state = replace(state, controls=item.controls)
                    case ListeningChunk():
                        state = incoming.attend(state, item, config.sample_rate_hz)
                    case AudioChunk():
                        incoming.check_chunk(state, item)
                        for piece in _pieces(item.samples, config.sample_rate_hz):
                            state = incoming.hear(state, piece, resampler)
                            while session.is_ready(state):
                                block, state = await self._advance(state, thread)
                                if block is not None:
                                    yield self._sealed(block, state, config)
        async with closing(self._flush(state, resampler, thread)) as rest:
            async for block in rest:
                yield block

    def _on_triton(self) -> Network:
        # Imported here: a service that runs the network itself needs no tritonclient.
        from parlante.triton.motion_client import MotionClient

        server = MotionClient(self._triton_url, self.bundle_digest, self._model.config.past_frames)
        return TritonNetwork(server, self._model, self._sampler)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(
                "this motion engine was closed; open a new stream elsewhere", reason="STAGE_CLOSED"
            )

    def _open(self, config: MotionConfig, resampler: Resampler) -> SessionState:
        """Start a stream, or go on with one that a checkpoint was taken of."""
        if not config.resume_state:
            return session.start(config, resampler, self._model)
        state = checkpoint.load(
            config.resume_state,
            model=self._model,
            bundle_digest=self.bundle_digest,
            resampler=resampler,
        )
        if state.look != choose_look(config.delay_budget_ms, resampler):
            raise FailedPrecondition(
                f"delay_budget_ms must be that of the stream that resume_state is of; got "
                f"{config.delay_budget_ms}, which gives another delay",
                reason="RESUME_STATE_MISMATCH",
                field="delay_budget_ms",
            )
        return replace(state, controls=config.controls)

    def _sealed(self, block: MotionBlock, state: SessionState, config: MotionConfig) -> MotionBlock:
        """Put a checkpoint on a block if the stream's configuration asks for it."""
        if not config.emit_checkpoints:
            return block
        stored = checkpoint.dump(
            state, bundle_digest=self.bundle_digest, rate_hz=config.sample_rate_hz
        )
        return replace(block, checkpoint=stored, checkpoint_sample=state.num_samples)

    async def _flush(
        self, state: SessionState, resampler: Resampler, thread: Executor
    ) -> AsyncIterator[MotionBlock]:
        """Make the frames that are still owed, with silence as what follows."""
        total = session.num_frames(state, resampler.rate_hz)
        silence = np.zeros(resampler.rate_hz // FRAME_RATE_HZ, np.int16)
        while session.num_made(state) < total:
            while not session.is_ready(state):
                state = incoming.hear(state, silence, resampler, is_padding=True)
            block, state = await self._advance(state, thread)
            if block is not None:
                owed = total - block.start_frame
                yield replace(block, values=block.values[:owed])

    async def _advance(
        self, state: SessionState, thread: Executor
    ) -> tuple[MotionBlock | None, SessionState]:
        self._check_open()
        block, state = await self._network.advance(state, thread)
        if block is not None and not np.isfinite(block.values).all():
            raise InternalError("motion is not finite", reason="MOTION_NOT_FINITE")
        return block, state


def _pieces(samples: Int16Array, rate_hz: int) -> Iterator[Int16Array]:
    """Cut a chunk into frames' worth, so that a long one needs no more memory than a short one."""
    length = rate_hz // FRAME_RATE_HZ
    for begin in range(0, len(samples), length):
        yield samples[begin : begin + length]
