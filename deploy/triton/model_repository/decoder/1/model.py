"""The decoder on Triton: requests -> one batch of rows -> responses.

What a row is and how it is decoded is the library's (`parlante.models.frame_batch`), the same code
that renders in process; here is only what Triton needs.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from parlante.models.frame_batch import BatchDecoder
from parlante.models.frame_makers import DeviceLost
from parlante.triton.device import DEVICE_VARIABLE, choose_device
from parlante.triton.layout import (
    MISS,
    REGION,
    STORE,
    FrameRow,
    RowResult,
    join_results,
    unpack_backdrop,
    unpack_latents,
    unpack_row,
)
from parlante.triton.regions import OpenRegions, PixelRoom
from parlante.types import AvatarLatents, Uint8Array

_MAX_THREADS = 4
_METRICS_INTERVAL_S = 0.5


class TritonPythonModel:
    """Decodes what the dynamic batcher has put together; one per process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the decoder; the model is not ready before this and the warm-up are done."""
        parameters = json.loads(args["model_config"])["parameters"]

        def setting(name: str) -> int:
            return int(parameters[name]["string_value"])

        face_net = parameters["FACE_NET"]["string_value"]
        device = choose_device(
            args,
            os.environ.get(DEVICE_VARIABLE) or parameters["DEVICE"]["string_value"],
            num_gpus=_num_gpus,
        )

        num_cores = len(os.sched_getaffinity(0))
        self._decoder = BatchDecoder(
            _Store(),
            num_threads=setting("DECODE_THREADS") or min(_MAX_THREADS, num_cores),
            max_avatars=setting("MAX_AVATARS"),
            max_avatar_bytes=setting("MAX_AVATAR_MB") * 1024 * 1024,
            retouch=_open_retouch(face_net),
            device=device,
            fuse=bool(setting("FUSE")),
        )
        self._decoder.warm_up()
        pb.Logger.log_info(f"frames are drawn by {device or 'loops on the CPU'}")
        self._regions = OpenRegions()
        self._metrics = _Metrics(self._regions)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decode the rows of all requests as one batch."""
        start_s = time.perf_counter()
        rows = [_rows_of(request) for request in requests]
        rooms: list[PixelRoom | None] = []
        for request, own in zip(requests, rows, strict=True):
            rooms += [self._room_of(request)] * len(own)
        try:
            results = iter(self._decoder.decode([row for own in rows for row in own], rooms))
        except DeviceLost as error:
            # Whoever calls a model without a process has it loaded anew; this one would only fail.
            pb.Logger.log_error(f"{error}: the model's process ends")
            os._exit(1)
        responses = [_response([next(results) for _ in own]) for own in rows]
        self._metrics.note(sum(map(len, rows)), time.perf_counter() - start_s, self._decoder)
        return responses

    def finalize(self) -> None:
        """End the threads."""
        self._metrics.close()
        self._decoder.close()

    def _room_of(self, request: Any) -> PixelRoom | None:
        """Give the memory that the caller wants its pixels in, if it is on this host."""
        parameters = request.parameters()
        name = json.loads(parameters).get(REGION) if parameters else None
        memory = self._regions.find(name) if isinstance(name, str) else None
        return None if memory is None else PixelRoom(memory)


def _num_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _open_retouch(face_net: str) -> Any:
    if face_net == "none":
        return None
    # Imported here: torch is 150 MB of memory that frames without the network do not need.
    from parlante.models.face_retouch import open_retouch

    return open_retouch(face_net)


class _Metrics:
    """Custom metrics; the families must be kept, or their metrics fail every batch.

    Each update is a message to the server and back, which together take longer than all else
    around a frame: so they are sent now and then, by a thread of their own, which also frees the
    memory of callers that are gone.
    """

    def __init__(self, regions: OpenRegions) -> None:
        self._regions = regions
        counter, gauge = pb.MetricFamily.COUNTER, pb.MetricFamily.GAUGE
        self._families = []

        def make(name: str, description: str, kind: Any) -> Any:
            family = pb.MetricFamily(name=name, description=description, kind=kind)
            self._families.append(family)
            return family.Metric(labels={})

        self._counters = [
            make("parlante_decoder_frames", "Rows decoded", counter),
            make("parlante_decoder_batches", "Batches decoded", counter),
            make("parlante_decoder_busy_seconds", "Time within batches", counter),
            make("parlante_decoder_avatar_misses", "Avatars fetched", counter),
        ]
        self._gauges = [
            make("parlante_decoder_avatars", "Avatars held prepared", gauge),
            make("parlante_decoder_avatar_bytes", "Memory of those avatars", gauge),
        ]
        self._totals = [0.0] * len(self._counters)
        self._levels = [0.0] * len(self._gauges)
        self._sent = list(self._totals)
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._send_now_and_then, name="metrics", daemon=True)
        self._thread.start()

    def note(self, num_rows: int, duration_s: float, decoder: BatchDecoder) -> None:
        """Count a batch."""
        frames, batches, busy_s, _ = self._totals
        # New lists: the other thread sees the old ones or these.
        self._totals = [
            frames + num_rows, batches + 1, busy_s + duration_s, float(decoder.num_misses),
        ]  # fmt: skip
        self._levels = [float(decoder.num_avatars), float(decoder.avatar_bytes)]

    def close(self) -> None:
        """End the thread."""
        self._is_closing.set()
        self._thread.join()

    def _send_now_and_then(self) -> None:
        while not self._is_closing.wait(_METRICS_INTERVAL_S):
            self._send()
            self._regions.drop_ownerless()

    def _send(self) -> None:
        totals = self._totals
        if totals == self._sent:
            return
        for metric, total, sent in zip(self._counters, totals, self._sent, strict=True):
            if total > sent:
                metric.increment(total - sent)
        for metric, level in zip(self._gauges, self._levels, strict=True):
            metric.set(level)
        self._sent = totals


def _rows_of(request: Any) -> list[FrameRow]:
    packed = pb.get_input_tensor_by_name(request, "ROW").as_numpy()
    return [unpack_row(data) for data in packed[:, 0]]


def _response(results: list[RowResult]) -> Any:
    told, data = join_results(results)
    tensors = [pb.Tensor("RESULT", told)]
    if data is not None:
        tensors.append(pb.Tensor("DATA", data))
    return pb.InferenceResponse(tensors)


class _Store:
    """The avatar store as a decoder sees it; it may not be loaded, or may have lost everything."""

    def latents(self, key: str) -> AvatarLatents | None:
        data = _fetch(key)
        return None if data is None else unpack_latents(data)

    def backdrop(self, key: str) -> Uint8Array | None:
        data = _fetch(key)
        return None if data is None else unpack_backdrop(data)


def _fetch(key: str) -> bytes | None:
    call = pb.InferenceRequest(
        model_name=STORE,
        requested_output_names=["LATENTS_OUT"],
        inputs=[pb.Tensor("AVATAR", np.array([key.encode()], np.object_))],
    )
    answer = call.exec()
    if answer.has_error():
        # Calls between models turn every code into INTERNAL; the message tells a miss.
        if MISS not in answer.error().message():
            pb.Logger.log_warn(f"the avatar store failed: {answer.error().message()[:200]}")
        return None
    # A copy: the buffer dies with the answer.
    data: bytes = pb.get_output_tensor_by_name(answer, "LATENTS_OUT").as_numpy().tobytes()
    return data
