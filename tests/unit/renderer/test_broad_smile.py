"""A portrait that beams: moods take its smile away, and the folds beside its mouth with it."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.face_channels import CHEEKS
from parlante.models.frame_geometry import geometry_from_motion
from parlante.models.smile_creases import FOLDS, without_creases

SAD = {"mouthFrown": 0.8, "mouthPress": 0.3}
SILENT = {"mouthPress": 0.3}


@pytest.fixture(scope="module")
def beaming(draw):
    return draw(gap=0.1, smile=0.06)


@pytest.fixture(scope="module")
def beaming_avatar(decoder, beaming, latents_of):
    return decoder.prepare(latents_of(beaming))


def corners_of(avatar, values):
    """Height of the corners above the middle of the lips, and width between them, IOD."""
    points = avatar.rig.displace(values, avatar.mesh.vertices) / avatar.mesh.iod_px
    centre = 0.5 * (points[fm.UPPER_LIP_CENTRE, 1] + points[fm.LOWER_LIP_CENTRE, 1])
    left, right = points[list(fm.MOUTH_CORNERS)]
    return centre - 0.5 * (left[1] + right[1]), right[0] - left[0]


def darkness_of_folds(frame, points):
    """How much darker the folds are than the cheek above them, levels."""
    light = frame.mean(-1)
    found = []
    for _, fold, beside in ((FOLDS[0], 206, 205), (FOLDS[1], 426, 425)):
        x, y = np.round(points[fold]).astype(int)
        cheek_x, cheek_y = np.round(points[beside]).astype(int)
        around = light[cheek_y - 2 : cheek_y + 3, cheek_x - 2 : cheek_x + 3].mean()
        found.append(around - light[y - 6 : y + 7, x - 6 : x + 7].min())
    return min(found)


def test_only_a_broad_smile_is_one(avatar, beaming_avatar):
    assert avatar.rig.smile == 0.0
    assert beaming_avatar.rig.smile > 0.9


def test_sadness_takes_the_smile(beaming_avatar, motion):
    rise, width = corners_of(beaming_avatar, motion(**SILENT))
    sad_rise, sad_width = corners_of(beaming_avatar, motion(**SAD))
    assert rise > 0.03
    assert sad_rise < -0.02
    assert sad_width < 0.85 * width


@pytest.mark.parametrize("eye_wide", [0.45, 0.6])
def test_fear_and_surprise_take_the_smile_unless_glad(beaming_avatar, motion, eye_wide):
    rig = beaming_avatar.rig
    assert rig.lost_smile(motion(eyeWide=eye_wide)) > 0.8
    assert rig.lost_smile(motion(eyeWide=eye_wide, mouthSmile=0.8)) < 0.3


def test_a_smile_is_kept_by_speech_and_by_brows_that_rise(beaming_avatar, motion):
    values = motion(jawOpen=0.4, mouthStretch=0.5, browInnerUp=0.5, browOuterUp=0.5, eyeWide=0.2)
    assert beaming_avatar.rig.lost_smile(values) == 0.0
    assert beaming_avatar.rig.lost_smile(motion(mouthSmile=0.6, mouthFrown=0.2)) == 0.0


def test_a_sad_mouth_that_rounds_does_not_lose_its_smile_twice(beaming_avatar, motion):
    round_lips = {"jawOpen": 0.3, "mouthPucker": 0.7, "mouthFunnel": 0.4}
    plain = corners_of(beaming_avatar, motion(**round_lips))
    sad = corners_of(beaming_avatar, motion(**round_lips, mouthFrown=0.8))
    assert sad[1] == pytest.approx(plain[1], abs=0.04)
    assert plain[0] - sad[0] < 0.08  # what a frown does to any mouth


def test_folds_leave_with_the_smile(decoder, beaming_avatar, beaming, motion):
    def folds(**channels):
        values = motion(**channels)
        mesh = beaming_avatar.mesh
        points = beaming_avatar.rig.displace(values, mesh.vertices)
        return darkness_of_folds(decoder.render(beaming_avatar, values), points[:, :2])

    smiling = folds(**SILENT)
    assert smiling > 25
    assert folds(**SAD) < 0.5 * smiling
    assert folds(mouthPucker=0.8, mouthFunnel=0.4, jawOpen=0.2) < 0.5 * smiling


def test_creases_are_sought_in_cheeks_alone(beaming):
    changed, share = without_creases(beaming.image, beaming.landmarks)
    assert share.max() > 0.9
    x, y = np.round(beaming.landmarks[[*fm.OUTER_LIPS, *fm.OVAL, fm.NOSE_TIP], :2]).astype(int).T
    assert share[y, x].max() < 0.05
    near = share > 0.5
    assert (changed[near].mean() - beaming.image[near].mean()) > 5


def test_cheeks_and_lower_lids_fall_with_the_smile(avatar, beaming_avatar, motion):
    def fallen(of):
        calm, sad = (geometry_from_motion(of, motion(**values)) for values in (SILENT, SAD))
        cheek = (sad.posed - calm.posed)[list(CHEEKS), 1].min() / of.mesh.iod_px
        height = (of.eyes[0].lower - of.eyes[0].upper).max()
        lid = (sad.eyes[0].lower - calm.eyes[0].lower).max() / height
        return cheek, lid

    cheek, lid = fallen(beaming_avatar)
    assert cheek > fallen(avatar)[0] + 0.03
    assert lid > 0.1
    assert fallen(avatar)[1] == 0.0


def test_a_face_that_beams_has_little_more_to_smile(avatar, beaming_avatar, motion):
    def gained(of):
        still, smiling = (corners_of(of, motion(**m)) for m in ({}, {"mouthSmile": 1.0}))
        return smiling[0] - still[0]

    assert gained(avatar) > 0.08
    assert 0.2 * gained(avatar) < gained(beaming_avatar) < 0.5 * gained(avatar)
