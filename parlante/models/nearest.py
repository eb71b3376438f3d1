"""What is nearest to pixels of which nothing is known."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from parlante.types import Float32Array

__all__ = ["nearest_known"]


def nearest_known(
    values: npt.NDArray[np.generic], is_known: npt.NDArray[np.bool_]
) -> tuple[Float32Array, Float32Array]:
    """Look up the nearest known pixel.

    Args:
        values: [H, W] or [H, W, C], of which known pixels count.
        is_known: bool [H, W].

    Returns:
        The value of each pixel's nearest known one, float32 of the shape of `values`, and its
        distance, float32 [H, W], px.
    """
    distance, labels = cv2.distanceTransformWithLabels(
        (~is_known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    found = np.zeros((int(labels.max()) + 1, *values.shape[2:]), np.float32)
    found[labels[is_known]] = values[is_known]
    return np.asarray(found[labels], np.float32), np.asarray(distance, np.float32)
