from parlante.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MotionStreamConfig(_message.Message):
    __slots__ = ("audio_encoding", "sample_rate_hz", "seed", "controls", "delay_budget_ms", "resume_state", "emit_checkpoints", "accept_handover", "accept_handover_notice", "in_background")
    AUDIO_ENCODING_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    DELAY_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    RESUME_STATE_FIELD_NUMBER: _ClassVar[int]
    EMIT_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_HANDOVER_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_HANDOVER_NOTICE_FIELD_NUMBER: _ClassVar[int]
    IN_BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    audio_encoding: _common_pb2.AudioEncoding
    sample_rate_hz: int
    seed: int
    controls: _common_pb2.Controls
    delay_budget_ms: int
    resume_state: bytes
    emit_checkpoints: bool
    accept_handover: bool
    accept_handover_notice: bool
    in_background: bool
    def __init__(self, audio_encoding: _Optional[_Union[_common_pb2.AudioEncoding, str]] = ..., sample_rate_hz: _Optional[int] = ..., seed: _Optional[int] = ..., controls: _Optional[_Union[_common_pb2.Controls, _Mapping]] = ..., delay_budget_ms: _Optional[int] = ..., resume_state: _Optional[bytes] = ..., emit_checkpoints: _Optional[bool] = ..., accept_handover: _Optional[bool] = ..., accept_handover_notice: _Optional[bool] = ..., in_background: _Optional[bool] = ...) -> None: ...

class MotionAudio(_message.Message):
    __slots__ = ("start_sample", "data")
    START_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    start_sample: int
    data: bytes
    def __init__(self, start_sample: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class StreamMotionRequest(_message.Message):
    __slots__ = ("config", "audio", "control", "listening")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    LISTENING_FIELD_NUMBER: _ClassVar[int]
    config: MotionStreamConfig
    audio: MotionAudio
    control: _common_pb2.Controls
    listening: MotionAudio
    def __init__(self, config: _Optional[_Union[MotionStreamConfig, _Mapping]] = ..., audio: _Optional[_Union[MotionAudio, _Mapping]] = ..., control: _Optional[_Union[_common_pb2.Controls, _Mapping]] = ..., listening: _Optional[_Union[MotionAudio, _Mapping]] = ...) -> None: ...

class MotionStarted(_message.Message):
    __slots__ = ("config", "motion_space", "channels", "algorithmic_delay_ms", "bundle_digest")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    MOTION_SPACE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMIC_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    config: MotionStreamConfig
    motion_space: str
    channels: _containers.RepeatedScalarFieldContainer[str]
    algorithmic_delay_ms: int
    bundle_digest: str
    def __init__(self, config: _Optional[_Union[MotionStreamConfig, _Mapping]] = ..., motion_space: _Optional[str] = ..., channels: _Optional[_Iterable[str]] = ..., algorithmic_delay_ms: _Optional[int] = ..., bundle_digest: _Optional[str] = ...) -> None: ...

class MotionFrames(_message.Message):
    __slots__ = ("start_frame", "frame_count", "values", "checkpoint", "checkpoint_sample")
    START_FRAME_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    start_frame: int
    frame_count: int
    values: _containers.RepeatedScalarFieldContainer[float]
    checkpoint: bytes
    checkpoint_sample: int
    def __init__(self, start_frame: _Optional[int] = ..., frame_count: _Optional[int] = ..., values: _Optional[_Iterable[float]] = ..., checkpoint: _Optional[bytes] = ..., checkpoint_sample: _Optional[int] = ...) -> None: ...

class StreamMotionResponse(_message.Message):
    __slots__ = ("started", "block", "handover")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    HANDOVER_FIELD_NUMBER: _ClassVar[int]
    started: MotionStarted
    block: MotionFrames
    handover: _common_pb2.Handover
    def __init__(self, started: _Optional[_Union[MotionStarted, _Mapping]] = ..., block: _Optional[_Union[MotionFrames, _Mapping]] = ..., handover: _Optional[_Union[_common_pb2.Handover, _Mapping]] = ...) -> None: ...
