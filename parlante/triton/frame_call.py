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
    pack_row,
    split_results,
)
from parlante.triton.regions import Region
from parlante.types import Uint8Array

__all__ = ["read_answer", "write_request"]

_OUTPUTS: Final = ("RESULT", "DATA")


def write_request(rows: Sequence[FrameRow], region: Region | None) -> Any:
    """Make the ModelInferRequest of rows; pixels come through the region if there is one."""
    request = service_pb2.ModelInferRequest()
    request.CopyFrom(_template(len(rows)))
    packed = [pack_row(row) for row in rows]
    request.raw_input_contents.append(
        b"".join(len(data).to_bytes(4, "little") + data for data in packed)
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
    data = np.frombuffer(raw["DATA"], np.uint8) if "DATA" in raw else None
    return split_results(told, data, memory)


@cache
def _template(num_rows: int) -> Any:
    request = service_pb2.ModelInferRequest(model_name=DECODER)
    request.inputs.add(name="ROW", datatype="BYTES", shape=[num_rows, 1])
    for name in _OUTPUTS:
        request.outputs.add(name=name)
    return request
