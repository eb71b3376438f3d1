"""Things before the chin are found, and stay stiff when the jaw opens.

They were pixels of the face: a microphone got longer with every vowel.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.chin_cover import find_chin_cover
from parlante.models.frame_geometry import geometry_from_motion
from parlante.models.frame_look import FrameLook
from parlante.models.torch_decoder import TorchDecoder
from parlante.types import BackgroundKind

FOAM, ZOOM = (30, 40, 95), 4


def _over(portrait, cover, colour=FOAM, blur_px=0.6):
    """The portrait with a colour over it where a mask, four times as fine, says so."""
    size = portrait.image.shape[0]
    share = cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    share = cv2.GaussianBlur(share, (0, 0), blur_px)[..., None]
    image = portrait.image * (1.0 - share) + np.array(colour, np.float32) * share
    return replace(portrait, image=np.rint(image).astype(np.uint8)), share[..., 0]


def _blank(portrait):
    size = portrait.image.shape[0] * ZOOM
    return np.zeros((size, size), np.uint8)


def _at(portrait, x_iod, y_iod):
    """A place so far beside and below the chin, px of a mask."""
    place = portrait.landmarks[fm.CHIN, :2] + portrait.iod_px * np.array([x_iod, y_iod])
    return np.round(place * ZOOM).astype(int).tolist()


def _microphone(portrait, stem_iod=1.6):
    mask, unit = _blank(portrait), portrait.iod_px * ZOOM
    cv2.circle(mask, _at(portrait, 0.12, 0.02), round(0.22 * unit), 1, -1)
    if stem_iod > 0.0:
        ends = _at(portrait, 0.12, 0.02), _at(portrait, 0.22, stem_iod)
        cv2.line(mask, *ends, 1, round(0.18 * unit))
    return mask


def _scarf(portrait, up_iod=0.16):
    mask = _blank(portrait)
    left, right = _at(portrait, -0.8, -up_iod), _at(portrait, 0.8, 2.0)
    cv2.rectangle(mask, left, right, 1, -1)
    return mask


@pytest.fixture(scope="module")
def held(portrait):
    return _over(portrait, _microphone(portrait))


@pytest.fixture(scope="module")
def holder(decoder, held, latents_of):
    return decoder.prepare(latents_of(held[0], key="6d" * 32))


@pytest.mark.parametrize("draw", [_microphone, _scarf])
@pytest.mark.parametrize("colour", [FOAM, (20, 20, 22), (236, 236, 240)])
def test_a_thing_is_found_where_it_is(portrait, draw, colour):
    covered, share = _over(portrait, draw(portrait), colour)
    found = find_chin_cover(covered.image, covered.landmarks)
    assert found is not None
    seen = cv2.warpAffine(found.covers.astype(np.float32), found.back, share.shape[::-1]) > 0.5
    oval = np.zeros(share.shape, np.uint8)
    outline = portrait.landmarks[list(fm.OVAL), :2]
    cv2.fillPoly(oval, [np.rint(outline).astype(np.int32)], 1)
    in_face, truth = oval > 0, share > 0.5
    both = (seen & truth & in_face).sum()
    assert both / (truth & in_face).sum() > 0.85
    assert both / (seen & in_face).sum() > 0.85


def test_a_bare_face_has_none(portrait, avatar):
    assert find_chin_cover(portrait.image, portrait.landmarks) is None
    assert avatar.stiff is None


@pytest.mark.parametrize(
    ("draw", "colour", "blur_px"),
    [
        (lambda p: _microphone(p, stem_iod=0.0), FOAM, 0.6),  # a beard ends on the neck
        (_microphone, FOAM, 9.0),  # and softly
        (_microphone, (107, 85, 73), 0.6),  # a shadow has the skin's hue
        (lambda p: _scarf(p, up_iod=-0.05), FOAM, 0.6),  # a collar leaves the face alone
        (lambda p: _scarf(p, up_iod=1.2), FOAM, 0.6),  # more than a chin
    ],
)
def test_what_may_be_something_else_is_none(portrait, draw, colour, blur_px):
    covered, _ = _over(portrait, draw(portrait), colour, blur_px)
    assert find_chin_cover(covered.image, covered.landmarks) is None


def test_hair_at_a_cheek_is_none(portrait):
    mask = _blank(portrait)
    cv2.rectangle(mask, _at(portrait, 0.32, -1.4), _at(portrait, 0.8, 1.0), 1, -1)
    covered, _ = _over(portrait, mask, (22, 20, 20))
    assert find_chin_cover(covered.image, covered.landmarks) is None


def test_noise_is_none(portrait):
    noise = np.random.default_rng(2).normal(0.0, 30.0, portrait.image.shape)
    noisy = np.clip(portrait.image + noise, 0, 255).astype(np.uint8)
    assert find_chin_cover(noisy, portrait.landmarks) is None


def test_still_frame_is_the_photo(decoder, holder, held, motion, psnr_db):
    assert psnr_db(decoder.render(holder, motion()), held[0].image) > 38.0


@pytest.mark.parametrize(
    "channels", [{"jawOpen": 0.6}, {"jawOpen": 0.3, "mouthPucker": 0.8}, {"mouthSmile": 1.0}]
)
def test_jaw_and_lips_leave_a_thing_alone(decoder, holder, held, motion, face_box, channels):
    rest, moved = (decoder.render(holder, motion(**c)).astype(int) for c in ({}, channels))
    box = face_box(fm.OUTER_LIPS, 0.1)
    assert np.abs(rest[box] - moved[box]).max() > 10
    thing = cv2.erode((held[1] > 0.99).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    thing[round(held[0].landmarks[fm.CHIN, 1] + 0.55 * held[0].iod_px) :] = False
    assert thing.sum() > 500
    assert np.abs(rest[thing] - moved[thing]).max() <= 4


def test_a_thing_goes_with_the_head(holder, motion):
    rest, turned = (
        geometry_from_motion(holder, motion(**c)).posed
        for c in ({}, {"headX": 0.1, "headYaw": 0.2})
    )
    way = (turned - rest)[:, 0]
    top = holder.stiff.first + np.argmin(
        np.linalg.norm(rest[holder.stiff.first :] - rest[fm.CHIN], axis=1)
    )
    assert abs(way[top] - way[fm.CHIN]) < 0.05 * holder.mesh.iod_px


def test_the_decoder_for_devices_draws_the_same(decoder, held, latents_of, motion):
    device, latents = TorchDecoder("cpu"), latents_of(held[0], key="6d" * 32)
    row = motion(headYaw=0.2, jawOpen=0.6)
    for look in (FrameLook(), FrameLook(size_px=256, background=BackgroundKind.TRANSPARENT)):
        (got,) = device.render([device.prepare(latents, look)], [row])
        step = np.abs(got.astype(int) - decoder.render(decoder.prepare(latents, look), row))
        assert step.max() <= 1
        assert (step > 0).mean() <= 1e-3
