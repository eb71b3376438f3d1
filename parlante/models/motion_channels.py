"""Motion latents -> the 60 public channels.

Closures are whole or none, lip shapes are as strong as people's, and the eye's angle in the head
follows the gaze at the camera by turning against the head (the vestibulo-ocular reflex).

Axis letters: T frames, D latent channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parlante.models.motion_space import (
    FACE,
    GAZE_SLICE,
    LATENT_INDEX,
    LATENT_SCALE,
    MOUTH,
    SHAPES,
)
from parlante.models.pose_state import (
    LID_COURSE,
    LIVELY_ACCENT,
    LIVELY_HEAD,
    PoseState,
    accent_now,
    anchor_target,
    beat_now,
    enlivened,
    intensity_of,
    lively_target,
    next_nod,
    nod_now,
    step,
)
from parlante.types import (
    MOTION_DIM,
    MOTION_INDEX,
    POSE_CHANNELS,
    Controls,
    Float32Array,
)

VOR_GAIN: Final = 1.0
# Of the eyes' wandering about where they are told to look: a few passes make it wide, late, and off
# to one side. At 0.35 irises moved by 0.020 of the eye's width (people: 0.013, 2026-11).
WANDER_SHARE: Final = 0.2
CONTACT_FROM: Final = 0.36  # lips: a closure is whole or none, see `_contact`
CONTACT_FULL: Final = 0.52
CONTACT_JAW_SHARE: Final = 0.5  # of the jaw's opening that a closure takes away
CONTACT_PRESS: Final = 0.45
CONTACT_ROLL: Final = 0.22
# An F is whole or none likewise, see `_bite`: of 162 F and V nine in ten are rolled by more than
# 0.2, of frames away from any six in a thousand; real voices come out weaker (2026-11).
BITE_FROM: Final = 0.10
BITE_FULL: Final = 0.20
BITE_JAW: Final = (0.20, 0.40)  # the jaw of the vowel that follows takes the lip along
BITE_ROLL: Final = 0.55
BITE_UPPER_UP: Final = 0.30  # shows the teeth that the lower lip is at
BITE_SHARES: Final = {  # of what they would be
    "jawOpen": 0.7,
    "mouthLowerDown": 0.0,
    "mouthPress": 0.0,
    "mouthPucker": 0.6,
    "mouthFunnel": 0.5,
}
# A few passes end near the mean of what lips may do, which is flatter than what they do: without
# it the width of rendered mouths varied by 0.018 IOD, that of people by 0.046 (2026-11).
# Rounding is capped where the corners of a smiling portrait's mouth begin to crease.
SHAPE_GAINS: Final = {
    "mouthStretch": (2.0, 0.95),
    "mouthPucker": (1.75, 0.8),
    "mouthFunnel": (1.35, 0.58),
}
# And it mixes rounding with spreading where people do the one or the other: what there is more of
# gains by up to this share, what there is less of loses, and how much each may be at most.
MORE_OF_WINNER: Final = 0.45
LESS_OF_LOSER: Final = 0.75
MOST_APART: Final = {"mouthStretch": 1.0, "mouthPucker": 0.8}
# Lips are slow: shown is the mean of so many frames, which flattens peaks; see `lip_foresight`.
STEADY_FRAMES: Final = 3
STEADY_GAIN: Final = 1.2
_MOST: Final = np.array([MOST_APART.get(name, SHAPE_GAINS[name][1]) for name in SHAPES])
# For the same reason lips that are apart open a little further than a few passes make them.
OPENING_GAINS: Final = {"jawOpen": 1.22, "mouthLowerDown": 1.3, "mouthUpperUp": 1.2}
# Rounded lips open little: over a dropped jaw they look narrow neither to the eye nor to trackers,
# which saw [o] as wide as rest (2026-11). From this share of the widest rounding on, and how much
# of jaw and funnel the widest takes away.
ROUNDED_FROM: Final = 0.25
ROUNDED_LOSES: Final = {"jawOpen": 0.40, "mouthFunnel": 0.50}
# Moods are drawn without the wrinkles that make people's plain, so the movement says more.
MOOD_GAINS: Final = {
    "browDown": 1.25,
    "eyeSquint": 1.6,
    "mouthFrown": 1.6,
    "noseSneer": 1.5,
    "cheekSquint": 1.5,
}
# A smile that is more than a friendly look likewise, by so much of what is beyond that. Lips that
# round keep their corners together, those of a jaw that drops so far theirs down; and lips that
# a smile has drawn wide are spread no further.
SMILE_FROM: Final = 0.2
SMILE_GAIN: Final = 0.8
SMILE_JAW: Final = 0.3
SPREAD_BY_SMILE: Final = 0.7
# What the liveliest voice adds to a face, and what one takes away that hardly moves.
LIVELY_FACE: Final = {"mouthSmile": 0.32, "cheekSquint": 0.28, "browOuterUp": 0.06}
SUBDUED_FACE: Final = {"mouthSmile": -0.12, "browOuterUp": -0.04}
# Corners of people's mouths rise by 0.4 of what the mouth widens by (the tracked modes of 20 clips,
# smiles among them); a stretch alone draws them down, and looks sour.
SPREAD_LIFT: Final = 0.45
SOUR: Final = ("mouthFrown", "browDown", "noseSneer")  # with these corners stay down
SPREAD_KEPT: Final = 0.85  # of the stretch, as corners that rise go outwards as well
# Lips that nothing opens rest on each other a little firmer than in the portrait, whose own often
# leave a slit. All of it up to the first aperture, none from the second on (IOD).
REST_PRESS: Final = 0.45
REST_APERTURE: Final = (0.01, 0.03)
SILENT_PRESS: Final = 0.3  # what the generator makes of silence
# Few passes tilt the head a little less than people do (3.3 degrees, 3.5; 2026-11).
ROLL_GAIN: Final = 1.1
_OPENS: Final = {"jawOpen": 0.42, "mouthFunnel": 0.08, "mouthLowerDown": 0.1, "mouthUpperUp": 0.06}
REST_DEAD_ZONE: Final = 0.03  # blendshape weight below which a channel counts as zero


def to_channels(
    latents: Float32Array,
    controls: Controls,
    state: PoseState,
    chances: Float32Array | None = None,
    attention: Float32Array | None = None,
    stressed: Float32Array | None = None,
    lively: float = 0.0,
) -> tuple[Float32Array, PoseState]:
    """Map latents to the public motion channels.

    Args:
        latents: float32 [T, D], unit variance.
        controls: They hold for these frames.
        state: Head state after the frame before; not modified.
        chances: float32 [T], uniform in [0, 1), what decides about a brow's accents, nods and
            blinks of dry eyes; None is none of them.
        attention: float32 [T, 2], what is heard of the user, as `listening.listen` gives it.
        stressed: float32 [T] of `stress.stresses`; None is 1 everywhere.
        lively: Of `melody.liveliness`, [-1, 1].

    Returns:
        float32 [T, 60] in the order of `MOTION_CHANNELS`, and the next state.
    """
    natural = latents.astype(np.float64) * LATENT_SCALE
    asked = np.array([controls.gaze_yaw_rad, controls.gaze_pitch_rad])
    natural[:, GAZE_SLICE] = asked + WANDER_SHARE * (natural[:, GAZE_SLICE] - asked)
    target = anchor_target(controls)
    intensity_target = intensity_of(controls)
    lively_now = lively_target(lively, controls)
    out = np.zeros((len(latents), MOTION_DIM))
    for row, frame in enumerate(natural):
        chance = 1.0 if chances is None else float(chances[row])
        stress = 1.0 if stressed is None else float(stressed[row])
        state = step(state, frame, target, intensity_target, chance, stress, lively_now)
        if attention is not None:
            state = replace(state, nod=next_nod(state.nod, attention[row], frame, chance))
        _write_pose(out[row], state)
        state = replace(state, lips=_write_face(out[row], frame, state))
        _write_eyes(out[row], state)
    return out.astype(np.float32), state


def _write_pose(row: np.ndarray, state: PoseState) -> None:
    deviation = state.deviation - state.drift
    deviation[1] += nod_now(state.nod) + beat_now(state.accent)
    deviation[2] *= ROLL_GAIN
    reach = state.intensity[0] * enlivened(float(state.lively[0]), LIVELY_HEAD)
    pose = state.anchor + reach * deviation
    size = math.exp(pose[5])  # shifts are seen at the face's size
    row[: len(POSE_CHANNELS)] = pose
    row[3:5] *= size


def _write_face(row: np.ndarray, frame: np.ndarray, state: PoseState) -> np.ndarray:
    """Write mouth and face; gives the next state's `lips`."""
    expression, mouth = float(state.intensity[1]), float(state.intensity[2])
    weights = {name: float(frame[LATENT_INDEX[name]]) for name in MOUTH + FACE}
    smile_side = float(frame[LATENT_INDEX["smileSide"]])
    brow_side = float(frame[LATENT_INDEX["browSide"]])
    contact = min(1.0, max(0.0, _contact(weights["mouthClose"])))
    weights["mouthClose"] = contact
    _bite(weights, contact)
    # Lips that meet are pressed and turned in a little, over a jaw that comes along.
    weights["jawOpen"] *= 1.0 - CONTACT_JAW_SHARE * contact
    rest = _rest(weights)
    press = max(CONTACT_PRESS * contact, REST_PRESS * rest)
    weights["mouthPress"] = max(weights["mouthPress"], press)
    weights["mouthRollLower"] = max(weights["mouthRollLower"], CONTACT_ROLL * contact)
    shape_lips(weights)
    lips = _steady(weights, state.lips)
    weights["mouthFunnel"] *= 1.0 - max(contact, rest)  # what is left of one would part lips
    _open(weights, apart=1.0 - contact)
    row[MOTION_INDEX["mouthRollUpper"]] = _weight(CONTACT_ROLL * contact * mouth)
    for name, gain in MOOD_GAINS.items():
        weights[name] *= gain
    _enliven(weights, float(state.lively[1]))
    _smile(weights)
    sour = sum(max(0.0, weights[name]) for name in SOUR)
    lift = SPREAD_LIFT * weights["mouthStretch"] * (1.0 - min(1.0, sour)) * mouth
    weights["mouthStretch"] *= SPREAD_KEPT
    accent = accent_now(state.accent) * enlivened(float(state.lively[0]), LIVELY_ACCENT)
    weights["browInnerUp"] += max(0.0, accent)
    weights["browOuterUp"] += 0.85 * max(0.0, accent)
    weights["eyeWide"] += 0.2 * max(0.0, accent)
    weights["browDown"] += max(0.0, -accent)
    for name in FACE:
        weights[name] *= expression
    for name in MOUTH:
        weights[name] *= mouth
    for name, weight in weights.items():
        if name in MOTION_INDEX:
            row[MOTION_INDEX[name]] = _weight(weight)
            continue
        side = 0.0
        if name == "mouthSmile":
            weight, side = weight + lift, smile_side * expression
        elif name in ("browDown", "browOuterUp"):
            side = brow_side * expression
        left, right = weight + side, weight - side
        row[MOTION_INDEX[name + "Left"]] = _weight(left)
        row[MOTION_INDEX[name + "Right"]] = _weight(right)
    return lips


def _steady(weights: dict[str, float], before: np.ndarray) -> np.ndarray:
    """Show lip shapes as slow as people's, in place; gives the next state's `lips`."""
    shapes = np.array([weights[name] for name in SHAPES])
    earlier = before.reshape(STEADY_FRAMES - 1, len(SHAPES))
    mean = (shapes + earlier.sum(axis=0)) / STEADY_FRAMES
    shown = np.minimum(STEADY_GAIN * mean, _MOST)
    weights.update(zip(SHAPES, map(float, shown), strict=True))
    return np.concatenate([*earlier[1:], shapes])


def _enliven(weights: dict[str, float], mood: float) -> None:
    """Show how lively the voice is that speaks, -1 to 1; in place."""
    for name, weight in (LIVELY_FACE if mood > 0.0 else SUBDUED_FACE).items():
        weights[name] = max(min(0.0, weights[name]), weights[name] + abs(mood) * weight)


def _smile(weights: dict[str, float]) -> None:
    """Draw a smile as broad as the mouth lets it be; in place."""
    beyond = max(0.0, weights["mouthSmile"] - SMILE_FROM)
    rounded = min(1.0, weights["mouthPucker"] / SHAPE_GAINS["mouthPucker"][1])
    dropped = min(1.0, weights["jawOpen"] / SMILE_JAW)
    weights["mouthSmile"] += SMILE_GAIN * beyond * (1.0 - rounded) * (1.0 - dropped)
    weights["mouthStretch"] *= 1.0 - SPREAD_BY_SMILE * min(1.0, beyond / (1.0 - SMILE_FROM))


def _contact(close: float) -> float:
    """Lips that nearly meet do meet: an uncertain closure must not end as a narrow slit.

    The thresholds trade the P, B and M that stay open against other phones that touch; what the
    packaged weights make of them is in their card.
    """
    return (close - CONTACT_FROM) / (CONTACT_FULL - CONTACT_FROM)


def _bite(weights: dict[str, float], contact: float) -> None:
    """Bring the lower lip to the upper teeth where it is nearly there: F and V, in place."""
    rolled = (weights["mouthRollLower"] - BITE_FROM) / (BITE_FULL - BITE_FROM)
    low, wide = BITE_JAW
    let_go = min(1.0, max(0.0, (weights["jawOpen"] - low) / (wide - low)))
    bite = min(1.0, max(0.0, rolled)) * (1.0 - contact) * (1.0 - let_go)
    if bite <= 0.0:
        return
    weights["mouthRollLower"] = max(weights["mouthRollLower"], BITE_ROLL * bite)
    weights["mouthUpperUp"] = max(weights["mouthUpperUp"], BITE_UPPER_UP * bite)
    for name, share in BITE_SHARES.items():
        weights[name] *= 1.0 - (1.0 - share) * bite


def shape_lips(weights: dict[str, Any]) -> None:
    """Draw shapes of lips as wide as people's, rounded or spread instead of half of each.

    Args:
        weights: As generated, numbers or arrays by name; those of `SHAPE_GAINS` are replaced.
    """
    for name, (gain, most) in SHAPE_GAINS.items():
        weights[name] = np.minimum(most, gain * weights[name])
    shares = {name: np.maximum(0.0, weights[name]) / SHAPE_GAINS[name][1] for name in MOST_APART}
    lead = shares["mouthPucker"] - shares["mouthStretch"]
    for name, ahead in (("mouthPucker", lead), ("mouthStretch", -lead)):
        gain = 1.0 + np.where(ahead > 0.0, MORE_OF_WINNER, LESS_OF_LOSER) * ahead
        weights[name] = np.minimum(MOST_APART[name], weights[name] * gain)


def _open(weights: dict[str, float], *, apart: float) -> None:
    """Open lips that are apart as far as people do, and rounded ones little; in place."""
    for name, gain in OPENING_GAINS.items():
        weights[name] = min(1.0, weights[name] * (1.0 + (gain - 1.0) * apart))
    for name in ROUNDED_LOSES:
        lost = 1.0 - kept_by_rounded(name, weights["mouthPucker"])
        weights[name] *= 1.0 - float(lost) * apart


def kept_by_rounded(name: str, pucker: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Share of a channel of `ROUNDED_LOSES` that is drawn of lips apart, by the pucker drawn."""
    widest = np.asarray(pucker, np.float64) / SHAPE_GAINS["mouthPucker"][1]
    rounded = np.clip((widest - ROUNDED_FROM) / (1.0 - ROUNDED_FROM), 0.0, 1.0)
    return np.asarray(1.0 - ROUNDED_LOSES[name] * rounded)


def _rest(weights: Mapping[str, float]) -> float:
    """How much the lips rest on each other, 0 to 1: nothing opens them, and they are pressed."""
    aperture = sum(share * max(0.0, weights[name]) for name, share in _OPENS.items())
    touching, apart = REST_APERTURE
    pressed = min(1.0, max(0.0, weights["mouthPress"] / SILENT_PRESS))
    return pressed * min(1.0, max(0.0, (apart - aperture) / (apart - touching)))


def _weight(value: float) -> float:
    """Clip to [0, 1], with a small dead zone so that rest is exactly rest."""
    if value <= REST_DEAD_ZONE:
        return 0.0
    return min(1.0, (value - REST_DEAD_ZONE) / (1.0 - REST_DEAD_ZONE))


def _write_eyes(row: np.ndarray, state: PoseState) -> None:
    lid_phase, expression = state.lid_phase, state.intensity[1]
    yaw, pitch = (float(v) for v in state.gaze)
    # A half-strength blink would be a drooping lid: blinks stay whole down to half intensity.
    lids = LID_COURSE[lid_phase] if lid_phase < len(LID_COURSE) else 0.0
    lids *= min(1.0, 2.0 * expression)
    yaw = _limit(yaw - VOR_GAIN * row[0])
    pitch = _limit(pitch - VOR_GAIN * row[1])
    row[MOTION_INDEX["gazeYaw"]] = yaw
    row[MOTION_INDEX["gazePitch"]] = pitch
    for side, outward in (("Left", 1.0), ("Right", -1.0)):
        row[MOTION_INDEX["eyeBlink" + side]] = lids
        for name, angle in (
            ("eyeLookOut", yaw * outward),
            ("eyeLookIn", -yaw * outward),
            ("eyeLookDown", pitch),
            ("eyeLookUp", -pitch),
        ):
            row[MOTION_INDEX[name + side]] = min(1.0, max(0.0, angle / MAX_EYE_RAD))


MAX_EYE_RAD: Final = 0.6


def _limit(angle: float) -> float:
    return min(MAX_EYE_RAD, max(-MAX_EYE_RAD, angle))
