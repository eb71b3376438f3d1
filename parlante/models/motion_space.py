"""The motion latents and their explicit map to the 60 public channels.

A latent frame has `LATENT_DIM` numbers, each named and scaled to unit variance over speech, so that
the diffusion model sees a well-conditioned space and anyone can read what it made:

- head: what moves the head's *deviation* from its anchor in one frame (a leaky velocity). The
  deviation is its leaky sum, so it is smooth whatever the sampler's grain and cannot drift away;
- mouth, face: blendshape weights shared by left and right, and two numbers for asymmetry;
- eyes: blinks, of which only the beginning is taken (lids then run their course, so that there
  are no half blinks), and gaze relative to the *camera*, which eyes follow in jumps and hold in
  between; the eye's angle in the head follows by turning against the head (the vestibulo-ocular
  reflex).

The head's anchor follows the gaze, pose and distance controls through a critically damped filter.
What a client scales or switches off (motion, expression, blinks, driving) glides to its new value.
Axis letters: T frames, D latent channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from parlante.models.listening import LISTENING_DIM
from parlante.types import (
    EMOTIONS,
    FRAME_RATE_HZ,
    MOTION_DIM,
    MOTION_INDEX,
    POSE_CHANNELS,
    Controls,
    Driving,
    Float32Array,
)

HEAD: Final = ("yaw", "pitch", "roll", "x", "y", "log_scale")
MOUTH: Final = (
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthStretch",
    "mouthRollLower",
    "mouthPress",
    "mouthLowerDown",
    "mouthUpperUp",
)
FACE: Final = (
    "mouthSmile",
    "mouthFrown",
    "browDown",
    "browInnerUp",
    "browOuterUp",
    "cheekSquint",
    "eyeSquint",
    "noseSneer",
    "eyeWide",
)
SIDES: Final = ("smileSide", "browSide")  # + = more on the subject's left
EYES: Final = ("blink", "gazeYaw", "gazePitch")
LATENTS: Final = HEAD + MOUTH + FACE + SIDES + EYES
LATENT_DIM: Final = len(LATENTS)  # 29
LATENT_INDEX: Final = {name: index for index, name in enumerate(LATENTS)}

HEAD_SLICE: Final = slice(0, 6)
MOUTH_SLICE: Final = slice(6, 15)
FACE_SLICE: Final = slice(15, 24)
SIDES_SLICE: Final = slice(24, 26)
EYES_SLICE: Final = slice(26, 29)

# Natural unit of each latent (rad or IOD per frame, blendshape weight, rad): its standard
# deviation over the synthetic corpus, rounded.
LATENT_SCALE: Final[Float32Array] = np.array(
    [
        *(0.012, 0.012, 0.010, 0.020, 0.016, 0.0030),
        *(0.14, 0.30, 0.18, 0.28, 0.25, 0.13, 0.15, 0.10, 0.08),
        *(0.15, 0.12, 0.12, 0.15, 0.14, 0.12, 0.08, 0.08, 0.08),
        *(0.02, 0.03),
        *(0.25, 0.16, 0.11),
    ],
    dtype=np.float32,
)

HEAD_LEAK: Final = math.exp(-1.0 / (2.0 * FRAME_RATE_HZ))  # the deviation relaxes in 2 s
# Generated pushes do not know where the head is, so that small errors add up to wide drifts: what
# is shown relaxes sooner than what was learnt from.
SHOWN_LEAK: Final = math.exp(-1.0 / (0.9 * FRAME_RATE_HZ))
# Share of a new push that acts in its frame: heads have mass. It also takes the grain out of block
# borders, where the generator's velocity is least sure (twice the second difference without it).
HEAD_AGILITY: Final = 0.5
# Of the way to a new intensity, per frame: motion, expression, mouth, blinks. A head that is told
# to be still returns over some frames, or it would snap.
INTENSITY_SHARE: Final = 1.0 - np.exp(-np.array([6.0, 10.0, 10.0, 10.0]) / FRAME_RATE_HZ)
# A head that leans one way comes back within some 8 s: the anchor is where it lives.
DRIFT_SHARE: Final = 1.0 / (8.0 * FRAME_RATE_HZ)
HEAD_GAZE_SHARE: Final = 0.35  # of a gaze target the head takes; the eyes do the rest
VOR_GAIN: Final = 1.0
ANCHOR_RATE_HZ: Final = 14.0  # natural frequency of the anchor filter, rad/s: 90 % in 0.28 s
CONTACT_FROM: Final = 0.25  # lips: a closure is whole or none, see `_contact`
CONTACT_FULL: Final = 0.43
CONTACT_JAW_SHARE: Final = 0.5  # of the jaw's opening that a closure takes away
CONTACT_PRESS: Final = 0.6
CONTACT_ROLL: Final = 0.35
# A few passes end near the mean of what lips may do, which is flatter than what they do: without
# it the width of rendered mouths varied by 0.018 IOD, that of people by 0.046 (2026-11).
# Rounding is capped where the corners of a smiling portrait's mouth begin to crease.
SHAPE_GAINS: Final = {
    "mouthStretch": (1.5, 1.0),
    "mouthPucker": (1.25, 0.75),
    "mouthFunnel": (1.25, 0.55),
}
# A listener's nods: two dips, the second smaller, after the user's words, sometimes within them.
NOD_FRAMES: Final = 11
NOD_SIZE_RAD: Final = (0.045, 0.085)
NOD_AT_END: Final = 0.7
NOD_WITHIN: Final = 0.012  # per frame of loud speech
NOD_PAUSE_FRAMES: Final = 45
ACCENT_JAW: Final = 0.16  # blendshape weight: an open vowel
ACCENT_CHANCE: Final = 0.09  # per frame of such a vowel; about one accent in 1.5 s of speech
BLINK_FROM: Final = 0.5  # a latent above this starts a blink, which then runs its course
LID_COURSE: Final = (0.45, 1.0, 1.0, 0.72, 0.38, 0.12)  # 0.24 s, closing faster than opening
FIXATION_RAD: Final = 0.04  # eyes hold still until the wish to look elsewhere is larger
SACCADE_SHARE: Final = 0.75  # of the way that the eyes go in one frame
NATURAL_BLINK_HZ: Final = 0.55  # of the generator; what a rate above 1 adds to
LID_PAUSE_FRAMES: Final = 11  # from the start of a blink to the earliest next
MAX_LID_PHASE: Final = 1000
DRY_AFTER_FRAMES: Final = 60
DRY_CHANCE: Final = 0.04  # per frame from then on
REST_DEAD_ZONE: Final = 0.03  # blendshape weight below which a channel counts as zero


@dataclass(frozen=True, slots=True, eq=False)
class PoseState:
    """Where the head and the lids are.

    Attributes:
        push: float64 [6], what moves the deviation, smoothed.
        deviation: float64 [6], generated deviation from the anchor.
        drift: float64 [6], slow mean of the deviation, which is not shown.
        anchor: float64 [6], where the controls put the head.
        anchor_velocity: float64 [6], per second.
        intensity: float64 [4], head motion, expression, mouth and blink rate as smoothed so far.
        lid_phase: Frames since the last blink began, at most `MAX_LID_PHASE`.
        lid_debt: Blinks that the rate asks for and that were not made yet; below 0, spare ones.
        accent: float64 [3], a brow's movement with a stress: frames since it began, a third of its
            length in frames, and its size; below 0 the brow goes down.
        nod: float64 [3], a listener's nod: frames since it began, its size in rad, and whether the
            user spoke in the frame before.
        fixation: float64 [2], where the eyes want to be, rad relative to the camera.
        gaze: float64 [2], where they are.
    """

    push: np.ndarray = field(default_factory=lambda: np.zeros(6))
    deviation: np.ndarray = field(default_factory=lambda: np.zeros(6))
    drift: np.ndarray = field(default_factory=lambda: np.zeros(6))
    anchor: np.ndarray = field(default_factory=lambda: np.zeros(6))
    anchor_velocity: np.ndarray = field(default_factory=lambda: np.zeros(6))
    intensity: np.ndarray = field(default_factory=lambda: np.ones(4))
    lid_phase: int = LID_PAUSE_FRAMES
    lid_debt: float = 0.0
    nod: np.ndarray = field(default_factory=lambda: np.array([100.0, 0.0, 0.0]))
    accent: np.ndarray = field(default_factory=lambda: np.array([100.0, 1.0, 0.0]))
    fixation: np.ndarray = field(default_factory=lambda: np.zeros(2))
    gaze: np.ndarray = field(default_factory=lambda: np.zeros(2))

    @classmethod
    def settled(cls, controls: Controls) -> PoseState:
        """Return the state of a session that begins with these controls."""
        return cls(
            anchor=_anchor_target(controls),
            intensity=_intensity(controls),
            fixation=np.array([controls.gaze_yaw_rad, controls.gaze_pitch_rad]),
            gaze=np.array([controls.gaze_yaw_rad, controls.gaze_pitch_rad]),
        )


MOUTH_INTENSITY: Final = 2  # place in `PoseState.intensity`


def _anchor_target(controls: Controls) -> np.ndarray:
    """Head pose [6] that the controls ask for."""
    pose = controls.head_pose
    if pose is None:
        yaw = HEAD_GAZE_SHARE * controls.gaze_yaw_rad
        pitch, roll = HEAD_GAZE_SHARE * controls.gaze_pitch_rad, 0.0
    else:
        yaw, pitch, roll = pose.yaw_rad, pose.pitch_rad, pose.roll_rad
    return np.array([yaw, pitch, roll, 0.0, 0.0, -math.log(controls.head_distance)])


def _intensity(controls: Controls) -> np.ndarray:
    """Scales [4] of head motion, expression, mouth and blinks that the controls ask for."""
    head = 0.0 if controls.driving is Driving.EXPRESSION_ONLY else controls.head_motion
    face = 0.0 if controls.driving is Driving.POSE_ONLY else 1.0
    return np.array([head, face * controls.expression, face, controls.blink_rate])


def to_channels(
    latents: Float32Array,
    controls: Controls,
    state: PoseState,
    chances: Float32Array | None = None,
    attention: Float32Array | None = None,
) -> tuple[Float32Array, PoseState]:
    """Map latents to the public motion channels.

    Args:
        latents: float32 [T, D], unit variance.
        controls: They hold for these frames.
        state: Head state after the frame before; not modified.
        chances: float32 [T], uniform in [0, 1), what decides about a brow's accents, nods and
            blinks of dry eyes; None is none of them.
        attention: float32 [T, 2], what is heard of the user, as `listening.listen` gives it.

    Returns:
        float32 [T, 60] in the order of `MOTION_CHANNELS`, and the next state.
    """
    natural = latents.astype(np.float64) * LATENT_SCALE
    target = _anchor_target(controls)
    intensity_target = _intensity(controls)
    out = np.zeros((len(latents), MOTION_DIM))
    for row, frame in enumerate(natural):
        chance = 1.0 if chances is None else float(chances[row])
        state = _step(state, frame, target, intensity_target, chance)
        if attention is not None:
            state = replace(state, nod=_nod(state.nod, attention[row], frame, chance))
        _write_pose(out[row], state)
        _write_face(out[row], frame, state)
        _write_eyes(out[row], state)
    return out.astype(np.float32), state


def _step(
    state: PoseState,
    frame: np.ndarray,
    target: np.ndarray,
    intensity: np.ndarray,
    chance: float,
) -> PoseState:
    """Advance head and lids by one frame [D], in natural units."""
    wish = frame[EYES_SLICE][1:]
    moves = math.hypot(*(wish - state.fixation)) > FIXATION_RAD
    fixation = wish if moves else state.fixation
    wants = frame[LATENT_INDEX["blink"]] > BLINK_FROM or _is_dry(state, chance)
    begins, lid_debt = _blinks(state, wants=wants)
    rate, dt = ANCHOR_RATE_HZ, 1.0 / FRAME_RATE_HZ
    push = state.push + HEAD_AGILITY * (frame[HEAD_SLICE] - state.push)
    # Exact step of a critically damped spring: never overshoots, never jumps.
    gap = state.anchor - target
    drive = state.anchor_velocity + rate * gap
    fade = math.exp(-rate * dt)
    return PoseState(
        push=push,
        deviation=SHOWN_LEAK * state.deviation + push,
        drift=state.drift + DRIFT_SHARE * (state.deviation - state.drift),
        anchor=target + (gap + drive * dt) * fade,
        anchor_velocity=(state.anchor_velocity - rate * drive * dt) * fade,
        intensity=state.intensity + (intensity - state.intensity) * INTENSITY_SHARE,
        fixation=fixation,
        gaze=state.gaze + SACCADE_SHARE * (fixation - state.gaze),
        lid_phase=0 if begins else min(state.lid_phase + 1, MAX_LID_PHASE),
        lid_debt=lid_debt,
        nod=state.nod,
        accent=_accent(state.accent, float(frame[LATENT_INDEX["jawOpen"]]), chance),
    )


def _nod(nod: np.ndarray, attention: Float32Array, frame: np.ndarray, chance: float) -> np.ndarray:
    """The next frame of a nod: it begins when the user pauses, or on a loud word."""
    age, size, was_heard = (float(v) for v in nod)
    heard, loudness = (float(v) for v in attention)
    speaks = float(heard > 0.5)
    ends = was_heard > 0.5 and not speaks
    likely = NOD_AT_END if ends else NOD_WITHIN * float(loudness > 0.7)
    silent = frame[LATENT_INDEX["jawOpen"]] < 0.05
    if silent and age > NOD_PAUSE_FRAMES and chance < likely:
        low, high = NOD_SIZE_RAD
        return np.array([0.0, low + (high - low) * (chance * 97.0 % 1.0), speaks])
    return np.array([min(age + 1.0, 1000.0), size, speaks])


def _nod_now(nod: np.ndarray) -> float:
    age, size, _ = (float(v) for v in nod)
    if age >= 2 * NOD_FRAMES:
        return 0.0
    share = 1.0 if age < NOD_FRAMES else 0.6
    return share * size * math.sin(math.pi * (age % NOD_FRAMES) / NOD_FRAMES) ** 2


def _accent(accent: np.ndarray, jaw: float, chance: float) -> np.ndarray:
    """The next frame of a brow's accent: it begins now and then where the voice opens the jaw."""
    age, third, size = (float(v) for v in accent)
    if age < 3.0 * third:
        return np.array([age + 1.0, third, size])
    if jaw < ACCENT_JAW or chance >= ACCENT_CHANCE:
        return accent
    dice = [chance / ACCENT_CHANCE * factor % 1.0 for factor in (1.0, 17.0, 289.0)]
    size = 0.25 + 0.5 * dice[1]
    return np.array([0.0, 3.5 + 3.5 * dice[0], size if dice[2] < 0.8 else -0.5 * size])


def _accent_now(accent: np.ndarray) -> float:
    age, third, size = (float(v) for v in accent)
    inside = min(1.0, age / (3.0 * third))
    return size * math.sin(math.pi * inside) ** 2


def _is_dry(state: PoseState, chance: float) -> bool:
    """Eyes that were open for long want a blink; in silence the generator forgets it."""
    return state.lid_phase > DRY_AFTER_FRAMES and chance < 1.0 and chance * 31.0 % 1.0 < DRY_CHANCE


def _blinks(state: PoseState, *, wants: bool) -> tuple[bool, float]:
    """Whether a blink begins, and the blinks that are owed then.

    The generator's wish is a blink at the natural rate. Below that rate wishes are passed over, so
    that the share of those that come true is right; above it the missing ones are added evenly.
    """
    rate = float(state.intensity[3])
    debt = state.lid_debt + max(0.0, rate - 1.0) * NATURAL_BLINK_HZ / FRAME_RATE_HZ
    if state.lid_phase < LID_PAUSE_FRAMES:
        return False, debt
    if wants:
        debt += min(1.0, rate)
    if debt >= 1.0 - 1e-9 and rate > 0.02:
        return True, debt - 1.0
    return False, debt


def _write_pose(row: np.ndarray, state: PoseState) -> None:
    deviation = state.deviation - state.drift
    deviation[1] += _nod_now(state.nod)
    pose = state.anchor + state.intensity[0] * deviation
    size = math.exp(pose[5])  # shifts are seen at the face's size
    row[: len(POSE_CHANNELS)] = pose
    row[3:5] *= size


def _write_face(row: np.ndarray, frame: np.ndarray, state: PoseState) -> None:
    expression, mouth = float(state.intensity[1]), float(state.intensity[2])
    weights = {name: float(frame[LATENT_INDEX[name]]) for name in MOUTH + FACE}
    smile_side = float(frame[LATENT_INDEX["smileSide"]])
    brow_side = float(frame[LATENT_INDEX["browSide"]])
    contact = min(1.0, max(0.0, _contact(weights["mouthClose"])))
    weights["mouthClose"] = contact
    # Lips that meet are pressed and turned in a little, over a jaw that comes along.
    weights["jawOpen"] *= 1.0 - CONTACT_JAW_SHARE * contact
    weights["mouthPress"] = max(weights["mouthPress"], CONTACT_PRESS * contact)
    weights["mouthRollLower"] = max(weights["mouthRollLower"], CONTACT_ROLL * contact)
    for name, (gain, most) in SHAPE_GAINS.items():
        weights[name] = min(most, gain * weights[name])
    row[MOTION_INDEX["mouthRollUpper"]] = _weight(CONTACT_ROLL * contact * mouth)
    accent = _accent_now(state.accent)
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
            side = smile_side * expression
        elif name in ("browDown", "browOuterUp"):
            side = brow_side * expression
        left, right = weight + side, weight - side
        row[MOTION_INDEX[name + "Left"]] = _weight(left)
        row[MOTION_INDEX[name + "Right"]] = _weight(right)


def _contact(close: float) -> float:
    """Lips that nearly meet do meet: an uncertain closure must not end as a narrow slit.

    Of the P, B and M in nine real recordings 91 % are shut at 320 ms of delay, and 24 % of other
    phones; from 0.30 to 0.50 fewer of both, from 0.20 to 0.38 more of the others (2026-11).
    """
    return (close - CONTACT_FROM) / (CONTACT_FULL - CONTACT_FROM)


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


def head_latents(deviation: Float32Array) -> Float32Array:
    """Invert the leaky sum: a deviation track -> head latents.

    Args:
        deviation: float32 [T, 6], rad, IOD, log; the frame before is taken as at rest there.

    Returns:
        float32 [T, 6] unit-variance latents.
    """
    before = np.concatenate([deviation[:1], deviation[:-1]])
    push = deviation - HEAD_LEAK * before
    return (push / LATENT_SCALE[HEAD_SLICE]).astype(np.float32)


def condition(controls: Controls) -> Float32Array:
    """Controls as the model sees them, before anything was heard of the user.

    Returns:
        float32 [CONDITION_DIM]: gaze yaw, gaze pitch (of order one), log distance, seven emotion
        weights whose sum is at most 1, and zeros in place of what `listening.listen` gives.
    """
    weights = np.array([controls.emotion.get(name, 0.0) for name in EMOTIONS])
    weights /= max(1.0, float(weights.sum()))
    head = [
        controls.gaze_yaw_rad / 0.3,
        controls.gaze_pitch_rad / 0.3,
        math.log(controls.head_distance) / 0.4,
    ]
    return np.concatenate([head, weights, np.zeros(LISTENING_DIM)]).astype(np.float32)


LISTENING_SLICE: Final = slice(10, 10 + LISTENING_DIM)
CONDITION_DIM: Final = 10 + LISTENING_DIM
# gaze, distance, emotion, listening
CONDITION_GROUPS: Final = (slice(0, 2), slice(2, 3), slice(3, 10), LISTENING_SLICE)
