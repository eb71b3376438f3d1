"""Portrait -> the tensors of space ``parlante.avatar/1``."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.errors import PortraitRejected
from parlante.models import face_mesh
from parlante.models.alignment import CropPlan, cut_crop, plan_crop, snap_plan
from parlante.models.border import close_borders
from parlante.models.face_coefficients import canonicalize, measure_face, measures_to_motion
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.models.identity import encode_identity
from parlante.models.matting import make_matte
from parlante.models.portrait_gate import EYES_HIDDEN, check_seen, select_face
from parlante.models.portrait_layers import fine_over
from parlante.models.spectacles import find_spectacles
from parlante.models.tracker_files import tracker_digest
from parlante.types import (
    AVATAR_SPACE,
    FRAME_SIZE_PX,
    FRAME_SIZES_PX,
    AvatarLatents,
    FaceChoice,
    FaceSelection,
    Float32Array,
    Framing,
    LatentSpec,
    TensorSpec,
    Uint8Array,
    picture_frame_size,
    picture_zoom,
)

__all__ = ["PortraitEncoder", "bundle_digest", "content_key"]

MAX_FINE_PX: Final = max(FRAME_SIZES_PX)
MIN_FINENESS: Final = 1.15  # of the 512 px crop; below, enlarging looks the same
# Raise it with every change that alters what the encoder makes of the same pixels.
ENCODER_VERSION: Final = "13"


def bundle_digest() -> str:
    """Hex SHA-256 of all that determines the latents of an avatar: tracker, mean face, code.

    Not the face network, which renderers choose: it looks at the portrait that the latents hold, so
    that the same latents serve with any, and says itself which code its weights are for.
    """
    reference = resources.files("parlante.models").joinpath("face_reference.npz").read_bytes()
    parts = [
        AVATAR_SPACE,
        ENCODER_VERSION,
        tracker_digest(),
        hashlib.sha256(reference).hexdigest(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def content_key(rgb: Uint8Array, selection: FaceSelection, digest: str) -> str:
    """Name the latents of a picture before they are made.

    Args:
        rgb: Upright pixels, uint8 [H, W, 3].
        selection: Which face, and how much of the picture.
        digest: `bundle_digest()`.

    Returns:
        Hex SHA-256.
    """
    index = selection.index if selection.choice is FaceChoice.INDEX else 0
    choice = f"{selection.choice.value} {index} {selection.framing.value}"
    head = f"{digest} {choice} {rgb.shape[0]}x{rgb.shape[1]}\n"
    state = hashlib.sha256(head.encode())
    state.update(np.ascontiguousarray(rgb).data)
    return state.hexdigest()


class PortraitEncoder:
    """Turns pictures into avatar latents; one call at a time.

    Args:
        tracker_directory: Folder of the tracker's files; the default is `tracker_dir()`.

    Raises:
        FailedPrecondition: The tracker's files are missing (reason ``TRACKER_FILES_MISSING``).
    """

    def __init__(self, tracker_directory: Path | None = None) -> None:
        self._tracker = FaceTracker(tracker_directory)
        self.digest = bundle_digest()

    def encode(self, rgb: Uint8Array, selection: FaceSelection) -> AvatarLatents:
        """Encode one portrait.

        Args:
            rgb: Upright pixels, uint8 [H, W, 3].
            selection: Which face to take when there are several, and how much of the picture.

        Raises:
            PortraitRejected: The picture is no usable portrait; `reason` says why.
        """
        face, others = select_face(self._tracker, rgb, selection)
        with ThreadPoolExecutor(1) as beside:  # a tenth of the time, on a core of its own
            seen = beside.submit(check_seen, self._tracker, rgb, face)
            try:
                latents = self._encode_face(rgb, face, others, selection)
            except Exception:
                seen.result()  # why a face is refused says more than what it made fail
                raise
        try:
            seen.result()
        except PortraitRejected as error:
            if not (_are_eyes_all_that_is_hidden(error) and _wears_dark_glasses(latents)):
                raise
        return latents

    def _encode_face(
        self,
        rgb: Uint8Array,
        face: FaceLandmarks,
        others: list[FaceLandmarks],
        selection: FaceSelection,
    ) -> AvatarLatents:
        plan = plan_crop(face.points, rgb.shape[1], rgb.shape[0], selection.framing)
        if selection.framing is Framing.FULL:
            plan = snap_plan(plan, picture_zoom(rgb.shape[1], rgb.shape[0]))
        crop, shown = cut_crop(rgb, plan)
        start = FaceLandmarks(points=_to_crop(face.points, plan), presence=face.presence)
        landmarks = self._tracker.landmarks(crop, start, num_passes=2).points
        beside = [_to_crop(other.points, plan) for other in others]
        matte = make_matte(self._tracker, rgb, plan, crop, landmarks, beside)
        crop, matte, background = close_borders(crop, shown, matte, landmarks)
        canonical, _rotation = canonicalize(landmarks)
        tensors: dict[str, npt.NDArray[np.generic]] = {
            "background": background,
            "canonical": canonical[: face_mesh.NUM_SKIN_LANDMARKS],
            "identity": encode_identity(canonical),
            "image": crop,
            "landmarks": landmarks,
            "matte": np.asarray(np.round(matte * 255.0), np.uint8),
            "source_motion": measures_to_motion(measure_face(landmarks)),
        }
        if selection.framing is Framing.FULL:
            tensors |= _whole_picture(rgb, plan)
        else:
            tensors |= _fine_crop(rgb, plan, crop)
        return _freeze(content_key(rgb, selection, self.digest), self.digest, tensors)


def _are_eyes_all_that_is_hidden(error: PortraitRejected) -> bool:
    return error.reason == EYES_HIDDEN and error.metadata.get("mouth") == "visible"


def _wears_dark_glasses(latents: AvatarLatents) -> bool:
    """Whether a decoder finds what hides the eyes, and leaves them alone."""
    image, landmarks = (np.array(latents.tensors[name]) for name in ("image", "landmarks"))
    found = find_spectacles(image, landmarks)
    return found is not None and found.hides_eyes


def _whole_picture(rgb: Uint8Array, plan: CropPlan) -> dict[str, npt.NDArray[np.generic]]:
    """The picture at the size of its frames, and where the crop lies in it."""
    height, width = rgb.shape[:2]
    zoom = picture_zoom(width, height)
    columns, rows = picture_frame_size(width, height)
    if zoom == 1.0:
        picture = rgb[:rows, :columns].copy()
    else:
        picture = np.asarray(cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA))
    placement = np.array([plan.left_px, plan.top_px, plan.size_px]) * zoom
    return {"picture": picture, "placement": placement.astype(np.float32)}


def _fine_crop(
    rgb: Uint8Array, plan: CropPlan, crop: Uint8Array
) -> dict[str, npt.NDArray[np.generic]]:
    """The crop as fine as the picture has it; nothing when that is hardly finer."""
    size = min(int(plan.size_px), MAX_FINE_PX)
    if size < MIN_FINENESS * FRAME_SIZE_PX:
        return {}
    fine, shown = cut_crop(rgb, plan, size)
    return {"image_fine": fine_over(crop, fine, shown)}


def _to_crop(points: Float32Array, plan: CropPlan) -> Float32Array:
    moved = points * np.float32(plan.scale)
    moved[:, :2] -= np.array([plan.left_px, plan.top_px], np.float32) * np.float32(plan.scale)
    return np.asarray(moved, np.float32)


def _freeze(key: str, digest: str, tensors: dict[str, npt.NDArray[np.generic]]) -> AvatarLatents:
    """Make the tensors read-only and describe them, in the order of their names."""
    frozen = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    for tensor in frozen.values():
        tensor.setflags(write=False)
    specs = tuple(
        TensorSpec(name=name, dtype=tensor.dtype.name, shape=tensor.shape)
        for name, tensor in frozen.items()
    )
    return AvatarLatents(
        key=key,
        spec=LatentSpec(space=AVATAR_SPACE, bundle_digest=digest, tensors=specs),
        tensors=MappingProxyType(frozen),
    )
