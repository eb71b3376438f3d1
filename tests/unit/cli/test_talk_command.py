"""`parlante talk`: the video, its sync, its errors."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from parlante.cli.options import look_of
from parlante.errors import SessionAborted
from parlante.media.image import decode_image, shrink_image
from parlante.types import MAX_BACKGROUND_BYTES, BackgroundKind, Driving, FrameEncoding
from tests.fakes.encoder import portrait_bytes
from tests.fakes.motion import FakeMotion
from tests.fakes.renderer import FakeRenderer

Run = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("fake_gateway")


def brightness_of(path: Path) -> list[tuple[float, float]]:
    """Give time (s) and mean brightness of every frame."""
    with av.open(str(path)) as container:
        return [
            (float(frame.time), float(frame.to_ndarray(format="gray").mean()))
            for frame in container.decode(video=0)
        ]


def sound_of(path: Path) -> tuple[np.ndarray[Any, Any], int, float]:
    """Give samples, rate and the time of the first sample (s)."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return samples, frames[0].sample_rate, float(frames[0].time)


def test_talk_writes_every_frame_as_h264_and_aac(
    parlante: Run, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    code, out, _ = parlante(
        "talk", "--portrait", portrait, "--audio", speech, "--output", output, "--json"
    )
    report = json.loads(out.splitlines()[-1])
    assert (code, report["frames"], report["seconds"]) == (0, 50, 2.0)
    assert {"fps", "first_frame_ms", "encode_ms"} <= report.keys()
    with av.open(str(output)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.average_rate, video.frames) == (25, 50)


def test_talk_times_frames_at_25_per_second(
    parlante: Run, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    parlante("talk", "--portrait", portrait, "--audio", speech, "--output", output)
    times = [time_s for time_s, _ in brightness_of(output)]
    np.testing.assert_allclose(times, np.arange(50) / 25, atol=1e-6)


def test_talk_keeps_sound_and_picture_in_sync(
    parlante: Run, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    parlante("talk", "--portrait", portrait, "--audio", speech, "--output", output)
    seen_s = next(time_s for time_s, level in brightness_of(output) if level > 60)
    samples, rate_hz, start_s = sound_of(output)
    heard_s = start_s + int(np.argmax(np.abs(samples) > 0.4)) / rate_hz
    assert abs(heard_s - 1.0) < 0.005
    assert abs(seen_s - heard_s) < 0.04


def test_talk_gives_the_same_video_for_the_same_seed(
    parlante: Run, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    outputs = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for output in outputs:
        parlante(
            *("talk", "--portrait", portrait, "--audio", speech),
            *("--output", output, "--seed", "5"),
        )
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_talk_passes_what_steers_the_face(
    parlante: Run,
    fake_gateway: Callable[..., None],
    portrait: Path,
    speech: Path,
    tmp_path: Path,
) -> None:
    motion = FakeMotion()
    fake_gateway(motion=motion)
    parlante(
        *("talk", "--portrait", portrait, "--audio", speech, "--output", tmp_path / "o.mp4"),
        *("--gaze", "-10,5", "--distance", "1.5", "--emotion", "happy=0.5,sad=0.1"),
        *("--seed", "9"),
    )
    (config,) = motion.configs
    assert config.seed == 9
    assert config.controls.gaze_yaw_rad == pytest.approx(np.radians(-10))
    assert config.controls.gaze_pitch_rad == pytest.approx(np.radians(5))
    assert config.controls.head_distance == pytest.approx(1.5)
    assert dict(config.controls.emotion) == pytest.approx({"happy": 0.5, "sad": 0.1})
    assert config.controls.head_pose is None
    assert config.delay_budget_ms == 320


def test_talk_passes_how_head_and_face_move(
    parlante: Run,
    fake_gateway: Callable[..., None],
    portrait: Path,
    speech: Path,
    tmp_path: Path,
) -> None:
    motion = FakeMotion()
    fake_gateway(motion=motion)
    parlante(
        *("talk", "--portrait", portrait, "--audio", speech, "--output", tmp_path / "o.mp4"),
        *("--head-motion", "0.5", "--expression", "1.5", "--blink-rate", "0"),
        *("--head-pose", "-10,5,-2.5", "--driving", "expression_only", "--delay-budget", "200"),
    )
    (config,) = motion.configs
    controls = config.controls
    assert (controls.head_motion, controls.expression, controls.blink_rate) == (0.5, 1.5, 0.0)
    assert controls.driving is Driving.EXPRESSION_ONLY
    assert controls.head_pose is not None
    assert astuple(controls.head_pose) == pytest.approx(np.radians([-10, 5, -2.5]))
    assert config.delay_budget_ms == 200


def test_talk_leaves_nothing_when_a_stage_fails(
    parlante: Run,
    fake_gateway: Callable[..., None],
    portrait: Path,
    speech: Path,
    tmp_path: Path,
) -> None:
    fake_gateway(motion=FakeMotion(fail_at_frame=20, error=SessionAborted("the fake gives up")))
    before = sorted(tmp_path.iterdir())
    code, _, err = parlante(
        "talk", "--portrait", portrait, "--audio", speech, "--output", tmp_path / "o.mp4"
    )
    assert (code, sorted(tmp_path.iterdir())) == (1, before)
    assert "the fake gives up" in err


def test_talk_says_why_a_portrait_is_rejected(parlante: Run, speech: Path, tmp_path: Path) -> None:
    picture = tmp_path / "wall.png"
    picture.write_bytes(portrait_bytes("NO_FACE"))
    code, _, err = parlante(
        "talk", "--portrait", picture, "--audio", speech, "--output", tmp_path / "o.mp4"
    )
    assert code == 2
    assert "NO_FACE" in err


WRONG = [
    ({"--portrait": "nowhere.png"}, "FILE_NOT_FOUND"),
    ({"--audio": "nowhere.wav"}, "FILE_NOT_FOUND"),
    ({"--audio": "text.wav"}, "AUDIO_UNREADABLE"),
    ({"--audio": "empty.wav"}, "AUDIO_EMPTY"),
    ({"--output": "nowhere/out.mp4"}, "OUTPUT_FOLDER_MISSING"),
    ({"--output": "out.avi"}, "BAD_OUTPUT"),
    ({"--emotion": "hungry=1"}, "UNKNOWN_EMOTION"),
    ({"--emotion": "happy=2"}, "CONTROL_OUT_OF_RANGE"),
    ({"--emotion": "happy"}, "BAD_OPTION"),
    ({"--gaze": "90,0"}, "BAD_OPTION"),
    ({"--gaze": "nan,0"}, "BAD_OPTION"),
    ({"--gaze": "left"}, "BAD_OPTION"),
    ({"--distance": "9"}, "CONTROL_OUT_OF_RANGE"),
    ({"--head-pose": "10,0"}, "BAD_OPTION"),
    ({"--head-pose": "0,0,26"}, "BAD_OPTION"),
    ({"--head-pose": "-nan,0,0"}, "BAD_OPTION"),
    ({"--head-motion": "3"}, "CONTROL_OUT_OF_RANGE"),
    ({"--expression": "nan"}, "CONTROL_OUT_OF_RANGE"),
    ({"--blink-rate": "4"}, "CONTROL_OUT_OF_RANGE"),
    ({"--delay-budget": "500"}, "DELAY_BUDGET_OUT_OF_RANGE"),
    ({"--face": "leftmost"}, "BAD_OPTION"),
    ({"--seed": str(2**63)}, "INVALID_INPUT"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_talk_refuses_wrong_input_in_one_line(
    parlante: Run,
    portrait: Path,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.wav").write_text("this is no sound")
    soundfile.write("empty.wav", np.zeros(0), 16_000)
    options = {"--portrait": str(portrait), "--audio": str(speech), "--output": "out.mp4"}
    options |= change
    code, out, err = parlante("talk", *(word for pair in options.items() for word in pair))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("parlante: error: ")
    assert f"[{reason}]" in err
    assert not Path("out.mp4").exists()


def test_talk_says_that_no_server_answers(
    parlante: Run, portrait: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parlante.cli import embedded, talk

    monkeypatch.setattr(talk, "gateway_target", embedded.gateway_target)
    monkeypatch.setattr(talk, "CONNECT_TIMEOUT_S", 0.3)
    code, _, err = parlante(
        *("talk", "--portrait", portrait, "--audio", speech, "--output", tmp_path / "o.mp4"),
        *("--server", "127.0.0.1:9"),
    )
    assert code == 1
    assert "SERVER_UNREACHABLE" in err


def test_talk_ends_cleanly_on_ctrl_c(portrait: Path, speech: Path, tmp_path: Path) -> None:
    """In a process of its own: a signal is for the whole process."""
    output = tmp_path / "out.mp4"
    script = textwrap.dedent(
        f"""
        import signal
        import sys
        from contextlib import asynccontextmanager
        from parlante.cli import main, talk
        from tests.fakes.small_gateway import GreyRenderer, small_gateway
        from tests.fakes.motion import FakeMotion

        # Whoever runs the tests in the background has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        @asynccontextmanager
        async def target(server, face_net=None):
            async with small_gateway(
                renderer=GreyRenderer(), motion=FakeMotion(delay_s=0.2)
            ) as gateway:
                yield gateway.target

        talk.gateway_target = target
        sys.exit(main.main(["talk", "--portrait", {str(portrait)!r}, "--audio", {str(speech)!r},
                            "--output", {str(output)!r}]))
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    )
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob(".out-*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == "parlante: error: interrupted"
    assert "Traceback" not in err
    assert not list(tmp_path.glob("*.mp4")) + list(tmp_path.glob(".out-*"))


# --- what frames look like ---------------------------------------------------------------------


def look_of_run(
    parlante: Run, fake_gateway: Callable[..., None], *arguments: object
) -> tuple[int, str, FakeRenderer]:
    """Run `talk` over a renderer that remembers; its marked frames are no video, so it fails."""
    renderer = FakeRenderer()
    fake_gateway(renderer=renderer)
    code, _, err = parlante("talk", *arguments)
    return code, err, renderer


def test_talk_passes_size_background_and_framing(
    parlante: Run,
    fake_gateway: Callable[..., None],
    portrait: Path,
    speech: Path,
    tmp_path: Path,
) -> None:
    base = ("--portrait", portrait, "--audio", speech, "--output", tmp_path / "o.webm")
    for options, kind, encoding in (
        (("--background", "transparent"), BackgroundKind.TRANSPARENT, FrameEncoding.RGBA32),
        (("--background", "blurred"), BackgroundKind.BLURRED, FrameEncoding.RGBA32),
        (("--background", "#20A040"), BackgroundKind.COLOUR, FrameEncoding.RGBA32),
        (("--background", portrait), BackgroundKind.PICTURE, FrameEncoding.RGBA32),
    ):
        _, _, renderer = look_of_run(parlante, fake_gateway, *base, "--size", 256, *options)
        config = renderer.configs[-1]
        assert (config.frame_size_px, config.background.kind) == (256, kind)
        assert config.encoding is encoding
        if kind is BackgroundKind.COLOUR:
            assert config.background.colour_rgb == (0x20, 0xA0, 0x40)
        if kind is BackgroundKind.PICTURE:
            assert config.background.picture == portrait.read_bytes()


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("#20A040", (0x20, 0xA0, 0x40)),
        ("#fff", (255, 255, 255)),
        ("#2a4", (0x22, 0xAA, 0x44)),
        ("red", (255, 0, 0)),
        ("RebeccaPurple", (0x66, 0x33, 0x99)),
    ],
)
def test_talk_reads_colours_as_css_does(text: str, colour: tuple[int, int, int]) -> None:
    background = look_of(Namespace(framing="head", size=0, background=text)).background
    assert (background.kind, background.colour_rgb) == (BackgroundKind.COLOUR, colour)


def test_talk_takes_a_file_before_a_colour_of_its_name(
    portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    portrait.rename("red")
    background = look_of(Namespace(framing="head", size=0, background="red")).background
    assert background.kind is BackgroundKind.PICTURE


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--background", "transparent"), "OUTPUT_WITHOUT_ALPHA"),
        (("--background", "no-such-file.jpg"), "BAD_OPTION"),
        (("--background", "#12345"), "BAD_OPTION"),
        (("--background", "#1234"), "BAD_OPTION"),
        (("--background", "reddish"), "BAD_OPTION"),
        (("--size", "300"), "BAD_FRAME_SIZE"),
        (("--framing", "full", "--size", "512"), "FRAME_SIZE_FIXED"),
        (("--framing", "full", "--background", "blurred"), "BACKGROUND_FIXED"),
    ],
)
def test_talk_refuses_looks_that_do_not_fit(
    parlante: Run,
    portrait: Path,
    speech: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    reason: str,
) -> None:
    output = tmp_path / "o.mp4"
    code, _, err = parlante(
        "talk", "--portrait", portrait, "--audio", speech, "--output", output, *options
    )
    assert (code, f"[{reason}]" in err) == (2, True), err


def test_talk_writes_vp9_where_the_output_says_so(
    parlante: Run, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    output = tmp_path / "o.webm"
    code, _, err = parlante("talk", "--portrait", portrait, "--audio", speech, "--output", output)
    assert (code, err) == (0, "")
    with av.open(str(output)) as container:
        names = [stream.codec_context.name for stream in container.streams]
    assert names == ["vp9", "opus"]


def test_a_large_background_picture_is_scaled_down_to_fit_a_message(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (1500, 2200, 3), np.uint8)
    path = tmp_path / "noise.png"
    Image.fromarray(picture).save(path)
    assert path.stat().st_size > MAX_BACKGROUND_BYTES
    small = shrink_image(path.read_bytes(), 1024)
    with Image.open(io.BytesIO(small)) as made:
        assert min(made.size) == 1024
    assert decode_image(small).shape[0] == 1024
