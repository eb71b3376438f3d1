"""Calls one Triton server: frames, latents, repair. The one place that knows tritonclient."""

from __future__ import annotations

import asyncio
import contextlib
import logging
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
    MAX_PIXEL_BYTES,
    MAX_ROWS,
    PROBE_KEY,
    STORE,
    FrameRow,
    RowResult,
    RowStatus,
)
from parlante.triton.regions import Region
from parlante.types import MOTION_DIM, Uint8Array

__all__ = ["TritonClient", "connect"]

logger = logging.getLogger(__name__)

_REPAIR_TIMEOUT_S: Final = 60.0
_UNLOAD_S: Final = 1.0
_REGION_TIMEOUT_S: Final = 2.0
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
        shared_memory: Try to receive pixels through shared memory; a server on another host refuses
            that, and they come within the messages from then on.
    """

    def __init__(self, address: str, *, shared_memory: bool = True) -> None:
        self.address = address
        self._client = triton.InferenceServerClient(address, channel_args=list(_CHANNEL_OPTIONS))
        self._channel = grpc.aio.insecure_channel(address, options=list(_CHANNEL_OPTIONS))
        self._frames = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._shared_memory = shared_memory
        self._idle: list[Region] = []
        self._retired: set[str] = set()  # the server may still write to them

    async def decode(self, rows: Sequence[FrameRow], *, timeout_s: float) -> list[RowResult]:
        """Decode rows that all ask for JPEGs, or all for pixels.

        Args:
            rows: 1 to `MAX_ROWS`, with pixels of at most `MAX_PIXEL_BYTES`.
            timeout_s: Deadline.

        Raises:
            TritonFault: The call failed as a whole; nothing is known of any row.
        """
        assert 1 <= len(rows) <= MAX_ROWS, len(rows)
        region = None if rows[0].jpeg_quality else await self._take_region()
        try:
            answer = await self._infer(write_request(rows, region), timeout_s=timeout_s)
            results = read_answer(answer, region)
        except BaseException as error:
            if region is not None:
                self._retire(region)
            if isinstance(error, ValueError):
                raise TritonFault(Fault.REFUSED, f"an answer that does not fit: {error}") from error
            raise
        if region is not None:
            self._idle.append(region)
        return results

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

    async def forget_regions(self) -> None:
        """Give up all regions, after a restart or a freeze of the server."""
        for region in self._idle:
            self._retire(region)
        self._idle.clear()
        for name in tuple(self._retired):
            with contextlib.suppress(InferenceServerException):
                await self._client.unregister_system_shared_memory(
                    name, client_timeout=_REGION_TIMEOUT_S
                )
            self._retired.discard(name)

    async def aclose(self) -> None:
        """Free the regions on both sides and close the channel."""
        await self.forget_regions()
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

    async def _take_region(self) -> Region | None:
        if self._idle:
            return self._idle.pop()
        if not self._shared_memory:
            return None
        try:
            region = Region(MAX_PIXEL_BYTES + MAX_ROWS)
        except OSError as error:
            self._do_without(str(error))
            return None
        try:
            await self._client.register_system_shared_memory(
                region.name, region.name, region.num_bytes, client_timeout=_REGION_TIMEOUT_S
            )
        except InferenceServerException as error:
            self._retire(region)
            fault = _fault_of(error)
            if fault.kind in (Fault.UNREACHABLE, Fault.TIMED_OUT):
                raise fault from error
            self._do_without(str(fault))
            return None
        except BaseException:
            self._retire(region)
            raise
        region.unlink()  # both sides have it open
        return region

    def _do_without(self, why: str) -> None:
        self._shared_memory = False
        logger.warning(
            "frames come within messages, not through shared memory",
            extra={"server": self.address, "detail": why[:200]},
        )

    def _retire(self, region: Region) -> None:
        """Never use a region again: a call that we gave up may still write to it."""
        region.close()
        self._retired.add(region.name)


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
    if "Unable to find shared memory region" in text or "Invalid shared memory region" in text:
        return Fault.REGION_LOST
    if status in ("UNAVAILABLE", "CANCELLED") or "unknown model" in text or "not ready" in text:
        return Fault.UNREACHABLE
    return Fault.REFUSED
