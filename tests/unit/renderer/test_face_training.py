"""Training of the face network, from files of synthetic heads to weights."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from parlante.errors import InvalidInput
from parlante.models import face_mesh as fm
from parlante.models.face_features import PartNet, load_part_net, save_part_net
from parlante.models.face_net import FaceNetConfig, RegionNet, RegionNetConfig
from parlante.models.face_regions import MOUTH_MAPS, MOUTH_PX, PALETTE_AT
from parlante.models.face_weights import load_face_net
from parlante.models.frame_geometry import geometry_from_motion
from parlante.training.checkpoint import load_checkpoint
from parlante.training.device import Hardware
from parlante.training.face.batches import draw_batch, take_batch
from parlante.training.face.cache import (
    RegionData,
    is_made,
    join_shards,
    mark,
    open_cache,
    write_shard,
)
from parlante.training.face.config import FaceTrainingConfig, read_face_config
from parlante.training.face.judges import Judges, beside_of, lean
from parlante.training.face.loop import FaceData, train_face
from parlante.training.face.losses import LossWeights, region_loss
from parlante.training.face.pairs import Damage, add_jitter, make_pairs
from parlante.training.face.prepare import prepare_synthetic
from parlante.training.face.run import DEFAULT_CONFIG
from parlante.training.face.sources import NO_LABEL, find_synthetic, read_synthetic
from parlante.training.run_config import keep_config

TINY = FaceTrainingConfig(
    model=FaceNetConfig(
        mouth=RegionNetConfig(widths=(8, 12), blocks=(1, 1), code=8, spread=16, palette=3),
        eye=RegionNetConfig(widths=(8,), blocks=(1,), code=8, spread=16),
        frame=RegionNetConfig(shrink=8, widths=(8,), blocks=(1,), code=8, has_shade=False),
    ),
    losses=LossWeights(truth=0.4),
    judged_from=0.25,
    num_steps=4,
    mouth_batch=4,
    eye_batch=4,
    frame_batch=2,
    warmup_steps=1,
    part_steps=2,
    num_portraits=1,
    held_out=2,
    checkpoint_steps=2,
)


def save_subject(path, decoder, portrait, avatar, motions):
    """Write a subject as the generator of synthetic heads does, from frames of the renderer."""
    images, landmarks = [portrait.image], [portrait.landmarks]
    for values in motions:
        geometry = geometry_from_motion(avatar, values)
        points = portrait.landmarks.copy()
        points[: fm.NUM_SKIN_LANDMARKS, :2] += (geometry.posed - geometry.rest)[
            : fm.NUM_SKIN_LANDMARKS
        ]
        images.append(decoder.render(avatar, values))
        landmarks.append(points)
    arrays = {"landmarks": np.stack(landmarks), "metadata": np.array(json.dumps({"sex": "female"}))}
    labels = (portrait.matte > 0).astype(np.uint8)
    for index, image in enumerate(images):
        arrays[f"image_{index}"] = cv2.imencode(".png", image[..., ::-1])[1].ravel()
        arrays[f"parts_{index}"] = cv2.imencode(".png", labels)[1].ravel()
    arrays["arkit"] = np.zeros((len(images), 52), np.float32)
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def heads(tmp_path_factory, decoder, draw, latents_of, motion):
    folder = tmp_path_factory.mktemp("heads")
    for index, gap in enumerate((0.0, 0.06)):
        portrait = draw(gap=gap)
        avatar = decoder.prepare(latents_of(portrait))
        motions = [motion(jawOpen=0.4), motion(mouthSmile=0.5, jawOpen=0.2)]
        save_subject(folder / f"subject-{index:05d}.npz", decoder, portrait, avatar, motions)
    return folder


@pytest.fixture(scope="module")
def regions(tmp_path_factory, heads):
    return prepare_synthetic(heads, tmp_path_factory.mktemp("pairs"), TINY, None)


def test_processes_make_the_same_pairs(tmp_path, heads, regions):
    together = prepare_synthetic(heads, tmp_path, TINY, None, num_processes=2)
    for name, region in regions.items():
        assert np.array_equal(region.twin, together[name].twin)
        for key, array in region.arrays.items():
            assert np.array_equal(array, together[name].arrays[key])


def test_subject_is_read_as_it_was_written(heads):
    subject = read_synthetic(find_synthetic(heads)[0])
    assert len(subject.views) == 3
    assert subject.views[0].rgb.shape == (512, 512, 3)
    assert subject.views[0].landmarks.shape == (478, 3)
    assert subject.portraits[0] == 0
    assert subject.traits["sex"] == "female"


def test_folder_without_heads_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="parlante synth"):
        find_synthetic(tmp_path)


def test_broken_subject_is_refused(tmp_path):
    path = tmp_path / "subject-00000.npz"
    np.savez(path, landmarks=np.zeros((1, 478, 3)))
    with pytest.raises(InvalidInput) as caught:
        read_synthetic(path)
    assert caught.value.reason == "BAD_SUBJECT"


def test_clean_pair_of_a_rendered_frame_needs_no_retouching(heads):
    """The frames are the renderer's own: landmarks alone must bring them back."""
    subject = read_synthetic(find_synthetic(heads)[0])
    rng = np.random.default_rng(0)
    pairs = list(make_pairs(subject, rng, tracker=None, num_portraits=1, twins=0.0, clean=True))
    assert len(pairs) == 2
    for pair in pairs:
        error = np.abs(pair.regions.mouth.rgb.astype(int) - pair.answers[0].rgb)
        assert error.mean() < 3.0


def test_twins_share_their_answer_but_for_the_noise(heads):
    subject = read_synthetic(find_synthetic(heads)[0])
    rng = np.random.default_rng(0)
    first, second, *_ = make_pairs(subject, rng, tracker=None, num_portraits=1, twins=1.0)
    assert (first.twin, second.twin) == (-1, 1)
    error = np.abs(first.answers[0].rgb.astype(int) - second.answers[0].rgb)
    assert 0.0 < error.mean() < 8.0


def test_noise_of_landmarks_is_small_and_smooth(portrait):
    moved = add_jitter(portrait.landmarks, np.random.default_rng(3)) - portrait.landmarks
    assert 0.1 < np.abs(moved[:, :2]).mean() < 1.5
    lips = list(fm.OUTER_UPPER_LIP)
    assert np.abs(np.diff(moved[lips, 1])).max() < 1.2
    assert (moved[:, 2] == 0).all()


def test_damage_softens_both_and_spoils_one(portrait):
    damage = Damage(sigma_px=1.0, shrink=2.0, noise=4.0, jpeg_quality=60)
    soft = damage.soften(portrait.image)
    spoilt = damage.spoil(soft, np.random.default_rng(0))
    assert cv2.Laplacian(soft, cv2.CV_64F).std() < cv2.Laplacian(portrait.image, cv2.CV_64F).std()
    assert 1.0 < np.abs(spoilt.astype(int) - soft).mean() < 12.0


def test_cache_gives_back_what_was_written(tmp_path, heads):
    written = {}
    for index, path in enumerate(find_synthetic(heads)):
        rng = np.random.default_rng(index)
        pairs = list(make_pairs(read_synthetic(path), rng, tracker=None, num_portraits=1))
        assert write_shard(pairs, tmp_path / path.stem) == len(pairs)
        written[path.stem] = pairs
    join_shards(tmp_path)
    regions = open_cache(tmp_path)
    second = written["subject-00001"]
    start = len(written["subject-00000"])
    assert len(regions["frame"]) == start + len(second)
    assert len(regions["eyes"]) == 2 * len(regions["frame"])
    batch = take_batch(regions["mouth"], np.array([start]))
    rgb = (batch.region.rgb[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert (rgb == second[0].regions.mouth.rgb).all()
    look = (batch.portrait.rgb[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert (look == second[0].portrait.mouth.rgb).all()
    eye = take_batch(regions["eyes"], np.array([2 * start + 1]))
    answer = (eye.answer[0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert (answer == second[0].answers[2].rgb).all()


def test_cache_of_other_settings_is_refused(tmp_path):
    mark(tmp_path, {"seed": 1}, complete=True)
    assert is_made(tmp_path, {"seed": 1})
    with pytest.raises(ValueError, match="other settings"):
        is_made(tmp_path, {"seed": 2})


def test_twins_of_a_batch_lie_side_by_side_in_one_colour(regions):
    data = replace(regions["mouth"], twin=np.arange(len(regions["mouth"])) ^ 1)
    rows = np.arange(len(data) // 2 * 2)
    batch = draw_batch(data, "mouth", rows, 8, np.random.default_rng(0), twins=0.5)
    assert batch.num_twins == 2
    mean = batch.answer.mean((2, 3))
    assert torch.allclose(mean[0], mean[1], atol=0.08)


def test_mirrored_batch_changes_the_signs_of_what_is_sideways(regions):
    data, rows = regions["mouth"], np.arange(len(regions["mouth"]))
    drawn = [draw_batch(data, "mouth", rows, 4, np.random.default_rng(s)) for s in range(8)]
    for batch in drawn:
        assert batch.answer.shape == (4, 3, MOUTH_PX, MOUTH_PX)
        assert batch.answer.min() >= 0.0
        assert batch.answer.max() <= 1.0


def test_loss_falls_when_the_network_learns(regions):
    torch.manual_seed(0)
    net = RegionNet(TINY.model.mouth, MOUTH_PX, MOUTH_MAPS)
    batch = take_batch(regions["mouth"], np.arange(2))
    batch = replace(batch, answer=(batch.region.rgb * 0.7).clamp(0, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss, report = region_loss(net, batch, None, LossWeights())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(report[1]))
    assert losses[-1] < 0.6 * losses[0]


def test_restraint_alone_closes_the_mask(regions):
    torch.manual_seed(0)
    net = RegionNet(TINY.model.mouth, MOUTH_PX, MOUTH_MAPS)
    batch = take_batch(regions["mouth"], np.arange(2))
    batch = replace(batch, answer=batch.region.rgb)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    before = net(batch.region, net.look(batch.portrait))[1].mean()
    for _ in range(25):
        loss, _ = region_loss(net, batch, None, LossWeights(restraint=0.3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert net(batch.region, net.look(batch.portrait))[1].mean() < 0.7 * before


def test_run_that_was_cut_off_goes_on_as_if_it_never_was(tmp_path, regions, monkeypatch):
    data = FaceData([regions])
    first = load_face_net(train_face(TINY, data, tmp_path / "whole"))[0].state_dict()

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("parlante.training.face.loop._test", stop)  # after the first checkpoint
        with pytest.raises(KeyboardInterrupt):
            train_face(TINY, data, tmp_path / "cut")
    second = load_face_net(train_face(TINY, data, tmp_path / "cut"))[0].state_dict()
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], atol=1e-3), name


def test_pairs_that_a_device_holds_give_the_same_run(tmp_path, regions, monkeypatch):
    drawn = load_face_net(train_face(TINY, FaceData([regions]), tmp_path / "drawn"))[0]
    held = []
    real = RegionData.held_by
    monkeypatch.setattr("parlante.training.face.feed.can_hold", lambda device: True)
    monkeypatch.setattr(RegionData, "held_by", lambda *args: held.append(1) or real(*args))
    same = load_face_net(train_face(TINY, FaceData([regions]), tmp_path / "held"))[0]
    assert held
    for name, tensor in drawn.state_dict().items():
        assert torch.allclose(tensor, same.state_dict()[name], atol=1e-3), name


def test_steps_that_are_replayed_are_given_all_that_changes(tmp_path, regions, monkeypatch):
    class Replayed:  # what is not among a batch's tensors is forgotten, as in a recorded step
        made = 0

        def __init__(self, loss, parameters, example):
            Replayed.made += 1
            self._loss, self._parameters = loss, parameters

        def __call__(self, batch):
            for parameter in self._parameters:
                parameter.grad = None
            given = self._loss([tensor.clone() for tensor in batch])
            given[0].backward()
            return [tensor.detach().clone() for tensor in given]

    plain = load_face_net(train_face(TINY, FaceData([regions]), tmp_path / "plain"))[0]
    monkeypatch.setattr("parlante.training.face.steps.Replay", Replayed)
    hardware = Hardware(fuse="graphs")
    data = FaceData([regions])
    replayed = load_face_net(train_face(TINY, data, tmp_path / "graphs", hardware=hardware))[0]
    # Mouth and eyes: with likeness and without, judged and not yet; the frame: judged or not.
    assert 6 <= Replayed.made <= 10
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, replayed.state_dict()[name]), name


def test_part_network_tells_unlike_pictures(tmp_path):
    torch.manual_seed(0)
    net = PartNet()
    save_part_net(net, tmp_path / "features.safetensors")
    loaded = load_part_net(tmp_path / "features.safetensors")
    picture = torch.rand(2, 3, 64, 64)
    assert loaded.distance(picture, picture).max() < 1e-6
    assert loaded.distance(picture, picture.flip(-1)).min() > 1e-3
    assert loaded(picture).shape == (2, 15, 32, 32)


def test_judge_learns_where_something_may_change_and_nowhere_else(regions):
    torch.manual_seed(0)
    batch = take_batch(regions["mouth"], np.arange(4))
    judges = Judges(torch.device("cpu"), 2e-3)
    tone = batch.answer.mean((2, 3), keepdim=True)
    made = (batch.answer * 0.6).clamp(0.0, 1.0)
    beside = beside_of(batch.region)
    for _ in range(30):
        judges.learn("mouth", made, tone, batch, beside)
    pull = judges.pull("mouth", made, tone, batch, beside)
    allow = F.interpolate(batch.region.allow[:, :1], size=made.shape[-2:], mode="bilinear")
    assert (pull * (allow == 0.0)).abs().max() == 0.0
    nearer = made - pull / pull.abs().max() * 0.05
    apart = (nearer - batch.answer).abs() - (made - batch.answer).abs()
    assert (apart * allow).sum() < 0.0


def test_outline_loss_wants_parts_where_they_are(regions):
    torch.manual_seed(0)
    batch = take_batch(regions["mouth"], np.arange(4))
    net, parts = RegionNet(TINY.model.mouth, MOUTH_PX, MOUTH_MAPS), PartNet()
    plain, _ = region_loss(net, batch, parts, LossWeights(likeness=0.0))
    outlined, _ = region_loss(net, batch, parts, LossWeights(likeness=0.0, outline=0.5))
    unknown = replace(batch, labels=torch.full_like(batch.labels, NO_LABEL))
    unlabelled, _ = region_loss(net, unknown, parts, LossWeights(likeness=0.0, outline=0.5))
    assert outlined > plain + 0.1  # an untrained network of parts finds none of them
    torch.testing.assert_close(unlabelled, plain)


def test_square_loss_counts_what_is_far_off(regions):
    torch.manual_seed(0)
    batch = take_batch(regions["mouth"], np.arange(4))
    net = RegionNet(TINY.model.mouth, MOUTH_PX, MOUTH_MAPS)
    plain, _ = region_loss(net, batch, None, LossWeights())
    squared, _ = region_loss(net, batch, None, LossWeights(square=2.0))
    assert squared > plain


def test_batches_have_one_number_of_twins(regions):
    data = regions["mouth"]
    rows = np.arange(len(data))
    drawn = [draw_batch(data, "mouth", rows, 8, np.random.default_rng(s)) for s in range(8)]
    assert {batch.num_twins for batch in drawn} == {1}


def test_pull_of_a_judge_has_its_share_of_the_gradient():
    made = torch.rand(2, 3, 8, 8, requires_grad=True)
    loss = (made - 0.5).abs().mean()
    pull = torch.randn(2, 3, 8, 8) * 1e3
    leaning = torch.autograd.grad(lean(made, loss, pull, torch.tensor(0.4)), made)[0]
    own = torch.autograd.grad(loss, made)[0]
    assert leaning.norm() == pytest.approx(0.4 * float(own.norm()), rel=1e-4)


def test_run_ends_by_the_clock(tmp_path, regions, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr("parlante.training.face.loop.time.monotonic", lambda: next(seconds))
    config = replace(TINY, num_steps=100_000, max_minutes=0.2, checkpoint_steps=100_000)
    path = train_face(config, FaceData([regions]), tmp_path)
    assert path.is_file()
    assert 3 < load_checkpoint(tmp_path / "checkpoint.pt").step < 12


def test_colours_of_the_condition_change_with_the_picture(regions):
    data = regions["mouth"]
    rows = np.arange(len(data))
    plain = take_batch(data, rows).region.condition
    batch = draw_batch(data, "mouth", rows, 4, np.random.default_rng(0), twins=0.0)
    changed = batch.region.condition
    assert (changed[:, PALETTE_AT:] - plain[:1, PALETTE_AT:]).abs().max() > 0.01
    assert changed[:, PALETTE_AT:].min() >= 0.0
    eyes = draw_batch(regions["eyes"], "eyes", rows, 4, np.random.default_rng(0), twins=0.0)
    assert (eyes.region.condition[:, PALETTE_AT:] == 0.0).all()


@pytest.mark.parametrize("name", ["face_nano_gpu.json", "face_base.json"])
def test_configs_for_a_gpu_are_read(name):
    config = read_face_config(DEFAULT_CONFIG.with_name(name))
    assert config.max_minutes is not None
    assert config.losses.truth > 0.0
    if "nano" in name:
        assert config.model == FaceNetConfig()


def test_packaged_config_is_read_back(tmp_path):
    config = read_face_config(DEFAULT_CONFIG)
    assert config.model == FaceNetConfig()
    keep_config(config, tmp_path)
    kept = (tmp_path / "config.json").read_text("utf-8")
    assert json.loads(kept) == json.loads(DEFAULT_CONFIG.read_text("utf-8"))


@pytest.mark.parametrize("text", ["", "[]", '{"steps": 3}', '{"model": {"nose": {}}}'])
def test_broken_config_is_refused(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_face_config(path)
    assert caught.value.reason == "BAD_CONFIG"


@pytest.mark.parametrize(
    "fields", [{"num_steps": 0}, {"held_out": 1}, {"twins": 1.0}, {"photo_share": -0.1}]
)
def test_config_out_of_range_is_refused(fields):
    with pytest.raises(InvalidInput):
        FaceTrainingConfig(**fields)
