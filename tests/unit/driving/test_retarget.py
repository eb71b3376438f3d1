"""A portrait is told what a driver does: without delay, at any rate, from any rest."""

import numpy as np
import pytest

from parlante.driving.motion_clip import MotionClip
from parlante.driving.observe import Observation
from parlante.driving.retarget import TRACKED_TURN_SHARE, MotionPart, retarget, select
from parlante.driving.timeline import EASE_FRAMES, to_frames
from parlante.errors import InvalidInput
from parlante.training.videos.following import Flaw, Track
from parlante.training.videos.measures import MEASURE_INDEX, measure
from parlante.types import MOTION_DIM, MOTION_INDEX
from tests.unit.videos.conftest import BLINKS


def channel(values, name):
    return values[:, MOTION_INDEX[name]]


def alike(a, b):
    return float(np.corrcoef(a, b)[0, 1])


def observe_at(made_face, motion, times_s):
    """What is seen of motion at 25 Hz in pictures at other times."""
    frame = np.arange(len(motion)) / 25.0
    at = np.stack([np.interp(times_s, frame, column) for column in motion.T], axis=1)
    values = np.stack([measure(made_face.points(row)) for row in at])
    count = len(times_s)
    flaws, shots = np.full(count, Flaw.NONE, np.uint8), np.zeros(count, np.int32)
    return Observation(Track(np.asarray(times_s), values, flaws, shots), np.zeros((count, 2)))


@pytest.fixture(scope="module")
def observation(made_face, talking):
    return observe_at(made_face, talking, np.arange(len(talking)) / 25.0)


@pytest.fixture(scope="module")
def driven(observation):
    return retarget(to_frames(observation)).values


def test_head_comes_back_in_place_and_size(driven, talking):
    shares = (*TRACKED_TURN_SHARE, 1.0, 1.0)
    names = ("headYaw", "headPitch", "headRoll", "headX", "headY")
    for name, share in zip(names, shares, strict=True):
        found, true = channel(driven, name), channel(talking, name)
        assert alike(found, true) > 0.985, name
        assert np.polyfit(true, found, 1)[0] == pytest.approx(1.0 / share, rel=0.12), name


def test_lips_and_brows_come_back(driven, talking):
    assert alike(channel(driven, "jawOpen"), channel(talking, "jawOpen")) > 0.85
    assert alike(channel(driven, "browInnerUp"), channel(talking, "browInnerUp")) > 0.8
    smile = alike(channel(driven, "mouthSmileLeft"), channel(talking, "mouthSmileLeft"))
    assert smile > 0.8


def test_every_closure_and_blink_is_whole_and_in_its_frame(driven, talking):
    closed = channel(talking, "mouthClose") > 0.5
    middles = np.flatnonzero(closed)[1::3]  # of contacts of three frames
    assert (channel(driven, "mouthClose")[middles] == 1.0).all()
    for start in BLINKS:
        for side in ("Left", "Right"):
            lids = channel(driven, f"eyeBlink{side}")[start - 2 : start + 8]
            assert lids.max() > 0.95
            assert int(lids.argmax()) - 2 in (1, 2)


def test_gaze_comes_back(driven, talking):
    assert alike(channel(driven, "gazeYaw"), channel(talking, "gazeYaw")) > 0.9


@pytest.mark.parametrize("rate_hz", [15.0, 24.0, 30.0])
def test_the_rate_of_the_video_makes_no_difference(made_face, talking, driven, rate_hz):
    times_s = np.arange(int(12.0 * rate_hz)) / rate_hz
    found = retarget(to_frames(observe_at(made_face, talking, times_s))).values
    count = min(len(found), len(driven))
    assert abs(count - 300) <= 1
    for name in ("headYaw", "headX", "jawOpen"):
        a, b = channel(found, name)[:count], channel(driven, name)[:count]
        assert alike(a, b) > 0.93, name
        shifted = max(range(-3, 4), key=lambda lag: alike(a[5:-5], np.roll(b, lag)[5:-5]))
        assert shifted == 0, name


def test_a_closure_of_one_picture_at_30_hz_survives(made_face, talking):
    times_s = np.arange(90) / 30.0
    seen = observe_at(made_face, np.zeros((80, MOTION_DIM), np.float32), times_s)
    jaw = np.zeros((1, MOTION_DIM), np.float32)
    jaw[0, MOTION_INDEX["jawOpen"]] = 0.4
    seen.track.values[20:] = measure(made_face.points(jaw[0]))
    shut = np.flatnonzero(np.arange(90) % 11 == 4)
    shut = shut[shut > 22]
    seen.track.values[shut] = measure(made_face.points(np.zeros(MOTION_DIM)))
    close = channel(retarget(to_frames(seen)).values, "mouthClose")
    for picture in shut:
        frame = round(picture / 30.0 * 25.0)
        assert close[max(frame - 1, 0) : frame + 2].max() == 1.0


def test_another_rest_gives_the_same_motion(made_face, talking, driven):
    moved = talking.copy()
    for name, rest in (
        ("headYaw", 0.15),
        ("headRoll", -0.1),
        ("headX", 0.5),
        ("headLogScale", 0.2),
    ):
        moved[:, MOTION_INDEX[name]] += rest
    found = retarget(to_frames(observe_at(made_face, moved, np.arange(300) / 25.0))).values
    for name in ("headYaw", "headPitch", "headRoll", "headX", "headLogScale"):
        difference = np.abs(channel(found, name) - channel(driven, name))
        assert difference.mean() < 0.02, name


def test_a_still_driver_leaves_the_portrait_at_rest(made_face):
    still = np.zeros((50, MOTION_DIM), np.float32)
    values = retarget(to_frames(observe_at(made_face, still, np.arange(50) / 25.0))).values
    assert np.abs(values).max() < 0.02


def test_wild_motion_stays_within_what_a_portrait_can_show(made_face):
    wild = np.zeros((100, MOTION_DIM), np.float32)
    wild[:, MOTION_INDEX["headX"]] = 3.0 * np.sin(np.arange(100) / 8.0)
    wild[:, MOTION_INDEX["headLogScale"]] = np.sin(np.arange(100) / 11.0)
    values = retarget(to_frames(observe_at(made_face, wild, np.arange(100) / 25.0))).values
    assert 0.5 < np.abs(channel(values, "headX")).max() <= 0.7
    assert np.abs(channel(values, "headLogScale")).max() <= 0.35


def test_a_lost_face_eases_to_rest_and_back(made_face, talking):
    seen = observe_at(made_face, talking, np.arange(300) / 25.0)
    seen.track.flaws[100:160] = Flaw.NO_FACE
    seen.track.values[100:160] = np.nan
    seen.sides[100:160] = np.nan
    frames = to_frames(seen)
    values = retarget(frames).values
    assert frames.lost.sum() == 60
    middle = slice(100 + EASE_FRAMES, 160 - EASE_FRAMES)
    assert np.abs(values[middle]).max() < 1e-6
    whole = retarget(to_frames(observe_at(made_face, talking, np.arange(300) / 25.0))).values
    usual = np.abs(np.diff(channel(whole, "headYaw"))).max()
    assert np.abs(np.diff(channel(values, "headYaw"))).max() < 1.2 * usual


def test_a_short_loss_is_bridged(made_face, talking):
    seen = observe_at(made_face, talking, np.arange(300) / 25.0)
    seen.track.flaws[100:105] = Flaw.NO_FACE
    seen.track.values[100:105] = np.nan
    frames = to_frames(seen)
    assert (frames.pose_share == 1.0).all()
    assert np.isfinite(retarget(frames).values).all()


def test_a_cut_does_not_throw_the_head(made_face, talking):
    seen = observe_at(made_face, talking, np.arange(300) / 25.0)
    seen.track.shots[150:] = 1
    for name, jump in (("x_px", 200.0), ("y_px", -60.0), ("iod_px", 70.0)):
        seen.track.values[150:, MEASURE_INDEX[name]] += jump
    values = retarget(to_frames(seen)).values
    steps = np.abs(np.diff(channel(values, "headX")))
    assert steps[140:160].max() < 0.08
    assert np.abs(np.median(channel(values, "headX")[160:])) < 0.1


def test_a_profile_keeps_the_head_and_rests_the_face(made_face, talking):
    seen = observe_at(made_face, talking, np.arange(300) / 25.0)
    seen.track.flaws[100:160] = Flaw.PROFILE
    values = retarget(to_frames(seen)).values
    assert np.abs(channel(values, "jawOpen")[115:145]).max() == 0.0
    assert np.abs(channel(values, "headYaw")[115:145]).max() > 0.02


# --- parts and intensity -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(driven):
    return MotionClip(values=driven)


def test_pose_only_rests_the_face_and_holds_the_gaze(clip):
    values = select(clip, part=MotionPart.POSE).values
    np.testing.assert_array_equal(values[:, :6], clip.values[:, :6])
    assert channel(values, "jawOpen").max() == channel(values, "eyeBlinkLeft").max() == 0.0
    np.testing.assert_allclose(channel(values, "gazeYaw"), -channel(values, "headYaw"), atol=1e-6)


def test_expression_only_rests_the_head_and_keeps_where_the_eyes_look(clip):
    values = select(clip, part=MotionPart.EXPRESSION).values
    assert not values[:, :6].any()
    np.testing.assert_array_equal(channel(values, "jawOpen"), channel(clip.values, "jawOpen"))
    looks = channel(clip.values, "gazeYaw") + channel(clip.values, "headYaw")
    np.testing.assert_allclose(channel(values, "gazeYaw"), looks, atol=1e-6)


def test_intensity_scales_and_leaves_blinks_and_contacts_whole(clip):
    values = select(clip, intensity=0.5).values
    np.testing.assert_allclose(values[:, :6], 0.5 * clip.values[:, :6], rtol=1e-6)
    np.testing.assert_allclose(
        channel(values, "jawOpen"), 0.5 * channel(clip.values, "jawOpen"), rtol=1e-6
    )
    for name in ("eyeBlinkLeft", "mouthClose"):
        np.testing.assert_array_equal(channel(values, name), channel(clip.values, name))
    assert not select(clip, intensity=0.0).values.any()
    assert select(clip, intensity=2.0).values[:, 6:58].max() <= 1.0


@pytest.mark.parametrize("intensity", [-0.1, 2.1, float("nan")])
def test_an_intensity_out_of_range_is_refused(clip, intensity):
    with pytest.raises(InvalidInput):
        select(clip, intensity=intensity)
