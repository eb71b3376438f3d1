"""The avatar store on Triton: latents and backdrops by key, least recently used go first."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from parlante.errors import FailedPrecondition
from parlante.triton.layout import MISS, check_stored

_NOTHING = np.zeros(0, np.uint8)


class TritonPythonModel:
    """Stores with LATENTS, fetches without."""

    def initialize(self, args: dict[str, str]) -> None:
        """Begin empty."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._max_bytes = int(parameters["MAX_STORE_MB"]["string_value"]) * 1024 * 1024
        self._entries: OrderedDict[bytes, Any] = OrderedDict()
        self._num_bytes = 0
        kind = pb.MetricFamily.GAUGE
        # Kept: a metric without its family fails.
        self._family = pb.MetricFamily(
            name="parlante_avatar_store_bytes", description="Latents and backdrops held", kind=kind
        )
        self._gauge = self._family.Metric(labels={})

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself."""
        responses = [self._answer(request) for request in requests]
        self._gauge.set(self._num_bytes)
        return responses

    def _answer(self, request: Any) -> Any:
        key = pb.get_input_tensor_by_name(request, "AVATAR").as_numpy()[0]
        latents = pb.get_input_tensor_by_name(request, "LATENTS")
        if latents is not None:
            return self._store(key, latents.as_numpy())
        found = self._entries.get(key)
        if found is None:
            return _error(f"{MISS}: no such avatar", pb.TritonError.NOT_FOUND)
        self._entries.move_to_end(key)
        return pb.InferenceResponse([pb.Tensor("LATENTS_OUT", found)])

    def _store(self, key: bytes, data: Any) -> Any:
        try:
            check_stored(key.decode("utf-8", "replace"), data.tobytes())
        except FailedPrecondition as error:
            return _error(error.message, pb.TritonError.INVALID_ARG)
        before = self._entries.pop(key, _NOTHING)
        # A copy: the buffer dies with the request.
        self._entries[key] = data.copy()
        self._num_bytes += data.nbytes - before.nbytes
        while self._num_bytes > self._max_bytes and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self._num_bytes -= oldest.nbytes
        return pb.InferenceResponse([pb.Tensor("LATENTS_OUT", _NOTHING)])


def _error(message: str, code: Any) -> Any:
    return pb.InferenceResponse(error=pb.TritonError(message, code))
