"""The gate: good portraits in many conditions pass, and each refusal has its reason."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parlante.errors import InvalidInput, PortraitRejected
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.models.portrait_gate import check_seen, select_face
from parlante.types import FaceChoice, FaceSelection, Float32Array, Uint8Array


@pytest.fixture(scope="module")
def portrait(astronaut: Uint8Array) -> Uint8Array:
    """The astronaut's head, enlarged, uint8 [480, 480, 3]."""
    return cv2.resize(astronaut[:240, 100:340], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def face(tracker: FaceTracker, portrait: Uint8Array) -> FaceLandmarks:
    return tracker.landmarks(portrait, tracker.detect(portrait)[0])


def gate(tracker: FaceTracker, rgb: Uint8Array, selection: FaceSelection) -> FaceLandmarks:
    face, _others = select_face(tracker, rgb, selection)
    check_seen(tracker, rgb, face)
    return face


def refusal(
    tracker: FaceTracker, rgb: Uint8Array, selection: FaceSelection | None = None
) -> PortraitRejected:
    with pytest.raises(PortraitRejected) as caught:
        gate(tracker, np.ascontiguousarray(rgb), selection or FaceSelection())
    return caught.value


def cover(rgb: Uint8Array, around: Float32Array, half: tuple[int, int], colour: int) -> Uint8Array:
    covered = rgb.copy()
    for x, y in around.astype(int):
        covered[y - half[1] : y + half[1], x - half[0] : x + half[0]] = colour
    return covered


CONDITIONS = {
    "as it is": lambda rgb: rgb,
    "dark": lambda rgb: (rgb * 0.2).astype(np.uint8),
    "bright": lambda rgb: np.clip(rgb * 1.4, 0, 255).astype(np.uint8),
    "grey": lambda rgb: np.repeat(rgb.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
    "noisy": lambda rgb: np.clip(
        rgb + np.random.default_rng(0).normal(0, 20, rgb.shape), 0, 255
    ).astype(np.uint8),
    "enlarged": lambda rgb: cv2.resize(
        cv2.resize(rgb, (96, 96), interpolation=cv2.INTER_AREA), (480, 480)
    ),
    "mirrored": lambda rgb: np.ascontiguousarray(rgb[:, ::-1]),
    "brown tone": lambda rgb: (rgb * [0.5, 0.4, 0.35]).astype(np.uint8),
    "in a large picture": lambda rgb: cv2.copyMakeBorder(
        rgb, 100, 600, 700, 300, cv2.BORDER_CONSTANT, value=(80, 90, 100)
    ),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_portrait_is_accepted(tracker: FaceTracker, portrait: Uint8Array, condition: str) -> None:
    face = gate(tracker, CONDITIONS[condition](portrait), FaceSelection())
    assert face.presence > 0.9


@pytest.mark.parametrize(("coarse", "grain"), [(0.07, 0.05), (0.2, 0.03)])
def test_drawing_in_lines_is_accepted(
    tracker: FaceTracker, portrait: Uint8Array, coarse: float, grain: float
) -> None:
    drawn, _ = cv2.pencilSketch(
        np.ascontiguousarray(portrait[..., ::-1]),
        sigma_s=60,
        sigma_r=coarse,
        shade_factor=grain,
    )
    gate(tracker, np.repeat(drawn[..., None], 3, axis=2), FaceSelection())


@pytest.mark.parametrize("kind", ["black", "white", "noise", "stripes", "qr", "landscape"])
def test_picture_without_face_is_refused(tracker: FaceTracker, kind: str) -> None:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 2, (29, 29)), np.ones((16, 16))) * 255
    sky = np.linspace(200, 60, 464)[:, None] * np.ones(464)
    picture = {
        "black": np.zeros((464, 464)),
        "white": np.full((464, 464), 255),
        "noise": rng.integers(0, 256, (464, 464)),
        "stripes": np.tile(np.repeat([0, 255], 16), (464, 15))[:, :464],
        "qr": blocks,
        "landscape": np.where(np.arange(464)[:, None] > 300, rng.normal(90, 15, (464, 464)), sky),
    }[kind]
    rgb = np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    assert refusal(tracker, rgb).reason == "NO_FACE"


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize("mirrored", [False, True])
def test_cat_is_not_human(tracker: FaceTracker, cat: Uint8Array, zoom: int, mirrored: bool) -> None:
    picture = cv2.resize(cat, None, fx=zoom, fy=zoom)
    assert refusal(tracker, picture[:, :: -1 if mirrored else 1]).reason == "NOT_HUMAN"


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_tiny_picture_has_no_face(tracker: FaceTracker, size: int) -> None:
    assert refusal(tracker, np.full((size, size, 3), 128, np.uint8)).reason == "NO_FACE"


@pytest.mark.parametrize("shape", [(1, 900), (900, 1), (3, 2000)])
def test_extreme_shapes_are_refused(tracker: FaceTracker, shape: tuple[int, int]) -> None:
    assert refusal(tracker, np.full((*shape, 3), 128, np.uint8)).reason == "NO_FACE"


def test_small_face_is_refused_with_its_size(tracker: FaceTracker, portrait: Uint8Array) -> None:
    small = cv2.resize(portrait, (96, 96), interpolation=cv2.INTER_AREA)
    error = refusal(tracker, small)
    assert error.reason == "FACE_TOO_SMALL"
    assert 30 < int(error.metadata["face_px"]) < 64


def test_squeezed_face_near_the_least_size_is_too_small(
    tracker: FaceTracker, portrait: Uint8Array
) -> None:
    reasons = {84: "FACE_TOO_SMALL", 200: "NOT_HUMAN"}
    for face_px, reason in reasons.items():
        zoom = face_px / tracker.landmarks(portrait, tracker.detect(portrait)[0]).size_px
        small = cv2.resize(portrait, None, fx=0.5 * zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        error = refusal(tracker, small)
        assert (error.reason, "squeezed" in error.message) == (reason, True)


def turn(rgb: Uint8Array, degrees: float) -> Uint8Array:
    height, width = rgb.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(rgb, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(
    ("degrees", "lies"),
    [(75, "on its side"), (90, "on its side"), (-90, "on its side"), (180, "upside down")],
)
def test_turned_picture_is_refused_for_its_turn(
    tracker: FaceTracker, portrait: Uint8Array, degrees: float, lies: str
) -> None:
    error = refusal(tracker, turn(portrait, degrees))
    assert error.reason == "FACE_NOT_UPRIGHT"
    assert lies in error.message


@pytest.mark.parametrize("degrees", [-45, -20, 20, 45])
def test_head_held_aslant_is_accepted(
    tracker: FaceTracker, portrait: Uint8Array, degrees: float
) -> None:
    gate(tracker, turn(portrait, degrees), FaceSelection())


def test_turned_picture_is_looked_for_only_when_one_is_refused(
    tracker: FaceTracker, portrait: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> str:
        raise AssertionError

    monkeypatch.setattr("parlante.models.portrait_gate._find_turn", forbidden)
    gate(tracker, portrait, FaceSelection())


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_covered_mouth_is_refused(
    tracker: FaceTracker, portrait: Uint8Array, face: FaceLandmarks, colour: int
) -> None:
    covered = cover(portrait, face.points[[13], :2], (42, 28), colour)
    assert refusal(tracker, covered).reason == "MOUTH_HIDDEN"


@pytest.mark.parametrize("eyes", [[468], [473], [468, 473]])
@pytest.mark.parametrize("colour", [10, 240])
def test_covered_eye_is_refused(
    tracker: FaceTracker, portrait: Uint8Array, face: FaceLandmarks, eyes: list[int], colour: int
) -> None:
    covered = cover(portrait, face.points[eyes, :2], (34, 24), colour)
    assert refusal(tracker, covered).reason == "EYES_HIDDEN"


def test_half_a_face_is_cut_off(
    tracker: FaceTracker, portrait: Uint8Array, face: FaceLandmarks
) -> None:
    chin_cut = portrait[: int(face.points[0, 1]) + 12]
    assert refusal(tracker, chin_cut).reason == "FACE_CUT_OFF"


def test_turned_face_is_a_profile(
    tracker: FaceTracker, portrait: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parlante.models.portrait_gate.MAX_YAW_RAD", 0.001)
    error = refusal(tracker, portrait)
    assert error.reason == "FACE_PROFILE"
    assert "degrees" in error.message


def test_blurred_face_is_refused(tracker: FaceTracker, portrait: Uint8Array) -> None:
    assert refusal(tracker, cv2.GaussianBlur(portrait, (0, 0), 16)).reason in {
        "BLURRY",
        "NO_FACE",
    }


@pytest.fixture(scope="module")
def pair(portrait: Uint8Array) -> Uint8Array:
    """A smaller face on the left, a larger one on the right."""
    small = cv2.resize(portrait, (336, 336), interpolation=cv2.INTER_AREA)
    return np.hstack([cv2.copyMakeBorder(small, 72, 72, 0, 0, cv2.BORDER_REPLICATE), portrait])


def test_several_faces_are_counted(tracker: FaceTracker, pair: Uint8Array) -> None:
    error = refusal(tracker, pair)
    assert error.reason == "SEVERAL_FACES"
    assert error.metadata["num_faces"] == "2"


def test_largest_face_is_taken_on_request(tracker: FaceTracker, pair: Uint8Array) -> None:
    face = gate(tracker, pair, FaceSelection(choice=FaceChoice.LARGEST))
    assert face.points[1, 0] > 336


@pytest.mark.parametrize(("index", "is_left"), [(0, True), (1, False)])
def test_faces_are_numbered_from_the_left(
    tracker: FaceTracker, pair: Uint8Array, index: int, is_left: bool
) -> None:
    face = gate(tracker, pair, FaceSelection(choice=FaceChoice.INDEX, index=index))
    assert (face.points[1, 0] < 336) == is_left


def test_index_beyond_the_faces_is_refused(tracker: FaceTracker, pair: Uint8Array) -> None:
    error = refusal(tracker, pair, FaceSelection(choice=FaceChoice.INDEX, index=2))
    assert (error.reason, error.metadata["num_faces"]) == ("FACE_INDEX_OUT_OF_RANGE", "2")


def test_negative_index_is_refused(tracker: FaceTracker, pair: Uint8Array) -> None:
    with pytest.raises(InvalidInput, match="counts from 0"):
        gate(tracker, pair, FaceSelection(choice=FaceChoice.INDEX, index=-1))


def test_bystander_in_the_back_does_not_count(tracker: FaceTracker, portrait: Uint8Array) -> None:
    picture = np.hstack([portrait, np.full((480, 200, 3), 120, np.uint8)])
    picture[20:148, 520:648] = cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA)
    face = gate(tracker, picture, FaceSelection())
    assert face.points[1, 0] < 480
