"""Heads drawn with OpenGL; skipped where none can start."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.models.face_crop import PX_PER_IOD
from parlante.training.encoders import shards
from parlante.training.encoders.actions import sample_actions
from parlante.training.encoders.probes import FRAMES_PER_KIND, PROBE_FRAMES, sample_probes
from parlante.training.encoders.shards import draw_heads, read_heads
from tests.unit.synth.tiny_heads import tiny_landmarks


def test_actions_say_nothing_about_each_other(pack):
    frames = sample_actions(pack, np.random.default_rng(0), num_frames=64)
    looks = np.array([(f.yaw_rad, f.gaze_yaw_rad, f.gaze_pitch_rad) for f in frames])
    assert np.abs(looks).max(axis=0) == pytest.approx([0.63, 0.48, 0.33], abs=0.1)
    assert frames[0].kind == "calm"
    assert all(name in pack.unit_names for frame in frames for name in frame.units)


def test_probes_change_one_thing_at_a_time(pack):
    frames = sample_probes(pack, np.random.default_rng(1), num_frames=PROBE_FRAMES)
    thirds = [frames[k : k + FRAMES_PER_KIND] for k in range(0, PROBE_FRAMES, FRAMES_PER_KIND)]
    moves = [
        (
            len({tuple(sorted(f.units.items())) for f in third}) > 1,
            len({(f.yaw_rad, f.pitch_rad, f.roll_rad) for f in third}) > 1,
            len({(f.gaze_yaw_rad, f.gaze_pitch_rad) for f in third}) > 1,
        )
        for third in thirds
    ]
    assert moves == [(True, False, False), (False, True, False), (False, False, True)]


@pytest.mark.slow
def test_heads_are_drawn_once_and_labelled(heads, pack, opengl, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "load_landmark_map", lambda pack: tiny_landmarks(pack))
    options = {"num_frames": 3, "seed": 5}
    made: list[int] = []
    draw_heads(heads, tmp_path, num_heads=2, **options, progress=made.append)
    draw_heads(heads, tmp_path, num_heads=3, **options, progress=made.append)
    assert made == [0, 1, 2]
    first, *_ = read_heads(tmp_path, range(3))
    assert first.images.shape == (3, shards.STORED_PX, shards.STORED_PX, 3)
    corners = first.landmarks[:, [33, 263]]
    assert np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1) == pytest.approx(
        PX_PER_IOD, rel=0.02
    )
    assert corners[:, 0, 1] == pytest.approx(corners[:, 1, 1], abs=0.5)
    assert np.ptp(first.images) > 50
    again = tmp_path / "again"
    draw_heads(heads, again, num_heads=1, **options)
    assert np.array_equal(read_heads(again, range(1))[0].images, first.images)
    with pytest.raises(InvalidInput):
        draw_heads(heads, tmp_path, num_heads=3, num_frames=4, seed=5)
    check_processes(heads, tmp_path, **options)
    (tmp_path / "head-00001.npz").write_bytes(b"broken")
    with pytest.raises(InvalidInput):
        read_heads(tmp_path, range(3))


def check_processes(heads, one_by_one, **options):
    """Processes draw the same heads, and end when the caller has enough of them."""

    class Enough(Exception):
        pass

    folder, made = one_by_one / "processes", []

    def progress(number):
        made.append(number)
        if len(made) > 1:
            raise Enough

    with pytest.raises(Enough):
        draw_heads(heads, folder, num_heads=40, **options, num_processes=2, progress=progress)
    assert len(list(folder.glob("*.npz"))) < 40
    assert not list(folder.glob("*.part"))
    draw_heads(heads, folder, num_heads=3, **options, num_processes=2)
    pairs = zip(*(read_heads(path, range(3)) for path in (one_by_one, folder)), strict=True)
    for alone, together in pairs:
        assert np.array_equal(alone.images, together.images)
        assert np.array_equal(alone.landmarks, together.landmarks)
        assert alone.metadata == together.metadata
