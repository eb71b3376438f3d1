"""Messages <-> values: round trips, defaults, and every refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parlante import convert
from parlante.errors import InternalError, InvalidInput
from parlante.types import (
    EMOTIONS,
    FRAME_SIZES_PX,
    MAX_GAZE_RAD,
    MAX_HEAD_POSE_RAD,
    MOTION_DIM,
    AudioChunk,
    AvatarInfo,
    Background,
    BackgroundKind,
    Controls,
    Driving,
    FaceChoice,
    FrameEncoding,
    Framing,
    HeadPose,
    ListeningChunk,
    MotionBlock,
    MotionConfig,
    RenderConfig,
    RenderedFrame,
)
from parlante.v1 import common_pb2, encoder_pb2, motion_pb2, renderer_pb2

KEY = "0a" * 32


def _floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(float(np.float32(low)), float(np.float32(high)), width=32)


_POSE_ANGLES = _floats(-MAX_HEAD_POSE_RAD, MAX_HEAD_POSE_RAD)
_POSES = st.builds(HeadPose, yaw_rad=_POSE_ANGLES, pitch_rad=_POSE_ANGLES, roll_rad=_POSE_ANGLES)
_CONTROLS = st.builds(
    Controls,
    gaze_yaw_rad=_floats(-MAX_GAZE_RAD, MAX_GAZE_RAD),
    gaze_pitch_rad=_floats(-MAX_GAZE_RAD, MAX_GAZE_RAD),
    head_distance=_floats(0.5, 2.0),
    emotion=st.dictionaries(st.sampled_from(EMOTIONS), _floats(0.0, 1.0)),
    head_motion=_floats(0.0, 2.0),
    expression=_floats(0.0, 2.0),
    blink_rate=_floats(0.0, 3.0),
    head_pose=st.none() | _POSES,
    driving=st.sampled_from(Driving),
)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_COUNT = st.integers(0, 2**62)


@given(_CONTROLS)
def test_controls_round_trip(controls: Controls) -> None:
    wire = convert.controls_to_proto(controls).SerializeToString()
    assert convert.controls_from_proto(common_pb2.Controls.FromString(wire)) == controls


@given(
    st.builds(
        MotionConfig,
        sample_rate_hz=st.integers(8000, 48_000),
        seed=_INT64,
        delay_budget_ms=st.integers(120, 400),
        resume_state=st.binary(max_size=64),
        emit_checkpoints=st.booleans(),
        in_background=st.booleans(),
    )
)
def test_motion_config_round_trip(config: MotionConfig) -> None:
    assert convert.motion_config_from_proto(convert.motion_config_to_proto(config)) == config


@given(
    st.builds(
        RenderConfig,
        avatar_key=st.text("0123456789abcdef", min_size=64, max_size=64),
        encoding=st.sampled_from(FrameEncoding),
        jpeg_quality=st.integers(1, 100),
        h264_bitrate_kbps=st.integers(100, 20_000),
        frame_size_px=st.sampled_from((0, *FRAME_SIZES_PX)),
        background=st.builds(
            Background,
            kind=st.sampled_from(
                [kind for kind in BackgroundKind if kind is not BackgroundKind.TRANSPARENT]
            ),
            colour_rgb=st.tuples(*[st.integers(0, 255)] * 3),
            picture=st.binary(min_size=1, max_size=20),
        ),
    )
)
def test_render_config_round_trip(config: RenderConfig) -> None:
    assert convert.render_config_from_proto(convert.render_config_to_proto(config)) == config


@given(
    st.builds(
        AvatarInfo,
        name=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
        key=st.just(KEY),
        bundle_digest=st.just(KEY),
        created_unix_ms=_COUNT,
        source_width_px=st.integers(0, 2**31 - 1),
        source_height_px=st.integers(0, 2**31 - 1),
        latent_bytes=_COUNT,
        from_cache=st.booleans(),
        framing=st.sampled_from(Framing),
    )
)
def test_avatar_round_trip(info: AvatarInfo) -> None:
    message = convert.avatar_to_proto(info)
    assert convert.avatar_from_proto(message, from_cache=info.from_cache) == info
    assert convert.check_name(info.name) == info.name


@given(_COUNT, hnp.arrays(np.int16, st.integers(1, 200)))
def test_audio_round_trip(start_sample: int, samples: np.ndarray) -> None:
    (message,) = convert.audio_to_proto(AudioChunk(start_sample=start_sample, samples=samples))
    got = convert.audio_from_proto(message)
    assert got.start_sample == start_sample
    np.testing.assert_array_equal(got.samples, samples)


@given(_COUNT, hnp.arrays(np.int16, st.integers(1, 200)))
def test_listening_round_trip(start_sample: int, samples: np.ndarray) -> None:
    (message,) = convert.audio_to_proto(ListeningChunk(start_sample=start_sample, samples=samples))
    got = convert.listening_from_proto(message)
    assert got.start_sample == start_sample
    np.testing.assert_array_equal(got.samples, samples)


@given(
    _COUNT,
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.just(MOTION_DIM)),
        elements=st.floats(-10, 10, width=32),
    ),
    st.binary(min_size=1, max_size=64),
    _COUNT,
)
def test_motion_block_round_trip(
    start_frame: int, values: np.ndarray, checkpoint: bytes, checkpoint_sample: int
) -> None:
    block = MotionBlock(
        start_frame=start_frame,
        values=values,
        checkpoint=checkpoint,
        checkpoint_sample=checkpoint_sample,
    )
    (message,) = convert.motion_block_to_proto(block)
    got = convert.motion_block_from_proto(message)
    assert got.start_frame == start_frame
    assert (got.checkpoint, got.checkpoint_sample) == (checkpoint, checkpoint_sample)
    np.testing.assert_array_equal(got.values, values)


@given(_COUNT, st.binary(max_size=64), st.booleans())
def test_frame_round_trip(frame_index: int, data: bytes, key_frame: bool) -> None:
    frame = RenderedFrame(frame_index=frame_index, data=data, key_frame=key_frame)
    started = renderer_pb2.RenderStarted(width_px=512, height_px=512)
    assert convert.frame_from_proto(convert.frame_to_proto(frame), started) == frame


@pytest.mark.parametrize("choice", FaceChoice)
def test_face_choice_round_trip(choice: FaceChoice) -> None:
    number = convert.face_choice_to_proto(choice)
    assert convert.face_selection_from_proto(number, 3).choice is choice


def test_long_audio_is_split_into_messages_that_are_allowed() -> None:
    samples = np.arange(100_000).astype(np.int16)
    messages = convert.audio_to_proto(AudioChunk(start_sample=5, samples=samples))
    chunks = [convert.audio_from_proto(message) for message in messages]
    assert [chunk.start_sample for chunk in chunks] == [5, 5 + 32_768, 5 + 65_536, 5 + 98_304]
    np.testing.assert_array_equal(np.concatenate([c.samples for c in chunks]), samples)


def test_long_motion_is_split_into_messages_that_are_allowed() -> None:
    values = np.zeros((600, MOTION_DIM), dtype=np.float32)
    messages = convert.motion_block_to_proto(MotionBlock(start_frame=1, values=values))
    assert [(m.start_frame, m.frame_count) for m in messages] == [(1, 250), (251, 250), (501, 100)]


def test_checkpoint_of_a_split_block_goes_with_its_last_message() -> None:
    values = np.zeros((600, MOTION_DIM), dtype=np.float32)
    block = MotionBlock(start_frame=1, values=values, checkpoint=b"state", checkpoint_sample=77)
    messages = convert.motion_block_to_proto(block)
    assert [(m.checkpoint, m.checkpoint_sample) for m in messages] == [
        (b"", 0),
        (b"", 0),
        (b"state", 77),
    ]


def test_absent_controls_are_the_defaults() -> None:
    assert convert.controls_from_proto(common_pb2.Controls()) == Controls()


def test_present_intensity_counts_as_it_is() -> None:
    message = common_pb2.Controls(intensity=common_pb2.Intensity(head_motion=0.5))
    controls = convert.controls_from_proto(message)
    assert (controls.head_motion, controls.expression) == (0.5, 0.0)


def test_present_blinking_and_pose_count_as_they_are() -> None:
    message = common_pb2.Controls(
        blinking=common_pb2.Blinking(), head_pose=common_pb2.HeadPose(pitch_rad=0.25)
    )
    controls = convert.controls_from_proto(message)
    assert (controls.blink_rate, controls.head_pose) == (0.0, HeadPose(pitch_rad=0.25))


def test_empty_motion_config_is_the_default() -> None:
    assert convert.motion_config_from_proto(motion_pb2.MotionStreamConfig()) == MotionConfig()


def test_empty_render_config_has_defaults_but_needs_an_avatar() -> None:
    config = convert.render_config_from_proto(renderer_pb2.RenderStreamConfig(avatar_key=KEY))
    assert config == RenderConfig(avatar_key=KEY)
    with pytest.raises(InvalidInput, match="64 lower-case hex"):
        convert.render_config_from_proto(renderer_pb2.RenderStreamConfig())


def test_larger_frames_get_more_bits_by_default() -> None:
    rates = [
        convert.render_config_from_proto(
            renderer_pb2.RenderStreamConfig(avatar_key=KEY, frame_size_px=size)
        ).h264_bitrate_kbps
        for size in (256, 512, 768, 1024)
    ]
    assert rates[1] == 1500
    assert rates == sorted(set(rates))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"frame_size_px": 300}, "BAD_FRAME_SIZE"),
        ({"frame_size_px": -1}, "BAD_FRAME_SIZE"),
        ({"frame_size_px": 100_000}, "BAD_FRAME_SIZE"),
        ({"background": {"kind": 99}}, "UNKNOWN_ENUM_VALUE"),
        ({"background": {"kind": 3, "colour_rgb": -1}}, "BAD_COLOUR"),
        ({"background": {"kind": 3, "colour_rgb": 1 << 24}}, "BAD_COLOUR"),
        ({"background": {"kind": 4}}, "BACKGROUND_PICTURE_REQUIRED"),
        ({"background": {"kind": 4, "picture": b"x" * (960 * 1024 + 1)}}, "IMAGE_TOO_LARGE"),
        ({"background": {"kind": 5}}, "ENCODING_WITHOUT_ALPHA"),
    ],
)
def test_looks_that_cannot_be_are_refused(message: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert.render_config_from_proto(renderer_pb2.RenderStreamConfig(avatar_key=KEY, **message))
    assert caught.value.reason == reason


def test_an_unknown_framing_is_refused_of_a_client_and_taken_of_a_server() -> None:
    with pytest.raises(InvalidInput):
        convert.face_selection_from_proto(0, 0, 99)
    avatar = encoder_pb2.Avatar(name="a", key=KEY, framing=99)  # type: ignore[arg-type]
    assert convert.avatar_from_proto(avatar).framing is Framing.HEAD


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (640, 480)),
        ((1281, 721), (1280, 720)),
        ((3840, 2160), (1920, 1080)),
        ((1080, 1920), (1080, 1920)),
        ((8000, 1000), (1920, 240)),
        ((5000, 5000), (1080, 1080)),
        ((1, 1), (2, 2)),
    ],
)
def test_whole_pictures_have_even_frames_within_1080p(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    config = RenderConfig(avatar_key=KEY)
    assert config.frame_size_of(Framing.FULL, *size) == expected
    assert config.frame_size_of(Framing.SHOULDERS, *size) == (512, 512)


@pytest.mark.parametrize(
    ("controls", "reason"),
    [
        ({"gaze_yaw_rad": float("nan")}, "CONTROL_OUT_OF_RANGE"),
        ({"gaze_pitch_rad": float("inf")}, "CONTROL_OUT_OF_RANGE"),
        ({"gaze_yaw_rad": 1.0}, "CONTROL_OUT_OF_RANGE"),
        ({"head_distance": 0.1}, "CONTROL_OUT_OF_RANGE"),
        ({"head_distance": float("nan")}, "CONTROL_OUT_OF_RANGE"),
        ({"emotion": {"bored": 0.5}}, "UNKNOWN_EMOTION"),
        ({"emotion": {"happy": float("nan")}}, "CONTROL_OUT_OF_RANGE"),
        ({"intensity": {"head_motion": -1.0}}, "CONTROL_OUT_OF_RANGE"),
        ({"blinking": {"rate": 3.1}}, "CONTROL_OUT_OF_RANGE"),
        ({"blinking": {"rate": -0.1}}, "CONTROL_OUT_OF_RANGE"),
        ({"blinking": {"rate": float("nan")}}, "CONTROL_OUT_OF_RANGE"),
        ({"head_pose": {"yaw_rad": 0.5}}, "CONTROL_OUT_OF_RANGE"),
        ({"head_pose": {"pitch_rad": -0.5}}, "CONTROL_OUT_OF_RANGE"),
        ({"head_pose": {"roll_rad": float("nan")}}, "CONTROL_OUT_OF_RANGE"),
        ({"driving": 9}, "UNKNOWN_ENUM_VALUE"),
    ],
)
def test_bad_controls_are_refused(controls: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert.controls_from_proto(common_pb2.Controls(**controls))  # type: ignore[arg-type]
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "EMPTY_MESSAGE"),
        (b"\0\0\0", "ODD_BYTE_COUNT"),
        (bytes(65_538), "AUDIO_TOO_LARGE"),
        (bytes(65_537), "AUDIO_TOO_LARGE"),
    ],
)
def test_bad_audio_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert.samples_from_bytes(data)
    assert caught.value.reason == reason


def test_audio_of_the_largest_size_is_taken() -> None:
    assert len(convert.samples_from_bytes(bytes(65_536))) == 32_768


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ({"frame_count": 0}, "BAD_MOTION_SHAPE"),
        ({"frame_count": 2, "values": [0.0] * MOTION_DIM}, "BAD_MOTION_SHAPE"),
        ({"frame_count": 251, "values": [0.0] * MOTION_DIM * 251}, "BAD_MOTION_SHAPE"),
        ({"frame_count": -1}, "BAD_MOTION_SHAPE"),
        ({"frame_count": 1, "values": [float("nan")] * MOTION_DIM}, "NON_FINITE_MOTION"),
        ({"frame_count": 1, "values": [float("inf")] * MOTION_DIM}, "NON_FINITE_MOTION"),
        (
            {"start_frame": -1, "frame_count": 1, "values": [0.0] * MOTION_DIM},
            "FRAME_ORDER",
        ),
        (
            {"start_frame": 2**63 - 1, "frame_count": 2, "values": [0.0] * MOTION_DIM * 2},
            "FRAME_ORDER",
        ),
    ],
)
def test_bad_motion_is_refused(frames: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert.motion_block_from_proto(motion_pb2.MotionFrames(**frames))  # type: ignore[arg-type]
    assert caught.value.reason == reason


def test_the_last_frame_that_can_be_numbered_is_taken() -> None:
    message = motion_pb2.MotionFrames(
        start_frame=2**63 - 2, frame_count=2, values=[0.0] * MOTION_DIM * 2
    )
    assert convert.motion_block_from_proto(message).start_frame == 2**63 - 2


@pytest.mark.parametrize("rate_hz", [1, 7999, 48_001, -16_000])
def test_bad_rate_is_refused(rate_hz: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert.motion_config_from_proto(motion_pb2.MotionStreamConfig(sample_rate_hz=rate_hz))
    assert caught.value.reason == "UNSUPPORTED_SAMPLE_RATE"


@pytest.mark.parametrize("budget_ms", [1, 119, 401, -160])
def test_bad_delay_budget_is_refused(budget_ms: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert.motion_config_from_proto(motion_pb2.MotionStreamConfig(delay_budget_ms=budget_ms))
    assert caught.value.reason == "DELAY_BUDGET_OUT_OF_RANGE"


def test_large_states_are_refused() -> None:
    config = motion_pb2.MotionStreamConfig(resume_state=bytes(65_537))
    frames = motion_pb2.MotionFrames(
        frame_count=1, values=[0.0] * MOTION_DIM, checkpoint=bytes(65_537)
    )
    with pytest.raises(InvalidInput) as refused:
        convert.motion_config_from_proto(config)
    with pytest.raises(InvalidInput) as refused_too:
        convert.motion_block_from_proto(frames)
    assert refused.value.reason == "RESUME_STATE_TOO_LARGE"
    assert refused_too.value.reason == "CHECKPOINT_TOO_LARGE"


def test_unknown_enum_values_are_refused() -> None:
    unknown = (
        lambda: convert.check_audio_encoding(99),
        lambda: convert.frame_encoding_from_proto(99),
        lambda: convert.face_selection_from_proto(99, 0),
    )
    for attempt in unknown:
        with pytest.raises(InvalidInput) as caught:
            attempt()
        assert caught.value.reason == "UNKNOWN_ENUM_VALUE"


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a" * 64, "a/b", "ä", "a\n"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert.check_name(name)
    assert caught.value.reason == "BAD_NAME"


@pytest.mark.parametrize("index", [-1, 100])
def test_bad_face_index_is_refused(index: int) -> None:
    with pytest.raises(InvalidInput, match="face_index"):
        convert.face_selection_from_proto(encoder_pb2.FACE_CHOICE_INDEX, index)


@pytest.mark.parametrize("size", [-1, 1001])
def test_bad_page_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="page_size"):
        convert.page_size_from_proto(size)


def test_avatar_without_key_is_the_servers_fault() -> None:
    with pytest.raises(InternalError, match="without name or key"):
        convert.avatar_from_proto(encoder_pb2.Avatar(name="anna"))


@pytest.mark.parametrize(
    ("enum", "is_known"),
    [
        (common_pb2.FrameEncoding, convert.is_known_frame_encoding),
        (encoder_pb2.FaceChoice, lambda n: bool(convert.face_selection_from_proto(n, 0))),
        (common_pb2.Driving, lambda n: bool(convert.driving_from_proto(n))),
    ],
)
def test_every_value_of_our_own_enums_is_known(enum: object, is_known: object) -> None:
    assert all(is_known(number) for number in enum.values())  # type: ignore[attr-defined, operator]
