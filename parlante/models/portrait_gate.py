"""The portrait gate: one clear refusal per reason."""

from __future__ import annotations

from parlante.errors import PortraitRejected
from parlante.models.face_tracker import FaceLandmarks, FaceTracker
from parlante.types import FaceSelection, Uint8Array

__all__ = ["choose_face"]


def choose_face(tracker: FaceTracker, rgb: Uint8Array, selection: FaceSelection) -> FaceLandmarks:
    """Find the one usable face."""
    faces = tracker.detect(rgb)
    if not faces:
        raise PortraitRejected("no face", reason="NO_FACE")
    return tracker.landmarks(rgb, faces[0])
