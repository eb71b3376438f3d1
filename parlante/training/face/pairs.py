"""From two pictures of a person to what the network is trained on.

One picture is made an avatar, which is brought to the face in the other by its landmarks. The
regions of the frame that was drawn are the input, those of the other picture the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.alignment import CropPlan
from parlante.models.border import close_borders
from parlante.models.decoder import Decoder
from parlante.models.face_coefficients import canonicalize, measure_face
from parlante.models.face_regions import (
    EYE_PX,
    FRAME_PX,
    MOUTH_PX,
    FaceRegions,
    Region,
    cut_regions,
)
from parlante.models.face_retouch import portrait_frame
from parlante.models.face_tracker import FaceTracker
from parlante.models.frame_geometry import FaceShape, ShapeFitter, geometry_of_portrait
from parlante.models.matting import make_matte
from parlante.training.face.sources import Subject, View
from parlante.types import (
    AVATAR_SPACE,
    FRAME_SIZE_PX,
    AvatarLatents,
    Float32Array,
    LatentSpec,
    Uint8Array,
)

__all__ = ["Answer", "Damage", "Pair", "is_near", "latents_of_view", "make_pairs", "shape_between"]

MAX_JITTER_PX: Final = 1.0
MIN_JITTER_PX: Final = 0.3
JITTER_WAVES: Final = 6
MIN_WAVE_IOD: Final = 0.35
MAX_TARGET_YAW_RAD: Final = 0.55  # between portrait and frame; the renderer stops at 0.52


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What is wrong with a portrait. Softness is of both pictures, noise of the portrait alone.

    Attributes:
        sigma_px: Blur.
        shrink: By how much it had been made smaller, >= 1.
        noise: Standard deviation, levels of 255.
        jpeg_quality: 0 = none.
    """

    sigma_px: float = 0.0
    shrink: float = 1.0
    noise: float = 0.0
    jpeg_quality: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Damage:
        """Half of all portraits have hardly any."""
        if rng.random() < 0.5:
            return cls(noise=float(rng.uniform(0.0, 1.5)))
        return cls(
            sigma_px=float(rng.uniform(0.0, 1.0)) if rng.random() < 0.5 else 0.0,
            shrink=float(rng.uniform(1.0, 2.2)) if rng.random() < 0.5 else 1.0,
            noise=float(rng.uniform(0.0, 6.0)) if rng.random() < 0.5 else 0.0,
            jpeg_quality=int(rng.integers(40, 95)) if rng.random() < 0.5 else 0,
        )

    def soften(self, rgb: Uint8Array) -> Uint8Array:
        """Apply what both pictures have."""
        if self.shrink > 1.0:
            size = round(FRAME_SIZE_PX / self.shrink)
            small = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)
            rgb = cv2.resize(small, (FRAME_SIZE_PX,) * 2, interpolation=cv2.INTER_CUBIC)
        if self.sigma_px > 0.0:
            rgb = cv2.GaussianBlur(rgb, (0, 0), max(self.sigma_px, 0.2))
        return np.ascontiguousarray(rgb, np.uint8)

    def spoil(self, rgb: Uint8Array, rng: np.random.Generator) -> Uint8Array:
        """Apply what the portrait has alone."""
        if self.noise > 0.0:
            grain = rng.normal(0.0, self.noise, rgb.shape).astype(np.float32)
            rgb = np.clip(rgb + grain, 0, 255).astype(np.uint8)
        if self.jpeg_quality > 0:
            options = [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality]
            _, data = cv2.imencode(".jpg", rgb, options)
            rgb = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        return np.ascontiguousarray(rgb, np.uint8)


class Answer(NamedTuple):
    """A region of the other picture: uint8 [S, S, 3], and its parts, uint8 [S, S]."""

    rgb: Uint8Array
    labels: Uint8Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """One frame to learn from.

    Attributes:
        portrait: Regions of the portrait itself.
        regions: Regions of the frame that was drawn.
        answers: What they should look like: mouth, right eye, left eye mirrored, frame.
        view: Index of the other picture among the subject's.
        twin: Index of the pair before whose answer is the same but for the noise of landmarks;
            -1 = none.
    """

    portrait: FaceRegions
    regions: FaceRegions
    answers: tuple[Answer, Answer, Answer, Answer]
    view: int = 0
    twin: int = -1


def make_pairs(
    subject: Subject,
    rng: np.random.Generator,
    *,
    tracker: FaceTracker | None,
    num_portraits: int = 2,
    twins: float = 0.35,
    clean: bool = False,
) -> Iterator[Pair]:
    """Make all pairs of a subject.

    Args:
        subject: The person.
        rng: Of the noise.
        tracker: Makes the portrait's matte as the encoder does; None takes the whole frame.
        num_portraits: Portraits to use; the first may serve twice, with other damage.
        twins: Share of the pairs that come twice, with other noise of the landmarks.
        clean: No damage and no noise, for tests.
    """
    decoder = Decoder()
    for source in _sources(subject, rng, num_portraits):
        damage = Damage() if clean else Damage.draw(rng)
        spoil = subject.exact and not clean
        view = subject.views[source]
        avatar = decoder.prepare(latents_of_view(view, damage, rng, tracker, jitter=spoil))
        portrait = cut_regions(avatar, geometry_of_portrait(avatar), portrait_frame(avatar))
        fitter = ShapeFitter(avatar)
        for index, target in enumerate(subject.views):
            if index == source or not is_near(view, target):
                continue
            picture = damage.soften(target.rgb)
            for again in range(1 + int(rng.random() < twins)):
                landmarks = add_jitter(target.landmarks, rng) if spoil else target.landmarks
                shape = shape_between(view, replace(target, landmarks=landmarks), subject)
                geometry = fitter.fit(shape)
                regions = cut_regions(avatar, geometry, decoder.draw(avatar, geometry))
                answers = cut_answers(regions, picture, target.labels)
                yield Pair(
                    portrait=portrait,
                    regions=regions,
                    answers=answers,
                    view=index,
                    twin=-1 if not again else 1,
                )


def _sources(subject: Subject, rng: np.random.Generator, num: int) -> list[int]:
    first, *others = subject.portraits
    chosen = [first]
    while len(chosen) < num:
        chosen.append(int(rng.choice(others)) if others and len(chosen) % 2 else first)
    return chosen


def is_near(source: View, target: View) -> bool:
    """Whether a picture shows the head no further turned than the renderer would turn it."""
    turn = measure_face(target.landmarks).yaw_rad - measure_face(source.landmarks).yaw_rad
    return abs(turn) <= MAX_TARGET_YAW_RAD


def latents_of_view(
    view: View,
    damage: Damage,
    rng: np.random.Generator,
    tracker: FaceTracker | None,
    *,
    jitter: bool,
) -> AvatarLatents:
    """Make latents of a picture that already has a portrait's framing.

    Args:
        view: The picture.
        damage: What is to be wrong with it.
        rng: Of the noise.
        tracker: Makes the matte as the encoder does; None takes the whole frame.
        jitter: Whether the landmarks get a tracker's noise.
    """
    rgb = damage.spoil(damage.soften(view.rgb), rng)
    landmarks = add_jitter(view.landmarks, rng) if jitter else view.landmarks
    size = (FRAME_SIZE_PX, FRAME_SIZE_PX)
    if tracker is None:
        matte, background = np.full(size, 255, np.uint8), rgb
    else:
        plan = CropPlan(left_px=0.0, top_px=0.0, size_px=float(FRAME_SIZE_PX))
        soft = make_matte(tracker, rgb, plan, rgb, landmarks)
        rgb, soft, background = close_borders(rgb, np.full(size, 255, np.uint8), soft, landmarks)
        matte = np.asarray(np.round(soft * 255.0), np.uint8)
    tensors: dict[str, npt.NDArray[np.generic]] = {
        "image": rgb,
        "background": background,
        "matte": matte,
        "landmarks": landmarks,
    }
    spec = LatentSpec(space=AVATAR_SPACE, bundle_digest="", tensors=())
    return AvatarLatents(key="", spec=spec, tensors=MappingProxyType(tensors))


def shape_between(source: View, target: View, subject: Subject) -> FaceShape:
    """What brings an avatar of one picture to the face in another."""
    _, before = canonicalize(source.landmarks)
    _, after = canonicalize(target.landmarks)
    turn = after @ before.T
    yaw = float(np.arcsin(np.clip(turn[2, 0], -1.0, 1.0)))
    pitch, roll = (
        float(np.arctan2(turn[2, 1], turn[2, 2])),
        float(np.arctan2(turn[1, 0], turn[0, 0])),
    )
    first, second = measure_face(source.landmarks), measure_face(target.landmarks)
    iod = fm.inter_ocular_px(source.landmarks)
    shift = ((second.x_px - first.x_px) / iod, (second.y_px - first.y_px) / iod)
    scale = float(np.log(second.iod_px / first.iod_px))
    return FaceShape(
        landmarks=target.landmarks,
        pose=np.array([yaw, pitch, roll, *shift, scale], np.float32),
        tongue_out=target.tongue_out,
        iris_share=subject.iris_share,
    )


def add_jitter(landmarks: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Add smooth noise as a tracker has it, 0.3 to 1 px."""
    iod = fm.inter_ocular_px(landmarks)
    size = float(rng.uniform(MIN_JITTER_PX, MAX_JITTER_PX))
    out = landmarks.copy()
    for axis in (0, 1):
        noise = np.zeros(len(landmarks))
        for _ in range(JITTER_WAVES):
            length = iod * rng.uniform(MIN_WAVE_IOD, 3.0)
            direction = rng.uniform(0.0, 2.0 * np.pi)
            along = landmarks[:, :2] @ [np.cos(direction), np.sin(direction)]
            noise += np.cos(2.0 * np.pi * along / length + rng.uniform(0.0, 2.0 * np.pi))
        out[:, axis] += (size * noise / np.sqrt(0.5 * JITTER_WAVES)).astype(np.float32)
    return out


def cut_answers(
    regions: FaceRegions, picture: Uint8Array, labels: Uint8Array
) -> tuple[Answer, Answer, Answer, Answer]:
    """Cut the other picture where the frame's regions were cut."""
    mouth = _cut_answer(regions.mouth, picture, labels, MOUTH_PX)
    right, left = (_cut_answer(eye, picture, labels, EYE_PX) for eye in regions.eyes)
    size = (FRAME_PX, FRAME_PX)
    frame = Answer(
        np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8),
        np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8),
    )
    return mouth, right, left, frame


def _cut_answer(region: Region, picture: Uint8Array, labels: Uint8Array, size_px: int) -> Answer:
    size = (size_px, size_px)
    cuts = [
        cv2.warpAffine(
            image, region.to_frame, size, flags=flags | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for image, flags in ((picture, cv2.INTER_LINEAR), (labels, cv2.INTER_NEAREST))
    ]  # fmt: skip
    return Answer(np.asarray(cuts[0], np.uint8), np.asarray(cuts[1], np.uint8))
