"""What a session takes and gives, as plain values: no protocol messages, no network."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from parlante.errors import InvalidInput
from parlante.types import (
    BURST_DELAY_BUDGET_MS,
    DEFAULT_DELAY_BUDGET_MS,
    FRAME_SIZE_PX,
    MODEL_SAMPLE_RATE_HZ,
    AvatarInfo,
    Background,
    BackgroundKind,
    Controls,
    FaceSelection,
    Float32Array,
    FrameEncoding,
    Int16Array,
    MotionConfig,
    RenderConfig,
    RenderedFrame,
    check_range,
)

MAX_FRAMES_IN_FLIGHT: Final = 250


class Pacing(enum.Enum):
    """How the media clock advances."""

    LIVE = "live"  # in real time, idling between utterances
    BURST = "burst"  # with the audio only, as fast as the stages go


# In a burst nobody waits for an answer, so that the motion may hear further ahead.
_DELAY_BUDGETS_MS: Final = {
    Pacing.LIVE: DEFAULT_DELAY_BUDGET_MS,
    Pacing.BURST: BURST_DELAY_BUDGET_MS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What a client asks of a session, defaults filled in.

    Attributes:
        avatar_name: Name of an avatar; "" when `portrait` is given.
        portrait: A portrait file; b"" when `avatar_name` is given.
        face: Which face of `portrait`.
        sample_rate_hz: Rate of the audio, [8000, 48000].
        encoding: How frames are carried.
        jpeg_quality: Of JPEG and WebP, [1, 100].
        h264_bitrate_kbps: [100, 20000].
        seed: Fixes all that is random.
        controls: Controls at the start.
        pacing: How the media clock advances.
        return_audio: Send the audio back on the media clock.
        return_motion: Send motion channels beside the frames.
        no_frames: Send no frames.
        max_frames_in_flight: Frames on the way that the client allows, [0, 250]; 0 = no credits.
        delay_budget_ms: Algorithmic delay that motion may take, [120, 400]; 0 is filled in with
            what suits the pacing.
        resumable: Send resume points.
        frame_size_px: Edge of square frames, 0 = the default; see `RenderConfig`.
        background: What is seen behind the person.

    Raises:
        InvalidInput: What it asks for cannot be met; `reason` and `field` say what.
    """

    avatar_name: str = ""
    portrait: bytes = field(default=b"", repr=False)
    face: FaceSelection | None = None
    sample_rate_hz: int = MODEL_SAMPLE_RATE_HZ
    encoding: FrameEncoding = FrameEncoding.JPEG
    jpeg_quality: int = 85
    h264_bitrate_kbps: int = 1500
    seed: int = 0
    controls: Controls = field(default_factory=Controls)
    pacing: Pacing = Pacing.LIVE
    return_audio: bool = False
    return_motion: bool = False
    no_frames: bool = False
    max_frames_in_flight: int = 0
    delay_budget_ms: int = 0
    resumable: bool = False
    frame_size_px: int = 0
    background: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        check_range("max_frames_in_flight", self.max_frames_in_flight, 0, MAX_FRAMES_IN_FLIGHT)
        if self.delay_budget_ms == 0:
            object.__setattr__(self, "delay_budget_ms", _DELAY_BUDGETS_MS[self.pacing])
        # What the stages would refuse is refused before any of them is asked.
        _check_background(self.background)
        self.render_config("")
        self.motion_config()

    def render_config(self, avatar_key: str) -> RenderConfig:
        """Give the configuration of the render stream."""
        return RenderConfig(
            avatar_key=avatar_key,
            encoding=self.encoding,
            jpeg_quality=self.jpeg_quality,
            h264_bitrate_kbps=self.h264_bitrate_kbps,
            frame_size_px=self.frame_size_px,
            background=self.background,
        )

    def motion_config(self) -> MotionConfig:
        """Give the configuration of the motion stream."""
        return MotionConfig(
            sample_rate_hz=self.sample_rate_hz,
            seed=self.seed,
            controls=self.controls,
            delay_budget_ms=self.delay_budget_ms,
            in_background=self.pacing is Pacing.BURST,
        )


def _check_background(background: Background) -> None:
    """Look at a picture's first bytes: the renderer, which decodes it, is asked much later."""
    data = background.picture
    is_webp = data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    is_known = is_webp or data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
    if background.kind is BackgroundKind.PICTURE and not is_known:
        raise InvalidInput(
            f"background.picture must be a JPEG, PNG or WebP file; got {len(data)} bytes of "
            "something else; send the unchanged content of a picture file",
            reason="NOT_AN_IMAGE",
            field="background.picture",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequest:
    """How a client goes on with a session.

    Attributes:
        token: Of the last resume point it got.
        elapsed_us: Time since it got that.
        last_seq: Sequence number of the last frame it got.
        next_frame: First frame it has not got.
        next_motion_frame: First frame whose motion it has not got.
        next_audio_sample: Where its returned audio goes on.
        num_replayed: Messages that it sends again.
        num_repeated: How many of those, the first ones, had been counted.
        num_dropped: Frames dropped as far as the client knows.
    """

    token: bytes = field(repr=False)
    elapsed_us: int = 0
    last_seq: int = 0
    next_frame: int = 0
    next_motion_frame: int = 0
    next_audio_sample: int = 0
    num_replayed: int = 0
    num_repeated: int = 0
    num_dropped: int = 0


# --- from the client ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Speech:
    """Audio of an utterance; `start_sample` counts all audio of the session, back to back."""

    start_sample: int
    samples: Int16Array
    utterance_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listening:
    """The user's own voice, heard just now; for an avatar that listens, in live pacing only."""

    samples: Int16Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """New controls, from `apply_offset_us` of the media clock on; 0 = now."""

    controls: Controls
    apply_offset_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndUtterance:
    """The utterance is complete; "" is the current one."""

    utterance_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """Stop speaking; "" is all that is queued or playing."""

    utterance_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Playback:
    """What the client has shown."""

    last_frame_seq: int


SessionInput = Speech | Listening | Steer | EndUtterance | Interrupt | Playback


# --- to the client -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The session is on; the media clock is at 0.

    Attributes:
        session_id: DNS-safe.
        settings: In effect; an inline portrait is replaced by its name.
        avatar: The avatar.
        algorithmic_delay_ms: Block plus look-ahead of this session's motion; 0 = not known.
        max_audio_ahead_ms: Audio that may be sent ahead of the clock.
        width_px: Of the frames.
        height_px: Of the frames.
    """

    session_id: str
    settings: SessionSettings
    avatar: AvatarInfo
    algorithmic_delay_ms: int
    max_audio_ahead_ms: int
    width_px: int = FRAME_SIZE_PX
    height_px: int = FRAME_SIZE_PX


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """A frame; `seq` counts from 1 without gap, `utterance_id` is "" when nobody speaks."""

    seq: int
    media_offset_us: int
    rendered: RenderedFrame
    utterance_id: str
    num_dropped: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlayedAudio:
    """Audio as it is played: an utterance, or silence when `utterance_id` is ""."""

    media_offset_us: int
    start_sample: int
    samples: Int16Array
    utterance_id: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """Motion of one frame, float32 [60]."""

    media_offset_us: int
    values: Float32Array
    idle: bool


class EventType(enum.Enum):
    """What happened."""

    UTTERANCE_STARTED = "utterance_started"
    UTTERANCE_FINISHED = "utterance_finished"
    INTERRUPTED = "interrupted"
    AUDIO_UNDERRUN = "audio_underrun"
    FRAMES_DROPPED = "frames_dropped"
    GO_AWAY = "go_away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event on the media clock."""

    type: EventType
    media_offset_us: int
    utterance_id: str = ""
    interrupted: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """Where the session can go on at another gateway; see gateway.proto."""

    token: bytes = field(repr=False)
    media_offset_us: int
    audio_sample: int
    num_messages: int
    go_away: bool


SessionOutput = Started | Frame | PlayedAudio | Motion | Event | ResumePoint
