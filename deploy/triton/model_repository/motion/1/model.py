"""The motion network on Triton: requests -> one batch of blocks -> responses.

The passes are the library's (`parlante.models.motion_batch`), the same code that makes motion in
process; here is only what Triton needs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb

from parlante.diffusion.guidance import parse_guidance
from parlante.models.motion_batch import BatchGenerator
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_weights import DEFAULT_WEIGHTS, bundle_digest_of, load_weights
from parlante.triton.device import MOTION_DEVICE_VARIABLE, choose_device
from parlante.triton.motion_layout import BUNDLE, OTHER_BUNDLE

_INPUTS = ("FRAMES", "PAST", "NUM_PAST")


class TritonPythonModel:
    """Makes what the dynamic batcher has put together; one per process."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network to its device, the instance's own by default, and run it once."""
        parameters = json.loads(args["model_config"])["parameters"]
        weights, encoder, guidance = (
            parameters[name]["string_value"] for name in ("WEIGHTS", "SPEECH_ENCODER", "GUIDANCE")
        )
        torch.set_num_threads(1)  # blocks are small: more threads would only wait for each other
        model, digest = load_weights(
            Path(weights) if weights else DEFAULT_WEIGHTS, Path(encoder) if encoder else None
        )
        device = choose_device(
            args,
            os.environ.get(MOTION_DEVICE_VARIABLE) or parameters["DEVICE"]["string_value"],
            num_gpus=torch.cuda.device_count,
        )
        if device is not None:
            torch.set_default_device(device)  # of what the network makes while it runs, too
            model.to(device)
        sampler = SamplerConfig(guidance=parse_guidance(guidance))
        self._bundle = bundle_digest_of(digest, sampler)
        self._generator = BatchGenerator(model, sampler)
        probe = self._generator.probe()
        num_past = np.array([[len(probe.past)]], np.int32)
        self._generator.draw(probe.frames[None], probe.past[None], num_past)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Make the blocks of all requests as one batch."""
        answers: list[Any] = [self._refusal(request) for request in requests]
        wanted = [index for index, answer in enumerate(answers) if answer is None]
        rows = [_inputs_of(requests[index]) for index in wanted]
        if rows:
            try:
                frames, past, num_past = (
                    np.concatenate(parts) for parts in zip(*rows, strict=True)
                )
                latents = self._generator.draw(frames, past, num_past)
            except ValueError as error:
                failed = pb.InferenceResponse(error=pb.TritonError(str(error)[:300]))
                return [failed if answer is None else answer for answer in answers]
            end = 0
            for index, (own, _, _) in zip(wanted, rows, strict=True):
                start, end = end, end + len(own)
                answers[index] = pb.InferenceResponse([pb.Tensor("LATENTS", latents[start:end])])
        return answers

    def _refusal(self, request: Any) -> Any:
        parameters = request.parameters()
        told = json.loads(parameters).get(BUNDLE) if parameters else None
        if told in (None, self._bundle):
            return None
        message = f"{OTHER_BUNDLE}: this model runs {self._bundle[:12]}, not {str(told)[:12]}"
        return pb.InferenceResponse(error=pb.TritonError(message, pb.TritonError.INVALID_ARG))


def _inputs_of(request: Any) -> tuple[Any, Any, Any]:
    frames, past, num_past = (
        pb.get_input_tensor_by_name(request, name).as_numpy() for name in _INPUTS
    )
    return frames, past, num_past
