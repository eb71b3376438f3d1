"""What the decoder takes of an avatar's latents, and latents that are nobody's."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parlante.errors import FailedPrecondition
from parlante.models import face_mesh as fm
from parlante.models.face_coefficients import load_reference
from parlante.types import AVATAR_SPACE, FRAME_SIZE_PX, AvatarLatents, Float32Array, LatentSpec

__all__ = ["PICTURE_SHAPE", "check_face", "mean_face_latents", "take_tensor"]

MIN_IOD_PX: Final = 16
PICTURE_SHAPE: Final = (FRAME_SIZE_PX, FRAME_SIZE_PX, 3)


def take_tensor(latents: AvatarLatents, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A tensor of the latents as a writable copy: compiled code is made for one kind of array.

    Raises:
        FailedPrecondition: It is missing, or of another shape.
    """
    tensor = latents.tensors.get(name)
    if tensor is None or tensor.shape != shape:
        got = "nothing" if tensor is None else f"shape {list(tensor.shape)}"
        raise FailedPrecondition(
            f"avatar latents need {name!r} of shape {list(shape)}; got {got}; "
            "encode the portrait again",
            reason="LATENT_SPACE_MISMATCH",
        )
    return np.array(tensor, order="C")


def check_face(landmarks: Float32Array) -> None:
    """Refuse landmarks, float32 [>= 468, >= 2], px, that are no face.

    Raises:
        FailedPrecondition: They are not finite, or the eyes are too near or too far apart.
    """
    iod_px = fm.inter_ocular_px(landmarks)
    if not np.isfinite(landmarks).all() or not MIN_IOD_PX <= iod_px <= FRAME_SIZE_PX:
        raise FailedPrecondition(
            f"landmarks of a face with eyes {MIN_IOD_PX} to {FRAME_SIZE_PX} px apart are needed; "
            f"got {iod_px:.1f} px; encode the portrait again",
            reason="LATENT_SPACE_MISMATCH",
        )


def mean_face_latents() -> AvatarLatents:
    """Latents of a grey picture with the mean face's geometry, to warm up with."""
    mean = load_reference().mean
    iod_px = 0.2 * FRAME_SIZE_PX
    points = mean * iod_px + [0.5 * FRAME_SIZE_PX, 0.42 * FRAME_SIZE_PX, 0.0]
    irises = []
    for corners in (fm.RIGHT_EYE_CORNERS, fm.LEFT_EYE_CORNERS):
        centre = points[list(corners)].mean(0)
        irises.append(centre + 0.06 * iod_px * _IRIS_SHAPE)
    tensors = {
        "image": np.full(PICTURE_SHAPE, 128, np.uint8),
        "background": np.full(PICTURE_SHAPE, 64, np.uint8),
        "matte": np.full(PICTURE_SHAPE[:2], 255, np.uint8),
        "landmarks": np.concatenate([points, *irises]).astype(np.float32),
    }
    spec = LatentSpec(space=AVATAR_SPACE, bundle_digest="", tensors=())
    return AvatarLatents(key="", spec=spec, tensors=tensors)


_IRIS_SHAPE: Final = np.array([[0, 0, 0], [1, 0, 0], [0, -1, 0], [-1, 0, 0], [0, 1, 0]])
