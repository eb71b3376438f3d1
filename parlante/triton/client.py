"""Calls one Triton server: frames, latents, repair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc.aio
import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.grpc import service_pb2_grpc

from parlante.triton.faults import Fault, TritonFault, fault_from
from parlante.triton.frame_call import read_answer, write_request
from parlante.triton.layout import (
    DECODER,
    MAX_CALL_ROWS,
    MAX_PROCESSES,
    PROBE_KEY,
    STORE,
    DecoderSize,
    FrameRow,
    RowResult,
    RowStatus,
)
from parlante.triton.region_pool import RegionPool
from parlante.triton.regions import Region
from parlante.triton.repository import CHANNEL_OPTIONS, reload, translated
from parlante.types import MOTION_DIM, Uint8Array

__all__ = ["TritonClient", "connect"]


class TritonClient:
    """One server.

    Args:
        address: ``HOST:PORT`` of its gRPC endpoint.
        shared_memory: Try to receive pixels through shared memory; where the server cannot reach
            ours, on another host, they come within the messages from then on.
    """

    def __init__(self, address: str, *, shared_memory: bool = True) -> None:
        self.address = address
        self._client = triton.InferenceServerClient(address, channel_args=list(CHANNEL_OPTIONS))
        self._channel = grpc.aio.insecure_channel(address, options=list(CHANNEL_OPTIONS))
        self._frames = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._regions = RegionPool(address, is_wanted=shared_memory)

    async def decode(self, rows: Sequence[FrameRow], *, timeout_s: float) -> list[RowResult]:
        """Decode rows that all ask for JPEGs, or all for pixels.

        Args:
            rows: 1 to `max_rows`, with pixels of at most `layout.MAX_PIXEL_BYTES`.
            timeout_s: Deadline.

        Raises:
            TritonFault: The call failed as a whole; nothing is known of any row.
        """
        region = None if rows[0].jpeg_quality else self._regions.take()
        if region is None:
            return await self._decode(rows, None, timeout_s)
        try:
            results = await self._decode(rows, region, timeout_s)
        except BaseException:
            region.close()  # never used again: a call that we gave up may still write to it
            raise
        return self._regions.give_back(region, results)

    async def _decode(
        self, rows: Sequence[FrameRow], region: Region | None, timeout_s: float
    ) -> list[RowResult]:
        answer = await self._infer(write_request(rows, region), timeout_s=timeout_s)
        try:
            return read_answer(answer, None if region is None else region.view())
        except ValueError as error:
            raise TritonFault(Fault.REFUSED, f"an answer that does not fit: {error}") from None

    async def store(self, key: str, data: Uint8Array, *, timeout_s: float) -> None:
        """Store packed latents or a packed backdrop, uint8 [N]; raises `TritonFault`."""
        inputs = [
            _input("AVATAR", np.array([key.encode()], np.object_), "BYTES"),
            _input("LATENTS", data, "UINT8"),
        ]
        with translated():
            await self._client.infer(
                STORE,
                inputs,
                outputs=[triton.InferRequestedOutput("LATENTS_OUT")],
                client_timeout=timeout_s,
            )

    async def probe(self, *, timeout_s: float) -> None:
        """Have a real frame made; health endpoints stay green over dead models.

        Raises:
            TritonFault: No frame came.
        """
        motion = np.zeros(MOTION_DIM, np.float32)
        row = FrameRow(avatar_key=PROBE_KEY, motion=motion, jpeg_quality=1)
        (result,) = await self.decode([row], timeout_s=timeout_s)
        if result.status is not RowStatus.OK:
            raise TritonFault(Fault.UNREACHABLE, f"a probe gave {result.status.name}")

    async def decoder_size(self, *, timeout_s: float) -> DecoderSize:
        """Ask how the decoder is configured, within our bounds; raises `TritonFault`."""
        with translated():
            answer = await self._client.get_model_config(DECODER, client_timeout=timeout_s)
        config = answer.config
        num = sum(group.count * max(1, len(group.gpus)) for group in config.instance_group)
        return DecoderSize(
            min(MAX_CALL_ROWS, max(1, int(config.max_batch_size))),
            min(MAX_PROCESSES, max(1, int(num))),
        )

    async def reload(self, model: str) -> None:
        """Unload and load a model: what brings back one whose process has died.

        Raises:
            TritonFault: The server refuses; it must run with ``--model-control-mode=explicit``.
        """
        await reload(self._client, model)

    async def aclose(self) -> None:
        """Free the regions and close the channel."""
        self._regions.close()
        await self._channel.close(None)
        await self._client.close()

    async def _infer(self, request: Any, *, timeout_s: float) -> Any:
        try:
            return await self._frames.ModelInfer(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise fault_from(error.code().name, error.details() or "") from None


def connect(addresses: str) -> list[TritonClient]:
    """Make the clients of servers, ``HOST:PORT[,HOST:PORT...]``; needs a running event loop."""
    return [TritonClient(address.strip()) for address in addresses.split(",")]


def _input(name: str, value: Any, datatype: str) -> Any:
    tensor = triton.InferInput(name, list(value.shape), datatype)
    tensor.set_data_from_numpy(value)
    return tensor
