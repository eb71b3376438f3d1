"""The network's codes, its weights on file, and what reads with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models.face_codes import (
    READ_CHANNELS,
    READ_MEASURES,
    SHAPE_LANDMARKS,
    FaceCodesConfig,
    FaceCodesNet,
    ShapeNet,
)
from parlante.models.face_codes_weights import load_face_codes, save_face_codes
from parlante.models.face_crop import CROP_PX
from parlante.models.face_reader import FaceReader
from parlante.types import ARKIT_CHANNELS

TINY = FaceCodesConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), hidden=16, dynamics=6, identity=5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("codes") / "encoders.safetensors"
    save_face_codes(FaceCodesNet(TINY).state_dict(), TINY, path)
    return path


def test_names_are_of_the_motion_space():
    assert set(READ_CHANNELS) <= set(ARKIT_CHANNELS)


def test_codes_have_their_shapes():
    codes = FaceCodesNet(TINY).eval()(torch.rand(3, 3, CROP_PX, CROP_PX))
    shapes = [tuple(getattr(codes, name).shape) for name in type(codes).__slots__]
    assert shapes[:4] == [(3, 3), (3, 2), (3, 6), (3, 5)]
    assert shapes[4:] == [(3, len(READ_CHANNELS)), (3, len(READ_MEASURES))]
    assert torch.allclose(codes.identity.norm(dim=1), torch.ones(3), atol=1e-5)
    shape = ShapeNet(TINY)(codes.dynamics, codes.gaze, codes.identity)
    assert shape.shape == (3, len(SHAPE_LANDMARKS), 3)


def test_exposure_changes_nothing():
    net = FaceCodesNet(TINY).eval()
    crops = 0.2 + 0.4 * torch.rand(2, 3, CROP_PX, CROP_PX)
    dim = net(0.7 * crops + 0.02)
    assert torch.allclose(net(crops).pose, dim.pose, atol=0.03)


def test_weights_come_back(weights):
    net, digest = load_face_codes(weights)
    assert net.config == TINY
    assert len(digest) == 64
    torch.manual_seed(0)
    fresh = FaceCodesNet(TINY).eval()
    crops = torch.rand(1, 3, CROP_PX, CROP_PX)
    assert torch.allclose(net(crops).measures, fresh(crops).measures, atol=2e-3)


def test_broken_weights_are_told(tmp_path):
    path = tmp_path / "encoders.safetensors"
    path.write_bytes(b"nothing")
    for broken in (path, tmp_path / "none.safetensors"):
        with pytest.raises(FailedPrecondition) as caught:
            load_face_codes(broken)
        assert caught.value.reason == "ENCODER_WEIGHTS_UNUSABLE"


def test_a_config_comes_back_from_json():
    assert FaceCodesConfig.from_dict(json.loads(json.dumps(TINY.to_dict()))) == TINY
    for wrong in ({"width": 3}, {"widths": [1, 2]}, {"hidden": 0}):
        with pytest.raises(InvalidInput):
            FaceCodesConfig.from_dict(wrong)


def test_the_tilt_of_the_crop_is_given_back(weights):
    """Turning the picture adds to the roll what the crop takes out, and nothing to all else."""
    reader = FaceReader(weights)
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (CROP_PX, CROP_PX, 3)).astype(np.uint8)
    straight, tilted = (reader.read_crops([crop], [roll]) for roll in (0.0, 0.3))
    assert tilted.pose[0, 2] - straight.pose[0, 2] == pytest.approx(0.3)
    assert np.array_equal(tilted.pose[0, :2], straight.pose[0, :2])
    assert straight.channel("jawOpen").shape == straight.measure("mouth_width").shape == (1,)
