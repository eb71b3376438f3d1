"""Heads in which one thing changes at a time, to see what else an encoder takes it for.

Axis letter: F frames.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from parlante.synth.assets import HeadPack
from parlante.synth.performance import LID_UNITS, FrameScript
from parlante.training.encoders.actions import sample_actions

__all__ = ["PROBE_FRAMES", "PROBE_KINDS", "sample_probes"]

PROBE_KINDS: Final = ("expression", "pose", "gaze")  # what changes in each third of the frames
FRAMES_PER_KIND: Final = 7
PROBE_FRAMES: Final = FRAMES_PER_KIND * len(PROBE_KINDS)
_POSE: Final = ("yaw_rad", "pitch_rad", "roll_rad")
_GAZE: Final = ("gaze_yaw_rad", "gaze_pitch_rad")


def sample_probes(
    pack: HeadPack, rng: np.random.Generator, *, num_frames: int
) -> list[FrameScript]:
    """Draw what a head does: expressions of a still head, turns of a still face, looks of both.

    Args:
        pack: Gives units, visemes and expressions.
        rng: Source of chance.
        num_frames: `PROBE_FRAMES`.
    """
    drawn = sample_actions(pack, rng, num_frames=num_frames)
    still = replace(drawn[0], yaw_rad=0.3 * drawn[0].yaw_rad, pitch_rad=0.3 * drawn[0].pitch_rad)
    still = replace(still, gaze_yaw_rad=0.0, gaze_pitch_rad=0.0)
    face = next((f for f in drawn[1:] if f.kind != "calm" and not _is_shut(f)), still)
    out = []
    for index, frame in enumerate(drawn):
        match PROBE_KINDS[min(index // FRAMES_PER_KIND, len(PROBE_KINDS) - 1)]:
            case "expression":
                out.append(replace(still, units=frame.units, kind="expression"))
            case "pose":
                turned = {name: getattr(frame, name) for name in _POSE}
                out.append(replace(still, units=face.units, kind="pose", **turned))
            case _:
                looks = {name: getattr(frame, name) for name in _GAZE}
                out.append(replace(still, kind="gaze", **looks))
    return out


def _is_shut(frame: FrameScript) -> bool:
    return any(frame.units.get(name, 0.0) > 0.2 for name in LID_UNITS)
