"""Converse messages <-> session values; what comes over the wire is checked here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import parlante
from gateway.values import (
    EndUtterance,
    Event,
    EventType,
    Frame,
    Interrupt,
    Listening,
    Motion,
    Pacing,
    Playback,
    PlayedAudio,
    ResumePoint,
    ResumeRequest,
    SessionInput,
    SessionOutput,
    SessionSettings,
    Speech,
    Started,
    Steer,
)
from parlante import convert
from parlante.errors import InvalidInput
from parlante.rpc.envelope import duplicate_config, kind_of
from parlante.types import (
    FRAME_DURATION_US,
    FRAME_RATE_HZ,
    MOTION_CHANNELS,
    Background,
    BackgroundKind,
    FrameEncoding,
)
from parlante.v1 import common_pb2, gateway_pb2

__all__ = ["input_from_proto", "output_to_proto", "resume_from_proto", "settings_from_proto"]

MAX_PORTRAIT_BYTES: Final = 3 * 1024 * 1024
MAX_UTTERANCE_ID_CHARS: Final = 63
MAX_TOKEN_BYTES: Final = 512 * 1024
MAX_REPLAYED_MESSAGES: Final = 4096
_MAX_NUMBER: Final = 2**53
_BYTES_PER_SAMPLE: Final = 2
_PACINGS: Final = {
    gateway_pb2.PACING_UNSPECIFIED: Pacing.LIVE,
    gateway_pb2.PACING_LIVE: Pacing.LIVE,
    gateway_pb2.PACING_BURST: Pacing.BURST,
}
_PACING_NUMBERS: Final = {
    Pacing.LIVE: gateway_pb2.PACING_LIVE,
    Pacing.BURST: gateway_pb2.PACING_BURST,
}
_EVENT_NAMES: Final = {type_: f"EVENT_TYPE_{type_.name}" for type_ in EventType}


# --- from the client ---------------------------------------------------------------------------


def settings_from_proto(config: gateway_pb2.SessionConfig) -> SessionSettings:
    """Read a session's configuration, defaults filled in.

    Raises:
        InvalidInput: The configuration cannot be met.
    """
    _check_avatar(config)
    convert.check_audio_encoding(config.audio_encoding)
    background = convert.background_from_proto(config.background)
    return SessionSettings(
        avatar_name=config.avatar_name,
        portrait=config.portrait,
        face=convert.face_selection_from_proto(config.face_choice, 0, config.framing),
        sample_rate_hz=convert.sample_rate_from_proto(config.sample_rate_hz),
        encoding=_choose_encoding(config.frame_encodings, background),
        jpeg_quality=config.jpeg_quality or convert.DEFAULT_JPEG_QUALITY,
        h264_bitrate_kbps=convert.bitrate_from_proto(
            config.h264_bitrate_kbps, config.frame_size_px
        ),
        seed=config.seed,
        controls=convert.controls_from_proto(config.controls),
        pacing=_pacing(config.pacing),
        return_audio=config.return_audio,
        return_motion=config.return_motion,
        no_frames=config.no_frames,
        max_frames_in_flight=config.max_frames_in_flight,
        delay_budget_ms=config.delay_budget_ms,
        resumable=config.resumable,
        frame_size_px=config.frame_size_px,
        background=background,
    )


def resume_from_proto(config: gateway_pb2.SessionConfig) -> ResumeRequest | None:
    """Read how a session goes on; None for a new one.

    Raises:
        InvalidInput: BAD_RESUME_TOKEN, a number is out of range.
    """
    if not config.HasField("resume"):
        return None
    message = config.resume
    numbers = (
        message.elapsed_us,
        message.last_frame_seq,
        message.next_frame_offset_us,
        message.next_motion_offset_us,
        message.next_audio_sample,
        message.repeated_message_count,
        message.dropped_frame_count,
    )
    if (
        not 1 <= len(message.resume_token) <= MAX_TOKEN_BYTES
        or not all(0 <= number <= _MAX_NUMBER for number in numbers)
        or not message.repeated_message_count
        <= message.replayed_message_count
        <= MAX_REPLAYED_MESSAGES
    ):
        raise InvalidInput(
            "config.resume must hold a token and counts as the protocol describes; got others; "
            "begin a new session",
            reason="BAD_RESUME_TOKEN",
            field="config.resume",
        )
    return ResumeRequest(
        token=message.resume_token,
        elapsed_us=message.elapsed_us,
        last_seq=message.last_frame_seq,
        next_frame=-(-message.next_frame_offset_us // FRAME_DURATION_US),
        next_motion_frame=-(-message.next_motion_offset_us // FRAME_DURATION_US),
        next_audio_sample=message.next_audio_sample,
        num_replayed=message.replayed_message_count,
        num_repeated=message.repeated_message_count,
        num_dropped=message.dropped_frame_count,
    )


def _check_avatar(config: gateway_pb2.SessionConfig) -> None:
    match config.WhichOneof("avatar"):
        case "avatar_name" if config.avatar_name:
            convert.check_name(config.avatar_name, field="config.avatar_name")
        case "portrait" if len(config.portrait) > MAX_PORTRAIT_BYTES:
            raise InvalidInput(
                f"an inline portrait has at most {MAX_PORTRAIT_BYTES} bytes; "
                f"got {len(config.portrait)}; upload it with CreateAvatar",
                reason="IMAGE_TOO_LARGE",
                field="config.portrait",
            )
        case "portrait" if config.portrait:
            pass
        case _:
            raise InvalidInput(
                "a session needs config.avatar_name or config.portrait; got neither",
                reason="AVATAR_REQUIRED",
                field="config.avatar",
            )


def _choose_encoding(numbers: Iterable[int], background: Background) -> FrameEncoding:
    """Take the client's first choice that this server knows and that can show the background."""
    numbers = list(numbers)
    known = [
        convert.frame_encoding_from_proto(number)
        for number in numbers
        if convert.is_known_frame_encoding(number)
    ]
    is_clear = background.kind is BackgroundKind.TRANSPARENT
    fitting = [encoding for encoding in known if encoding.has_alpha or not is_clear]
    if fitting or known:
        return (fitting or known)[0]
    if numbers:
        return convert.frame_encoding_from_proto(numbers[0], field="config.frame_encodings")
    return FrameEncoding.JPEG


def _pacing(number: gateway_pb2.Pacing) -> Pacing:
    if number not in _PACINGS:
        raise InvalidInput(
            f"config.pacing has no value {number} in this version",
            reason="UNKNOWN_ENUM_VALUE",
            field="config.pacing",
        )
    return _PACINGS[number]


def input_from_proto(request: gateway_pb2.ConverseRequest, sample_rate_hz: int) -> SessionInput:
    """Read a message after the first.

    Raises:
        InvalidInput: It is a second configuration, empty, or malformed.
    """
    match kind_of(request):
        case "audio":
            return _speech(request.audio, sample_rate_hz)
        case "listening":
            return _listening(request.listening, sample_rate_hz)
        case "control":
            return Steer(
                controls=convert.controls_from_proto(request.control.controls),
                apply_offset_us=request.control.apply_offset_us,
            )
        case "end_of_utterance":
            return EndUtterance(utterance_id=_utterance(request.end_of_utterance.utterance_id))
        case "interrupt":
            return Interrupt(utterance_id=_utterance(request.interrupt.utterance_id))
        case "playback":
            return Playback(last_frame_seq=request.playback.last_frame_seq)
        case _:
            raise duplicate_config()


def _speech(audio: gateway_pb2.AudioInput, sample_rate_hz: int) -> Speech:
    samples = convert.samples_from_bytes(audio.data, field="audio.data")
    if len(samples) > sample_rate_hz:
        raise InvalidInput(
            f"an audio message has at most 1 s, {sample_rate_hz} samples; got {len(samples)}; "
            "send 20 to 40 ms at a time",
            reason="AUDIO_TOO_LARGE",
            field="audio.data",
        )
    return Speech(
        start_sample=audio.start_sample,
        samples=samples,
        utterance_id=_utterance(audio.utterance_id),
    )


def _listening(listening: gateway_pb2.ListeningInput, sample_rate_hz: int) -> Listening:
    # A second in one message at any rate: a message ends on arrival, so it cannot be split.
    max_bytes = _BYTES_PER_SAMPLE * sample_rate_hz
    return Listening(
        samples=convert.samples_from_bytes(
            listening.data, field="listening.data", max_bytes=max_bytes
        )
    )


def _utterance(utterance_id: str) -> str:
    if len(utterance_id) > MAX_UTTERANCE_ID_CHARS:
        raise InvalidInput(
            f"an utterance_id has at most {MAX_UTTERANCE_ID_CHARS} characters; "
            f"got {len(utterance_id)}",
            reason="BAD_UTTERANCE_ID",
            field="utterance_id",
        )
    return utterance_id


# --- to the client -----------------------------------------------------------------------------


def output_to_proto(output: SessionOutput) -> gateway_pb2.ConverseResponse:
    """Make the message for the client."""
    match output:
        case Frame():
            return gateway_pb2.ConverseResponse(frame=_frame(output))
        case PlayedAudio():
            return gateway_pb2.ConverseResponse(audio=_audio(output))
        case Motion():
            return gateway_pb2.ConverseResponse(motion=_motion(output))
        case Event():
            return gateway_pb2.ConverseResponse(event=_event(output))
        case ResumePoint():
            return gateway_pb2.ConverseResponse(resume_point=_resume_point(output))
        case Started():
            return gateway_pb2.ConverseResponse(session_started=_started(output))


def _started(started: Started) -> gateway_pb2.SessionStarted:
    settings = started.settings
    return gateway_pb2.SessionStarted(
        session_id=started.session_id,
        config=_config(settings),
        avatar=convert.avatar_to_proto(started.avatar),
        frame_encoding=convert.frame_encoding_to_proto(settings.encoding),
        width_px=started.width_px,
        height_px=started.height_px,
        frame_rate_hz=FRAME_RATE_HZ,
        algorithmic_delay_ms=started.algorithmic_delay_ms,
        max_audio_ahead_ms=started.max_audio_ahead_ms,
        motion_channels=MOTION_CHANNELS if settings.return_motion else (),
        server_version=parlante.__version__,
    )


def _config(settings: SessionSettings) -> gateway_pb2.SessionConfig:
    return gateway_pb2.SessionConfig(
        avatar_name=settings.avatar_name,
        audio_encoding=common_pb2.AUDIO_ENCODING_LINEAR16,
        sample_rate_hz=settings.sample_rate_hz,
        frame_encodings=[convert.frame_encoding_to_proto(settings.encoding)],
        jpeg_quality=settings.jpeg_quality,
        h264_bitrate_kbps=settings.h264_bitrate_kbps,
        seed=settings.seed,
        controls=convert.controls_to_proto(settings.controls),
        pacing=_PACING_NUMBERS[settings.pacing],
        return_audio=settings.return_audio,
        return_motion=settings.return_motion,
        no_frames=settings.no_frames,
        max_frames_in_flight=settings.max_frames_in_flight,
        delay_budget_ms=settings.delay_budget_ms,
        resumable=settings.resumable,
        frame_size_px=settings.frame_size_px,
        background=convert.background_to_proto(settings.background, with_picture=False),
    )


def _frame(frame: Frame) -> gateway_pb2.VideoFrame:
    return gateway_pb2.VideoFrame(
        seq=frame.seq,
        media_offset_us=frame.media_offset_us,
        data=frame.rendered.data,
        key_frame=frame.rendered.key_frame,
        idle=not frame.utterance_id,
        utterance_id=frame.utterance_id,
        dropped_frame_count=frame.num_dropped,
    )


def _audio(audio: PlayedAudio) -> gateway_pb2.AudioOutput:
    return gateway_pb2.AudioOutput(
        media_offset_us=audio.media_offset_us,
        start_sample=audio.start_sample,
        data=convert.samples_to_bytes(audio.samples),
        utterance_id=audio.utterance_id,
    )


def _motion(motion: Motion) -> gateway_pb2.MotionOutput:
    return gateway_pb2.MotionOutput(
        media_offset_us=motion.media_offset_us, values=motion.values.tolist(), idle=motion.idle
    )


def _resume_point(point: ResumePoint) -> gateway_pb2.ResumePoint:
    return gateway_pb2.ResumePoint(
        resume_token=point.token,
        media_offset_us=point.media_offset_us,
        audio_sample=point.audio_sample,
        message_count=point.num_messages,
        go_away=point.go_away,
    )


def _event(event: Event) -> gateway_pb2.SessionEvent:
    return gateway_pb2.SessionEvent(
        type=_EVENT_NAMES[event.type],
        media_offset_us=event.media_offset_us,
        utterance_id=event.utterance_id,
        interrupted=event.interrupted,
        detail=event.detail,
    )
