"""What a session gives its client: frozen values, independent of the wire format."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.convert import avatar_from_proto, frame_encoding_from_proto
from parlante.errors import InvalidInput
from parlante.types import AvatarInfo, Float32Array, FrameEncoding, Int16Array
from parlante.v1 import gateway_pb2


class Pacing(enum.Enum):
    """How the media clock advances."""

    LIVE = "live"  # in real time; the avatar idles between utterances; slow readers lose frames
    BURST = "burst"  # with the audio, as fast as possible; nothing is lost


class EventType(enum.Enum):
    """What happened in a session."""

    UTTERANCE_STARTED = "utterance_started"
    UTTERANCE_FINISHED = "utterance_finished"
    INTERRUPTED = "interrupted"
    AUDIO_UNDERRUN = "audio_underrun"
    FRAMES_DROPPED = "frames_dropped"
    GO_AWAY = "go_away"
    UNKNOWN = "unknown"  # a newer server's; safe to ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What the server made of the configuration.

    Attributes:
        session_id: Id of the session, for logs and support.
        avatar: The avatar that speaks.
        encoding: How frames are carried.
        width_px: Width of the frames.
        height_px: Height of the frames.
        frame_rate_hz: Frames per second of media time.
        sample_rate_hz: Rate of the audio in both directions.
        seed: Seed in effect.
        algorithmic_delay_ms: Delay of this session's motion, block plus look-ahead; 0 = not known.
        max_audio_ahead_ms: Audio the server takes ahead of the media clock.
        motion_channels: Names of `MotionSample.values`; empty unless motion was asked for.
        server_version: Version of the server.
    """

    session_id: str
    avatar: AvatarInfo
    encoding: FrameEncoding
    width_px: int
    height_px: int
    frame_rate_hz: int
    sample_rate_hz: int
    seed: int
    algorithmic_delay_ms: int
    max_audio_ahead_ms: int
    motion_channels: tuple[str, ...]
    server_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture.

    Attributes:
        seq: Counts the frames that were sent, from 1, without gap.
        media_offset_us: When it is to be shown, microseconds on the media clock.
        data: Pixels in the session's encoding (`SessionInfo.encoding`).
        key_frame: True when it can be decoded by itself.
        idle: True when nobody speaks in it.
        utterance_id: Utterance that sounds in it; "" when idle.
        dropped_frame_count: Frames dropped since the start of the session.
    """

    seq: int
    media_offset_us: int
    data: bytes
    key_frame: bool
    idle: bool
    utterance_id: str
    dropped_frame_count: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audio:
    """Audio as it is to be played, silence included.

    Attributes:
        media_offset_us: Time of the first sample, microseconds on the media clock.
        start_sample: Position of the first sample on the media clock.
        samples: int16 [S] at the session's rate.
        utterance_id: Utterance it belongs to; "" in silence.
    """

    media_offset_us: int
    start_sample: int
    samples: Int16Array
    utterance_id: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionSample:
    """Motion of one frame.

    Attributes:
        media_offset_us: Time of the frame, microseconds on the media clock.
        channels: Names of the values, the same for the whole session.
        values: float32 [D]; ARKit names in [0, 1], angles in radians.
        idle: True when nobody speaks in it.
    """

    media_offset_us: int
    channels: tuple[str, ...]
    values: Float32Array
    idle: bool

    def as_dict(self) -> dict[str, float]:
        """Give the values by channel name."""
        return dict(zip(self.channels, self.values.tolist(), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened on the media clock.

    Attributes:
        type: What.
        media_offset_us: When, microseconds on the media clock.
        utterance_id: Utterance concerned; "" if none.
        interrupted: For UTTERANCE_FINISHED: True when it was cut short.
        detail: For people.
    """

    type: EventType
    media_offset_us: int
    utterance_id: str
    interrupted: bool
    detail: str


SessionItem = Frame | Audio | MotionSample | Event

_PACINGS: Final[Mapping[Pacing, gateway_pb2.Pacing]] = {
    Pacing.LIVE: gateway_pb2.PACING_LIVE,
    Pacing.BURST: gateway_pb2.PACING_BURST,
}
_EVENTS: Final[Mapping[int, EventType]] = {
    number: EventType[name.removeprefix("EVENT_TYPE_")]
    for name, number in gateway_pb2.EventType.items()
    if number != gateway_pb2.EVENT_TYPE_UNSPECIFIED
}


def pacing_to_proto(pacing: Pacing) -> gateway_pb2.Pacing:
    """Convert a pacing."""
    return _PACINGS[pacing]


def session_info_from_proto(message: gateway_pb2.SessionStarted) -> SessionInfo:
    """Convert the first answer of a session."""
    return SessionInfo(
        session_id=message.session_id,
        avatar=avatar_from_proto(message.avatar),
        encoding=frame_encoding_from_proto(message.frame_encoding),
        width_px=message.width_px,
        height_px=message.height_px,
        frame_rate_hz=message.frame_rate_hz,
        sample_rate_hz=message.config.sample_rate_hz,
        seed=message.config.seed,
        algorithmic_delay_ms=message.algorithmic_delay_ms,
        max_audio_ahead_ms=message.max_audio_ahead_ms,
        motion_channels=tuple(message.motion_channels),
        server_version=message.server_version,
    )


def item_from_proto(message: gateway_pb2.ConverseResponse, info: SessionInfo) -> SessionItem | None:
    """Convert an answer; None for a kind that this version does not know."""
    match message.WhichOneof("message"):
        case "frame":
            return _frame(message.frame)
        case "audio":
            return _audio(message.audio)
        case "motion":
            return MotionSample(
                media_offset_us=message.motion.media_offset_us,
                channels=info.motion_channels,
                values=np.array(message.motion.values, dtype=np.float32),
                idle=message.motion.idle,
            )
        case "event":
            return _event(message.event)
        case _:
            return None


def _frame(message: gateway_pb2.VideoFrame) -> Frame:
    return Frame(
        seq=message.seq,
        media_offset_us=message.media_offset_us,
        data=message.data,
        key_frame=message.key_frame,
        idle=message.idle,
        utterance_id=message.utterance_id,
        dropped_frame_count=message.dropped_frame_count,
    )


def _audio(message: gateway_pb2.AudioOutput) -> Audio:
    return Audio(
        media_offset_us=message.media_offset_us,
        start_sample=message.start_sample,
        samples=np.frombuffer(message.data, dtype="<i2").astype(np.int16, copy=False),
        utterance_id=message.utterance_id,
    )


def _event(message: gateway_pb2.SessionEvent) -> Event:
    return Event(
        type=_EVENTS.get(message.type, EventType.UNKNOWN),
        media_offset_us=message.media_offset_us,
        utterance_id=message.utterance_id,
        interrupted=message.interrupted,
        detail=message.detail,
    )


def as_samples(samples: Int16Array | bytes) -> Int16Array:
    """Read audio of a caller, int16 [S]; raises `InvalidInput`."""
    if isinstance(samples, bytes | bytearray | memoryview):
        if len(samples) % 2:
            raise InvalidInput(
                f"16-bit audio has an even number of bytes; got {len(samples)}",
                reason="ODD_BYTE_COUNT",
                field="samples",
            )
        return np.frombuffer(samples, dtype="<i2").astype(np.int16, copy=False)
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise InvalidInput(
            f"audio must be int16 [S], one channel; got {samples.dtype} {list(samples.shape)}; "
            "scale floats by 32767 and mix channels first",
            reason="BAD_AUDIO_ARRAY",
            field="samples",
        )
    return samples
