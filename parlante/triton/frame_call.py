"""The messages of a call for frames, written and read without tritonclient's tensors.

Those take 0.2 ms of each call to put together, and every frame is one: here a request is a copy of
one made before, with its values filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2

from parlante.triton.layout import (
    DECODER,
    REGION,
    FrameRow,
    RowResult,
    split_results,
)
from parlante.triton.regions import Region
from parlante.types import MOTION_DIM, Uint8Array

__all__ = ["read_answer", "write_request"]

_OUTPUTS: Final = ("RESULT", "DATA")


def write_request(rows: Sequence[FrameRow], region: Region | None) -> Any:
    """Make the ModelInferRequest of rows; pixels come through the region if there is one."""
    request = service_pb2.ModelInferRequest()
    request.CopyFrom(_template(len(rows)))
    names = [row.name.encode() for row in rows]
    request.raw_input_contents.extend(
        [
            b"".join(len(name).to_bytes(4, "little") + name for name in names),
            b"".join(row.motion.astype("<f4").tobytes() for row in rows),
            b"".join(row.jpeg_quality.to_bytes(4, "little", signed=True) for row in rows),
        ]
    )
    if region is not None:
        request.parameters[REGION].string_param = region.name
    return request


def read_answer(answer: Any, memory: Uint8Array | None) -> list[RowResult]:
    """Read a ModelInferResponse.

    Args:
        answer: What came.
        memory: uint8 [N], of the region that the request named; pixels are views of it.

    Raises:
        ValueError: It is not what was asked for.
    """
    raw = {
        output.name: data
        for output, data in zip(answer.outputs, answer.raw_output_contents, strict=False)
    }
    if "RESULT" not in raw:
        raise ValueError("no RESULT")
    told = np.frombuffer(raw["RESULT"], "<i4").reshape(-1, 6)
    data = _bytes_of(raw.get("DATA", b""))
    return split_results(told, data, memory)


def _bytes_of(data: bytes) -> Uint8Array:
    return np.frombuffer(data, np.uint8)


@cache
def _template(num_rows: int) -> Any:
    request = service_pb2.ModelInferRequest(model_name=DECODER)
    for name, datatype, width in (("AVATAR", "BYTES", 1), ("MOTION", "FP32", MOTION_DIM),
                                  ("QUALITY", "INT32", 1)):  # fmt: skip
        request.inputs.add(name=name, datatype=datatype, shape=[num_rows, width])
    for name in _OUTPUTS:
        request.outputs.add(name=name)
    return request
