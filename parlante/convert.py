"""Protocol messages <-> domain values: the only module that knows both.

``*_from_proto`` checks what came over the wire and raises `InvalidInput` with a stable reason;
``*_to_proto`` takes values that are right by construction. Latents, which travel in pieces, are
in `parlante.rpc.latents`.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

import numpy as np

from parlante.errors import InternalError, InvalidInput
from parlante.types import (
    DEFAULT_DELAY_BUDGET_MS,
    FRAME_SIZE_PX,
    FRAME_SIZES_PX,
    MODEL_SAMPLE_RATE_HZ,
    MOTION_DIM,
    AudioChunk,
    AvatarInfo,
    Background,
    BackgroundKind,
    Controls,
    ControlUpdate,
    Driving,
    FaceChoice,
    FaceSelection,
    FrameEncoding,
    Framing,
    HeadPose,
    Int16Array,
    ListeningChunk,
    MotionBlock,
    MotionConfig,
    RenderConfig,
    RenderedFrame,
    usual_bitrate_kbps,
)
from parlante.v1 import common_pb2, encoder_pb2, motion_pb2, renderer_pb2

MAX_AUDIO_BYTES: Final = 65_536
MAX_BLOCK_FRAMES: Final = 250
MAX_FACE_INDEX: Final = 99
MAX_PAGE_SIZE: Final = 1000
DEFAULT_PAGE_SIZE: Final = 50
DEFAULT_JPEG_QUALITY: Final = 85
_MAX_FRAME_INDEX: Final = 2**63 - 1  # what the index of a rendered frame, an int64, can hold

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KEY = re.compile(r"[0-9a-f]{64}")


M = TypeVar("M")


def _numbers_of(members: dict[int, M]) -> dict[M, int]:
    """The other way round; 0, "unspecified", is only ever read."""
    return {member: number for number, member in members.items() if number != 0}


_ENCODINGS: Final[dict[int, FrameEncoding]] = {
    common_pb2.FRAME_ENCODING_UNSPECIFIED: FrameEncoding.JPEG,
    common_pb2.FRAME_ENCODING_JPEG: FrameEncoding.JPEG,
    common_pb2.FRAME_ENCODING_H264: FrameEncoding.H264,
    common_pb2.FRAME_ENCODING_RGBA32: FrameEncoding.RGBA32,
    common_pb2.FRAME_ENCODING_BGRA32: FrameEncoding.BGRA32,
    common_pb2.FRAME_ENCODING_RGB24: FrameEncoding.RGB24,
    common_pb2.FRAME_ENCODING_NV12: FrameEncoding.NV12,
    common_pb2.FRAME_ENCODING_PNG: FrameEncoding.PNG,
    common_pb2.FRAME_ENCODING_WEBP: FrameEncoding.WEBP,
}
_ENCODING_NUMBERS: Final = _numbers_of(_ENCODINGS)
_CHOICES: Final[dict[int, FaceChoice]] = {
    encoder_pb2.FACE_CHOICE_UNSPECIFIED: FaceChoice.ONLY,
    encoder_pb2.FACE_CHOICE_ONLY: FaceChoice.ONLY,
    encoder_pb2.FACE_CHOICE_LARGEST: FaceChoice.LARGEST,
    encoder_pb2.FACE_CHOICE_INDEX: FaceChoice.INDEX,
}
_CHOICE_NUMBERS: Final = _numbers_of(_CHOICES)
_FRAMINGS: Final[dict[int, Framing]] = {
    encoder_pb2.FRAMING_UNSPECIFIED: Framing.HEAD,
    encoder_pb2.FRAMING_HEAD: Framing.HEAD,
    encoder_pb2.FRAMING_SHOULDERS: Framing.SHOULDERS,
    encoder_pb2.FRAMING_FULL: Framing.FULL,
}
_FRAMING_NUMBERS: Final = _numbers_of(_FRAMINGS)
_BACKGROUNDS: Final[dict[int, BackgroundKind]] = {
    common_pb2.BACKGROUND_KIND_UNSPECIFIED: BackgroundKind.KEPT,
    common_pb2.BACKGROUND_KIND_KEPT: BackgroundKind.KEPT,
    common_pb2.BACKGROUND_KIND_BLURRED: BackgroundKind.BLURRED,
    common_pb2.BACKGROUND_KIND_COLOUR: BackgroundKind.COLOUR,
    common_pb2.BACKGROUND_KIND_PICTURE: BackgroundKind.PICTURE,
    common_pb2.BACKGROUND_KIND_TRANSPARENT: BackgroundKind.TRANSPARENT,
}
_BACKGROUND_NUMBERS: Final = _numbers_of(_BACKGROUNDS)
_DRIVINGS: Final[dict[int, Driving]] = {
    common_pb2.DRIVING_UNSPECIFIED: Driving.FULL,
    common_pb2.DRIVING_FULL: Driving.FULL,
    common_pb2.DRIVING_EXPRESSION_ONLY: Driving.EXPRESSION_ONLY,
    common_pb2.DRIVING_POSE_ONLY: Driving.POSE_ONLY,
}
_DRIVING_NUMBERS: Final = _numbers_of(_DRIVINGS)


# --- names and enums ---------------------------------------------------------------------------


def check_name(name: str, *, field: str = "name") -> str:
    """Return an avatar name that is well formed; raises `InvalidInput` BAD_NAME."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "an avatar name has 1 to 63 of a-z, 0-9 and '-', with no '-' at the ends; "
            f"got {name[:80]!r}",
            reason="BAD_NAME",
            field=field,
        )
    return name


def check_key(key: str, *, field: str = "key") -> str:
    """Return a content key that is well formed; raises `InvalidInput` BAD_KEY."""
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            f"a content key is 64 lower-case hex digits; got {key[:80]!r}",
            reason="BAD_KEY",
            field=field,
        )
    return key


def _unknown_enum(field: str, number: int) -> InvalidInput:
    return InvalidInput(
        f"{field} has no value {number} in this version; use one of the values of the protocol",
        reason="UNKNOWN_ENUM_VALUE",
        field=field,
    )


def check_audio_encoding(number: int, *, field: str = "audio_encoding") -> None:
    """Raise `InvalidInput` UNKNOWN_ENUM_VALUE unless the audio is LINEAR16 (or unspecified)."""
    if number not in (common_pb2.AUDIO_ENCODING_UNSPECIFIED, common_pb2.AUDIO_ENCODING_LINEAR16):
        raise _unknown_enum(field, number)


def is_known_frame_encoding(number: int) -> bool:
    """Tell whether this version knows a frame encoding; for lists that a server chooses from."""
    return number in _ENCODINGS


def frame_encoding_from_proto(number: int, *, field: str = "frame_encoding") -> FrameEncoding:
    """Convert a frame encoding; 0 is JPEG."""
    if number not in _ENCODINGS:
        raise _unknown_enum(field, number)
    return _ENCODINGS[number]


def frame_encoding_to_proto(encoding: FrameEncoding) -> common_pb2.FrameEncoding:
    """Convert a frame encoding."""
    return _ENCODING_NUMBERS[encoding]  # type: ignore[return-value]


def face_selection_from_proto(choice: int, index: int, framing: int = 0) -> FaceSelection:
    """Convert the choice of a face and its framing; 0 is ONLY and HEAD."""
    if choice not in _CHOICES:
        raise _unknown_enum("face_choice", choice)
    if not 0 <= index <= MAX_FACE_INDEX:
        raise InvalidInput(
            f"face_index must be in [0, {MAX_FACE_INDEX}]; got {index}",
            reason="FACE_INDEX_OUT_OF_RANGE",
            field="face_index",
        )
    if framing not in _FRAMINGS:
        raise _unknown_enum("framing", framing)
    return FaceSelection(choice=_CHOICES[choice], index=index, framing=_FRAMINGS[framing])


def face_choice_to_proto(choice: FaceChoice) -> encoder_pb2.FaceChoice:
    """Convert the choice of a face."""
    return _CHOICE_NUMBERS[choice]  # type: ignore[return-value]


def framing_to_proto(framing: Framing) -> encoder_pb2.Framing:
    """Convert a framing."""
    return _FRAMING_NUMBERS[framing]  # type: ignore[return-value]


# --- controls ----------------------------------------------------------------------------------


def controls_from_proto(message: common_pb2.Controls) -> Controls:
    """Convert controls; what is absent, and a head distance of 0, is the default."""
    intensity = message.intensity if message.HasField("intensity") else None
    return Controls(
        gaze_yaw_rad=message.gaze_yaw_rad,
        gaze_pitch_rad=message.gaze_pitch_rad,
        head_distance=1.0 if message.head_distance == 0.0 else message.head_distance,
        emotion=dict(message.emotion),
        head_motion=1.0 if intensity is None else intensity.head_motion,
        expression=1.0 if intensity is None else intensity.expression,
        blink_rate=message.blinking.rate if message.HasField("blinking") else 1.0,
        head_pose=_head_pose_from_proto(message),
        driving=driving_from_proto(message.driving),
    )


def controls_to_proto(controls: Controls) -> common_pb2.Controls:
    """Convert controls, every value explicit; only a head pose of None is absent."""
    return common_pb2.Controls(
        gaze_yaw_rad=controls.gaze_yaw_rad,
        gaze_pitch_rad=controls.gaze_pitch_rad,
        head_distance=controls.head_distance,
        emotion=dict(controls.emotion),
        intensity=common_pb2.Intensity(
            head_motion=controls.head_motion, expression=controls.expression
        ),
        blinking=common_pb2.Blinking(rate=controls.blink_rate),
        head_pose=_head_pose_to_proto(controls.head_pose),
        driving=_DRIVING_NUMBERS[controls.driving],  # type: ignore[arg-type]
    )


def _head_pose_from_proto(message: common_pb2.Controls) -> HeadPose | None:
    if not message.HasField("head_pose"):
        return None
    pose = message.head_pose
    return HeadPose(yaw_rad=pose.yaw_rad, pitch_rad=pose.pitch_rad, roll_rad=pose.roll_rad)


def _head_pose_to_proto(pose: HeadPose | None) -> common_pb2.HeadPose | None:
    if pose is None:
        return None
    return common_pb2.HeadPose(
        yaw_rad=pose.yaw_rad, pitch_rad=pose.pitch_rad, roll_rad=pose.roll_rad
    )


def driving_from_proto(number: int) -> Driving:
    """Convert what the voice drives; 0 is FULL."""
    if number not in _DRIVINGS:
        raise _unknown_enum("controls.driving", number)
    return _DRIVINGS[number]


def sample_rate_from_proto(rate_hz: int) -> int:
    """Fill in the default rate; the range is checked by the configuration that takes it."""
    return MODEL_SAMPLE_RATE_HZ if rate_hz == 0 else rate_hz


# --- audio and motion --------------------------------------------------------------------------


def samples_from_bytes(
    data: bytes, *, field: str = "data", max_bytes: int = MAX_AUDIO_BYTES
) -> Int16Array:
    """Read little-endian int16 samples [S]; the array is read-only and shares `data`."""
    if not data:
        raise InvalidInput(
            "audio must have at least one sample; got 0 bytes",
            reason="EMPTY_MESSAGE",
            field=field,
        )
    if len(data) > max_bytes:
        raise InvalidInput(
            f"an audio message has at most {max_bytes} bytes here; got {len(data)}; "
            "send 20 to 40 ms at a time",
            reason="AUDIO_TOO_LARGE",
            field=field,
        )
    if len(data) % 2:
        raise InvalidInput(
            f"16-bit audio has an even number of bytes; got {len(data)}; split between samples",
            reason="ODD_BYTE_COUNT",
            field=field,
        )
    return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)


def samples_to_bytes(samples: Int16Array) -> bytes:
    """Write int16 samples [S] little endian."""
    return samples.astype("<i2", copy=False).tobytes()


def audio_from_proto(message: motion_pb2.MotionAudio) -> AudioChunk:
    """Convert audio; contiguity is the motion engine's to check."""
    samples = samples_from_bytes(message.data, field="audio.data")
    return AudioChunk(start_sample=message.start_sample, samples=samples)


def listening_from_proto(message: motion_pb2.MotionAudio) -> ListeningChunk:
    """Convert listening audio; its order is the motion engine's to check."""
    samples = samples_from_bytes(message.data, field="listening.data")
    return ListeningChunk(start_sample=message.start_sample, samples=samples)


def audio_to_proto(chunk: AudioChunk | ListeningChunk) -> list[motion_pb2.MotionAudio]:
    """Convert audio, split into as many messages as its size needs; none when it is empty."""
    step = MAX_AUDIO_BYTES // 2
    return [
        motion_pb2.MotionAudio(
            start_sample=chunk.start_sample + offset,
            data=samples_to_bytes(chunk.samples[offset : offset + step]),
        )
        for offset in range(0, len(chunk.samples), step)
    ]


def control_from_proto(message: common_pb2.Controls) -> ControlUpdate:
    """Convert a control update of a motion stream."""
    return ControlUpdate(controls=controls_from_proto(message))


def motion_config_from_proto(message: motion_pb2.MotionStreamConfig) -> MotionConfig:
    """Convert a motion stream's configuration, defaults filled in."""
    check_audio_encoding(message.audio_encoding)
    return MotionConfig(
        sample_rate_hz=sample_rate_from_proto(message.sample_rate_hz),
        seed=message.seed,
        controls=controls_from_proto(message.controls),
        delay_budget_ms=message.delay_budget_ms or DEFAULT_DELAY_BUDGET_MS,
        resume_state=message.resume_state,
        emit_checkpoints=message.emit_checkpoints,
        in_background=message.in_background,
    )


def motion_config_to_proto(config: MotionConfig) -> motion_pb2.MotionStreamConfig:
    """Convert a motion stream's configuration, every value explicit."""
    return motion_pb2.MotionStreamConfig(
        audio_encoding=common_pb2.AUDIO_ENCODING_LINEAR16,
        sample_rate_hz=config.sample_rate_hz,
        seed=config.seed,
        controls=controls_to_proto(config.controls),
        delay_budget_ms=config.delay_budget_ms,
        resume_state=config.resume_state,
        emit_checkpoints=config.emit_checkpoints,
        in_background=config.in_background,
    )


def motion_block_from_proto(message: motion_pb2.MotionFrames) -> MotionBlock:
    """Convert motion frames; their number, size and finiteness are checked."""
    num_frames, num_values = message.frame_count, len(message.values)
    if not 1 <= num_frames <= MAX_BLOCK_FRAMES or num_values != num_frames * MOTION_DIM:
        raise InvalidInput(
            f"a block has 1 to {MAX_BLOCK_FRAMES} frames of {MOTION_DIM} values; "
            f"got frame_count {num_frames} and {num_values} values",
            reason="BAD_MOTION_SHAPE",
            field="block.values",
        )
    if not 0 <= message.start_frame <= _MAX_FRAME_INDEX - (num_frames - 1):
        raise InvalidInput(
            f"start_frame must be >= 0, and no frame beyond {_MAX_FRAME_INDEX}; "
            f"got start_frame {message.start_frame} with {num_frames} frames",
            reason="FRAME_ORDER",
            field="block.start_frame",
        )
    values = np.array(message.values, dtype=np.float32).reshape(num_frames, MOTION_DIM)
    if not np.isfinite(values).all():
        raise InvalidInput(
            "motion values must be finite; got NaN or infinity",
            reason="NON_FINITE_MOTION",
            field="block.values",
        )
    return MotionBlock(
        start_frame=message.start_frame,
        values=values,
        checkpoint=message.checkpoint,
        checkpoint_sample=message.checkpoint_sample,
    )


def motion_block_to_proto(block: MotionBlock) -> list[motion_pb2.MotionFrames]:
    """Convert motion frames, split into as many messages as their number needs.

    The checkpoint goes with the last: it is the state after all of them.
    """
    messages = [
        motion_pb2.MotionFrames(
            start_frame=block.start_frame + offset,
            frame_count=len(rows),
            values=rows.ravel().tolist(),
        )
        for offset in range(0, len(block.values), MAX_BLOCK_FRAMES)
        for rows in (block.values[offset : offset + MAX_BLOCK_FRAMES],)
    ]
    if messages and block.checkpoint:
        messages[-1].checkpoint = block.checkpoint
        messages[-1].checkpoint_sample = block.checkpoint_sample
    return messages


# --- rendering ---------------------------------------------------------------------------------


def background_from_proto(message: common_pb2.Background) -> Background:
    """Convert what is behind the person; an empty message keeps the portrait's own."""
    if message.kind not in _BACKGROUNDS:
        raise _unknown_enum("background.kind", message.kind)
    if not 0 <= message.colour_rgb <= 0xFFFFFF:
        raise InvalidInput(
            f"background.colour_rgb must be in [0, 0xFFFFFF]; got {message.colour_rgb}",
            reason="BAD_COLOUR",
            field="background.colour_rgb",
        )
    rgb = message.colour_rgb.to_bytes(3, "big")
    return Background(
        kind=_BACKGROUNDS[message.kind],
        colour_rgb=(rgb[0], rgb[1], rgb[2]),
        picture=message.picture,
    )


def background_to_proto(
    background: Background, *, with_picture: bool = True
) -> common_pb2.Background:
    """Convert what is behind the person; the picture may be left out, where it is only told of."""
    return common_pb2.Background(
        kind=_BACKGROUND_NUMBERS[background.kind],  # type: ignore[arg-type]
        colour_rgb=int.from_bytes(bytes(background.colour_rgb), "big"),
        picture=background.picture if with_picture else b"",
    )


def bitrate_from_proto(bitrate_kbps: int, frame_size_px: int) -> int:
    """Fill in the default bit rate, which grows with the frames: 1500 at 512 px."""
    # A size that is none is refused by the configuration that takes it.
    size_px = frame_size_px if frame_size_px in FRAME_SIZES_PX else FRAME_SIZE_PX
    return bitrate_kbps or usual_bitrate_kbps(size_px)


def render_config_from_proto(message: renderer_pb2.RenderStreamConfig) -> RenderConfig:
    """Convert a render stream's configuration, defaults filled in."""
    return RenderConfig(
        avatar_key=check_key(message.avatar_key, field="avatar_key"),
        encoding=frame_encoding_from_proto(message.frame_encoding),
        jpeg_quality=message.jpeg_quality or DEFAULT_JPEG_QUALITY,
        h264_bitrate_kbps=bitrate_from_proto(message.h264_bitrate_kbps, message.frame_size_px),
        frame_size_px=message.frame_size_px,
        background=background_from_proto(message.background),
        frame_deadline_ms=message.frame_deadline_ms,
    )


def render_config_to_proto(config: RenderConfig) -> renderer_pb2.RenderStreamConfig:
    """Convert a render stream's configuration, every value explicit."""
    return renderer_pb2.RenderStreamConfig(
        avatar_key=config.avatar_key,
        frame_encoding=frame_encoding_to_proto(config.encoding),
        jpeg_quality=config.jpeg_quality,
        h264_bitrate_kbps=config.h264_bitrate_kbps,
        frame_size_px=config.frame_size_px,
        background=background_to_proto(config.background),
        frame_deadline_ms=config.frame_deadline_ms,
    )


def frame_to_proto(frame: RenderedFrame) -> renderer_pb2.RenderedFrameData:
    """Convert a rendered frame."""
    return renderer_pb2.RenderedFrameData(
        frame_index=frame.frame_index,
        data=frame.data,
        key_frame=frame.key_frame,
        width_px=frame.width_px,
        height_px=frame.height_px,
    )


def frame_from_proto(
    message: renderer_pb2.RenderedFrameData, started: renderer_pb2.RenderStarted
) -> RenderedFrame:
    """Convert a rendered frame of a stream that began with `started`."""
    return RenderedFrame(
        frame_index=message.frame_index,
        data=message.data,
        key_frame=message.key_frame,
        width_px=message.width_px or started.width_px,
        height_px=message.height_px or started.height_px,
    )


# --- avatars -----------------------------------------------------------------------------------


def avatar_to_proto(info: AvatarInfo) -> encoder_pb2.Avatar:
    """Convert an avatar; `from_cache` travels beside it."""
    return encoder_pb2.Avatar(
        name=info.name,
        key=info.key,
        bundle_digest=info.bundle_digest,
        created_unix_ms=info.created_unix_ms,
        source_width_px=info.source_width_px,
        source_height_px=info.source_height_px,
        latent_bytes=info.latent_bytes,
        framing=framing_to_proto(info.framing),
    )


def avatar_from_proto(message: encoder_pb2.Avatar, *, from_cache: bool = False) -> AvatarInfo:
    """Convert an avatar that a server told us of."""
    if not message.name or not message.key:
        raise InternalError("the encoder answered with an avatar without name or key")
    return AvatarInfo(
        name=message.name,
        key=message.key,
        bundle_digest=message.bundle_digest,
        created_unix_ms=message.created_unix_ms,
        source_width_px=message.source_width_px,
        source_height_px=message.source_height_px,
        latent_bytes=message.latent_bytes,
        from_cache=from_cache,
        # A newer server's framing, which this version does not know, is shown as it comes.
        framing=_FRAMINGS.get(message.framing, Framing.HEAD),
    )


def page_size_from_proto(page_size: int) -> int:
    """Fill in and check the size of a page."""
    if not 0 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidInput(
            f"page_size must be in [0, {MAX_PAGE_SIZE}]; got {page_size}",
            reason="PAGE_SIZE_OUT_OF_RANGE",
            field="page_size",
        )
    return page_size or DEFAULT_PAGE_SIZE
