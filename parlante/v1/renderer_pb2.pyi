from parlante.v1 import common_pb2 as _common_pb2
from parlante.v1 import motion_pb2 as _motion_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RenderStreamConfig(_message.Message):
    __slots__ = ("avatar_key", "frame_encoding", "jpeg_quality", "h264_bitrate_kbps", "accept_handover", "accept_handover_notice", "prepare_only", "frame_size_px", "background", "frame_deadline_ms")
    AVATAR_KEY_FIELD_NUMBER: _ClassVar[int]
    FRAME_ENCODING_FIELD_NUMBER: _ClassVar[int]
    JPEG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    H264_BITRATE_KBPS_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_HANDOVER_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_HANDOVER_NOTICE_FIELD_NUMBER: _ClassVar[int]
    PREPARE_ONLY_FIELD_NUMBER: _ClassVar[int]
    FRAME_SIZE_PX_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    FRAME_DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    avatar_key: str
    frame_encoding: _common_pb2.FrameEncoding
    jpeg_quality: int
    h264_bitrate_kbps: int
    accept_handover: bool
    accept_handover_notice: bool
    prepare_only: bool
    frame_size_px: int
    background: _common_pb2.Background
    frame_deadline_ms: int
    def __init__(self, avatar_key: _Optional[str] = ..., frame_encoding: _Optional[_Union[_common_pb2.FrameEncoding, str]] = ..., jpeg_quality: _Optional[int] = ..., h264_bitrate_kbps: _Optional[int] = ..., accept_handover: _Optional[bool] = ..., accept_handover_notice: _Optional[bool] = ..., prepare_only: _Optional[bool] = ..., frame_size_px: _Optional[int] = ..., background: _Optional[_Union[_common_pb2.Background, _Mapping]] = ..., frame_deadline_ms: _Optional[int] = ...) -> None: ...

class RenderFramesRequest(_message.Message):
    __slots__ = ("config", "block")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    config: RenderStreamConfig
    block: _motion_pb2.MotionFrames
    def __init__(self, config: _Optional[_Union[RenderStreamConfig, _Mapping]] = ..., block: _Optional[_Union[_motion_pb2.MotionFrames, _Mapping]] = ...) -> None: ...

class RenderStarted(_message.Message):
    __slots__ = ("config", "width_px", "height_px")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    config: RenderStreamConfig
    width_px: int
    height_px: int
    def __init__(self, config: _Optional[_Union[RenderStreamConfig, _Mapping]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ...) -> None: ...

class RenderedFrameData(_message.Message):
    __slots__ = ("frame_index", "data", "key_frame", "width_px", "height_px")
    FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    KEY_FRAME_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    frame_index: int
    data: bytes
    key_frame: bool
    width_px: int
    height_px: int
    def __init__(self, frame_index: _Optional[int] = ..., data: _Optional[bytes] = ..., key_frame: _Optional[bool] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ...) -> None: ...

class RenderFramesResponse(_message.Message):
    __slots__ = ("started", "frame", "handover")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    HANDOVER_FIELD_NUMBER: _ClassVar[int]
    started: RenderStarted
    frame: RenderedFrameData
    handover: _common_pb2.Handover
    def __init__(self, started: _Optional[_Union[RenderStarted, _Mapping]] = ..., frame: _Optional[_Union[RenderedFrameData, _Mapping]] = ..., handover: _Optional[_Union[_common_pb2.Handover, _Mapping]] = ...) -> None: ...
