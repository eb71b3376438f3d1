from parlante.v1 import common_pb2 as _common_pb2
from parlante.v1 import encoder_pb2 as _encoder_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Pacing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PACING_UNSPECIFIED: _ClassVar[Pacing]
    PACING_LIVE: _ClassVar[Pacing]
    PACING_BURST: _ClassVar[Pacing]

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_UTTERANCE_STARTED: _ClassVar[EventType]
    EVENT_TYPE_UTTERANCE_FINISHED: _ClassVar[EventType]
    EVENT_TYPE_INTERRUPTED: _ClassVar[EventType]
    EVENT_TYPE_AUDIO_UNDERRUN: _ClassVar[EventType]
    EVENT_TYPE_FRAMES_DROPPED: _ClassVar[EventType]
    EVENT_TYPE_GO_AWAY: _ClassVar[EventType]
PACING_UNSPECIFIED: Pacing
PACING_LIVE: Pacing
PACING_BURST: Pacing
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_UTTERANCE_STARTED: EventType
EVENT_TYPE_UTTERANCE_FINISHED: EventType
EVENT_TYPE_INTERRUPTED: EventType
EVENT_TYPE_AUDIO_UNDERRUN: EventType
EVENT_TYPE_FRAMES_DROPPED: EventType
EVENT_TYPE_GO_AWAY: EventType

class SessionConfig(_message.Message):
    __slots__ = ("avatar_name", "portrait", "face_choice", "audio_encoding", "sample_rate_hz", "frame_encodings", "jpeg_quality", "h264_bitrate_kbps", "seed", "controls", "pacing", "return_audio", "return_motion", "no_frames", "max_frames_in_flight", "delay_budget_ms", "resumable", "resume", "frame_size_px", "background", "framing")
    AVATAR_NAME_FIELD_NUMBER: _ClassVar[int]
    PORTRAIT_FIELD_NUMBER: _ClassVar[int]
    FACE_CHOICE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_ENCODING_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    FRAME_ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    JPEG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    H264_BITRATE_KBPS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    PACING_FIELD_NUMBER: _ClassVar[int]
    RETURN_AUDIO_FIELD_NUMBER: _ClassVar[int]
    RETURN_MOTION_FIELD_NUMBER: _ClassVar[int]
    NO_FRAMES_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAMES_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    DELAY_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    FRAME_SIZE_PX_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    FRAMING_FIELD_NUMBER: _ClassVar[int]
    avatar_name: str
    portrait: bytes
    face_choice: _encoder_pb2.FaceChoice
    audio_encoding: _common_pb2.AudioEncoding
    sample_rate_hz: int
    frame_encodings: _containers.RepeatedScalarFieldContainer[_common_pb2.FrameEncoding]
    jpeg_quality: int
    h264_bitrate_kbps: int
    seed: int
    controls: _common_pb2.Controls
    pacing: Pacing
    return_audio: bool
    return_motion: bool
    no_frames: bool
    max_frames_in_flight: int
    delay_budget_ms: int
    resumable: bool
    resume: ResumeFrom
    frame_size_px: int
    background: _common_pb2.Background
    framing: _encoder_pb2.Framing
    def __init__(self, avatar_name: _Optional[str] = ..., portrait: _Optional[bytes] = ..., face_choice: _Optional[_Union[_encoder_pb2.FaceChoice, str]] = ..., audio_encoding: _Optional[_Union[_common_pb2.AudioEncoding, str]] = ..., sample_rate_hz: _Optional[int] = ..., frame_encodings: _Optional[_Iterable[_Union[_common_pb2.FrameEncoding, str]]] = ..., jpeg_quality: _Optional[int] = ..., h264_bitrate_kbps: _Optional[int] = ..., seed: _Optional[int] = ..., controls: _Optional[_Union[_common_pb2.Controls, _Mapping]] = ..., pacing: _Optional[_Union[Pacing, str]] = ..., return_audio: _Optional[bool] = ..., return_motion: _Optional[bool] = ..., no_frames: _Optional[bool] = ..., max_frames_in_flight: _Optional[int] = ..., delay_budget_ms: _Optional[int] = ..., resumable: _Optional[bool] = ..., resume: _Optional[_Union[ResumeFrom, _Mapping]] = ..., frame_size_px: _Optional[int] = ..., background: _Optional[_Union[_common_pb2.Background, _Mapping]] = ..., framing: _Optional[_Union[_encoder_pb2.Framing, str]] = ...) -> None: ...

class ResumeFrom(_message.Message):
    __slots__ = ("resume_token", "elapsed_us", "last_frame_seq", "next_frame_offset_us", "next_motion_offset_us", "next_audio_sample", "replayed_message_count", "repeated_message_count", "dropped_frame_count")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_US_FIELD_NUMBER: _ClassVar[int]
    LAST_FRAME_SEQ_FIELD_NUMBER: _ClassVar[int]
    NEXT_FRAME_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    NEXT_MOTION_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    NEXT_AUDIO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    REPEATED_MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    resume_token: bytes
    elapsed_us: int
    last_frame_seq: int
    next_frame_offset_us: int
    next_motion_offset_us: int
    next_audio_sample: int
    replayed_message_count: int
    repeated_message_count: int
    dropped_frame_count: int
    def __init__(self, resume_token: _Optional[bytes] = ..., elapsed_us: _Optional[int] = ..., last_frame_seq: _Optional[int] = ..., next_frame_offset_us: _Optional[int] = ..., next_motion_offset_us: _Optional[int] = ..., next_audio_sample: _Optional[int] = ..., replayed_message_count: _Optional[int] = ..., repeated_message_count: _Optional[int] = ..., dropped_frame_count: _Optional[int] = ...) -> None: ...

class AudioInput(_message.Message):
    __slots__ = ("start_sample", "data", "utterance_id")
    START_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    start_sample: int
    data: bytes
    utterance_id: str
    def __init__(self, start_sample: _Optional[int] = ..., data: _Optional[bytes] = ..., utterance_id: _Optional[str] = ...) -> None: ...

class ListeningInput(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ControlUpdate(_message.Message):
    __slots__ = ("controls", "apply_offset_us")
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    APPLY_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    controls: _common_pb2.Controls
    apply_offset_us: int
    def __init__(self, controls: _Optional[_Union[_common_pb2.Controls, _Mapping]] = ..., apply_offset_us: _Optional[int] = ...) -> None: ...

class EndOfUtterance(_message.Message):
    __slots__ = ("utterance_id",)
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    utterance_id: str
    def __init__(self, utterance_id: _Optional[str] = ...) -> None: ...

class Interrupt(_message.Message):
    __slots__ = ("utterance_id",)
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    utterance_id: str
    def __init__(self, utterance_id: _Optional[str] = ...) -> None: ...

class PlaybackReport(_message.Message):
    __slots__ = ("last_frame_seq", "media_offset_us", "jitter_buffer_frame_count")
    LAST_FRAME_SEQ_FIELD_NUMBER: _ClassVar[int]
    MEDIA_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    JITTER_BUFFER_FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    last_frame_seq: int
    media_offset_us: int
    jitter_buffer_frame_count: int
    def __init__(self, last_frame_seq: _Optional[int] = ..., media_offset_us: _Optional[int] = ..., jitter_buffer_frame_count: _Optional[int] = ...) -> None: ...

class ConverseRequest(_message.Message):
    __slots__ = ("config", "audio", "control", "end_of_utterance", "interrupt", "playback", "listening")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    END_OF_UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    INTERRUPT_FIELD_NUMBER: _ClassVar[int]
    PLAYBACK_FIELD_NUMBER: _ClassVar[int]
    LISTENING_FIELD_NUMBER: _ClassVar[int]
    config: SessionConfig
    audio: AudioInput
    control: ControlUpdate
    end_of_utterance: EndOfUtterance
    interrupt: Interrupt
    playback: PlaybackReport
    listening: ListeningInput
    def __init__(self, config: _Optional[_Union[SessionConfig, _Mapping]] = ..., audio: _Optional[_Union[AudioInput, _Mapping]] = ..., control: _Optional[_Union[ControlUpdate, _Mapping]] = ..., end_of_utterance: _Optional[_Union[EndOfUtterance, _Mapping]] = ..., interrupt: _Optional[_Union[Interrupt, _Mapping]] = ..., playback: _Optional[_Union[PlaybackReport, _Mapping]] = ..., listening: _Optional[_Union[ListeningInput, _Mapping]] = ...) -> None: ...

class SessionStarted(_message.Message):
    __slots__ = ("session_id", "config", "avatar", "frame_encoding", "width_px", "height_px", "frame_rate_hz", "algorithmic_delay_ms", "max_audio_ahead_ms", "motion_channels", "server_version")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    FRAME_ENCODING_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMIC_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_AUDIO_AHEAD_MS_FIELD_NUMBER: _ClassVar[int]
    MOTION_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    config: SessionConfig
    avatar: _encoder_pb2.Avatar
    frame_encoding: _common_pb2.FrameEncoding
    width_px: int
    height_px: int
    frame_rate_hz: int
    algorithmic_delay_ms: int
    max_audio_ahead_ms: int
    motion_channels: _containers.RepeatedScalarFieldContainer[str]
    server_version: str
    def __init__(self, session_id: _Optional[str] = ..., config: _Optional[_Union[SessionConfig, _Mapping]] = ..., avatar: _Optional[_Union[_encoder_pb2.Avatar, _Mapping]] = ..., frame_encoding: _Optional[_Union[_common_pb2.FrameEncoding, str]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., frame_rate_hz: _Optional[int] = ..., algorithmic_delay_ms: _Optional[int] = ..., max_audio_ahead_ms: _Optional[int] = ..., motion_channels: _Optional[_Iterable[str]] = ..., server_version: _Optional[str] = ...) -> None: ...

class VideoFrame(_message.Message):
    __slots__ = ("seq", "media_offset_us", "data", "key_frame", "idle", "utterance_id", "dropped_frame_count")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    MEDIA_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    KEY_FRAME_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    seq: int
    media_offset_us: int
    data: bytes
    key_frame: bool
    idle: bool
    utterance_id: str
    dropped_frame_count: int
    def __init__(self, seq: _Optional[int] = ..., media_offset_us: _Optional[int] = ..., data: _Optional[bytes] = ..., key_frame: _Optional[bool] = ..., idle: _Optional[bool] = ..., utterance_id: _Optional[str] = ..., dropped_frame_count: _Optional[int] = ...) -> None: ...

class AudioOutput(_message.Message):
    __slots__ = ("media_offset_us", "start_sample", "data", "utterance_id")
    MEDIA_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    START_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    media_offset_us: int
    start_sample: int
    data: bytes
    utterance_id: str
    def __init__(self, media_offset_us: _Optional[int] = ..., start_sample: _Optional[int] = ..., data: _Optional[bytes] = ..., utterance_id: _Optional[str] = ...) -> None: ...

class MotionOutput(_message.Message):
    __slots__ = ("media_offset_us", "values", "idle")
    MEDIA_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    media_offset_us: int
    values: _containers.RepeatedScalarFieldContainer[float]
    idle: bool
    def __init__(self, media_offset_us: _Optional[int] = ..., values: _Optional[_Iterable[float]] = ..., idle: _Optional[bool] = ...) -> None: ...

class SessionEvent(_message.Message):
    __slots__ = ("type", "media_offset_us", "utterance_id", "interrupted", "detail")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    type: EventType
    media_offset_us: int
    utterance_id: str
    interrupted: bool
    detail: str
    def __init__(self, type: _Optional[_Union[EventType, str]] = ..., media_offset_us: _Optional[int] = ..., utterance_id: _Optional[str] = ..., interrupted: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...

class ResumePoint(_message.Message):
    __slots__ = ("resume_token", "media_offset_us", "audio_sample", "message_count", "go_away")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MEDIA_OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    resume_token: bytes
    media_offset_us: int
    audio_sample: int
    message_count: int
    go_away: bool
    def __init__(self, resume_token: _Optional[bytes] = ..., media_offset_us: _Optional[int] = ..., audio_sample: _Optional[int] = ..., message_count: _Optional[int] = ..., go_away: _Optional[bool] = ...) -> None: ...

class ConverseResponse(_message.Message):
    __slots__ = ("session_started", "frame", "audio", "motion", "event", "resume_point")
    SESSION_STARTED_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    MOTION_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    RESUME_POINT_FIELD_NUMBER: _ClassVar[int]
    session_started: SessionStarted
    frame: VideoFrame
    audio: AudioOutput
    motion: MotionOutput
    event: SessionEvent
    resume_point: ResumePoint
    def __init__(self, session_started: _Optional[_Union[SessionStarted, _Mapping]] = ..., frame: _Optional[_Union[VideoFrame, _Mapping]] = ..., audio: _Optional[_Union[AudioOutput, _Mapping]] = ..., motion: _Optional[_Union[MotionOutput, _Mapping]] = ..., event: _Optional[_Union[SessionEvent, _Mapping]] = ..., resume_point: _Optional[_Union[ResumePoint, _Mapping]] = ...) -> None: ...
