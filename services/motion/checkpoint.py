"""A motion stream's state as bytes, so that another process can go on with it to the bit.

Layout: magic, then zlib-compressed: length of a JSON header, the header (numbers, and names, types
and shapes of the arrays), the arrays back to back. What the network can make again (half-encoded
sound, keys and values of the past) is left out and made again. Bytes come from outside and are
believed in nothing.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import asdict
from typing import Any, Final, NoReturn

import numpy as np
import torch

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.media.resample import Resampler, ResamplerState
from parlante.models.audio_features import LOOK_AHEAD_HOPS, NUM_FEATURES, NUM_MELS, NormaliserState
from parlante.models.layers.causal_conv import CONTEXT_HOPS
from parlante.models.listening import ListenerState
from parlante.models.melody import NUM_TONES
from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_space import CONDITION_DIM, LATENT_DIM
from parlante.models.pose_state import PoseState
from parlante.models.voices import SURE
from parlante.types import Controls, Driving, HeadPose
from services.motion import session
from services.motion.session import SessionState

__all__ = ["dump", "load"]

_MAGIC: Final = b"PMS1"
_MAX_RAW_BYTES: Final = 256 * 1024
_POSE_SIZES: Final = {
    **{"push": 6, "deviation": 6, "drift": 6, "anchor": 6, "anchor_velocity": 6, "intensity": 4},
    **{"fixation": 2, "gaze": 2, "accent": 3, "nod": 3, "lips": 6, "lively": 2},
}
_MAX_NUMBER: Final = 1e6


def dump(state: SessionState, *, bundle_digest: str, rate_hz: int) -> bytes:
    """Write a state; a few kilobytes, and with a speech encoder its context besides."""
    pose = asdict(state.pose)
    numbers = {
        "bundle": bundle_digest,
        "rate_hz": rate_hz,
        "seed": state.seed,
        "look": state.look,
        "num_samples": state.num_samples,
        "first_sample": state.resampler.first_sample,
        "num_outputs": state.resampler.num_outputs,
        "block_index": state.block_index,
        "heard_samples": state.heard_samples,
        "sure": state.sure,
        "lid_phase": pose.pop("lid_phase"),
        "lid_debt": pose.pop("lid_debt"),
        "listener": asdict(state.listener),
        "controls": _controls_to_json(state.controls),
    }
    arrays = {
        "tail": state.resampler.tail,
        "audio": state.audio,
        "peak": state.normaliser.peak,
        "weight": state.normaliser.weight,
        "spectrum": state.normaliser.spectrum,
        "features": state.features,
        "glided": state.glided,
        "latents": state.latents,
        "heard": state.heard,
        "voice_memory": state.voice_memory,
        "tones": state.tones,
        "melody": state.melody,
        **({"sound": state.sound} if len(state.sound) else {}),
        **pose,
    }
    layout = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps([numbers, layout], separators=(",", ":")).encode()
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return _MAGIC + zlib.compress(struct.pack("<I", len(header)) + header + body, 6)


def load(
    data: bytes, *, model: MotionDiT, bundle_digest: str, resampler: Resampler
) -> SessionState:
    """Read a state of `dump`.

    Raises:
        InvalidInput: It is none, or a damaged one.
        FailedPrecondition: It is of another bundle or sample rate.
    """
    numbers, arrays = _unpack(data)
    if numbers.get("bundle") != bundle_digest or numbers.get("rate_hz") != resampler.rate_hz:
        raise FailedPrecondition(
            "resume_state must be of the same model and sample rate as the stream; it is of "
            f"{numbers.get('rate_hz')} Hz and model {str(numbers.get('bundle'))[:12]}; resume on a "
            "replica of the same release with the same configuration",
            reason="RESUME_STATE_MISMATCH",
            field="resume_state",
        )
    try:
        return _build(numbers, arrays, model)
    except (KeyError, TypeError, ValueError, InvalidInput) as error:
        raise _bad("its content does not fit") from error


def _bad(detail: str) -> InvalidInput:
    return InvalidInput(
        f"resume_state must be a checkpoint that a motion stream gave; {detail}; "
        "send the bytes unchanged, or start anew",
        reason="BAD_RESUME_STATE",
        field="resume_state",
    )


def _unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not data.startswith(_MAGIC):
        raise _bad("it does not begin like one")
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(data[len(_MAGIC) :], _MAX_RAW_BYTES)
        if not inflate.eof:
            raise _bad("it is cut off or too large")
        length = struct.unpack_from("<I", raw)[0]
        numbers, layout = json.loads(raw[4 : 4 + length])
        arrays, offset = {}, 4 + length
        for name, dtype, shape in layout:
            kind, count = np.dtype(dtype), math.prod(shape)
            if kind.hasobject or min(shape, default=0) < 0:
                raise _bad("an array is malformed")
            arrays[name] = np.frombuffer(raw, kind, count, offset).reshape(shape).copy()
            offset += count * kind.itemsize
    except (zlib.error, struct.error, ValueError, TypeError, OverflowError) as error:
        raise _bad("it is damaged") from error
    if not isinstance(numbers, dict):
        raise _bad("it is damaged")
    return numbers, arrays


def _build(
    numbers: dict[str, Any], arrays: dict[str, np.ndarray], model: MotionDiT
) -> SessionState:
    def take(name: str, dtype: type, *shape: int | None) -> Any:
        array = arrays[name]
        fits = array.ndim == len(shape) and all(
            want is None or size == want for size, want in zip(array.shape, shape, strict=True)
        )
        if array.dtype != np.dtype(dtype) or not fits:
            _refuse(name)
        if not (np.abs(array.astype(np.float64)) < 1e9).all():  # also not a number
            _refuse(name)
        return array

    def whole(name: str, low: int, high: int) -> int:
        value = numbers[name]
        if not isinstance(value, int) or not low <= value <= high:
            _refuse(name)
        return int(value)

    look = whole("look", 0, len(LOOK_AHEAD_HOPS) - 1)
    features = take("features", np.int8, CONTEXT_HOPS, NUM_FEATURES)
    latents = take("latents", np.float16, None, LATENT_DIM)
    if len(latents) > model.config.past_frames:
        _refuse("latents")
    num_sound = session.num_sound(look, model)
    lid_debt, sure = float(numbers["lid_debt"]), float(numbers.get("sure", SURE))
    if not 0.0 <= sure <= 1.0:
        _refuse("sure")
    listener = ListenerState(**{k: float(v) for k, v in numbers["listener"].items()})
    if not all(abs(v) < _MAX_NUMBER for v in (lid_debt, listener.peak, listener.activity)):
        _refuse("listener")
    long_ago = 2**62
    with torch.inference_mode():
        return SessionState(
            seed=whole("seed", -(2**63), 2**64 - 1),
            look=look,
            num_samples=whole("num_samples", 0, long_ago),
            resampler=ResamplerState(
                take("tail", np.float32, None),
                whole("first_sample", -(2**20), long_ago),
                whole("num_outputs", 0, long_ago),
            ),
            audio=take("audio", np.int16, None),
            sound=take("sound", np.int16, num_sound) if num_sound else np.zeros(0, np.int16),
            block_index=whole("block_index", -64, long_ago),
            normaliser=NormaliserState(
                take("peak", np.float64, 1),
                take("weight", np.float64, 1),
                take("spectrum", np.float64, 1, NUM_MELS),
            ),
            features=features,
            half_encoded=session.half_encode(features, look, model),
            controls=_controls_from_json(numbers["controls"]),
            glided=take("glided", np.float32, CONDITION_DIM),
            latents=latents,
            cache=session.recall(latents, model),
            pose=PoseState(
                **{name: take(name, np.float64, size) for name, size in _POSE_SIZES.items()},
                lid_phase=whole("lid_phase", 0, 1000),
                lid_debt=lid_debt,
            ),
            listener=listener,
            heard=take("heard", np.float32, None),
            heard_samples=whole("heard_samples", 0, long_ago),
            sure=sure,
            voice_memory=take("voice_memory", np.float16, session.num_remembered(model)),
            tones=take("tones", np.int8, NUM_TONES, 2),
            melody=take("melody", np.float64, 3),
        )


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _controls_to_json(controls: Controls) -> dict[str, Any]:
    values = {
        name: getattr(controls, name)
        for name in Controls.__slots__
        if name not in ("emotion", "head_pose", "driving")
    }
    pose = controls.head_pose
    return {
        **values,
        "emotion": dict(controls.emotion),
        "driving": controls.driving.value,
        "head_pose": None if pose is None else asdict(pose),
    }


def _controls_from_json(values: dict[str, Any]) -> Controls:
    pose = values["head_pose"]
    fields = {
        **values,
        "driving": Driving(values["driving"]),
        "head_pose": None if pose is None else HeadPose(**pose),
    }
    return Controls(**fields)
