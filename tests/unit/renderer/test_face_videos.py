"""Training of the face network from talking videos: a folder of clips to weights.

The clips are frames of a drawn face whose open mouth is painted red, which no warp of its portrait
shows; a tracker that knows the frames stands in for the real one.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import torch

from parlante.errors import InvalidInput
from parlante.models import face_mesh as fm
from parlante.models.face_detection import FaceDetection
from parlante.models.face_features import PartNet
from parlante.models.face_net import FaceNetConfig, RegionNet, RegionNetConfig
from parlante.models.face_regions import MOUTH_MAPS, MOUTH_PX
from parlante.models.face_tracker import FaceLandmarks
from parlante.models.face_weights import load_face_net
from parlante.models.frame_geometry import geometry_from_motion
from parlante.training.face.batches import held_out_rows, take_batch
from parlante.training.face.config import FaceTrainingConfig
from parlante.training.face.losses import region_loss
from parlante.training.face.prepare import prepare_videos
from parlante.training.face.run import train_on_pictures
from parlante.training.precision import multiplies_bfloat16, runs_in_bfloat16

TINY = FaceTrainingConfig(
    model=FaceNetConfig(
        mouth=RegionNetConfig(widths=(8, 12), blocks=(1, 1), code=8, spread=16),
        eye=RegionNetConfig(widths=(8,), blocks=(1,), code=8, spread=16),
    ),
    num_steps=40,
    mouth_batch=4,
    eye_batch=2,
    learning_rate=0.01,
    warmup_steps=4,
    average_decay=0.8,
    num_portraits=1,
    checkpoint_steps=20,
)
RED = (150, 20, 20)
THUMBNAIL = (32, 32)
NUM_FRAMES = 10


class FilmTracker:
    """Finds the frame that a picture is, and with it the face."""

    def __init__(self) -> None:
        self.num_seen = 0
        self._thumbnails: list[np.ndarray] = []
        self._faces: list[tuple[np.ndarray, int]] = []

    def learn(self, rgb: np.ndarray, points: np.ndarray, num_faces: int) -> None:
        self._thumbnails.append(_thumbnail(rgb))
        self._faces.append((points, num_faces))

    def _find(self, rgb: np.ndarray) -> tuple[np.ndarray, int]:
        seen = _thumbnail(rgb)
        apart = [np.abs(seen - known).mean() for known in self._thumbnails]
        return self._faces[int(np.argmin(apart))]

    def detect(self, rgb: np.ndarray, *, min_score: float = 0.5) -> list[FaceDetection]:
        self.num_seen += 1
        face = FaceDetection(
            box_px=np.zeros(4, np.float32), score=1.0, keypoints_px=np.zeros((6, 2), np.float32)
        )
        return [face] * self._find(rgb)[1]

    def landmarks(self, rgb: np.ndarray, face: object) -> FaceLandmarks:
        return FaceLandmarks(points=self._find(rgb)[0], presence=1.0)

    def segment(self, rgb: np.ndarray) -> np.ndarray:
        y, x = np.mgrid[-1 : 1 : rgb.shape[0] * 1j, -1 : 1 : rgb.shape[1] * 1j]
        return (np.hypot(x, y) < 0.8).astype(np.float32)


def _thumbnail(rgb: np.ndarray) -> np.ndarray:
    return cv2.resize(rgb, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)


def write_film(path, pictures):
    """Write 25 frames a second, without sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 512, 512, "yuv420p"
        video.bit_rate = 20_000_000
        for rgb in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(video.encode())


def film_of(portrait, avatar, decoder, motion):
    """Frames and landmarks of a mouth that opens, red inside; the first is shut."""
    pictures, meshes = [], []
    for index in range(NUM_FRAMES):
        values = motion(jawOpen=0.06 * index, mouthSmile=0.05 * (index % 3))
        geometry = geometry_from_motion(avatar, values)
        points = portrait.landmarks.copy()
        skin = slice(fm.NUM_SKIN_LANDMARKS)
        points[skin, :2] += (geometry.posed - geometry.rest)[skin]
        rgb = np.ascontiguousarray(decoder.render(avatar, values))
        rows = [*fm.UPPER_LIP_ROWS[0], *reversed(fm.LOWER_LIP_ROWS[0])]
        if index:
            cv2.fillPoly(rgb, [np.round(points[rows, :2]).astype(np.int32)], RED)
        pictures.append(rgb)
        meshes.append(points)
    return pictures, meshes


@pytest.fixture(scope="module")
def tracker():
    return FilmTracker()


@pytest.fixture(scope="module")
def videos(tmp_path_factory, tracker, decoder, draw, latents_of, motion):
    """Two people who talk, one of them in a folder below, and what cannot be used."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "more").mkdir()
    for path, tint in ((folder / "anna.mp4", 1.0), (folder / "more" / "bea.mp4", 0.8)):
        portrait = draw(tint=tint)
        avatar = decoder.prepare(latents_of(portrait))
        pictures, meshes = film_of(portrait, avatar, decoder, motion)
        for rgb, points in zip(pictures, meshes, strict=True):
            tracker.learn(rgb, points, 1)
        write_film(path, pictures)
    write_film(folder / "blink.mp4", pictures[:1])
    crowd = np.ascontiguousarray(255 - pictures[0])
    tracker.learn(crowd, meshes[0], 2)
    write_film(folder / "crowd.mp4", [crowd] * 5)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def regions(tmp_path_factory, videos, tracker):
    return prepare_videos(videos, tmp_path_factory.mktemp("pairs"), TINY, tracker)


def test_usable_clips_give_pairs_and_others_a_reason(tmp_path, videos, tracker, caplog):
    with caplog.at_level(logging.INFO):
        regions = prepare_videos(videos, tmp_path, TINY, tracker)
    assert len(np.unique(regions["frame"].subject)) == 2
    text = caplog.text
    assert "anna.mp4: 10 of 10 pictures" in text
    assert "blink.mp4 is left out: usable pictures 1" in text
    assert "crowd.mp4 is left out: usable pictures 0, needed 3; 5 x several faces" in text
    assert "broken.mp4 is left out: broken.mp4 cannot be read" in text


def test_short_clips_are_looked_at_more_often_than_long_ones(regions):
    """Clips of 0.4 s: at three pictures a second there would be one pair of each."""
    assert len(np.unique(regions["frame"].view)) == NUM_FRAMES - 1


def test_pairs_stay_when_the_folder_moves(tmp_path, videos, tracker):
    prepare_videos(videos, tmp_path / "pairs", TINY, tracker)
    seen = tracker.num_seen
    moved = tmp_path / "moved"
    moved.symlink_to(videos)
    prepare_videos(moved, tmp_path / "pairs", TINY, tracker)
    assert tracker.num_seen == seen


def test_a_clip_that_came_later_is_not_passed_over(tmp_path, videos, tracker):
    few = tmp_path / "few"
    few.mkdir()
    (few / "anna.mp4").write_bytes((videos / "anna.mp4").read_bytes())
    prepare_videos(few, tmp_path / "pairs", TINY, tracker)
    (few / "bea.mp4").write_bytes((videos / "more" / "bea.mp4").read_bytes())
    with pytest.raises(InvalidInput) as caught:
        prepare_videos(few, tmp_path / "pairs", TINY, tracker)
    assert caught.value.reason == "CACHE_OF_OTHER_RUN"


def test_no_picture_is_both_trained_and_tested_on(regions):
    eyes = regions["eyes"]
    held_out = held_out_rows(eyes, 20)  # fewer people than that
    answers = eyes.subject * 1000 + eyes.view
    assert held_out.any()
    assert not set(answers[held_out]) & set(answers[~held_out])


def test_whole_people_are_held_out_where_there_are_enough(regions):
    held_out = held_out_rows(regions["mouth"], 2)
    assert set(regions["mouth"].subject[held_out]) == {1}


def test_a_single_picture_is_too_little(regions):
    data = regions["mouth"]
    alone = replace(data, subject=np.zeros_like(data.subject), view=np.ones_like(data.view))
    with pytest.raises(InvalidInput) as caught:
        held_out_rows(alone, 20)
    assert caught.value.reason == "NO_USABLE_SUBJECT"


@pytest.fixture
def film_tracker(monkeypatch, tracker):
    monkeypatch.setattr("parlante.training.face.run.FaceTracker", lambda: tracker)


def held_out_errors(text):
    """Of the mouth, before and after, in the order of the tests."""
    found = re.findall(r"held out: mouth ([\d.]+) -> ([\d.]+)", text)
    return [(float(before), float(after)) for before, after in found]


@pytest.mark.usefixtures("film_tracker")
def test_videos_alone_teach_the_mouth(tmp_path, videos, caplog):
    with caplog.at_level(logging.INFO):
        weights = train_on_pictures(TINY, tmp_path, videos=videos)
    before, after = held_out_errors(caplog.text)[-1]
    assert after < 0.8 * before
    assert load_face_net(weights)[0].config == TINY.model
    assert "likeness is left out" not in caplog.text  # the packaged network sees it


@pytest.mark.usefixtures("film_tracker")
def test_run_goes_on_where_it_ended_but_not_with_another_model(tmp_path, videos, caplog):
    train_on_pictures(replace(TINY, num_steps=2), tmp_path, videos=videos)
    with caplog.at_level(logging.INFO):
        train_on_pictures(replace(TINY, num_steps=3), tmp_path, videos=videos)
    assert "resumed at step 2" in caplog.text
    with pytest.raises(InvalidInput) as caught:
        train_on_pictures(replace(TINY, model=FaceNetConfig()), tmp_path, videos=videos)
    assert caught.value.reason == "RUN_OF_OTHER_SIZE"


def test_loss_is_nearly_the_same_in_bfloat16(regions):
    torch.manual_seed(0)
    net = RegionNet(TINY.model.mouth, MOUTH_PX, MOUTH_MAPS)
    batch = take_batch(regions["mouth"], np.arange(4))
    losses = []
    for bfloat16 in (False, True):
        loss, _ = region_loss(net, batch, PartNet(), TINY.losses, bfloat16=bfloat16)
        assert loss.dtype == torch.float32
        losses.append(float(loss.detach()))
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("asked", [True, False])
def test_bfloat16_is_as_asked_and_else_as_the_processor_has_it(asked):
    assert runs_in_bfloat16(asked) is asked
    assert runs_in_bfloat16(None) is multiplies_bfloat16()
