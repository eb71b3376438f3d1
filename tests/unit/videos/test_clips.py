"""Scenes joined into clips, shards on disk, and the mix that is trained on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from parlante.models.motion_space import CONDITION_DIM, LATENT_DIM, LATENT_SCALE, MOUTH
from parlante.training.batches import draw_batch
from parlante.training.corpus import Corpus
from parlante.training.takes import CLIP_FRAMES
from parlante.training.videos.clips import ARRAYS, AUDIO_SAMPLES, BRIDGE_FRAMES, Scene, assemble
from parlante.training.videos.folder import Manifest
from parlante.training.videos.mixing import HELD_OUT_SHARE, mix
from parlante.training.videos.performance import Performance
from parlante.training.videos.shards import Report, find_report, map_shard, shard_key, write_shard
from parlante.training.visemes import UNKNOWN_VISEME


def _scene(num_frames, seed=0, level=0.2):
    rng = np.random.default_rng(seed)
    head = 0.05 * rng.standard_normal((1, 6)) * np.ones((num_frames, 1))
    performance = Performance(
        head,
        np.full((num_frames, 9), level),
        np.full((num_frames, 9), level),
        np.zeros((num_frames, 2)),
        0.1 * np.ones((num_frames, 3)),
        0.05 * np.ones((num_frames, 2)),
        np.full(num_frames, 0.1),
    )
    audio = 0.1 * rng.standard_normal(num_frames * 640)
    return Scene(performance, audio.astype(np.float32))


def test_clips_have_the_arrays_of_the_corpus():
    clips = assemble([_scene(900)])
    assert clips.num_clips == 2
    assert clips.log_mel.shape == (2, 4 * CLIP_FRAMES, 40)
    assert clips.latents.shape == (2, 1, CLIP_FRAMES, LATENT_DIM)
    assert clips.conditions.shape == (2, 1, CLIP_FRAMES, CONDITION_DIM)
    assert clips.audio.shape == (2, AUDIO_SAMPLES)
    assert (clips.visemes == UNKNOWN_VISEME).all()
    assert all(np.isfinite(getattr(clips, name).astype(float)).all() for name in ARRAYS)


def test_controls_are_in_the_conditions_and_emotion_is_none():
    conditions = assemble([_scene(900)]).conditions[0, 0, 10].astype(float)
    assert conditions[:3] == pytest.approx([0.05 / 0.3, 0.05 / 0.3, 0.1 / 0.4], abs=1e-3)
    assert not conditions[3:].any()


def test_a_short_video_is_repeated_to_fill_a_clip():
    clips = assemble([_scene(100)])
    assert clips.num_clips == 1
    assert float(clips.fresh[0]) == pytest.approx(120 / CLIP_FRAMES)
    period = 100 + BRIDGE_FRAMES
    np.testing.assert_allclose(
        clips.log_mel[0, 40:360].astype(float),
        clips.log_mel[0, 40 + 4 * period : 360 + 4 * period].astype(float),
        atol=0.02,
    )


def test_the_last_clip_overlaps_and_says_so():
    clips = assemble([_scene(1000)])
    assert clips.fresh.astype(float) == pytest.approx([1.0, 200 / CLIP_FRAMES])


def test_between_scenes_the_face_goes_over_without_a_jump():
    clips = assemble([_scene(400, 1), _scene(400, 2)])
    latents = clips.latents[0, 0].astype(np.float64)
    mouth = latents[:, 6 + MOUTH.index("jawOpen")] * LATENT_SCALE[6]
    assert mouth[410] == pytest.approx(0.0, abs=1e-3)  # in the middle of the bridge
    assert np.abs(np.diff(mouth[395:425])).max() < 0.06
    assert np.abs(clips.audio[0, 402 * 640 : 418 * 640]).max() == 0
    assert np.abs(latents[:, :6]).max() < 3.0  # no head is thrown


def _write(folder, key, num_frames, seed=0):
    clips = assemble([_scene(num_frames, seed)])
    report = Report(file=f"{key}.mp4", key=key, num_clips=clips.num_clips, kept=((0.0, 4.0),))
    write_shard(folder, report, clips)
    return report, clips


def test_a_mapped_shard_holds_what_was_written(tmp_path):
    _, clips = _write(tmp_path, "a", 900)
    shard = map_shard(tmp_path / "a.npz")
    for name in ARRAYS:
        assert isinstance(shard[name], np.memmap)
        np.testing.assert_array_equal(shard[name], getattr(clips, name))


def test_a_shard_without_its_report_does_not_count(tmp_path):
    report, _ = _write(tmp_path, "a", 100)
    assert find_report(tmp_path, "a") == report
    (tmp_path / "a.json").write_text("{")
    assert find_report(tmp_path, "a") is None
    _write(tmp_path, "b", 100)
    (tmp_path / "b.npz").unlink()
    assert find_report(tmp_path, "b") is None
    assert list(tmp_path.glob(".*")) == []


def test_a_video_is_known_by_its_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (shard_key(tmp_path / name) for name in "abc")
    assert a == b != c


def _synthetic(num_clips=4):
    rng = np.random.default_rng(0)
    return Corpus(
        rng.standard_normal((num_clips, 8, 40)).astype(np.float16),
        rng.standard_normal((num_clips, 2, 2, LATENT_DIM)).astype(np.float16),
        np.zeros((num_clips, 2, 2, CONDITION_DIM), np.float16),
        np.zeros((num_clips, 2), np.float16),
        np.zeros((num_clips, 2), np.uint8),
    )


@pytest.fixture
def manifest(tmp_path):
    reports = [_write(tmp_path, key, frames, i)[0] for i, (key, frames) in enumerate(_VIDEOS)]
    return Manifest(shards=tmp_path, reports=tuple(reports))


_VIDEOS = (("a", 300), ("b", 900), ("c", 1700), ("d", 100))


def test_mix_has_the_share_and_holds_out_whole_videos(manifest):
    clips = mix(manifest, _synthetic(), 0.25)
    held_out = clips.num_clips // HELD_OUT_SHARE
    training, testing = clips.refs[:-held_out], clips.refs[-held_out:]
    videos = [ref.shard for ref in training if ref.shard]
    assert len(videos) / len(training) == pytest.approx(0.25, abs=0.02)
    assert {ref.shard for ref in testing}.isdisjoint(videos)
    assert {ref.shard.stem for ref in testing} == {"a"}  # first by content
    assert {ref.index for ref in training if ref.shard is None} == {0, 1, 2, 3}


def test_mix_draws_by_what_is_fresh(manifest):
    clips = mix(manifest, None, 1.0)
    stems = [ref.shard.stem for ref in clips.refs[:-1]]
    assert stems.count("c") > stems.count("b") > 2 * stems.count("d") > 0


def test_mixed_clips_index_as_a_corpus_does(manifest):
    synthetic = _synthetic()
    clips = mix(manifest, synthetic, 0.5)
    assert clips.latents.shape == (clips.num_clips, 2)
    for index, ref in enumerate(clips.refs):
        row = clips.latents[index, 1, 0:2]
        if ref.shard is None:
            np.testing.assert_array_equal(row, synthetic.latents[ref.index, 1, 0:2])
        else:
            stored = map_shard(ref.shard)["latents"]
            np.testing.assert_array_equal(row, stored[ref.index, 0, 0:2])


class _Ear:
    """Stands for a speech encoder: a frame is the mean of its sound."""

    config = SimpleNamespace(digest="ear", layer=0, context_ms=1000, look=1)

    def __init__(self):
        self.num_heard = 0

    def to(self, device):
        return self

    def read_clip(self, audio, num_frames, **windows):
        self.num_heard += 1
        return audio[: 640 * num_frames].reshape(num_frames, 640).mean(axis=1)[:, None]


def test_a_speech_encoder_hears_each_clip_of_videos_once(manifest, tmp_path):
    synthetic = _synthetic()
    synthetic = replace(synthetic, speech=tuple(tmp_path / f"{i}.npy" for i in range(4)))
    for _ in range(2):
        clips, ear = mix(manifest, synthetic, 0.5), _Ear()
        clips.hear(ear, synthetic, tmp_path)
    assert ear.num_heard == 0  # the second time
    for ref, path in zip(clips.refs, clips.speech, strict=True):
        if ref.shard is None:
            assert path == synthetic.speech[ref.index]
        else:
            sound = map_shard(ref.shard)["audio"][ref.index] / 32767.0
            wanted = sound[: 640 * CLIP_FRAMES].reshape(CLIP_FRAMES, 640).mean(axis=1)
            np.testing.assert_allclose(np.load(path)[:, 0], wanted, atol=1e-4)
    only_videos = mix(manifest, None, 1.0)
    only_videos.hear(ear, None, tmp_path)
    batch = draw_batch(only_videos.as_corpus(), range(4), 3, 16, np.random.default_rng(0))
    assert batch.features.shape == (3, 16, 1)
    assert batch.latents.shape == (3, 16, LATENT_DIM)


def test_few_shards_are_open_at_a_time(manifest, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "parlante.training.videos.mixing.map_shard",
        lambda path: opened.append(path) or map_shard(path),
    )
    clips = mix(manifest, None, 1.0, open_shards=1)
    opened.clear()
    order = sorted(range(clips.num_clips), key=lambda i: clips.refs[i].shard)
    for index in order:
        clips.log_mel[index, 0:4]
    distinct = len({ref.shard for ref in clips.refs})
    assert len(opened) == distinct
    clips.log_mel[order[0], 0:4]
    assert len(opened) == distinct + 1


def test_one_video_alone_is_tested_on_itself(tmp_path):
    report, _ = _write(tmp_path, "a", 300)
    clips = mix(Manifest(shards=tmp_path, reports=(report,)), None, 1.0)
    assert {ref.shard.stem for ref in clips.refs} == {"a"}


def test_the_same_video_twice_counts_once(tmp_path):
    report, _ = _write(tmp_path, "a", 300)
    manifest = Manifest(shards=tmp_path, reports=(report, replace(report, file="copy.mp4")))
    assert len(manifest.usable) == 1
