"""The rig follows the calibration of the motion space."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.models import face_mesh as fm

MIDDLE = 4  # the lip column at the middle


@pytest.fixture(scope="module")
def rig(avatar):
    return avatar.rig


@pytest.fixture(scope="module")
def moved(avatar):
    """Landmarks after motion, in inter-ocular distances, relative to the portrait's."""

    def displace(values):
        vertices = avatar.rig.displace(values, avatar.mesh.vertices)
        return (vertices - avatar.mesh.vertices) / avatar.mesh.iod_px

    return displace


@pytest.mark.parametrize(
    ("channels", "aperture"),
    [
        ({"jawOpen": 0.2}, 0.10),
        ({"jawOpen": 1.0}, 0.50),
        ({"jawOpen": 0.6, "mouthClose": 0.5}, 0.15),
        ({"jawOpen": 0.6, "mouthClose": 1.0}, 0.0),
        ({"jawOpen": 0.2, "mouthPress": 0.5}, 0.0),
        ({"mouthLowerDown": 1.0}, 0.10),
        ({"mouthUpperUp": 1.0}, 0.06),
        ({"mouthFunnel": 1.0}, 0.08),
    ],
)
def test_aperture_is_as_calibrated(rig, motion, channels, aperture):
    opened = rig.apertures(motion(**channels))[MIDDLE] - rig.apertures(motion())[MIDDLE]
    assert opened == pytest.approx(aperture, abs=0.01)


@pytest.mark.parametrize("jaw", [0.06, 0.12, 0.2])
def test_a_rolled_lower_lip_rises_to_the_upper_teeth(rig, motion, jaw):
    """However far the jaw of an F is open: a slit with teeth in it, narrower at its sides."""
    opened = rig.apertures(motion(jawOpen=jaw, mouthRollLower=0.55, mouthUpperUp=0.3))
    opened -= rig.apertures(motion())
    assert 0.02 < opened[MIDDLE] < 0.03
    assert opened[[1, 7]].max() < 0.65 * opened[MIDDLE]


def test_a_rolled_lower_lip_does_not_shut_a_wide_open_mouth(rig, motion):
    opened = rig.apertures(motion(jawOpen=0.8, mouthRollLower=1.0))
    assert opened[MIDDLE] > 0.2


def test_rounded_lips_open_to_an_arc(rig, motion):
    def beside(**channels):
        opened = rig.apertures(motion(**channels)) - rig.apertures(motion())
        return opened[[2, 6]].mean() / opened[MIDDLE]

    # An ellipse has 0.87 of its height halfway to its corner, a wedge 0.5; people who talk 0.82.
    assert 0.8 < beside(jawOpen=0.4) < 0.84
    assert 0.85 < beside(jawOpen=0.4, mouthPucker=0.5, mouthFunnel=0.5) < 0.95


def test_apertures_are_what_the_mesh_shows(avatar, rig, motion):
    values = motion(jawOpen=0.4, mouthClose=0.3)
    vertices = rig.displace(values, avatar.mesh.vertices)
    shown = (vertices[14, 1] - vertices[13, 1]) / avatar.mesh.iod_px
    assert shown == pytest.approx(rig.apertures(values)[MIDDLE], abs=0.01)


@pytest.mark.parametrize(
    ("channels", "factor"),
    [
        ({"mouthPucker": 1.0}, 0.65),
        ({"mouthFunnel": 1.0}, 0.80),
        ({"mouthStretch": 1.0}, 1.33),
        ({"mouthSmile": 1.0}, 1.18),
    ],
)
def test_mouth_width_is_as_calibrated(avatar, rig, motion, channels, factor):
    vertices = rig.displace(motion(**channels), avatar.mesh.vertices)
    left, right = fm.MOUTH_CORNERS
    width = vertices[right, 0] - vertices[left, 0]
    rest = avatar.mesh.vertices[right, 0] - avatar.mesh.vertices[left, 0]
    assert width / rest == pytest.approx(factor, abs=0.02)


@pytest.mark.parametrize(("channel", "rise"), [("mouthSmile", -0.10), ("mouthFrown", 0.07)])
def test_mouth_corners_rise_and_fall_as_calibrated(moved, motion, channel, rise):
    assert moved(motion(**{channel: 1.0}))[list(fm.MOUTH_CORNERS), 1] == pytest.approx(
        rise, abs=0.01
    )


def test_chin_goes_down_with_the_jaw(moved, motion):
    assert moved(motion(jawOpen=0.5))[fm.CHIN, 1] == pytest.approx(0.2, abs=0.02)


def test_left_channels_move_the_image_right(moved, motion):
    shift = moved(motion(mouthSmileLeft=1.0))
    left_corner, right_corner = fm.MOUTH_CORNERS  # image left, image right
    assert abs(shift[right_corner, 1]) > 0.08
    assert abs(shift[left_corner, 1]) < 0.01


def test_mouth_channels_leave_the_eyes(moved, motion):
    shift = moved(motion(jawOpen=0.8, mouthSmile=1.0))
    assert np.abs(shift[[*fm.RIGHT_EYE, *fm.LEFT_EYE]]).max() < 1e-5


def test_pressed_and_rolled_lips_do_not_vanish(avatar, rig, motion):
    values = motion(mouthPress=1.0, mouthRollUpper=1.0, mouthRollLower=1.0)
    moved = rig.displace(values, avatar.mesh.vertices)
    for rows, sign in ((fm.UPPER_LIP_ROWS, -1.0), (fm.LOWER_LIP_ROWS, 1.0)):
        rim, outside = list(rows[0]), list(rows[3])
        before = sign * (avatar.mesh.vertices[outside, 1] - avatar.mesh.vertices[rim, 1])
        after = sign * (moved[outside, 1] - moved[rim, 1])
        assert (after > 0.05 * before).all()
        assert (after < 0.7 * before).all()


def test_brows_rise_and_fall_as_calibrated(moved, motion):
    inner = [107, 336]
    assert moved(motion(browInnerUp=1.0))[inner, 1] == pytest.approx(-0.12, abs=0.02)
    assert moved(motion(browDown=1.0))[inner, 1] == pytest.approx(0.08, abs=0.02)


def test_a_thick_brow_does_not_get_thin_when_it_falls(avatar, moved, motion):
    """What is below the tracker's brow goes with it, so does the fold, and nothing tears."""
    way = moved(motion(browDown=1.0))[:, 1]
    brow = way[list(fm.RIGHT_BROW)].mean()
    # The middle of each row: its ends have less room.
    below, fold = list(fm.RIGHT_BELOW_BROW[2:5]), list(fm.RIGHT_LID_CREASE[2:5])
    assert way[below].min() > 0.45 * brow
    assert way[fold].min() > 0.1 * brow
    assert np.abs(way[list(fm.RIGHT_UPPER_LID)]).max() < 0.005
    height = avatar.mesh.vertices[:, 1] / avatar.mesh.iod_px + way
    assert height[below].max() < height[fold].min()


@pytest.mark.parametrize("jaw", [0.6, 0.8, 1.0])
def test_rounded_lips_over_a_wide_open_jaw_are_no_slot(avatar, motion, jaw):
    values = motion(jawOpen=jaw, mouthPucker=1.0, mouthFunnel=0.6)
    points = avatar.rig.displace(values, avatar.mesh.vertices)
    right, left = list(fm.MOUTH_CORNERS)
    width = (points[left, 0] - points[right, 0]) / avatar.mesh.iod_px
    assert width > 0.8 * avatar.rig.apertures(values)[MIDDLE]


def test_a_common_rounded_vowel_is_as_narrow_as_calibrated(moved, motion):
    narrow = moved(motion(mouthPucker=0.6, mouthFunnel=0.55))
    vowel = moved(motion(jawOpen=0.38, mouthPucker=0.6, mouthFunnel=0.55))
    plain = moved(motion(jawOpen=0.38))
    corner = fm.MOUTH_CORNERS[1]
    assert vowel[corner, 0] - plain[corner, 0] == pytest.approx(narrow[corner, 0], rel=0.06)


def test_a_collar_stays_where_it_is_when_the_jaw_drops(avatar, motion):
    mesh = avatar.mesh
    moved = avatar.rig.displace(motion(jawOpen=0.5), mesh.vertices) - mesh.vertices
    below = mesh.vertices[:, 1] - mesh.vertices[fm.CHIN, 1]
    assert moved[fm.CHIN, 1] > 0.15 * mesh.iod_px
    assert np.abs(moved[below > 0.65 * mesh.iod_px]).max() < 0.01 * mesh.iod_px
