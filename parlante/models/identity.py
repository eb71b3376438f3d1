"""The shape code: what a face's bones look like, whatever its pose and expression."""

from __future__ import annotations

import numpy as np

from parlante.models.face_coefficients import load_reference
from parlante.types import Float32Array

__all__ = ["encode_identity"]


def encode_identity(canonical: Float32Array) -> Float32Array:
    """Project a face's deviation from the mean face on smooth functions over its rigid parts.

    Args:
        canonical: float32 [>= 468, 3], frontal, in inter-ocular distances: `canonicalize`.

    Returns:
        float32 [72]: 24 functions, coarse to fine, times x, y, z. Neither jaw, lips, lids nor
        brows take part.
    """
    reference = load_reference()
    deviation = canonical[reference.rigid] - reference.mean[reference.rigid]
    return np.asarray((reference.basis.T @ deviation).reshape(-1), np.float32)
