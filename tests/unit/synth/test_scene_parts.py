"""Camera, light, background, identity, performance, solids."""

from __future__ import annotations

import numpy as np
import pytest

from parlante.models import face_mesh
from parlante.models.face_coefficients import load_reference
from parlante.synth.assets import HeadPack
from parlante.synth.background import sample_background
from parlante.synth.camera import Camera, frame_face
from parlante.synth.glasses import make_glasses, sample_glasses
from parlante.synth.identity import sample_identity
from parlante.synth.light import FACING, LUMINANCE, sample_light
from parlante.synth.occluders import AWAY_DM, sample_occluder, sample_offsets
from parlante.synth.performance import TARGET_LIMIT_DEG, arkit_of, sample_frames
from parlante.synth.solids import Solid, ellipsoid, tube
from parlante.types import ARKIT_CHANNELS


def _face() -> np.ndarray:
    """The library's mean face in the scene, dm."""
    mean = load_reference().mean[:468] * [0.9, -0.9, -0.9]
    return (mean + np.array([0.0, 7.0, 0.8])).astype(np.float32)


@pytest.fixture
def camera() -> Camera:
    centre = np.array([0.0, 7.0, 0.3])
    return frame_face(_face(), centre=centre, distance_dm=15.0, size_px=512, zoom=1.0)


def test_face_is_framed_as_the_portrait_crop_does(camera: Camera) -> None:
    oval = camera.project(_face())[list(face_mesh.OVAL), :2]
    low, high = oval.min(axis=0), oval.max(axis=0)
    assert (low + high)[0] / 2 == pytest.approx(255.5, abs=1.0)
    assert (high - low)[1] / 512 == pytest.approx(0.45, abs=0.02)
    assert low[1] / 512 == pytest.approx(0.25, abs=0.02)


def test_clip_matrix_agrees_with_the_projection(camera: Camera) -> None:
    points = _face()
    clip = np.c_[points, np.ones(len(points))] @ camera.clip_matrix().T
    pixels = (clip[:, :2] / clip[:, 3:] + 1.0) * 256.0 - 0.5
    np.testing.assert_allclose(pixels, camera.project(points)[:, :2], atol=1e-2)
    np.testing.assert_allclose(clip[:, 3], camera.project(points)[:, 2], rtol=1e-5)


def test_exposure_is_that_of_skin_towards_the_viewer() -> None:
    for seed in range(20):
        light = sample_light(np.random.default_rng(seed))
        total = light.key * max(float(light.key_direction @ FACING), 0.0)
        for direction, fill in zip(light.fill_directions, light.fills, strict=True):
            total = total + fill * (0.5 + 0.5 * float(direction @ FACING)) ** 2
        total = total + light.ground + (light.sky - light.ground) * 0.6
        assert 0.74 < float(total @ LUMINANCE) < 1.21


def test_backgrounds_come_in_all_kinds_and_are_not_flat() -> None:
    found = [sample_background(np.random.default_rng(seed), 64) for seed in range(40)]
    assert {kind for _, kind in found} == {"wall", "room", "outdoor", "bokeh", "clutter"}
    assert all(picture.shape == (64, 64, 3) and picture.std() > 0.5 for picture, _ in found)


def test_identity_uses_known_targets_within_range(pack: HeadPack) -> None:
    for seed in range(10):
        identity = sample_identity(
            pack, np.random.default_rng(seed), sex="male", lean=(0.5, 0.5, 0.5)
        )
        assert set(identity.weights) <= set(pack.target_names)
        assert sum(identity.ancestry) == pytest.approx(1.0)
        ends = {"nose/nose-hump-decr", "nose/nose-hump-incr"} & set(identity.weights)
        assert len(ends) == 1  # one of two opposite shapes


def test_source_is_near_frontal_with_open_eyes(pack: HeadPack) -> None:
    sources = [sample_frames(pack, np.random.default_rng(s), num_frames=1)[0] for s in range(200)]
    yaw = np.abs(np.degrees([source.yaw_rad for source in sources]))
    assert yaw.max() <= 30.0
    assert 0.04 < float((yaw > 15.0).mean()) < 0.2
    assert max(source.units.get("LeftUpperLidClosed", 0.0) for source in sources) < 0.5


def test_targets_stay_within_limits_and_blink(pack: HeadPack) -> None:
    frames = sample_frames(pack, np.random.default_rng(0), num_frames=60)[1:]
    angles = np.degrees([(f.yaw_rad, f.pitch_rad, f.roll_rad) for f in frames])
    assert (np.abs(angles) <= np.array(TARGET_LIMIT_DEG) + 1e-6).all()
    blinks = [f for f in frames if f.kind == "blink"]
    assert blinks
    assert min(f.units["LeftUpperLidClosed"] for f in blinks) >= 0.9


def test_units_become_arkit_channels() -> None:
    found = arkit_of({"JawDrop": 0.4, "JawDropStretched": 0.3, "LeftInnerBrowUp": 1.0, "x": 1.0})
    assert found[ARKIT_CHANNELS.index("jawOpen")] == pytest.approx(0.7)
    assert found[ARKIT_CHANNELS.index("browInnerUp")] == pytest.approx(0.5)
    assert float(found.sum()) == pytest.approx(1.2)


def _volume(solid: Solid) -> float:
    """Signed volume: positive when the triangles face outwards."""
    a, b, c = (solid.points[solid.triangles[:, k]] for k in range(3))
    return float((np.cross(a, b) * c).sum() / 6.0)


def test_solids_face_outwards() -> None:
    ball = ellipsoid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), detail=24)
    assert _volume(ball) == pytest.approx(4.0 / 3.0 * np.pi, rel=0.03)
    ring = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 48, endpoint=False)), np.sin(t), 0 * t])
    torus = tube(ring.T, 0.1, sides=16, closed=True)
    assert _volume(torus) == pytest.approx(2.0 * np.pi**2 * 0.01, rel=0.05)


def test_glasses_sit_before_both_eyes() -> None:
    marks = _face()
    for seed in range(12):
        frame, lenses = make_glasses(sample_glasses(np.random.default_rng(seed)), marks)
        for corners in (face_mesh.RIGHT_EYE_CORNERS, face_mesh.LEFT_EYE_CORNERS):
            eye = marks[list(corners)].mean(axis=0)
            near = lenses.points[np.abs(lenses.points[:, 0] - eye[0]) < 0.4]
            assert np.ptp(near[:, 0]) > np.ptp(marks[list(corners), 0])
            assert near[:, 2].min() > eye[2] - 0.15
        assert np.isfinite(frame.points).all()


def test_microphone_stays_and_hands_come_and_go() -> None:
    seen: dict[str, list[int]] = {}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        prop = sample_occluder(rng, _face(), (0.4, 0.3, 0.2))
        assert np.isfinite(prop.solid.points).all()
        offsets = sample_offsets(rng, prop, 6)
        seen.setdefault(prop.kind, []).append(sum(offset == AWAY_DM for offset in offsets))
    assert set(seen) == {"microphone", "hand", "bar", "cup"}
    assert max(seen["microphone"]) == 0
    assert max(seen["hand"]) > 0
