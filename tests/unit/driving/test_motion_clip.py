"""Motion on file: what is written comes back, and what is no motion is refused."""

import numpy as np
import pytest

from parlante.driving.motion_clip import MotionClip, load_clip, save_clip
from parlante.errors import InvalidInput
from parlante.types import MOTION_DIM, MOTION_INDEX


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    return MotionClip(values=rng.uniform(0, 1, (30, MOTION_DIM)).astype(np.float32))


@pytest.mark.parametrize("name", ["m.npz", "m.csv"])
def test_a_saved_clip_comes_back(tmp_path, clip, name):
    save_clip(tmp_path / name, clip)
    np.testing.assert_allclose(load_clip(tmp_path / name).values, clip.values, rtol=1e-5)


def test_channels_by_name_at_another_rate_become_25_hz(tmp_path):
    path = tmp_path / "game.csv"
    rows = [f"{i / 50:.3f},{i / 100:.3f}" for i in range(100)]  # 50 Hz
    path.write_text("time_s,jawOpen\n" + "\n".join(rows))
    values = load_clip(path).values
    assert values.shape == (50, MOTION_DIM)
    np.testing.assert_allclose(values[:, MOTION_INDEX["jawOpen"]], np.arange(50) / 50, atol=1e-6)
    assert not np.delete(values, MOTION_INDEX["jawOpen"], axis=1).any()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("time_s,jawOpen,wings\n0,0,1\n", "UNKNOWN_CHANNEL"),
        ("time_s,jawOpen\n0,nan\n", "NON_FINITE_MOTION"),
        ("time_s,jawOpen\n0,1e9\n", "NON_FINITE_MOTION"),
        ("time_s,jawOpen\n0,0\n0,1\n", "BAD_MOTION_FILE"),  # time stands still
        ("time_s,jawOpen\n0,0\n1e9,1\n", "BAD_MOTION_FILE"),
        ("time_s,jawOpen\n", "BAD_MOTION_FILE"),
        ("time_s,jawOpen,jawOpen\n0,0,0\n", "BAD_MOTION_FILE"),
        ("jawOpen\n0\n", "BAD_MOTION_FILE"),
        ("time_s,jawOpen\n0,0,0\n", "BAD_MOTION_FILE"),
        ("time_s,jawOpen\n0,wide\n", "BAD_MOTION_FILE"),
        ("", "BAD_MOTION_FILE"),
    ],
)
def test_a_file_that_is_no_motion_is_refused(tmp_path, content, reason):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        load_clip(path)
    assert caught.value.reason == reason


def test_a_damaged_or_foreign_npz_is_refused(tmp_path, clip):
    path = tmp_path / "m.npz"
    save_clip(path, clip)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InvalidInput, match="cannot be read as motion"):
        load_clip(path)
    np.savez(path, values=clip.values)
    with pytest.raises(InvalidInput, match="cannot be read as motion"):
        load_clip(path)
    np.savez(path, values=np.array([{}]), channels=["jawOpen"], frame_rate_hz=25.0)  # a pickle
    with pytest.raises(InvalidInput, match="cannot be read as motion"):
        load_clip(path)


def test_a_missing_file_and_another_ending_are_told(tmp_path, clip):
    with pytest.raises(InvalidInput) as caught:
        load_clip(tmp_path / "none.npz")
    assert caught.value.reason == "FILE_NOT_FOUND"
    with pytest.raises(InvalidInput) as caught:
        save_clip(tmp_path / "m.txt", clip)
    assert caught.value.reason == "BAD_MOTION_FILE"
