"""A whole folder: good videos, bad ones, a second run, and training on it."""

import json

import numpy as np
import pytest
import torch

from parlante.errors import InvalidInput
from parlante.models.face_detection import FaceDetection
from parlante.models.face_tracker import FaceLandmarks
from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_weights import load_weights, save_weights
from parlante.training.checkpoint import load_checkpoint
from parlante.training.videos import run
from parlante.training.videos.folder import find_videos, prepare_folder
from parlante.training.videos.run import DEFAULT_CONFIG, read_video_config, train_on_videos
from parlante.training.videos.shards import map_shard
from parlante.types import MOTION_INDEX

NO_FACE_LEVEL = 10


class TalkingFaces:
    """A face that talks through every video whose pictures are not dark."""

    def __init__(self, made_face, talking):
        self.frames = [made_face.points(frame) for frame in talking]
        self.num_asked = 0
        self.index = 0

    def detect(self, rgb, *, min_score=0.5):
        if rgb[-1, -1].max() < 30:
            return []
        self.index = -1
        points = self.frames[0][:468, :2]
        box = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)
        return [FaceDetection(box_px=box, keypoints_px=points[:6], score=0.9)]

    def landmarks(self, rgb, face):
        self.num_asked += 1
        dark = rgb[-1, -1].max() < 30
        self.index = min(self.index + 1, len(self.frames) - 1)
        return FaceLandmarks(points=self.frames[self.index], presence=0.0 if dark else 1.0)


@pytest.fixture
def faces(made_face, talking, monkeypatch):
    # The fake's pictures are smaller than its faces, and its detector starts the talk anew.
    monkeypatch.setattr("parlante.training.videos.following.CHECK_EVERY", 10_000)
    monkeypatch.setattr("parlante.training.videos.following._inside", lambda points, rgb: 1.0)
    return TalkingFaces(made_face, talking)


@pytest.fixture
def reader(talking):
    """Lips read from sound as they are."""
    opening = 0.5 * talking[:, MOTION_INDEX["jawOpen"]]
    opening = opening * (1 - talking[:, MOTION_INDEX["mouthClose"]])
    return lambda audio: opening[: len(audio) // 640]


@pytest.fixture
def folder(tmp_path, write_video):
    """Two good videos in two folders, and one of each bad kind."""
    rng = np.random.default_rng(0)
    videos = tmp_path / "videos"
    (videos / "more").mkdir(parents=True)
    sound = (0.1 * rng.standard_normal(16_000 * 8)).astype(np.float32)
    write_video(videos / "good.mp4", [120] * 115, sound[: 16_000 * 5])
    write_video(videos / "more" / "other.MKV", [140] * 100, sound[: 4 * 16_000])
    write_video(videos / "dark.mp4", [NO_FACE_LEVEL] * 50, sound[:32_000])
    write_video(videos / "mute.mp4", [120] * 50)
    (videos / "broken.mp4").write_bytes(b"\0" * 5000)
    (videos / "notes.txt").write_text("no video")
    return videos


def test_a_folder_becomes_shards_and_a_manifest(folder, tmp_path, faces, reader):
    told = []
    manifest = prepare_folder(folder, tmp_path / "out", faces, reader, tell=told.append)
    by_name = {report.file: report for report in manifest.reports}
    assert sorted(report.file for report in manifest.usable) == ["good.mp4", "more/other.MKV"]
    assert by_name["dark.mp4"].skipped == "no face throughout"
    assert "no sound" in by_name["mute.mp4"].skipped
    assert "cannot be read" in by_name["broken.mp4"].skipped
    assert by_name["good.mp4"].lip_correlation > 0.9
    shard = map_shard(manifest.path_of(by_name["good.mp4"]))
    assert len(shard["log_mel"]) == by_name["good.mp4"].num_clips == 1
    assert len(told) == 5
    assert manifest.summary().startswith("2 of 5 videos usable")
    stored = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert stored["usable"] == 2
    assert len(stored["videos"]) == 5


def test_a_second_run_measures_only_what_is_new(folder, tmp_path, faces, reader, write_video):
    first = prepare_folder(folder, tmp_path / "out", faces, reader)
    asked = faces.num_asked
    (folder / "good.mp4").rename(folder / "renamed.mp4")
    second = prepare_folder(folder, tmp_path / "out", faces, reader)
    assert faces.num_asked == asked
    assert {r.key for r in second.usable} == {r.key for r in first.usable}
    write_video(folder / "new.mp4", [90] * 100, np.full(64_000, 0.1, np.float32))
    prepare_folder(folder, tmp_path / "out", faces, reader)
    assert faces.num_asked > asked


def test_an_unexpected_failure_costs_one_video(folder, tmp_path, faces, reader, monkeypatch):
    landmarks = faces.landmarks

    def fails(rgb, face):
        if abs(int(rgb[-1, -1, 0]) - 140) < 10:
            raise RuntimeError("odd")
        return landmarks(rgb, face)

    monkeypatch.setattr(faces, "landmarks", fails)
    manifest = prepare_folder(folder, tmp_path / "out", faces, reader)
    assert [report.file for report in manifest.usable] == ["good.mp4"]
    odd = next(report for report in manifest.reports if report.file == "more/other.MKV")
    assert odd.skipped == "could not be prepared (RuntimeError)"


def test_nothing_usable_names_what_was_found(folder, tmp_path, faces, reader):
    for path in (folder / "good.mp4", folder / "more" / "other.MKV"):
        path.unlink()
    with pytest.raises(InvalidInput, match="1 x no face throughout") as caught:
        prepare_folder(folder, tmp_path / "out", faces, reader)
    assert caught.value.reason == "NO_USABLE_VIDEO"
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_folder_without_videos_names_what_it_holds(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(InvalidInput, match=r"found 1 \.txt") as caught:
        find_videos(tmp_path)
    assert caught.value.reason == "NO_VIDEOS"
    with pytest.raises(InvalidInput, match="no folder"):
        find_videos(tmp_path / "nowhere")


@pytest.fixture
def start(tmp_path):
    torch.manual_seed(2)
    config = MotionDiTConfig(
        width=16, num_layers=1, num_heads=2, feed_forward=2, audio_width=8, past_frames=8
    )
    path = tmp_path / "start.safetensors"
    save_weights(MotionDiT(config).state_dict(), config, path)
    return path


def _config(tmp_path, num_steps, **fields):
    path = tmp_path / "config.json"
    content = {
        "video_share": 1.0,
        "num_steps": num_steps,
        "foresight_batches": 2,
        "batch_size": 4,
        "num_frames": 16,
        "warmup_steps": 1,
        "checkpoint_steps": 2,
        "bfloat16": False,
    }
    path.write_text(json.dumps(content | fields))
    return read_video_config(path)


def test_training_on_videos_learns_and_goes_on(folder, tmp_path, faces, reader, start, monkeypatch):
    monkeypatch.setattr(run, "FaceTracker", lambda: faces)
    monkeypatch.setattr(run, "open_lip_reader", lambda weights: reader)
    out = tmp_path / "out"
    told = []
    for num_steps in (2, 4):
        weights = train_on_videos(
            folder,
            out,
            _config(tmp_path, num_steps),
            start=start,
            corpus_cache=tmp_path / "corpus",
            tell=told.append,
        )
        assert load_checkpoint(out / "checkpoint.pt").step == num_steps
    model, _ = load_weights(weights)
    begun, _ = load_weights(start)
    assert model.config.width == 16
    assert not torch.equal(model.head.bias, begun.head.bias)
    assert any(line.startswith("2 of 5 videos usable") for line in told)


def test_packaged_config_reads():
    config = read_video_config(DEFAULT_CONFIG)
    assert 0 < config.video_share < 1
    assert config.training.num_frames % 2 == 0


@pytest.mark.parametrize(
    "fields", [{"video_share": 0.0}, {"video_share": 2}, {"open_shards": 0}, {"no_such_field": 1}]
)
def test_bad_configs_are_refused(tmp_path, fields):
    with pytest.raises(InvalidInput) as caught:
        _config(tmp_path, 2, **fields)
    assert caught.value.reason == "BAD_CONFIG"
