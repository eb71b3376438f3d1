"""Calls one Triton server: frames, latents, repair. The one place that knows tritonclient."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import grpc.aio
import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from parlante.triton.faults import Fault, TritonFault
from parlante.triton.frame_call import read_answer, write_request
from parlante.triton.layout import (
    MAX_ROWS,
    PROBE_KEY,
    STORE,
    FrameRow,
    RowResult,
    RowStatus,
)
from parlante.triton.region_pool import RegionPool
from parlante.triton.regions import Region
from parlante.types import MOTION_DIM, Uint8Array

__all__ = ["TritonClient", "connect"]

_REPAIR_TIMEOUT_S: Final = 60.0
_UNLOAD_S: Final = 1.0
# A server that comes back is noticed soon; gRPC's own back-off would grow to two minutes.
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", 128 * 1024 * 1024),
    ("grpc.max_receive_message_length", 128 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class TritonClient:
    """One server.

    Args:
        address: ``HOST:PORT`` of its gRPC endpoint.
        shared_memory: Try to receive pixels through shared memory; where the server cannot reach
            ours, on another host, they come within the messages from then on.
    """

    def __init__(self, address: str, *, shared_memory: bool = True) -> None:
        self.address = address
        self._client = triton.InferenceServerClient(address, channel_args=list(_CHANNEL_OPTIONS))
        self._channel = grpc.aio.insecure_channel(address, options=list(_CHANNEL_OPTIONS))
        self._frames = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._regions = RegionPool(address, is_wanted=shared_memory)

    async def decode(self, rows: Sequence[FrameRow], *, timeout_s: float) -> list[RowResult]:
        """Decode rows that all ask for JPEGs, or all for pixels.

        Args:
            rows: 1 to `MAX_ROWS`, with pixels of at most `layout.MAX_PIXEL_BYTES`.
            timeout_s: Deadline.

        Raises:
            TritonFault: The call failed as a whole; nothing is known of any row.
        """
        assert 1 <= len(rows) <= MAX_ROWS, len(rows)
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
        with _translated():
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

    async def reload(self, model: str) -> None:
        """Unload and load a model: what brings back one whose process has died.

        Raises:
            TritonFault: The server refuses; it must run with ``--model-control-mode=explicit``.
        """
        with _translated():
            # Loading alone does nothing while the server thinks that it is loaded.
            await self._client.unload_model(model, client_timeout=_REPAIR_TIMEOUT_S)
            await self._until_unloaded(model)
            await self._client.load_model(model, client_timeout=_REPAIR_TIMEOUT_S)

    async def aclose(self) -> None:
        """Free the regions and close the channel."""
        self._regions.close()
        await self._channel.close(None)
        await self._client.close()

    async def _until_unloaded(self, model: str) -> None:
        """Wait a little: a model whose process has died stays UNLOADING for ever."""
        until_s = asyncio.get_running_loop().time() + _UNLOAD_S
        while asyncio.get_running_loop().time() < until_s:
            index = await self._client.get_model_repository_index(client_timeout=_REPAIR_TIMEOUT_S)
            states = [entry.state for entry in index.models if entry.name == model]
            if not {"READY", "UNLOADING", "LOADING"} & set(states):
                return
            await asyncio.sleep(0.05)

    async def _infer(self, request: Any, *, timeout_s: float) -> Any:
        try:
            return await self._frames.ModelInfer(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            text = (error.details() or "")[:300]
            raise _fault(error.code().name, text) from None


def connect(addresses: str) -> list[TritonClient]:
    """Make the clients of servers, ``HOST:PORT[,HOST:PORT...]``; needs a running event loop."""
    return [TritonClient(address.strip()) for address in addresses.split(",")]


def _input(name: str, value: Any, datatype: str) -> Any:
    tensor = triton.InferInput(name, list(value.shape), datatype)
    tensor.set_data_from_numpy(value)
    return tensor


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn errors of tritonclient, which carry texts more than codes, into `TritonFault`."""
    try:
        yield
    except InferenceServerException as error:
        raise _fault_of(error) from None


def _fault_of(error: InferenceServerException) -> TritonFault:
    text = str(error.message() or "")[:300]
    return _fault(str(error.status() or "").removeprefix("StatusCode."), text)


def _fault(status: str, text: str) -> TritonFault:
    return TritonFault(_kind_of(status, text), f"{status} {text}")


def _kind_of(status: str, text: str) -> Fault:
    if status == "DEADLINE_EXCEEDED":
        return Fault.TIMED_OUT
    if "shared memory pool" in text:
        return Fault.SHARED_MEMORY
    if "Stub process" in text or "not healthy" in text:
        return Fault.MODEL_DEAD
    if status in ("UNAVAILABLE", "CANCELLED") or "unknown model" in text or "not ready" in text:
        return Fault.UNREACHABLE
    return Fault.REFUSED
