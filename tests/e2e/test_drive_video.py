"""A face in a real video drives a portrait, with the real tracker and renderer."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from parlante.cli.main import main
from parlante.driving.motion_clip import MotionClip, load_clip, save_clip
from parlante.models.tracker_files import find_missing_files, tracker_dir
from parlante.types import MOTION_DIM, MOTION_INDEX

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(find_missing_files(tracker_dir())),
        reason="the face tracker's files are not installed (scripts/fetch_tracker.py)",
    ),
]
NUM_FRAMES = 40


def drive(*arguments: object) -> int:
    return main(["drive", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def true_motion() -> np.ndarray:
    """A turn, an open mouth and a blink, [T, 60]."""
    motion = np.zeros((NUM_FRAMES, MOTION_DIM), np.float32)
    time = np.arange(NUM_FRAMES) / NUM_FRAMES
    motion[:, MOTION_INDEX["headYaw"]] = 0.15 * np.sin(2 * np.pi * time)
    motion[8:20, MOTION_INDEX["jawOpen"]] = 0.5 * np.sin(np.pi * np.arange(12) / 11)
    for side in ("Left", "Right"):
        motion[28:33, MOTION_INDEX[f"eyeBlink{side}"]] = (0.5, 1.0, 1.0, 0.7, 0.3)
    return motion


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NASA's astronaut, from scikit-image."""
    data = pytest.importorskip("skimage.data")
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(data.astronaut()).save(file, "PNG")
    path = tmp_path_factory.mktemp("portraits") / "eileen.png"
    path.write_bytes(file.getvalue())
    return path


@pytest.fixture(scope="module")
def driver(
    portrait: Path, true_motion: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A video of that motion."""
    folder = tmp_path_factory.mktemp("driver")
    save_clip(folder / "true.npz", MotionClip(values=true_motion))
    video = folder / "driver.mp4"
    assert drive("--portrait", portrait, "--motion", folder / "true.npz", "--output", video) == 0
    return video


def test_motion_of_a_video_is_that_of_its_face(
    driver: Path, true_motion: np.ndarray, tmp_path: Path
) -> None:
    assert drive("--video", driver, "--save-motion", tmp_path / "seen.npz") == 0
    seen = load_clip(tmp_path / "seen.npz").values
    assert len(seen) == NUM_FRAMES
    for name in ("headYaw", "jawOpen", "eyeBlinkLeft", "eyeBlinkRight"):
        found, true = seen[:, MOTION_INDEX[name]], true_motion[:, MOTION_INDEX[name]]
        assert np.corrcoef(found, true)[0, 1] > 0.9, name
        assert found.max() > 0.6 * true.max(), name


def test_the_portrait_moves_as_long_as_the_video(
    driver: Path, portrait: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    assert drive("--video", driver, "--portrait", portrait, "--output", output) == 0
    with av.open(str(output)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == NUM_FRAMES
    moved = [float(np.abs(frame.astype(int) - frames[0]).mean()) for frame in frames]
    assert moved[10] > 1.0
