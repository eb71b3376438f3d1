"""What a client may do wrong in Converse: the right status, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest

from parlante.v1 import common_pb2, gateway_pb2
from tests.fakes.encoder import portrait_bytes

pytestmark = pytest.mark.e2e

PICTURE = common_pb2.BACKGROUND_KIND_PICTURE
BAD_CONFIGS = {
    "no avatar": ({"avatar_name": ""}, "INVALID_ARGUMENT", "AVATAR_REQUIRED"),
    "empty portrait": ({"portrait": b""}, "INVALID_ARGUMENT", "AVATAR_REQUIRED"),
    "big portrait": ({"portrait": bytes(3 << 20 | 1)}, "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "not an image": ({"portrait": b"hello"}, "INVALID_ARGUMENT", "NOT_AN_IMAGE"),
    "no face": ({"portrait": portrait_bytes("NO_FACE")}, "INVALID_ARGUMENT", "NO_FACE"),
    "bad name": ({"avatar_name": "Ann A"}, "INVALID_ARGUMENT", "BAD_NAME"),
    "unknown avatar": ({"avatar_name": "nobody"}, "NOT_FOUND", "AVATAR_NOT_FOUND"),
    "rate too low": ({"sample_rate_hz": 4000}, "INVALID_ARGUMENT", "UNSUPPORTED_SAMPLE_RATE"),
    "rate negative": ({"sample_rate_hz": -1}, "INVALID_ARGUMENT", "UNSUPPORTED_SAMPLE_RATE"),
    "encoding": ({"audio_encoding": 9}, "INVALID_ARGUMENT", "UNKNOWN_ENUM_VALUE"),
    "frames": ({"frame_encodings": [77]}, "INVALID_ARGUMENT", "UNKNOWN_ENUM_VALUE"),
    "pacing": ({"pacing": 9}, "INVALID_ARGUMENT", "UNKNOWN_ENUM_VALUE"),
    "face choice": ({"face_choice": 9}, "INVALID_ARGUMENT", "UNKNOWN_ENUM_VALUE"),
    "quality": ({"jpeg_quality": 101}, "INVALID_ARGUMENT", "CONTROL_OUT_OF_RANGE"),
    "bitrate": ({"h264_bitrate_kbps": 5}, "INVALID_ARGUMENT", "CONTROL_OUT_OF_RANGE"),
    "budget": ({"delay_budget_ms": 401}, "INVALID_ARGUMENT", "DELAY_BUDGET_OUT_OF_RANGE"),
    "short budget": ({"delay_budget_ms": 1}, "INVALID_ARGUMENT", "DELAY_BUDGET_OUT_OF_RANGE"),
    "driving": (
        {"controls": common_pb2.Controls(driving=9)},  # type: ignore[arg-type]
        "INVALID_ARGUMENT",
        "UNKNOWN_ENUM_VALUE",
    ),
    "pose": (
        {"controls": common_pb2.Controls(head_pose=common_pb2.HeadPose(yaw_rad=1.0))},
        "INVALID_ARGUMENT",
        "CONTROL_OUT_OF_RANGE",
    ),
    "background": (
        {"background": common_pb2.Background(kind=PICTURE, picture=b"hello")},
        "INVALID_ARGUMENT",
        "NOT_AN_IMAGE",
    ),
    "credits": ({"max_frames_in_flight": 251}, "INVALID_ARGUMENT", "CONTROL_OUT_OF_RANGE"),
    "NaN": (
        {"controls": common_pb2.Controls(gaze_yaw_rad=float("nan"))},
        "INVALID_ARGUMENT",
        "CONTROL_OUT_OF_RANGE",
    ),
    "emotion": (
        {"controls": common_pb2.Controls(emotion={"bored": 1})},
        "INVALID_ARGUMENT",
        "UNKNOWN_EMOTION",
    ),
}


@pytest.mark.parametrize(("config", "code", "reason"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
async def test_bad_configuration_is_refused(
    open_gateway: Any, config: dict[str, Any], code: str, reason: str
) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        if not {"portrait", "avatar_name"} & config.keys():
            config = {**config, "portrait": portrait_bytes()}
        await session.send(config=gateway_pb2.SessionConfig(**config))
        error = await session.error()
        assert (error.code.value, error.reason) == (code, reason)
        assert error.message
        await gateway.until_free()


def audio(start_sample: int, data: bytes, utterance_id: str = "") -> dict[str, Any]:
    return {
        "audio": gateway_pb2.AudioInput(
            start_sample=start_sample, data=data, utterance_id=utterance_id
        )
    }


def listening(data: bytes) -> dict[str, Any]:
    return {"listening": gateway_pb2.ListeningInput(data=data)}


def steer(offset_us: int = 0, **controls: Any) -> dict[str, Any]:
    return {
        "control": gateway_pb2.ControlUpdate(
            controls=common_pb2.Controls(**controls), apply_offset_us=offset_us
        )
    }


BAD_MESSAGES: dict[str, tuple[dict[str, Any], str]] = {
    "empty": ({}, "EMPTY_MESSAGE"),
    "second config": ({"config": gateway_pb2.SessionConfig()}, "DUPLICATE_CONFIG"),
    "no samples": (audio(0, b""), "EMPTY_MESSAGE"),
    "odd bytes": (audio(0, b"123"), "ODD_BYTE_COUNT"),
    "too many bytes": (audio(0, bytes(65_538)), "AUDIO_TOO_LARGE"),
    "more than a second": (audio(0, bytes(32_002)), "AUDIO_TOO_LARGE"),
    "gap": (audio(1, bytes(2)), "AUDIO_GAP"),
    "overlap": (audio(-1, bytes(2)), "AUDIO_OVERLAP"),
    "long id": (audio(0, bytes(2), "x" * 64), "BAD_UTTERANCE_ID"),
    "NaN": (steer(head_distance=float("nan")), "CONTROL_OUT_OF_RANGE"),
    "infinite": (steer(emotion={"happy": float("inf")}), "CONTROL_OUT_OF_RANGE"),
    "emotion": (steer(emotion={"bored": 0.5}), "UNKNOWN_EMOTION"),
    "nothing heard": (listening(b""), "EMPTY_MESSAGE"),
    "odd bytes heard": (listening(b"123"), "ODD_BYTE_COUNT"),
    "more than a second heard": (listening(bytes(32_002)), "AUDIO_TOO_LARGE"),
    "blinks": (steer(blinking=common_pb2.Blinking(rate=4.0)), "CONTROL_OUT_OF_RANGE"),
    "negative time": (steer(-1), "CONTROL_OUT_OF_RANGE"),
    "playback": (
        {"playback": gateway_pb2.PlaybackReport(last_frame_seq=10_000)},
        "PLAYBACK_OUT_OF_RANGE",
    ),
}


@pytest.mark.parametrize(("message", "reason"), BAD_MESSAGES.values(), ids=BAD_MESSAGES)
async def test_bad_message_ends_the_session(
    open_gateway: Any, message: dict[str, Any], reason: str
) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.configure()
        await session.send(**message)
        error = await session.error()
        assert (error.code.value, error.reason) == ("INVALID_ARGUMENT", reason)
        await gateway.until_free()


async def test_listening_in_a_burst_is_refused(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.configure(pacing=gateway_pb2.PACING_BURST)
        await session.send(**listening(bytes(640)))
        error = await session.error()
        assert (error.code.value, error.reason) == ("FAILED_PRECONDITION", "LISTENING_NEEDS_LIVE")
        await gateway.until_free()


async def test_a_second_of_listening_may_come_at_once_at_any_rate(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.configure(sample_rate_hz=48_000)
        await session.read_for(0.1)
        await session.send(**listening(bytes(96_000)))
        await session.finish()


async def test_first_message_must_be_config(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.send(**audio(0, bytes(2)))
        assert (await session.error()).reason == "CONFIG_NOT_FIRST"


async def test_half_close_without_config_is_refused(open_gateway: Any) -> None:
    async with open_gateway() as gateway:
        session = gateway.converse()
        await session.call.done_writing()
        assert (await session.error()).reason == "CONFIG_NOT_FIRST"
