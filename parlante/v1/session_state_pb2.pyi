from parlante.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PlayingUtterance(_message.Message):
    __slots__ = ("utterance_id", "playing")
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PLAYING_FIELD_NUMBER: _ClassVar[int]
    utterance_id: str
    playing: bool
    def __init__(self, utterance_id: _Optional[str] = ..., playing: _Optional[bool] = ...) -> None: ...

class FinishedUtterance(_message.Message):
    __slots__ = ("utterance_id", "interrupted")
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    utterance_id: str
    interrupted: bool
    def __init__(self, utterance_id: _Optional[str] = ..., interrupted: _Optional[bool] = ...) -> None: ...

class PendingInput(_message.Message):
    __slots__ = ("audio", "controls")
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    audio: PendingAudio
    controls: _common_pb2.Controls
    def __init__(self, audio: _Optional[_Union[PendingAudio, _Mapping]] = ..., controls: _Optional[_Union[_common_pb2.Controls, _Mapping]] = ...) -> None: ...

class PendingAudio(_message.Message):
    __slots__ = ("start_sample", "data")
    START_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    start_sample: int
    data: bytes
    def __init__(self, start_sample: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class SessionState(_message.Message):
    __slots__ = ("session_id", "avatar_key", "sample_rate_hz", "seed", "delay_budget_ms", "issued_unix_s", "position_sample", "audio_sample", "message_count", "playing", "finished", "named_count", "checkpoint", "checkpoint_sample", "next_frame", "controls", "pending", "frame_utterances", "dropped_frame_count")
    class FrameUtterancesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AVATAR_KEY_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DELAY_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    ISSUED_UNIX_S_FIELD_NUMBER: _ClassVar[int]
    POSITION_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PLAYING_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    NAMED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FRAME_FIELD_NUMBER: _ClassVar[int]
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    FRAME_UTTERANCES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    avatar_key: str
    sample_rate_hz: int
    seed: int
    delay_budget_ms: int
    issued_unix_s: int
    position_sample: int
    audio_sample: int
    message_count: int
    playing: PlayingUtterance
    finished: _containers.RepeatedCompositeFieldContainer[FinishedUtterance]
    named_count: int
    checkpoint: bytes
    checkpoint_sample: int
    next_frame: int
    controls: _common_pb2.Controls
    pending: _containers.RepeatedCompositeFieldContainer[PendingInput]
    frame_utterances: _containers.ScalarMap[int, str]
    dropped_frame_count: int
    def __init__(self, session_id: _Optional[str] = ..., avatar_key: _Optional[str] = ..., sample_rate_hz: _Optional[int] = ..., seed: _Optional[int] = ..., delay_budget_ms: _Optional[int] = ..., issued_unix_s: _Optional[int] = ..., position_sample: _Optional[int] = ..., audio_sample: _Optional[int] = ..., message_count: _Optional[int] = ..., playing: _Optional[_Union[PlayingUtterance, _Mapping]] = ..., finished: _Optional[_Iterable[_Union[FinishedUtterance, _Mapping]]] = ..., named_count: _Optional[int] = ..., checkpoint: _Optional[bytes] = ..., checkpoint_sample: _Optional[int] = ..., next_frame: _Optional[int] = ..., controls: _Optional[_Union[_common_pb2.Controls, _Mapping]] = ..., pending: _Optional[_Iterable[_Union[PendingInput, _Mapping]]] = ..., frame_utterances: _Optional[_Mapping[int, str]] = ..., dropped_frame_count: _Optional[int] = ...) -> None: ...
