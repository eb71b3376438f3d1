from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AudioEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIO_ENCODING_UNSPECIFIED: _ClassVar[AudioEncoding]
    AUDIO_ENCODING_LINEAR16: _ClassVar[AudioEncoding]

class FrameEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAME_ENCODING_UNSPECIFIED: _ClassVar[FrameEncoding]
    FRAME_ENCODING_JPEG: _ClassVar[FrameEncoding]
    FRAME_ENCODING_H264: _ClassVar[FrameEncoding]
    FRAME_ENCODING_RGBA32: _ClassVar[FrameEncoding]
    FRAME_ENCODING_BGRA32: _ClassVar[FrameEncoding]
    FRAME_ENCODING_RGB24: _ClassVar[FrameEncoding]
    FRAME_ENCODING_NV12: _ClassVar[FrameEncoding]
AUDIO_ENCODING_UNSPECIFIED: AudioEncoding
AUDIO_ENCODING_LINEAR16: AudioEncoding
FRAME_ENCODING_UNSPECIFIED: FrameEncoding
FRAME_ENCODING_JPEG: FrameEncoding
FRAME_ENCODING_H264: FrameEncoding
FRAME_ENCODING_RGBA32: FrameEncoding
FRAME_ENCODING_BGRA32: FrameEncoding
FRAME_ENCODING_RGB24: FrameEncoding
FRAME_ENCODING_NV12: FrameEncoding

class Controls(_message.Message):
    __slots__ = ("gaze_yaw_rad", "gaze_pitch_rad", "head_distance", "emotion", "intensity")
    class EmotionEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    GAZE_YAW_RAD_FIELD_NUMBER: _ClassVar[int]
    GAZE_PITCH_RAD_FIELD_NUMBER: _ClassVar[int]
    HEAD_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    EMOTION_FIELD_NUMBER: _ClassVar[int]
    INTENSITY_FIELD_NUMBER: _ClassVar[int]
    gaze_yaw_rad: float
    gaze_pitch_rad: float
    head_distance: float
    emotion: _containers.ScalarMap[str, float]
    intensity: Intensity
    def __init__(self, gaze_yaw_rad: _Optional[float] = ..., gaze_pitch_rad: _Optional[float] = ..., head_distance: _Optional[float] = ..., emotion: _Optional[_Mapping[str, float]] = ..., intensity: _Optional[_Union[Intensity, _Mapping]] = ...) -> None: ...

class Intensity(_message.Message):
    __slots__ = ("head_motion", "expression")
    HEAD_MOTION_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    head_motion: float
    expression: float
    def __init__(self, head_motion: _Optional[float] = ..., expression: _Optional[float] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ("name", "dtype", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class LatentSpec(_message.Message):
    __slots__ = ("space", "bundle_digest", "tensors")
    SPACE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    space: str
    bundle_digest: str
    tensors: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    def __init__(self, space: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., tensors: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ...) -> None: ...
