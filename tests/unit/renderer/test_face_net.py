"""The network that retouches frames: what it may change, and what it must leave."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from parlante.errors import FailedPrecondition
from parlante.models import face_mesh as fm
from parlante.models.decoder import Decoder
from parlante.models.face_features import NUM_PARTS, load_part_net
from parlante.models.face_net import FaceInput, FaceLook, FaceNet, FaceNetConfig, RegionNetConfig
from parlante.models.face_paint import MOST_OFF, Painter, num_planes, read_picture
from parlante.models.face_regions import PALETTE_AT, cut_regions
from parlante.models.face_retouch import FaceRetouch, open_retouch, portrait_frame, stack
from parlante.models.face_weights import FACE_SIZES, load_face_net, save_face_net, weights_of
from parlante.models.frame_geometry import geometry_from_motion, geometry_of_portrait

TINY = FaceNetConfig(
    mouth=RegionNetConfig(widths=(8, 12), blocks=(1, 1), code=8, palette=3),
    eye=RegionNetConfig(widths=(8,), blocks=(1,), code=8),
    frame=RegionNetConfig(shrink=8, widths=(8, 12), blocks=(1, 1), code=8, has_shade=False),
)


def make_net(seed: int = 0, *, mask: float = 4.0) -> FaceNet:
    """A net that lays on much, so that whatever it may change is seen to change."""
    torch.manual_seed(seed)
    net = FaceNet(TINY).eval()
    with torch.no_grad():
        for part in filter(None, (net.mouth, net.eye, net.frame)):
            part.detail.grow[-1].bias[-4:] = mask
            if part.shade is not None:
                part.shade.bias.fill_(-0.5)
    return net


@pytest.fixture(scope="module")
def retouching() -> Decoder:
    return Decoder(FaceRetouch(make_net()))


@pytest.fixture(scope="module")
def retouched(retouching, latents):
    return retouching.prepare(latents)


def batch_of(decoder, avatar, *motions) -> tuple[FaceInput, FaceLook]:
    regions = []
    for values in motions:
        geometry = geometry_from_motion(avatar, values)
        regions.append(cut_regions(avatar, geometry, decoder.draw(avatar, geometry)))
    portrait = cut_regions(avatar, geometry_of_portrait(avatar), portrait_frame(avatar))
    return stack(regions), stack([portrait] * len(motions))


def test_still_frame_is_the_photo_to_the_bit(decoder, avatar, retouching, retouched, motion):
    frame = retouching.render(retouched, motion())
    assert (frame == decoder.render(avatar, motion())).all()


def test_open_mouth_is_retouched_and_the_forehead_is_not(
    decoder, avatar, retouching, retouched, motion, face_box
):
    values = motion(jawOpen=0.5)
    change = np.abs(
        retouching.render(retouched, values).astype(int) - decoder.render(avatar, values)
    ).max(-1)
    assert change[face_box(fm.INNER_LIPS)].max() > 20
    assert change[:160].max() == 0
    assert change[face_box((*fm.RIGHT_EYE, *fm.LEFT_EYE))].max() == 0


def test_blink_of_one_eye_leaves_the_other(
    decoder, avatar, retouching, retouched, motion, face_box
):
    values = motion(eyeBlinkLeft=1.0)
    change = np.abs(
        retouching.render(retouched, values).astype(int) - decoder.render(avatar, values)
    ).max(-1)
    assert change[face_box(fm.LEFT_EYE)].max() > 20
    assert change[face_box(fm.RIGHT_EYE)].max() == 0
    assert change[face_box(fm.INNER_LIPS)].max() == 0


def test_mirrored_eyes_are_retouched_alike(decoder, avatar, motion):
    frames, _ = batch_of(decoder, avatar, motion(eyeBlink=0.7))
    right, left = frames.eyes.maps
    assert torch.allclose(right[0], left[0], atol=0.25)  # the drawn face is symmetric
    assert frames.eyes.condition[0, 0] == pytest.approx(frames.eyes.condition[1, 0])


def test_avatars_of_a_batch_do_not_meet(decoder, avatar, motion):
    net = make_net()
    both, portraits = batch_of(decoder, avatar, motion(jawOpen=0.4), motion(headYaw=0.2))
    alone, portrait = batch_of(decoder, avatar, motion(jawOpen=0.4))
    with torch.inference_mode():
        together = net(both, net.look(portraits))
        single = net(alone, net.look(portrait))
    for many, one in zip(together, single, strict=True):
        assert torch.allclose(many[: len(one)], one, atol=1e-5)


def test_network_can_be_exported(decoder, avatar, motion):
    net = make_net()
    frames, portraits = batch_of(decoder, avatar, motion(jawOpen=0.4), motion(eyeBlink=1.0))
    with torch.no_grad():
        look = net.look(portraits)
        exported = torch.export.export(net, (frames, look)).module()
        wanted, got = net(frames, look), exported(frames, look)
    for first, second in zip(wanted, got, strict=True):
        assert torch.allclose(first, second, atol=1e-5)


def test_nothing_is_allowed_far_from_lips_and_lids(decoder, avatar, motion):
    frames, _ = batch_of(decoder, avatar, motion(jawOpen=0.5, eyeBlink=1.0))
    detail, distance = frames.mouth.allow[:, 0], frames.mouth.maps[:, 0] / 10.0
    assert detail[distance > 0.051].max() == 0.0
    assert detail[distance < 0.0].min() > 0.99
    border = frames.mouth.allow[:, 1]
    assert max(border[:, 0].max(), border[:, :, 0].max()) < 0.01


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_painter_leaves_no_grid(shrink):
    torch.manual_seed(0)
    painter = Painter(6, 5, 3, shrink)
    even = torch.randn(1, 6, 1, 1).expand(1, 6, 16, 16)
    with torch.no_grad():
        picture = painter(even)
    assert picture.shape == (1, 3, 16 * shrink, 16 * shrink)
    middle = picture[..., 6 * shrink : 10 * shrink, 6 * shrink : 10 * shrink]
    assert (middle - middle.mean((2, 3), keepdim=True)).abs().max() < 1e-5


def test_mouth_is_painted_in_the_colours_of_the_portrait():
    torch.manual_seed(0)
    palette = torch.tensor([[[0.9, 0.85, 0.8], [0.2, 0.1, 0.1], [0.6, 0.3, 0.3]]])
    tone = torch.tensor([0.5, 0.4, 0.35]).reshape(1, 3, 1, 1)
    picture = torch.zeros(1, num_planes(3), 4, 4)
    picture[:, 0] = 12.0  # all teeth
    colour, mask = read_picture(picture, tone, palette)
    assert torch.allclose(colour, palette[:, 0, :, None, None].expand(1, 3, 4, 4), atol=1e-4)
    assert (mask == 0.5).all()
    picture[:, -4:-1] = 1e6  # as far off as may be
    off = read_picture(picture, tone, palette)[0] - colour
    assert torch.allclose(off, (MOST_OFF * tone).expand_as(off), atol=1e-4)


def test_condition_of_a_mouth_tells_the_colours_that_are_drawn(decoder, avatar, motion):
    frames, portraits = batch_of(decoder, avatar, motion(jawOpen=0.4))
    for region in (frames.mouth, portraits.mouth):
        palette = region.condition[0, PALETTE_AT:].reshape(-1, 3).numpy() * 255.0
        mouth = avatar.mouth
        assert np.allclose(palette, [mouth.tooth, mouth.cavity, mouth.tongue], atol=0.01)


def test_weights_survive_a_file(tmp_path):
    net = make_net()
    save_face_net(net.state_dict(), net.config, tmp_path / "face.safetensors")
    loaded, digest = load_face_net(tmp_path / "face.safetensors")
    assert loaded.config == net.config
    assert len(digest) == 64
    for name, tensor in net.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name], tensor, atol=2e-3), name


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_broken_weights_are_refused(tmp_path, content):
    path = tmp_path / "face.safetensors"
    path.write_bytes(content)
    with pytest.raises(FailedPrecondition) as caught:
        open_retouch(str(path))
    assert caught.value.reason == "FACE_WEIGHTS_UNUSABLE"


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(FailedPrecondition, match="parlante train face"):
        open_retouch(str(tmp_path / "none.safetensors"))


def test_no_retouching_can_be_chosen():
    assert open_retouch("none") is None


@pytest.mark.parametrize("size", FACE_SIZES)
def test_packaged_weights_fit_this_release(size):
    retouch = open_retouch(size)
    assert retouch is not None
    assert retouch.digest == hashlib.sha256(weights_of(size).read_bytes()).hexdigest()
    assert not retouch.needs_frame


def test_packaged_part_network_names_parts():
    with torch.no_grad():
        scores = load_part_net()(torch.rand(1, 3, 128, 128))
    assert scores.shape == (1, NUM_PARTS, 64, 64)


def test_packaged_weights_stay_small():
    files = list(weights_of("nano").parent.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) < 40e6
