"""What surrounds the face is as deep as a head is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.models import face_mesh as fm
from parlante.models.decoder_mesh import build_mesh
from parlante.models.frame_geometry import project
from parlante.models.outer_depth import NECK_IOD, outer_depth
from parlante.models.warp import HeadPose

YAW_RAD = 0.2
# Heads that talk turn on a neck that stays: their eyes move aside by so many IOD per radian.
SHIFT_PER_YAW = 0.8


@pytest.fixture(scope="module")
def skin(portrait):
    return portrait.landmarks[: fm.NUM_SKIN_LANDMARKS].astype(np.float64)


def _ball(portrait, reach_iod):
    """A matte whose outline is so far above the forehead."""
    x, y = portrait.landmarks[list(fm.OVAL), :2].mean(0)
    radius = y - portrait.landmarks[fm.FOREHEAD, 1] + reach_iod * portrait.iod_px
    matte = np.zeros((512, 512), np.uint8)
    cv2.circle(matte, (round(float(x)), round(float(y))), round(float(radius)), 255, -1)
    return matte


def _above(portrait, distances_iod):
    points = np.repeat(portrait.landmarks[[fm.FOREHEAD], :2], len(distances_iod), 0)
    points[:, 1] -= np.array(distances_iod) * portrait.iod_px
    return points.astype(np.float64)


def _depth_above(portrait, skin, distances_iod, matte):
    depth = outer_depth(_above(portrait, distances_iod), skin, matte, portrait.iod_px)
    return (depth - skin[fm.FOREHEAD, 2]) / portrait.iod_px


def test_head_turns_away_to_its_outline(portrait, skin):
    matte = _ball(portrait, 0.6)
    face, middle, outline = _depth_above(portrait, skin, [0.05, 0.3, 0.6], matte)
    assert outline - middle > 1.4 * (middle - face) > 0.0
    assert 0.5 < outline < 1.0


def test_more_hair_is_deeper_at_its_outline(portrait, skin):
    little, much = (
        _depth_above(portrait, skin, [reach], _ball(portrait, reach))[0] for reach in (0.4, 0.7)
    )
    assert much > little + 0.2


def test_hair_is_flatter_where_more_of_it_lies_beyond(portrait, skin):
    little, much = (
        _depth_above(portrait, skin, [0.3], _ball(portrait, reach))[0] for reach in (0.4, 0.7)
    )
    assert little > much + 0.03


def test_head_without_an_outline_is_not_flat(portrait, skin):
    everything = np.full((512, 512), 255, np.uint8)
    near, far = _depth_above(portrait, skin, [0.2, 0.7], everything)
    assert 0.0 < near < 0.25 < far < 0.8


def test_holes_in_hair_are_no_outline(portrait, skin):
    whole = _ball(portrait, 0.6)
    pierced = whole.copy()
    x, y = np.rint(_above(portrait, [0.3])[0]).astype(int)
    pierced[y - 2 : y + 3, x - 2 : x + 3] = 0
    depths = [_depth_above(portrait, skin, [0.2, 0.3, 0.4], matte) for matte in (whole, pierced)]
    assert np.allclose(*depths)


def test_throat_lies_far_behind_the_chin(portrait, skin):
    below = skin[fm.CHIN, :2] + np.array([0.0, 0.5 * portrait.iod_px])
    depth = outer_depth(below[None], skin, _ball(portrait, 0.5), portrait.iod_px)[0]
    behind_eyes = (depth - skin[list(fm.OUTER_EYE_CORNERS), 2].mean()) / portrait.iod_px
    assert behind_eyes == pytest.approx(NECK_IOD, abs=0.05)


def test_depth_has_no_steps(portrait, skin):
    """Points of the face's edge are few: an outline must not show which one is the nearest."""
    oval = skin[list(fm.OVAL), :2]
    centre = oval.mean(0)
    angle = np.linspace(-np.pi, 0.0, 400)  # over the head, from ear to ear
    radius = np.abs(oval - centre).max(0) + 0.35 * portrait.iod_px
    ring = centre + np.stack([np.cos(angle), np.sin(angle)], -1) * radius
    depth = outer_depth(ring, skin, _ball(portrait, 0.6), portrait.iod_px) / portrait.iod_px
    assert np.abs(np.diff(depth)).max() < 0.025


def test_neck_stays_when_the_head_turns_on_it(portrait, motion):
    mesh = build_mesh(portrait.landmarks, portrait.matte)
    turn = motion(headYaw=YAW_RAD, headX=SHIFT_PER_YAW * YAW_RAD)
    pose = HeadPose.from_motion(turn, mesh.iod_px, 0.0)
    moved = project(mesh, pose, mesh.vertices)[:, 0] - mesh.vertices[:, 0]
    offset = (mesh.vertices[:, :2] - mesh.vertices[fm.CHIN, :2]) / mesh.iod_px
    throat = (np.abs(offset[:, 0]) < 0.5) & (offset[:, 1] > 0.15) & (offset[:, 1] < 0.7)
    assert throat.sum() >= 3
    assert np.abs(moved[throat]).max() < 0.5 * moved[fm.CHIN]
