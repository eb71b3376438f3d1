"""Labels follow what is done to the crops, codes are exchanged rightly, and a run goes on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from parlante.errors import InvalidInput
from parlante.models.face_codes import (
    READ_CHANNELS,
    READ_MEASURES,
    SHAPE_LANDMARKS,
    FaceCodes,
    FaceCodesConfig,
    ShapeNet,
)
from parlante.models.face_codes_weights import load_face_codes
from parlante.models.face_coefficients import load_reference, rotation_matrix
from parlante.training.checkpoint import load_checkpoint
from parlante.training.device import Hardware
from parlante.training.encoders import loop
from parlante.training.encoders.augment import make_move, moved, spoil
from parlante.training.encoders.batches import collect, draw_batch, labels, plain_batch
from parlante.training.encoders.config import EncodersConfig, read_encoders_config
from parlante.training.encoders.loop import train_encoders
from parlante.training.encoders.losses import LossWeights, Truth, encoders_loss, rotations
from parlante.training.encoders.run import DEFAULT_CONFIG
from parlante.training.encoders.shards import STORED_PX
from parlante.training.run_config import keep_config

TINY = FaceCodesConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), hidden=16, dynamics=6, identity=5)


@pytest.fixture(scope="module")
def data(made_heads):
    return collect(made_heads)


def test_landmarks_are_turned_to_the_front(data):
    mean = load_reference().mean
    wanted = mean[[point for point in SHAPE_LANDMARKS if point < len(mean)]]
    for shape in data.shape:
        assert shape[: len(wanted)] == pytest.approx(wanted, abs=1e-3)


def test_rotations_are_those_of_the_tracker():
    pose = np.array([[0.3, -0.2, 0.1], [-0.5, 0.4, 0.6]], np.float32)
    both = [rotation_matrix(*row) for row in pose.tolist()]
    assert rotations(torch.from_numpy(pose)).numpy() == pytest.approx(np.array(both), abs=1e-6)


def test_a_turned_crop_turns_its_label():
    """A dot to the right of the middle goes down when the crop is turned clockwise."""
    stored = np.zeros((STORED_PX, STORED_PX, 3), np.uint8)
    stored[STORED_PX // 2 - 2 : STORED_PX // 2 + 2, STORED_PX // 2 + 40 : STORED_PX // 2 + 44] = 255
    y, x = np.argwhere(moved(stored, make_move(math.radians(30.0)))[..., 0] > 100).mean(axis=0)
    assert math.degrees(math.atan2(y - 79.5, x - 79.5)) == pytest.approx(30.0, abs=1.5)


def test_a_mirrored_picture_has_mirrored_labels(data):
    rows = np.arange(2)
    _, plain = plain_batch(data, rows)
    mirrored = labels(data, rows, [make_move(is_mirrored=True)] * 2)
    sign = torch.tensor([-1.0, 1.0, -1.0])
    assert torch.equal(mirrored.pose, plain.pose * sign)
    left, right = (READ_CHANNELS.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    assert torch.equal(mirrored.channels[:, left], plain.channels[:, right])
    brows = [READ_MEASURES.index(f"brow_inner_{side}") for side in ("left", "right")]
    assert torch.equal(mirrored.measures[:, brows[0]], plain.measures[:, brows[1]])
    # The mean face is its own mirror image.
    assert mirrored.shape.numpy() == pytest.approx(plain.shape.numpy(), abs=2e-3)


def test_a_batch_holds_two_pictures_of_each_head(data):
    crops, truth = draw_batch(data, np.arange(6), 4, np.random.default_rng(0))
    assert crops.shape == (8, 3, 160, 160)
    assert 0.0 <= float(crops.min()) <= float(crops.max()) <= 1.0
    first, second = truth.gaze.abs().chunk(2)
    owner = {tuple(np.abs(g).round(5)): h for g, h in zip(data.gaze, data.head, strict=True)}
    heads = [[owner[tuple(g.numpy().round(5))] for g in part] for part in (first, second)]
    assert heads[0] == heads[1]
    assert not torch.equal(first, second)


def test_bad_pictures_stay_pictures():
    crop = np.full((160, 160, 3), 127, np.uint8)
    for seed in range(30):
        bad = spoil(crop, np.random.default_rng(seed))
        assert bad.shape == crop.shape
        assert bad.dtype == np.uint8


def made_truth(data, rows):
    return plain_batch(data, np.asarray(rows))[1]


def perfect(truth: Truth) -> FaceCodes:
    count = len(truth.pose)
    person = torch.eye(count // 2).repeat(2, 1)
    return FaceCodes(
        pose=truth.pose.clone(),
        gaze=truth.gaze.clone(),
        dynamics=torch.zeros(count, 6),
        identity=person,
        channels=truth.channels.clone(),
        measures=truth.measures.clone(),
    )


class Known(ShapeNet):
    """Gives the mean face whatever the codes say: right for the made heads."""

    def __init__(self, truth):
        super().__init__(TINY)
        self.truth = truth

    def forward(self, dynamics, gaze, identity):
        return self.truth.shape


def test_the_loss_of_the_truth_is_none(data):
    truth = made_truth(data, [0, 4, 1, 5])  # two heads, two pictures each
    _, parts = encoders_loss(perfect(truth), truth, Known(truth), LossWeights())
    identity = parts.pop("identity")
    assert max(parts.values()) < 1e-4
    assert identity < 1e-3


def test_a_wrong_pose_shows_in_the_exchange_of_the_other_picture(data):
    truth = made_truth(data, [0, 4, 1, 5])
    codes = perfect(truth)
    codes.pose[0, 0] += 0.3
    _, parts = encoders_loss(codes, truth, Known(truth), LossWeights())
    assert parts["exchange"] > 0.1
    assert parts["pose"] > 0.1


def test_pictures_that_are_taken_for_another_head_cost(data):
    truth = made_truth(data, [0, 4, 1, 5])
    codes = perfect(truth)
    mistaken = replace(codes, identity=codes.identity[[0, 1, 1, 0]])
    _, parts = encoders_loss(mistaken, truth, Known(truth), LossWeights())
    assert parts["identity"] > 1.0


def test_the_packaged_config_reads_and_comes_back(tmp_path):
    config = read_encoders_config(DEFAULT_CONFIG)
    path = tmp_path / "config.json"
    keep_config(config, tmp_path)
    assert read_encoders_config(path) == config
    for wrong in ('{"num_steps": 0}', '{"steps": 3}', "[]", "{"):
        path.write_text(wrong)
        with pytest.raises(InvalidInput) as caught:
            read_encoders_config(path)
        assert caught.value.reason == "BAD_CONFIG"


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_as_an_unbroken_one(data, tmp_path, monkeypatch):
    config = EncodersConfig(
        model=TINY, num_heads=6, frames_per_head=4, num_steps=4, heads_per_batch=3, held_out=3,
        checkpoint_steps=2, warmup_steps=1, bfloat16=False,
    )  # fmt: skip
    whole = train_encoders(config, data, tmp_path / "whole")
    stop_after(monkeypatch, config, data, tmp_path / "cut", 2)
    again = train_encoders(config, data, tmp_path / "cut", Hardware(num_workers=2))
    states = [load_face_codes(path)[0].state_dict() for path in (whole, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    with pytest.raises(InvalidInput):
        train_encoders(replace(config, model=FaceCodesConfig()), data, tmp_path / "cut")


@pytest.mark.slow
def test_a_run_ends_by_the_clock(data, tmp_path, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr("parlante.training.clock.time.monotonic", lambda: next(seconds))
    config = EncodersConfig(
        model=TINY, num_heads=6, frames_per_head=4, num_steps=100_000, max_minutes=0.2,
        heads_per_batch=3, held_out=3, checkpoint_steps=100_000, warmup_steps=2, bfloat16=False,
    )  # fmt: skip
    assert train_encoders(config, data, tmp_path).is_file()
    stored = load_checkpoint(tmp_path / "checkpoint.pt")
    assert stored is not None
    assert 3 < stored.step < 20
    with pytest.raises(InvalidInput, match="max_minutes"):
        replace(config, max_minutes=0.0)


def test_the_rate_rises_by_steps_and_falls_by_the_clock():
    config = EncodersConfig(num_steps=1000, warmup_steps=10, learning_rate=1.0)
    assert loop._rate(config, 0, 500) == pytest.approx(0.1)
    assert loop._rate(config, 10, 10) == pytest.approx(1.0)
    assert loop._rate(config, 20, 999) == pytest.approx(0.02, abs=1e-3)


def stop_after(monkeypatch, config, data, out, steps):
    """Run into an error after some steps, as a run that is cut off."""

    class Cut(Exception):
        pass

    original = loop._step

    def step(learner, optimizer, config, arrays, number, hardware):
        if number == steps:
            raise Cut
        return original(learner, optimizer, config, arrays, number, hardware)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_step", step)
        with pytest.raises(Cut):
            train_encoders(config, data, out)
