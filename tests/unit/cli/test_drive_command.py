"""`parlante drive`: which videos it makes of which motion, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from parlante.cli.drive import Performance, _reader_of
from parlante.driving.motion_clip import MotionClip, load_clip, save_clip
from parlante.errors import FailedPrecondition
from parlante.models.face_codes_weights import PACKAGED_CODES
from parlante.types import MOTION_DIM, MOTION_INDEX
from tests.fakes.encoder import portrait_bytes

Run = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("fake_gateway")
NUM_FRAMES = 30


@pytest.fixture
def motion(tmp_path: Path) -> Path:
    """A mouth that opens at frame 20."""
    values = np.zeros((NUM_FRAMES, MOTION_DIM), np.float32)
    values[20:, MOTION_INDEX["jawOpen"]] = 0.8
    values[:, MOTION_INDEX["headYaw"]] = 0.2
    path = tmp_path / "motion.npz"
    save_clip(path, MotionClip(values=values))
    return path


def portraits_of(folder: Path, *names: str) -> list[str]:
    options = []
    for name in names:
        (folder / f"{name}.png").write_bytes(portrait_bytes(name))
        options += ["--portrait", str(folder / f"{name}.png")]
    return options


def levels_of(path: Path) -> np.ndarray:
    """Mean brightness of each quarter of each frame, [T, 2, 2]."""
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="gray") for f in container.decode(video=0)]
    height, width = frames[0].shape
    cut = np.array(frames).reshape(len(frames), 2, height // 2, 2, width // 2)
    return cut.mean((2, 4))


def test_motion_of_a_file_moves_a_portrait(
    parlante: Run, motion: Path, portrait: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    code, out, err = parlante(
        "drive", "--portrait", portrait, "--motion", motion, "--output", output, "--json"
    )
    assert (code, err) == (0, "")
    report = json.loads(out.splitlines()[-1])
    assert (report["frames"], report["seconds"], report["outputs"]) == (30, 1.2, [str(output)])
    levels = levels_of(output).mean((1, 2))
    assert len(levels) == NUM_FRAMES
    assert levels[:20].max() < 40 < 150 < levels[21:].min()
    with av.open(str(output)) as container:
        assert not container.streams.audio


def test_many_portraits_become_a_video_each_in_a_folder(
    parlante: Run, motion: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    options = portraits_of(tmp_path, "anna", "berta")
    code, _, _ = parlante("drive", *options, "--motion", motion, "--output", folder)
    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["anna.mp4", "berta.mp4"]


def test_many_portraits_become_a_grid_in_a_file(
    parlante: Run, motion: Path, tmp_path: Path
) -> None:
    output = tmp_path / "grid.mp4"
    options = portraits_of(tmp_path, "anna", "berta", "carla")
    code, _, err = parlante("drive", *options, "--motion", motion, "--output", output)
    assert (code, err) == (0, "")
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (1024, 1024, NUM_FRAMES)
    last = levels_of(output)[-1]
    assert last[0, 0] > 150 and last[0, 1] > 150 and last[1, 0] > 150  # noqa: PT018
    assert last[1, 1] < 40  # the empty cell


def test_parts_and_intensity_reach_the_renderer(
    parlante: Run, motion: Path, portrait: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    options = ("drive", "--portrait", portrait, "--motion", motion, "--output", output)
    parlante(*options, "--only", "pose")
    assert levels_of(output).max() < 40
    parlante(*options, "--intensity", "0.5")
    half = levels_of(output)[25].mean()
    parlante(*options)
    assert half == pytest.approx(0.5 * levels_of(output)[25].mean(), abs=16)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--portrait", "none.png", "--output", "o.mp4"), "FILE_NOT_FOUND"),
        (("--output", "o.mp4"), "PORTRAIT_REQUIRED"),
        (("--portrait", "anna.png"), "OUTPUT_REQUIRED"),
        ((), "OUTPUT_REQUIRED"),
        (("--portrait", "anna.png", "--output", "o.gif"), "BAD_OUTPUT"),
        (("--portrait", "anna.png", "--output", "no/o.mp4"), "OUTPUT_FOLDER_MISSING"),
        (("--portrait", "anna.png", "--portrait", "anna.png", "--output", "."), "SAME_NAME"),
        (("--portrait", "anna.png", "--output", "o.mp4", "--intensity", "9"), "CONTROL_OUT_OF"),
        (("--portrait", "anna.png", "--output", "o.mp4", "--save-motion", "m.x"), "BAD_MOTION"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    parlante: Run,
    motion: Path,
    portrait: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = parlante("drive", "--motion", motion, *options)
    assert (code, reason in err) == (2, True), err
    assert not (tmp_path / "o.mp4").exists()


def test_a_portrait_that_will_not_do_leaves_no_video(
    parlante: Run, motion: Path, tmp_path: Path
) -> None:
    options = portraits_of(tmp_path, "NO_FACE")
    code, _, err = parlante("drive", *options, "--motion", motion, "--output", tmp_path / "o.mp4")
    assert (code, "[NO_FACE]" in err) == (2, True)
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize("output", ["videos", "grid.mp4"])
def test_the_portrait_that_will_not_do_is_named_before_any_video(
    parlante: Run, motion: Path, tmp_path: Path, output: str
) -> None:
    (tmp_path / "videos").mkdir()
    options = portraits_of(tmp_path, "anna", "NO_FACE")
    code, _, err = parlante("drive", *options, "--motion", motion, "--output", tmp_path / output)
    assert (code, "NO_FACE.png: " in err) == (2, True)
    assert not [*tmp_path.glob("*.mp4"), *tmp_path.glob("videos/*")]


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Videos that were followed; the motion that comes of them is a face at rest."""
    videos: list[Path] = []

    def follow(args: Namespace, *, shown: bool, stopped: Callable[[], bool]) -> Performance:
        videos.append(args.video)
        assert not stopped()
        clip = MotionClip(values=np.zeros((5, MOTION_DIM), np.float32))
        return Performance(clip=clip, recording=None, followed=1.0)

    monkeypatch.setattr("parlante.cli.drive._followed", follow)
    (tmp_path / "actor.mp4").write_bytes(b"")
    return videos


@pytest.mark.parametrize(("name", "code"), [("anna", 0), ("NO_FACE", 2)])
def test_a_video_is_followed_only_for_portraits_that_will_do(
    parlante: Run, followed: list[Path], tmp_path: Path, name: str, code: int
) -> None:
    video, output = tmp_path / "actor.mp4", tmp_path / "o.mp4"
    options = ("--video", video, "--output", output)
    assert parlante("drive", *portraits_of(tmp_path, name), *options)[0] == code
    assert followed == ([video] if code == 0 else [])
    assert output.exists() == (code == 0)


def test_motion_can_be_kept_in_the_other_format(
    parlante: Run, motion: Path, portrait: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.csv"
    code, out, _ = parlante("drive", "--motion", motion, "--save-motion", kept)
    assert (code, "30 frames of motion" in out) == (0, True)
    np.testing.assert_allclose(load_clip(kept).values, load_clip(motion).values, atol=1e-5)


def test_encoders_are_the_packaged_ones_none_or_a_file(tmp_path: Path) -> None:
    assert _reader_of("none") is None
    packaged = _reader_of("auto")
    assert packaged is not None
    assert packaged.digest == hashlib.sha256(PACKAGED_CODES.read_bytes()).hexdigest()
    with pytest.raises(FailedPrecondition):
        _reader_of(str(tmp_path / "none.safetensors"))
