"""Readings of the encoders are mixed into the measures, at the scale of the renderer."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.driving.observe import Watcher
from parlante.driving.readings import READ, TAKEN, Mixture, take_over
from parlante.models.face_codes import READ_CHANNELS, READ_MEASURES
from parlante.models.face_reader import Reading
from parlante.training.videos.measures import MEASURE_INDEX, measure
from parlante.types import MOTION_DIM


def test_a_mixture_brings_changes_to_scale():
    true = np.array([0.0, 0.0, 1.0, -1.0, 0.5])
    mixed = Mixture(share=0.3, read_gain=0.5, tracked_gain=0.8).mix(7.0 + 0.8 * true, 0.5 * true)
    assert mixed == pytest.approx(7.0 + true)


def test_losses_stay_losses():
    tracked, read = np.array([1.0, np.nan, 3.0]), np.array([0.0, np.nan, 2.0])
    mixture = Mixture(share=0.5, read_gain=1.0, tracked_gain=1.0)
    assert np.isnan(mixture.mix(tracked, read)).tolist() == [False, True, False]
    nothing = np.full(3, np.nan)
    assert np.isnan(mixture.mix(nothing, nothing)).all()


def test_all_else_is_the_trackers(made_face, talking):
    track = made_face.track(talking)
    rng = np.random.default_rng(0)
    readings = rng.normal(0.0, 0.1, (len(talking), len(READ)))
    mixed = take_over(track, readings)
    for name, index in MEASURE_INDEX.items():
        same = np.array_equal(mixed.values[:, index], track.values[:, index])
        assert same == (name not in TAKEN)
    assert np.array_equal(mixed.times_s, track.times_s)


class FakeReader:
    """Reads the same numbers off every face, and counts."""

    def __init__(self):
        self.count = 0

    def read(self, rgb, points):
        self.count += 1
        level = np.float32(0.01 * self.count)
        return Reading(
            pose=np.full((1, 3), level),
            gaze=np.full((1, 2), level),
            channels=np.full((1, len(READ_CHANNELS)), level),
            measures=np.full((1, len(READ_MEASURES)), level),
            dynamics=np.zeros((1, 4), np.float32),
            identity=np.ones((1, 1), np.float32),
        )


def test_a_watcher_reads_the_pictures_that_show_a_face(made_face):
    from parlante.models.face_tracker import FaceLandmarks

    reader = FakeReader()
    plain, watcher = Watcher(), Watcher(reader)
    mesh = FaceLandmarks(points=made_face.points(np.zeros(MOTION_DIM, np.float32)), presence=1.0)
    picture = np.zeros((8, 8, 3), np.uint8)
    for face in (mesh, None, mesh):
        plain.see(picture, face)
        watcher.see(picture, face)
    assert reader.count == 2
    track = made_face.track(np.zeros((3, MOTION_DIM), np.float32))
    track.values[1] = np.nan
    alone, mixed = (w.observation(track) for w in (plain, watcher))
    assert alone.track is track
    gaze = MEASURE_INDEX["gaze_yaw"]
    assert mixed.track.values[2, gaze] > mixed.track.values[0, gaze]
    assert np.isnan(mixed.track.values[1]).all()
    assert mixed.sides == pytest.approx(alone.sides, nan_ok=True)
    still = measure(mesh.points)
    assert alone.track.values[0] == pytest.approx(still)
