from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplicaLoad(_message.Message):
    __slots__ = ("replica", "stage", "slot_count", "held_count", "leased_count", "refused_count", "cordoned", "draining", "serving", "version")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    HELD_COUNT_FIELD_NUMBER: _ClassVar[int]
    LEASED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CORDONED_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    replica: str
    stage: str
    slot_count: int
    held_count: int
    leased_count: int
    refused_count: int
    cordoned: bool
    draining: bool
    serving: bool
    version: str
    def __init__(self, replica: _Optional[str] = ..., stage: _Optional[str] = ..., slot_count: _Optional[int] = ..., held_count: _Optional[int] = ..., leased_count: _Optional[int] = ..., refused_count: _Optional[int] = ..., cordoned: _Optional[bool] = ..., draining: _Optional[bool] = ..., serving: _Optional[bool] = ..., version: _Optional[str] = ...) -> None: ...

class WatchLoadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchLoadResponse(_message.Message):
    __slots__ = ("load",)
    LOAD_FIELD_NUMBER: _ClassVar[int]
    load: ReplicaLoad
    def __init__(self, load: _Optional[_Union[ReplicaLoad, _Mapping]] = ...) -> None: ...

class AcquireSlotRequest(_message.Message):
    __slots__ = ("lease_id", "ttl_ms")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    ttl_ms: int
    def __init__(self, lease_id: _Optional[str] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class AcquireSlotResponse(_message.Message):
    __slots__ = ("load",)
    LOAD_FIELD_NUMBER: _ClassVar[int]
    load: ReplicaLoad
    def __init__(self, load: _Optional[_Union[ReplicaLoad, _Mapping]] = ...) -> None: ...

class ReleaseSlotRequest(_message.Message):
    __slots__ = ("lease_id",)
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    def __init__(self, lease_id: _Optional[str] = ...) -> None: ...

class ReleaseSlotResponse(_message.Message):
    __slots__ = ("load",)
    LOAD_FIELD_NUMBER: _ClassVar[int]
    load: ReplicaLoad
    def __init__(self, load: _Optional[_Union[ReplicaLoad, _Mapping]] = ...) -> None: ...

class CordonRequest(_message.Message):
    __slots__ = ("cordoned",)
    CORDONED_FIELD_NUMBER: _ClassVar[int]
    cordoned: bool
    def __init__(self, cordoned: _Optional[bool] = ...) -> None: ...

class CordonResponse(_message.Message):
    __slots__ = ("load",)
    LOAD_FIELD_NUMBER: _ClassVar[int]
    load: ReplicaLoad
    def __init__(self, load: _Optional[_Union[ReplicaLoad, _Mapping]] = ...) -> None: ...

class EmptyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EmptyResponse(_message.Message):
    __slots__ = ("load",)
    LOAD_FIELD_NUMBER: _ClassVar[int]
    load: ReplicaLoad
    def __init__(self, load: _Optional[_Union[ReplicaLoad, _Mapping]] = ...) -> None: ...
