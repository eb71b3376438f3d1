from parlante.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FaceChoice(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACE_CHOICE_UNSPECIFIED: _ClassVar[FaceChoice]
    FACE_CHOICE_ONLY: _ClassVar[FaceChoice]
    FACE_CHOICE_LARGEST: _ClassVar[FaceChoice]
    FACE_CHOICE_INDEX: _ClassVar[FaceChoice]

class Framing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAMING_UNSPECIFIED: _ClassVar[Framing]
    FRAMING_HEAD: _ClassVar[Framing]
    FRAMING_SHOULDERS: _ClassVar[Framing]
    FRAMING_FULL: _ClassVar[Framing]
FACE_CHOICE_UNSPECIFIED: FaceChoice
FACE_CHOICE_ONLY: FaceChoice
FACE_CHOICE_LARGEST: FaceChoice
FACE_CHOICE_INDEX: FaceChoice
FRAMING_UNSPECIFIED: Framing
FRAMING_HEAD: Framing
FRAMING_SHOULDERS: Framing
FRAMING_FULL: Framing

class Avatar(_message.Message):
    __slots__ = ("name", "key", "bundle_digest", "created_unix_ms", "source_width_px", "source_height_px", "latent_bytes", "framing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    SOURCE_HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    LATENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAMING_FIELD_NUMBER: _ClassVar[int]
    name: str
    key: str
    bundle_digest: str
    created_unix_ms: int
    source_width_px: int
    source_height_px: int
    latent_bytes: int
    framing: Framing
    def __init__(self, name: _Optional[str] = ..., key: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., created_unix_ms: _Optional[int] = ..., source_width_px: _Optional[int] = ..., source_height_px: _Optional[int] = ..., latent_bytes: _Optional[int] = ..., framing: _Optional[_Union[Framing, str]] = ...) -> None: ...

class CreateAvatarConfig(_message.Message):
    __slots__ = ("name", "face_choice", "face_index", "framing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FACE_CHOICE_FIELD_NUMBER: _ClassVar[int]
    FACE_INDEX_FIELD_NUMBER: _ClassVar[int]
    FRAMING_FIELD_NUMBER: _ClassVar[int]
    name: str
    face_choice: FaceChoice
    face_index: int
    framing: Framing
    def __init__(self, name: _Optional[str] = ..., face_choice: _Optional[_Union[FaceChoice, str]] = ..., face_index: _Optional[int] = ..., framing: _Optional[_Union[Framing, str]] = ...) -> None: ...

class CreateAvatarRequest(_message.Message):
    __slots__ = ("config", "chunk")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    config: CreateAvatarConfig
    chunk: bytes
    def __init__(self, config: _Optional[_Union[CreateAvatarConfig, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class CreateAvatarResponse(_message.Message):
    __slots__ = ("avatar", "from_cache")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    FROM_CACHE_FIELD_NUMBER: _ClassVar[int]
    avatar: Avatar
    from_cache: bool
    def __init__(self, avatar: _Optional[_Union[Avatar, _Mapping]] = ..., from_cache: _Optional[bool] = ...) -> None: ...

class GetAvatarRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetAvatarResponse(_message.Message):
    __slots__ = ("avatar",)
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    avatar: Avatar
    def __init__(self, avatar: _Optional[_Union[Avatar, _Mapping]] = ...) -> None: ...

class ListAvatarsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAvatarsResponse(_message.Message):
    __slots__ = ("avatars", "next_page_token")
    AVATARS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    avatars: _containers.RepeatedCompositeFieldContainer[Avatar]
    next_page_token: str
    def __init__(self, avatars: _Optional[_Iterable[_Union[Avatar, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteAvatarRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteAvatarResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FetchLatentsRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class LatentsHeader(_message.Message):
    __slots__ = ("key", "spec", "total_bytes")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    key: str
    spec: _common_pb2.LatentSpec
    total_bytes: int
    def __init__(self, key: _Optional[str] = ..., spec: _Optional[_Union[_common_pb2.LatentSpec, _Mapping]] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class FetchLatentsResponse(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: LatentsHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[LatentsHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...
