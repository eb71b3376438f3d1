"""Calls the motion model of a Triton server."""

from __future__ import annotations

from typing import Any, Final

import grpc.aio
import numpy as np
import numpy.typing as npt
import tritonclient.grpc.aio as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from parlante.triton.faults import Fault, TritonFault, fault_from
from parlante.triton.motion_layout import BUNDLE, MOTION, BlockRow, pad_past
from parlante.triton.repository import CHANNEL_OPTIONS, load_if_absent, reload

__all__ = ["MotionClient"]

_OUTPUT: Final = "LATENTS"


class MotionClient:
    """One server.

    Args:
        address: ``HOST:PORT`` of its gRPC endpoint.
        bundle_digest: Of the weights and sampler that it must run.
        past_frames: What that network remembers.
    """

    def __init__(self, address: str, bundle_digest: str, past_frames: int) -> None:
        self.address = address
        self._past_frames = past_frames
        self._bundle_digest = bundle_digest
        self._client = triton.InferenceServerClient(address, channel_args=list(CHANNEL_OPTIONS))
        self._channel = grpc.aio.insecure_channel(address, options=list(CHANNEL_OPTIONS))
        self._blocks = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def draw(self, row: BlockRow, *, timeout_s: float) -> npt.NDArray[np.float16]:
        """Have a block drawn: latents, float16 [T, D].

        Raises:
            TritonFault: It was not.
        """
        try:
            answer = await self._blocks.ModelInfer(self._request(row), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise fault_from(error.code().name, error.details() or "") from None
        raw = answer.raw_output_contents
        num_frames, dim = len(row.frames), row.past.shape[1]
        if len(raw) != 1 or len(raw[0]) != 2 * num_frames * dim:
            raise TritonFault(Fault.REFUSED, "an answer that does not fit")
        latents: npt.NDArray[np.float16] = np.frombuffer(raw[0], "<f2").reshape(num_frames, -1)
        return latents.astype(np.float16)  # writable

    async def load(self) -> None:
        """Have the model loaded if it is not; raises `TritonFault`."""
        await load_if_absent(self._client, MOTION)

    async def reload(self) -> None:
        """Bring back a model whose process has died; raises `TritonFault`."""
        await reload(self._client, MOTION)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._channel.close(None)
        await self._client.close()

    def _request(self, row: BlockRow) -> Any:
        num_frames, width = row.frames.shape
        request = service_pb2.ModelInferRequest(model_name=MOTION)
        request.parameters[BUNDLE].string_param = self._bundle_digest
        for name, datatype, shape in (
            ("FRAMES", "FP32", [1, num_frames, width]),
            ("PAST", "FP16", [1, self._past_frames, row.past.shape[1]]),
            ("NUM_PAST", "INT32", [1, 1]),
        ):
            request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.outputs.add(name=_OUTPUT)
        num_past = min(len(row.past), self._past_frames)
        request.raw_input_contents.extend(
            [
                row.frames.astype("<f4").tobytes(),
                pad_past(row.past, self._past_frames).astype("<f2").tobytes(),
                num_past.to_bytes(4, "little"),
            ]
        )
        return request
