"""From an accepted portrait to tensors: framing, matte, background, latents."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.errors import PortraitRejected
from parlante.models import face_mesh
from parlante.models.alignment import (
    MAX_OVAL_HEIGHT,
    OVAL_HEIGHT,
    OVAL_TOP,
    CropPlan,
    cut_crop,
    plan_crop,
)
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.models.inpaint import fill_background
from parlante.models.matting import guided_filter
from parlante.models.portrait_encoder import PortraitEncoder, bundle_digest, content_key
from parlante.models.portrait_gate import check_seen
from parlante.models.spectacles import find_spectacles
from parlante.types import (
    MOTION_INDEX,
    AvatarLatents,
    FaceChoice,
    FaceSelection,
    Framing,
    Uint8Array,
)


@pytest.fixture(scope="module")
def latents(tracker: FaceTracker, astronaut: Uint8Array) -> AvatarLatents:
    """The astronaut's latents; asks for `tracker` only to be skipped with it."""
    return PortraitEncoder().encode(astronaut, FaceSelection())


def _in_dark_glasses(rgb: Uint8Array, face: FaceLandmarks) -> Uint8Array:
    """A picture with black ovals before eyes, and a bridge."""
    worn, iod = rgb.copy(), face_mesh.inter_ocular_px(face.points)
    eyes = (face_mesh.RIGHT_EYE_CORNERS, face_mesh.LEFT_EYE_CORNERS)
    centres = [np.rint(face.points[list(eye), :2].mean(0)).astype(int).tolist() for eye in eyes]
    axes = (round(0.25 * iod), round(0.2 * iod))
    for centre in centres:
        cv2.ellipse(worn, centre, axes, 0, 0, 360, (14, 14, 16), -1, cv2.LINE_AA)
    return np.asarray(
        cv2.line(worn, *centres, (14, 14, 16), max(round(0.03 * iod), 2), cv2.LINE_AA)
    )


def test_dark_glasses_are_taken_though_they_hide_the_eyes(
    tracker: FaceTracker, astronaut: Uint8Array, astronaut_face: FaceLandmarks
) -> None:
    worn = _in_dark_glasses(astronaut, astronaut_face)
    with pytest.raises(PortraitRejected) as caught:
        check_seen(tracker, worn, astronaut_face)
    assert caught.value.reason == "EYES_HIDDEN"
    tensors = PortraitEncoder().encode(worn, FaceSelection()).tensors
    found = find_spectacles(np.array(tensors["image"]), np.array(tensors["landmarks"]))
    assert found is not None
    assert found.hides_eyes


def test_a_covered_eye_is_still_refused(
    tracker: FaceTracker, astronaut: Uint8Array, astronaut_face: FaceLandmarks
) -> None:
    covered, (x, y) = astronaut.copy(), astronaut_face.points[468, :2].astype(int)
    covered[y - 24 : y + 24, x - 34 : x + 34] = 10
    with pytest.raises(PortraitRejected) as caught:
        PortraitEncoder().encode(covered, FaceSelection())
    assert caught.value.reason == "EYES_HIDDEN"


def test_framing_follows_the_policy(astronaut_face: FaceLandmarks) -> None:
    plan = plan_crop(astronaut_face.points, 10_000, 10_000)
    oval = (astronaut_face.points[list(face_mesh.OVAL), 1] - plan.top_px) / plan.size_px
    assert oval.max() - oval.min() == pytest.approx(OVAL_HEIGHT, abs=0.03)
    assert oval.min() == pytest.approx(OVAL_TOP, abs=0.03)


def test_tight_picture_is_framed_closer_and_inside(astronaut_face: FaceLandmarks) -> None:
    points = astronaut_face.points.copy()
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    size = int(1.7 * (high - low)[1])
    points[:, :2] += size / 2 - (low + high) / 2
    plan = plan_crop(points, size, size)
    assert plan.size_px == pytest.approx(size)
    assert (plan.left_px, plan.top_px) == pytest.approx((0.0, 0.0), abs=1e-3)


def test_very_tight_picture_keeps_some_room_around_the_face(
    astronaut_face: FaceLandmarks,
) -> None:
    oval = astronaut_face.points[list(face_mesh.OVAL), 1]
    plan = plan_crop(astronaut_face.points, 20, 20)
    assert (oval.max() - oval.min()) / plan.size_px <= MAX_OVAL_HEIGHT + 0.01


def test_crop_of_the_whole_picture_is_the_picture(astronaut: Uint8Array) -> None:
    crop, shown = cut_crop(astronaut, CropPlan(left_px=0, top_px=0, size_px=512))
    np.testing.assert_array_equal(crop, astronaut)
    assert shown.all()


@pytest.mark.parametrize("zoom", [0.5, 2.0, 5.0])
def test_crop_does_not_shift_when_scaled(zoom: float) -> None:
    y, x = np.mgrid[0:400, 0:400].astype(np.float64)
    blob = 255 * np.exp(-((x - 203.5) ** 2 + (y - 191.5) ** 2) / 400)
    picture = np.repeat(blob.astype(np.uint8)[..., None], 3, axis=2)
    size = 512 / zoom
    plan = CropPlan(left_px=204 - size / 2, top_px=192 - size / 2, size_px=size)
    crop = cut_crop(picture, plan)[0][..., 0].astype(float)
    crop[crop < 20] = 0
    ys, xs = np.mgrid[0:512, 0:512]
    centre = [(crop * xs).sum() / crop.sum(), (crop * ys).sum() / crop.sum()]
    np.testing.assert_allclose(centre, [255.5, 255.5], atol=0.6)


def test_crop_beyond_the_border_continues_the_edge() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:, :50] = 200
    crop, shown = cut_crop(picture, CropPlan(left_px=-60, top_px=-60, size_px=220))
    assert not shown[5, 5]
    assert shown[256, 256]
    np.testing.assert_allclose(crop[256, 5], 200, atol=2)
    np.testing.assert_allclose(crop[256, 505], 0, atol=2)


def test_guided_filter_keeps_a_flat_matte() -> None:
    guide = np.random.default_rng(0).random((40, 40, 3), np.float32)
    flat = np.full((40, 40), 0.7, np.float32)
    np.testing.assert_allclose(guided_filter(guide, flat, 5), flat, atol=1e-3)


def test_guided_filter_moves_a_contour_to_the_colours_edge() -> None:
    guide = np.zeros((60, 60, 3), np.float32)
    guide[:, 30:] = [0.9, 0.4, 0.2]
    rough = np.zeros((60, 60), np.float32)
    rough[:, 33:] = 1.0  # three pixels off
    fine = guided_filter(guide, rough, 8)
    assert fine[30, 28] < 0.15
    assert fine[30, 31] > 0.5


def test_background_shows_nothing_of_the_person() -> None:
    ramp = np.linspace(60, 120, 200)
    picture = np.repeat(np.tile(ramp, (200, 1))[..., None], 3, axis=2).astype(np.uint8)
    matte = np.zeros((200, 200), np.float32)
    matte[60:, 70:130] = 1.0
    person = picture.copy()
    person[60:, 70:130] = [250, 10, 10]
    filled = fill_background(person, matte)
    assert np.abs(filled[60:, 70:130].astype(int) - picture[60:, 70:130]).max() < 40
    np.testing.assert_array_equal(filled[:30, :30], picture[:30, :30])


def test_background_beside_the_person_stays_but_for_strands_of_hair() -> None:
    picture = np.full((200, 200, 3), 200, np.uint8)
    picture[:, 135:138] = [250, 245, 235]  # the edge of a door, not of the person
    picture[40:80, 60:63] = [60, 40, 30]  # a strand beyond the matte
    picture[80:, 70:130] = [60, 40, 30]
    matte = np.zeros((200, 200), np.float32)
    matte[80:, 70:130] = 1.0
    filled = fill_background(picture, matte).astype(int)
    assert np.abs(filled[100:190, 135:138] - picture[100:190, 135:138]).max() < 25
    assert filled[72:80, 60:63].min() > 150


def test_background_is_calm_when_the_person_fills_the_frame() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(80, 120, (64, 64, 3)).astype(np.uint8)
    filled = fill_background(picture, np.ones((64, 64), np.float32))
    assert np.ptp(filled.reshape(-1, 3), axis=0).max() == 0
    np.testing.assert_allclose(filled[0, 0], 100, atol=8)


def test_latents_have_the_layout_of_the_space(latents: AvatarLatents) -> None:
    layout = {spec.name: (spec.dtype, spec.shape) for spec in latents.spec.tensors}
    assert layout == {
        "background": ("uint8", (512, 512, 3)),
        "canonical": ("float32", (468, 3)),
        "identity": ("float32", (72,)),
        "image": ("uint8", (512, 512, 3)),
        "landmarks": ("float32", (478, 3)),
        "matte": ("uint8", (512, 512)),
        "source_motion": ("float32", (60,)),
    }
    assert list(layout) == sorted(layout)
    assert latents.num_bytes <= 8 << 20
    assert not any(tensor.flags.writeable for tensor in latents.tensors.values())
    assert all(np.isfinite(tensor).all() for tensor in latents.tensors.values())


def test_landmarks_belong_to_the_crop(latents: AvatarLatents, tracker: FaceTracker) -> None:
    image = np.asarray(latents.tensors["image"], np.uint8)
    again = tracker.landmarks(image, tracker.detect(image)[0]).points
    np.testing.assert_allclose(latents.tensors["landmarks"][:, :2], again[:, :2], atol=6)


def test_matte_tells_the_person_from_the_background(latents: AvatarLatents) -> None:
    matte = latents.tensors["matte"]
    features = [1, 0, 17, 61, 291, 33, 133, 263, 362, 151, 105, 334]
    skin = latents.tensors["landmarks"][features, :2].astype(int)
    assert matte[skin[:, 1], skin[:, 0]].min() > 250
    assert matte[:40, :40].max() < 25


def test_background_keeps_what_is_not_the_person(latents: AvatarLatents) -> None:
    corner = (slice(0, 40), slice(0, 40))
    np.testing.assert_allclose(
        latents.tensors["background"][corner].astype(int),
        latents.tensors["image"][corner].astype(int),
        atol=3,
    )


def test_source_motion_is_the_photos_own(latents: AvatarLatents) -> None:
    motion = latents.tensors["source_motion"]
    assert motion[MOTION_INDEX["jawOpen"]] > 0.1  # she smiles with her teeth showing
    assert motion[MOTION_INDEX["mouthSmileLeft"]] > 0.3
    assert motion[MOTION_INDEX["eyeBlinkLeft"]] == 0.0
    assert motion[MOTION_INDEX["headX"]] == 0.0


def test_encoding_is_deterministic(astronaut: Uint8Array, latents: AvatarLatents) -> None:
    again = PortraitEncoder().encode(astronaut, FaceSelection())
    assert again.key == latents.key
    for name, tensor in latents.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def test_identity_survives_size_and_light(
    astronaut: Uint8Array, latents: AvatarLatents, tracker: FaceTracker
) -> None:
    other = (cv2.resize(astronaut, None, fx=1.7, fy=1.7) * 0.6).astype(np.uint8)
    code = PortraitEncoder().encode(other, FaceSelection()).tensors["identity"]
    distance = np.linalg.norm(code - latents.tensors["identity"])
    assert distance < 0.4 * np.linalg.norm(code)


def test_key_depends_on_pixels_shape_and_bundle() -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    keys = {
        content_key(picture, FaceSelection(), "a"),
        content_key(picture, FaceSelection(), "b"),
        content_key(picture.reshape(6, 4, 3), FaceSelection(), "a"),
        content_key(picture + np.uint8(1), FaceSelection(), "a"),
    }
    assert len(keys) == 4


def test_bundle_digest_is_stable() -> None:
    assert bundle_digest() == bundle_digest()
    assert len(bundle_digest()) == 64


@pytest.fixture(scope="module")
def cut_at_the_hair(
    tracker: FaceTracker, astronaut: Uint8Array, astronaut_face: FaceLandmarks
) -> AvatarLatents:
    """Latents of the astronaut with the top of the hair outside the picture."""
    top = int(astronaut_face.points[face_mesh.FOREHEAD, 1]) - 12
    return PortraitEncoder().encode(np.ascontiguousarray(astronaut[top:]), FaceSelection())


def test_hair_cut_by_the_border_becomes_no_pillar(cut_at_the_hair: AvatarLatents) -> None:
    matte = cut_at_the_hair.tensors["matte"]
    widths = (matte[:120] > 127).sum(axis=1)
    assert widths[5] < 0.5 * widths[100]  # rounded towards the crown, not straight up
    assert matte[110, 256] > 200


def test_beyond_the_border_lies_background(cut_at_the_hair: AvatarLatents) -> None:
    image, background, matte = (
        np.asarray(cut_at_the_hair.tensors[name][:20]).astype(int)
        for name in ("image", "background", "matte")
    )
    away = matte == 0
    assert away.mean() > 0.5
    np.testing.assert_allclose(image[away], background[away], atol=2)


def test_throat_goes_on_below_a_chin_at_the_border(
    tracker: FaceTracker, astronaut: Uint8Array, astronaut_face: FaceLandmarks
) -> None:
    chin = int(astronaut_face.points[face_mesh.CHIN, 1]) - 2
    latents = PortraitEncoder().encode(np.ascontiguousarray(astronaut[: chin + 1]), FaceSelection())
    x, y = latents.tensors["landmarks"][face_mesh.CHIN, :2].astype(int)
    below = latents.tensors["matte"][int(y) - 20 :, int(x)]
    assert below.min() > 230


@pytest.mark.parametrize("index", [0, 1])
def test_a_neighbour_whose_shoulder_touches_is_no_part_of_the_person(
    tracker: FaceTracker, astronaut: Uint8Array, index: int
) -> None:
    alone = astronaut[:, 90:330]
    pair = np.ascontiguousarray(np.hstack([alone, alone[:, ::-1]]))
    selection = FaceSelection(choice=FaceChoice.INDEX, index=index, framing=Framing.SHOULDERS)
    matte = PortraitEncoder().encode(pair, selection).tensors["matte"].astype(float)
    columns = matte.mean(axis=0)[:: 1 if index == 0 else -1]
    assert columns[200] > 200.0
    assert columns[384:].max() < 2.0


# --- framings and fineness ---------------------------------------------------------------------


def test_shoulders_are_framed_wider(astronaut_face: FaceLandmarks) -> None:
    head = plan_crop(astronaut_face.points, 10_000, 10_000)
    wide = plan_crop(astronaut_face.points, 10_000, 10_000, Framing.SHOULDERS)
    assert wide.size_px == pytest.approx(1.5 * head.size_px, rel=0.01)
    # A picture that shows no more is framed as far as it goes.
    tight = plan_crop(astronaut_face.points, 300, 300, Framing.SHOULDERS)
    assert tight.size_px == pytest.approx(300.0)


def test_framings_have_keys_of_their_own(astronaut: Uint8Array) -> None:
    keys = {content_key(astronaut, FaceSelection(framing=f), "d") for f in Framing}
    assert len(keys) == len(Framing)


def test_a_full_picture_lies_under_its_crop_pixel_by_pixel(
    tracker: FaceTracker, astronaut: Uint8Array
) -> None:
    latents = PortraitEncoder().encode(astronaut, FaceSelection(framing=Framing.FULL))
    picture, placement = latents.tensors["picture"], latents.tensors["placement"]
    np.testing.assert_array_equal(picture, astronaut)
    left, top, size = placement.tolist()
    assert size % 32 == 0
    assert left == round(left)
    assert top == round(top)
    part = picture[: int(top + size), int(left) : int(left + size)]
    crop = cv2.resize(
        latents.tensors["image"], (int(size), int(size)), interpolation=cv2.INTER_AREA
    )
    difference = np.abs(crop[int(-top) :].astype(int) - part)
    assert np.median(difference) <= 3.0


def test_a_large_portrait_keeps_its_fine_pixels_and_a_small_one_has_none(
    tracker: FaceTracker, astronaut: Uint8Array
) -> None:
    encoder = PortraitEncoder()
    assert "image_fine" not in encoder.encode(astronaut, FaceSelection()).tensors
    large = cv2.resize(astronaut[:300, 80:380], (1800, 1800), interpolation=cv2.INTER_CUBIC)
    latents = encoder.encode(np.asarray(large, np.uint8), FaceSelection())
    fine = latents.tensors["image_fine"]
    assert fine.shape == (1024, 1024, 3)
    small = cv2.resize(fine, (512, 512), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(small - latents.tensors["image"]).mean() < 1.5
    assert latents.num_bytes <= 8 * 1024 * 1024


def test_a_noisy_background_is_continued_without_streaks_and_with_its_noise() -> None:
    rng = np.random.default_rng(0)
    noisy = np.clip(120 + rng.normal(0, 30, (256, 256, 3)), 0, 255).astype(np.uint8)
    matte = np.zeros((256, 256), np.float32)
    matte[64:192, 64:192] = 1.0
    filled = fill_background(noisy, matte)[80:176, 80:176].astype(np.float32)
    broad = cv2.GaussianBlur(filled, (0, 0), 6.0)
    assert broad.std(axis=(0, 1)).max() < 6.0  # single pixels drawn out: 10 and more
    assert filled.std() == pytest.approx(30.0, rel=0.35)
    colour = filled - filled.mean(axis=-1, keepdims=True)
    assert colour.std() > 12.0


@pytest.mark.parametrize("strength", [4.0, 14.0])
def test_grain_is_neither_hair_nor_missing_anywhere(strength: float) -> None:
    """A dark head before a wall on a grainy film: the wall beside it is the photo's own."""
    rng = np.random.default_rng(0)
    wall = np.full((320, 320), 130.0)
    cv2.circle(wall, (160, 190), 70, 40.0, -1, cv2.LINE_AA)
    matte = np.zeros((320, 320), np.float32)
    cv2.circle(matte, (160, 190), 70, 1.0, -1, cv2.LINE_AA)
    film = wall + cv2.GaussianBlur(rng.normal(0.0, 2.0 * strength, wall.shape), (0, 0), 0.6)
    picture = np.repeat(np.clip(film, 0, 255)[..., None], 3, axis=2).astype(np.uint8)
    filled = fill_background(picture, matte).astype(np.float32)
    away = cv2.distanceTransform((matte == 0.0).astype(np.uint8), cv2.DIST_L2, 5)
    fine = filled - cv2.GaussianBlur(filled, (0, 0), 2.0)
    usual = fine[:70].std()  # far above the head
    for near in range(3, 72, 6):
        ring = (away > near) & (away <= near + 6)
        assert 0.8 * usual < fine[ring].std() < 1.3 * usual, near
    is_own = (filled == picture).all(axis=-1)
    assert is_own[(away > 18) & (away < 60)].mean() > 0.9
    assert is_own[away > 60].all()
