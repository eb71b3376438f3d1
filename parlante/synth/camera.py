"""The camera: frames a face as Parlante's portrait crop does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parlante.models.alignment import plan_crop
from parlante.synth.assets import Float64Array
from parlante.types import Float32Array

__all__ = ["Camera", "frame_face"]

# How much of the scene is drawn, in front of and behind the middle of the head.
NEAR_DM = 6.0
FAR_DM = 9.0
# A picture so large that the crop never has to be moved to stay inside.
_BOUNDLESS_PX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """A pinhole camera that looks along -z.

    Attributes:
        eye: float64 [3], dm.
        focal_px: Focal length.
        centre_x_px: Where the axis meets the picture; pixel centres are at integers.
        centre_y_px: The same, downwards.
        size_px: Edge of the square picture.
        middle_depth_dm: Distance of the middle of the head.
    """

    eye: Float64Array
    focal_px: float
    centre_x_px: float
    centre_y_px: float
    size_px: int
    middle_depth_dm: float

    def project(self, points: Float32Array) -> Float32Array:
        """Project points of the scene.

        Args:
            points: float32 [N, 3], dm.

        Returns:
            float32 [N, 3]: px x (right), px y (down), distance along the axis in dm.
        """
        seen = points - self.eye.astype(np.float32)
        depth = np.maximum(-seen[:, 2], np.float32(1e-3))
        gain = np.float32(self.focal_px) / depth
        return np.stack(
            [
                seen[:, 0] * gain + np.float32(self.centre_x_px),
                np.float32(self.centre_y_px) - seen[:, 1] * gain,
                depth,
            ],
            axis=1,
        ).astype(np.float32)

    def clip_matrix(self) -> Float64Array:
        """Scene -> clip space, float64 [4, 4]; the first row of the buffer is the top."""
        near = max(self.middle_depth_dm - NEAR_DM, 0.5)
        far = self.middle_depth_dm + FAR_DM
        gain = 2.0 / self.size_px
        shift_x = gain * (self.centre_x_px + 0.5) - 1.0
        shift_y = gain * (self.centre_y_px + 0.5) - 1.0
        projection = np.array(
            [
                [gain * self.focal_px, 0.0, -shift_x, 0.0],
                [0.0, -gain * self.focal_px, -shift_y, 0.0],
                [0.0, 0.0, (far + near) / (near - far), 2.0 * far * near / (near - far)],
                [0.0, 0.0, -1.0, 0.0],
            ]
        )
        view = np.eye(4)
        view[:3, 3] = -self.eye
        return np.asarray(projection @ view)


def frame_face(
    points: Float32Array, *, centre: Float64Array, distance_dm: float, size_px: int, zoom: float
) -> Camera:
    """Place a camera so that a face is framed as `parlante.models.alignment` frames it.

    Args:
        points: float32 [468, 3], the face's landmarks in the scene, dm.
        centre: float64 [3], middle of the head, dm.
        distance_dm: From the camera to that middle.
        size_px: Edge of the picture.
        zoom: 1 = the crop's usual framing, larger = closer, up to 1.6.
    """
    unit = Camera(
        eye=centre + np.array([0.0, 0.0, distance_dm]),
        focal_px=1000.0 * distance_dm,
        centre_x_px=_BOUNDLESS_PX / 2,
        centre_y_px=_BOUNDLESS_PX / 2,
        size_px=_BOUNDLESS_PX,
        middle_depth_dm=distance_dm,
    )
    # In float64: the picture is too large for the precision of single floats.
    seen = points.astype(np.float64) - unit.eye
    gain = unit.focal_px / -seen[:, 2]
    flat = np.stack([seen[:, 0] * gain, -seen[:, 1] * gain], axis=1) + unit.centre_x_px
    plan = plan_crop(flat, _BOUNDLESS_PX, _BOUNDLESS_PX)  # type: ignore[arg-type]
    size = plan.size_px / zoom
    left = plan.left_px + (plan.size_px - size) * 0.5
    # Hair above and shoulders below lose room in the proportion they have.
    top = plan.top_px + (plan.size_px - size) * 0.25 / 0.55
    scale = size_px / size
    return Camera(
        eye=unit.eye,
        focal_px=unit.focal_px * scale,
        centre_x_px=(unit.centre_x_px - left) * scale - 0.5,
        centre_y_px=(unit.centre_y_px - top) * scale - 0.5,
        size_px=size_px,
        middle_depth_dm=distance_dm,
    )
