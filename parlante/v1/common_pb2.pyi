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
    FRAME_ENCODING_PNG: _ClassVar[FrameEncoding]
    FRAME_ENCODING_WEBP: _ClassVar[FrameEncoding]

class BackgroundKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKGROUND_KIND_UNSPECIFIED: _ClassVar[BackgroundKind]
    BACKGROUND_KIND_KEPT: _ClassVar[BackgroundKind]
    BACKGROUND_KIND_BLURRED: _ClassVar[BackgroundKind]
    BACKGROUND_KIND_COLOUR: _ClassVar[BackgroundKind]
    BACKGROUND_KIND_PICTURE: _ClassVar[BackgroundKind]
    BACKGROUND_KIND_TRANSPARENT: _ClassVar[BackgroundKind]

class Driving(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRIVING_UNSPECIFIED: _ClassVar[Driving]
    DRIVING_FULL: _ClassVar[Driving]
    DRIVING_EXPRESSION_ONLY: _ClassVar[Driving]
    DRIVING_POSE_ONLY: _ClassVar[Driving]
AUDIO_ENCODING_UNSPECIFIED: AudioEncoding
AUDIO_ENCODING_LINEAR16: AudioEncoding
FRAME_ENCODING_UNSPECIFIED: FrameEncoding
FRAME_ENCODING_JPEG: FrameEncoding
FRAME_ENCODING_H264: FrameEncoding
FRAME_ENCODING_RGBA32: FrameEncoding
FRAME_ENCODING_BGRA32: FrameEncoding
FRAME_ENCODING_RGB24: FrameEncoding
FRAME_ENCODING_NV12: FrameEncoding
FRAME_ENCODING_PNG: FrameEncoding
FRAME_ENCODING_WEBP: FrameEncoding
BACKGROUND_KIND_UNSPECIFIED: BackgroundKind
BACKGROUND_KIND_KEPT: BackgroundKind
BACKGROUND_KIND_BLURRED: BackgroundKind
BACKGROUND_KIND_COLOUR: BackgroundKind
BACKGROUND_KIND_PICTURE: BackgroundKind
BACKGROUND_KIND_TRANSPARENT: BackgroundKind
DRIVING_UNSPECIFIED: Driving
DRIVING_FULL: Driving
DRIVING_EXPRESSION_ONLY: Driving
DRIVING_POSE_ONLY: Driving

class Background(_message.Message):
    __slots__ = ("kind", "colour_rgb", "picture")
    KIND_FIELD_NUMBER: _ClassVar[int]
    COLOUR_RGB_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    kind: BackgroundKind
    colour_rgb: int
    picture: bytes
    def __init__(self, kind: _Optional[_Union[BackgroundKind, str]] = ..., colour_rgb: _Optional[int] = ..., picture: _Optional[bytes] = ...) -> None: ...

class Controls(_message.Message):
    __slots__ = ("gaze_yaw_rad", "gaze_pitch_rad", "head_distance", "emotion", "intensity", "blinking", "head_pose", "driving")
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
    BLINKING_FIELD_NUMBER: _ClassVar[int]
    HEAD_POSE_FIELD_NUMBER: _ClassVar[int]
    DRIVING_FIELD_NUMBER: _ClassVar[int]
    gaze_yaw_rad: float
    gaze_pitch_rad: float
    head_distance: float
    emotion: _containers.ScalarMap[str, float]
    intensity: Intensity
    blinking: Blinking
    head_pose: HeadPose
    driving: Driving
    def __init__(self, gaze_yaw_rad: _Optional[float] = ..., gaze_pitch_rad: _Optional[float] = ..., head_distance: _Optional[float] = ..., emotion: _Optional[_Mapping[str, float]] = ..., intensity: _Optional[_Union[Intensity, _Mapping]] = ..., blinking: _Optional[_Union[Blinking, _Mapping]] = ..., head_pose: _Optional[_Union[HeadPose, _Mapping]] = ..., driving: _Optional[_Union[Driving, str]] = ...) -> None: ...

class Intensity(_message.Message):
    __slots__ = ("head_motion", "expression")
    HEAD_MOTION_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    head_motion: float
    expression: float
    def __init__(self, head_motion: _Optional[float] = ..., expression: _Optional[float] = ...) -> None: ...

class Blinking(_message.Message):
    __slots__ = ("rate",)
    RATE_FIELD_NUMBER: _ClassVar[int]
    rate: float
    def __init__(self, rate: _Optional[float] = ...) -> None: ...

class HeadPose(_message.Message):
    __slots__ = ("yaw_rad", "pitch_rad", "roll_rad")
    YAW_RAD_FIELD_NUMBER: _ClassVar[int]
    PITCH_RAD_FIELD_NUMBER: _ClassVar[int]
    ROLL_RAD_FIELD_NUMBER: _ClassVar[int]
    yaw_rad: float
    pitch_rad: float
    roll_rad: float
    def __init__(self, yaw_rad: _Optional[float] = ..., pitch_rad: _Optional[float] = ..., roll_rad: _Optional[float] = ...) -> None: ...

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

class Handover(_message.Message):
    __slots__ = ("reason", "notice", "overlap_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_MS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    notice: bool
    overlap_ms: int
    def __init__(self, reason: _Optional[str] = ..., notice: _Optional[bool] = ..., overlap_ms: _Optional[int] = ...) -> None: ...
