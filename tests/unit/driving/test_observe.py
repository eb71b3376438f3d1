"""Which videos drive, and what is said of those that do not; faces come from a fake tracker."""

from fractions import Fraction

import numpy as np
import pytest

from parlante.driving import observe as module
from parlante.driving.observe import observe
from parlante.driving.timeline import to_frames
from parlante.errors import InvalidInput
from parlante.models.face_detection import FaceDetection
from parlante.models.face_tracker import FaceLandmarks
from parlante.training.videos.measures import MEASURE_INDEX
from parlante.types import MOTION_DIM, FaceChoice

WHITE, BLACK = 200, 0


class FakeFaces:
    """Faces of one size in every picture that is not black."""

    def __init__(self, made_face, *, num_faces=1, scale=0.3):
        self.points = made_face.points(np.zeros(MOTION_DIM, np.float32)) * np.float32(scale)
        self.points[:, :2] -= self.points[:468, :2].mean(0) - [48.0, 32.0]
        self.num_faces = num_faces

    def _at(self, index):
        points = self.points.copy()
        points[:, 0] += 200.0 * index
        return points

    def landmarks(self, rgb, face):
        index = 0
        if isinstance(face, FaceDetection):
            index = round((float(face.box_px[0]) - self._box(0)[0]) / 200.0)
        there = 1.0 if rgb.mean() > 100 else 0.0
        return FaceLandmarks(points=self._at(index), presence=there)

    def _box(self, index):
        points = self._at(index)[:468, :2]
        return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)

    def detect(self, rgb, *, min_score=0.5):
        if self.landmarks(rgb, None).presence == 0.0:
            return []
        keypoints = np.array([33, 263, 1, 13, 127, 356])
        return [
            FaceDetection(
                box_px=self._box(i), keypoints_px=self._at(i)[keypoints, :2], score=0.95 - 0.01 * i
            )
            for i in range(self.num_faces)
        ]


class UnequalFaces(FakeFaces):
    """Two faces: the first is the larger, but the detector's box of the second is."""

    def __init__(self, made_face):
        super().__init__(made_face, num_faces=2)

    def _at(self, index):
        points = super()._at(index)
        centre = points[:468].mean(axis=0)
        return (points - centre) * np.float32(0.9 if index else 1.0) + centre

    def landmarks(self, rgb, face):
        xs = face.points[:468, 0] if isinstance(face, FaceLandmarks) else face.box_px[::2]
        return FaceLandmarks(points=self._at(int(xs.mean() > 148)), presence=1.0)

    def detect(self, rgb, *, min_score=0.5):
        faces = []
        for index, share in enumerate((0.9, 1.1)):
            box = self._box(index).reshape(2, 2)
            box = (box - box.mean(axis=0)) * np.float32(share) + box.mean(axis=0)
            keypoints = self._at(index)[[33, 263, 1, 13, 127, 356], :2]
            faces.append(FaceDetection(box_px=box.ravel(), keypoints_px=keypoints, score=0.95))
        return faces


def reason_of(call):
    with pytest.raises(InvalidInput) as caught:
        call()
    return caught.value.reason


def test_a_video_of_one_face_is_followed(made_face, write_video, tmp_path):
    path = write_video(tmp_path / "v.mp4", [WHITE] * 40, rate=30)
    observation = observe(FakeFaces(made_face), path)
    assert len(observation.track.times_s) == len(observation.sides) == 40
    assert np.isfinite(observation.sides).all()
    frames = to_frames(observation)
    assert frames.num_frames in (33, 34)
    assert not frames.lost.any()


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 25, 50, 60])
def test_frames_last_as_long_as_the_video(made_face, write_video, tmp_path, rate):
    count = int(2 * rate)
    path = write_video(tmp_path / "v.mp4", [WHITE] * count, rate=rate)
    frames = to_frames(observe(FakeFaces(made_face), path))
    assert abs(frames.num_frames - 25 * count / float(rate)) <= 1.0


def test_no_face_is_told(made_face, write_video, tmp_path):
    path = write_video(tmp_path / "v.mp4", [BLACK] * 40)
    assert reason_of(lambda: observe(FakeFaces(made_face), path)) == "NO_FACE"


def test_several_faces_are_told_and_the_largest_may_be_taken(made_face, write_video, tmp_path):
    path = write_video(tmp_path / "v.mp4", [WHITE] * 40)
    faces = FakeFaces(made_face, num_faces=2)
    assert reason_of(lambda: observe(faces, path)) == "SEVERAL_FACES"
    assert len(observe(faces, path, choice=FaceChoice.LARGEST).sides) == 40


class CountingFaces(FakeFaces):
    """Notes what is asked of it."""

    calls = 0

    def landmarks(self, rgb, face):
        self.calls += 1
        return super().landmarks(rgb, face)


def test_a_video_that_is_crowded_all_along_is_refused_before_it_is_followed(
    made_face, write_video, tmp_path
):
    path = write_video(tmp_path / "v.mp4", [WHITE] * 250)
    faces = CountingFaces(made_face, num_faces=2)
    assert reason_of(lambda: observe(faces, path)) == "SEVERAL_FACES"
    assert faces.calls < 25


def test_a_passer_by_in_the_samples_is_no_second_driver(
    made_face, write_video, tmp_path, monkeypatch
):
    path = write_video(tmp_path / "v.mp4", [WHITE] * 100)
    samples, as_it_is_followed = [2, 2, 2, 2, 2, 1], [1, 2, 1, 1]
    counts = iter([*samples, *as_it_is_followed])
    monkeypatch.setattr(module, "_count_faces", lambda *_: next(counts))
    assert len(observe(FakeFaces(made_face), path).sides) == 100


def test_following_ends_when_it_is_stopped(made_face, write_video, tmp_path):
    path = write_video(tmp_path / "v.mp4", [WHITE] * 100)
    asked = iter([False] * 20 + [True])
    observation = observe(FakeFaces(made_face), path, stopped=lambda: next(asked))
    assert len(observation.sides) == 20


def test_the_largest_face_is_the_one_that_a_portrait_would_show(made_face, write_video, tmp_path):
    path = write_video(tmp_path / "v.mp4", [WHITE] * 40)
    track = observe(UnequalFaces(made_face), path, choice=FaceChoice.LARGEST).track
    np.testing.assert_allclose(track.values[:, MEASURE_INDEX["x_px"]], 48.0, atol=20.0)


def test_too_short_too_long_and_too_small_are_told(made_face, write_video, tmp_path, monkeypatch):
    short = write_video(tmp_path / "s.mp4", [WHITE] * 10)
    assert reason_of(lambda: observe(FakeFaces(made_face), short)) == "VIDEO_TOO_SHORT"
    path = write_video(tmp_path / "v.mp4", [WHITE] * 40)
    small = FakeFaces(made_face, scale=0.1)
    assert reason_of(lambda: observe(small, path)) == "FACE_TOO_SMALL"
    monkeypatch.setattr(module, "MAX_SECONDS", 1.0)
    assert reason_of(lambda: observe(FakeFaces(made_face), path)) == "VIDEO_TOO_LONG"


@pytest.mark.parametrize(("count", "told"), [(1, "0.04 s"), (2, "0.08 s"), (12, "0.48 s")])
def test_a_short_video_lasts_as_long_as_its_last_picture(
    made_face, write_video, tmp_path, count, told
):
    path = write_video(tmp_path / "v.mp4", [WHITE] * count)
    with pytest.raises(InvalidInput, match=f"lasts {told}"):
        observe(FakeFaces(made_face), path)
    enough = write_video(tmp_path / "e.mp4", [WHITE] * 13)
    assert len(observe(FakeFaces(made_face), enough).sides) == 13


def test_what_is_no_video_is_told(made_face, tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"not a video" * 100)
    assert reason_of(lambda: observe(FakeFaces(made_face), path)) == "VIDEO_UNREADABLE"
