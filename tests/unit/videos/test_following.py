"""Following one face: cuts, losses, jumps; faces come from a fake tracker."""

import numpy as np
import pytest

from parlante.media.video_file import Picture
from parlante.models.face_detection import FaceDetection
from parlante.models.face_tracker import FaceLandmarks
from parlante.training.videos.following import Flaw, follow
from parlante.types import MOTION_DIM, MOTION_INDEX


class FakeFaces:
    """A face wherever a picture's blue says so; counts what it is asked."""

    def __init__(self, made_face, *, presence=1.0, **channels):
        self.made_face = made_face
        self.presence = presence
        self.motion = np.zeros(MOTION_DIM, np.float32)
        for name, value in channels.items():
            self.motion[MOTION_INDEX[name]] = value
        self.num_detections = 0

    def landmarks(self, rgb, face):
        points = self.made_face.points(self.motion)
        points[:, 0] += float(rgb[0, 0, 2]) - 100.0
        there = self.presence if rgb[0, 0, 2] else 0.0
        return FaceLandmarks(points=points, presence=there)

    def detect(self, rgb, *, min_score=0.5):
        self.num_detections += 1
        if not rgb[0, 0, 2]:
            return []
        points = self.landmarks(rgb, None).points[:468, :2]
        box = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)
        return [FaceDetection(box_px=box, keypoints_px=points[:6], score=0.9)]


def _pictures(places, level=120, size=(480, 640)):
    """Pictures with a face at `places` (0 = none), all of one brightness."""
    for index, place in enumerate(places):
        rgb = np.full((*size, 3), level, np.uint8)
        rgb[0, 0, 2] = place
        yield Picture(index / 25.0, rgb)


def test_a_face_is_followed_with_few_detections(made_face):
    faces = FakeFaces(made_face)
    track = follow(faces, _pictures([100] * 60))
    assert not track.flaws.any()
    assert not track.shots.any()
    assert faces.num_detections <= 4
    np.testing.assert_allclose(np.diff(track.times_s), 0.04)


def test_a_lost_face_is_looked_for_and_found_again(made_face):
    track = follow(FakeFaces(made_face), _pictures([100] * 5 + [0] * 5 + [100] * 5))
    assert list(track.flaws) == [Flaw.NONE] * 5 + [Flaw.NO_FACE] * 5 + [Flaw.NONE] * 5
    assert np.isnan(track.values[7]).all()


def test_a_change_of_picture_is_a_shot_change(made_face):
    before, after = _pictures([100] * 10, level=60), _pictures([100] * 10, level=200)
    pictures = [*before, *(Picture(p.time_s + 0.4, p.rgb) for p in after)]
    assert list(follow(FakeFaces(made_face), pictures).shots) == [0] * 10 + [1] * 10


def test_a_jump_of_the_face_is_a_shot_change(made_face):
    shots = follow(FakeFaces(made_face), _pictures([100] * 5 + [200] * 5)).shots
    assert list(shots) == [0] * 5 + [1] * 5


def test_noise_is_no_shot_change(made_face):
    rng = np.random.default_rng(0)
    pictures = []
    for picture in _pictures([100] * 20):
        noisy = np.clip(picture.rgb + rng.normal(0, 8, picture.rgb.shape), 0, 255).astype(np.uint8)
        noisy[0, 0, 2] = 100
        pictures.append(Picture(picture.time_s, noisy))
    assert not follow(FakeFaces(made_face), pictures).shots.any()


@pytest.mark.parametrize(
    ("options", "flaw"),
    [
        ({"presence": 0.6}, Flaw.DOUBTFUL),
        ({"headYaw": 0.7}, Flaw.PROFILE),
        ({"headLogScale": -1.6}, Flaw.TOO_SMALL),
        ({"headX": 2.6}, Flaw.CUT_OFF),
    ],
)
def test_bad_faces_are_marked(made_face, options, flaw):
    track = follow(FakeFaces(made_face, **options), _pictures([100] * 3))
    assert list(track.flaws) == [flaw] * 3
