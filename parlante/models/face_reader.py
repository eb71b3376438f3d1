"""Read motion off pictures with the trained encoders; `face_codes` says what the codes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from parlante.models.face_codes import READ_CHANNELS, READ_MEASURES
from parlante.models.face_codes_weights import PACKAGED_CODES, load_face_codes
from parlante.models.face_crop import cut_face, frame_of_landmarks
from parlante.types import Float32Array, Uint8Array

__all__ = ["FaceReader", "Reading"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What is read off N faces.

    Attributes:
        pose: float32 [N, 3], yaw, pitch and roll in the picture, rad; signs as `POSE_CHANNELS`.
        gaze: float32 [N, 2], yaw and pitch of the eyes in the head, rad.
        channels: float32 [N, C], named dynamics in the order of `READ_CHANNELS`, [0, 1].
        measures: float32 [N, K], in the order of `READ_MEASURES`; lengths in IOD.
        dynamics: float32 [N, D], the code of the dynamics.
        identity: float32 [N, I], unit vectors: the larger their product, the more alike.
    """

    pose: Float32Array
    gaze: Float32Array
    channels: Float32Array
    measures: Float32Array
    dynamics: Float32Array
    identity: Float32Array

    def __len__(self) -> int:
        return len(self.pose)

    def channel(self, name: str) -> Float32Array:
        """One named channel: float32 [N]."""
        return np.asarray(self.channels[:, READ_CHANNELS.index(name)])

    def measure(self, name: str) -> Float32Array:
        """One measure: float32 [N]."""
        return np.asarray(self.measures[:, READ_MEASURES.index(name)])


class FaceReader:
    """The encoders behind plain calls; safe for use from several threads.

    Args:
        path: The weights.

    Raises:
        FailedPrecondition: There are no such weights, or they are of another release.
    """

    def __init__(self, path: Path = PACKAGED_CODES) -> None:
        self._net, self.digest = load_face_codes(path)

    def read(self, rgb: Uint8Array, points: Float32Array) -> Reading:
        """Read one face.

        Args:
            rgb: uint8 [H, W, 3].
            points: float32 [>= 468, 3], its landmarks, px: `FaceLandmarks.points`.
        """
        frame = frame_of_landmarks(points)
        return self.read_crops([cut_face(rgb, frame)], [frame.roll_rad])

    def read_crops(self, crops: Sequence[Uint8Array], rolls: Sequence[float]) -> Reading:
        """Read faces that are cut out already.

        Args:
            crops: uint8 [160, 160, 3] each, of `cut_face`.
            rolls: Tilts that the crops have taken out, rad.
        """
        batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255.0
        with torch.inference_mode():
            codes = self._net(batch)
        pose = codes.pose.numpy().copy()
        pose[:, 2] += np.asarray(rolls, np.float32)
        return Reading(
            pose=pose,
            gaze=codes.gaze.numpy(),
            channels=np.clip(codes.channels.numpy(), 0.0, 1.0),
            measures=codes.measures.numpy(),
            dynamics=codes.dynamics.numpy(),
            identity=codes.identity.numpy(),
        )
