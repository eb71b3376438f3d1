"""Head, lids and brows in time: rules that turn generated wishes into movement.

The head's anchor follows the gaze, pose and distance controls through a critically damped filter;
its deviation from there is pushed by the generator. Lids that begin a blink run their course, so
that there are no half blinks; eyes jump to where they want to be and hold still in between. What a
client scales or switches off (motion, expression, blinks, driving) glides to its new value.

Axis letters: D latent channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from parlante.models.motion_space import GAZE_SLICE, HEAD_SLICE, LATENT_INDEX
from parlante.types import FRAME_RATE_HZ, Controls, Driving, Float32Array

# Generated pushes do not know where the head is, so that small errors add up to wide drifts: what
# is shown relaxes sooner than what was learnt from.
SHOWN_LEAK: Final = math.exp(-1.0 / (2.0 * FRAME_RATE_HZ))
PUSH_SHARE: Final = 0.9  # of a generated push: heads go as far as people's, no faster
# Share of a new push that acts in its frame: heads have mass. It also takes the grain out of block
# borders, where the generator's velocity is least sure (twice the second difference without it).
HEAD_AGILITY: Final = 0.22
HEAD_DELAY_FRAMES: Final = 2  # by which heads come after their pushes
# Of the way to a new intensity, per frame: motion, expression, mouth, blinks. A head that is told
# to be still returns over some frames, or it would snap.
INTENSITY_SHARE: Final = 1.0 - np.exp(-np.array([6.0, 10.0, 10.0, 10.0]) / FRAME_RATE_HZ)
# A head that leans one way comes back within some 8 s: the anchor is where it lives.
DRIFT_SHARE: Final = 1.0 / (8.0 * FRAME_RATE_HZ)
HEAD_GAZE_SHARE: Final = 0.35  # of a gaze target the head takes; the eyes do the rest
ANCHOR_RATE_HZ: Final = 14.0  # natural frequency of the anchor filter, rad/s: 90 % in 0.28 s
# A listener's nods: two dips, the second smaller, after the user's words, sometimes within them.
NOD_FRAMES: Final = 11
NOD_SIZE_RAD: Final = (0.045, 0.085)
NOD_AT_END: Final = 0.7
NOD_WITHIN: Final = 0.012  # per frame of loud speech
NOD_PAUSE_FRAMES: Final = 45
ACCENT_JAW: Final = 0.16  # blendshape weight: an open vowel
ACCENT_CHANCE: Final = 0.12  # per frame of one of usual stress; an accent in 1.5 s of speech
# A head beats time with the brows, as speakers' heads do, but sets out later: people's sink 0.12
# to 0.36 s after their voice is loud.
BEAT_RAD: Final = 0.08  # for an accent of size 1; they have 0.12 to 0.75
BEAT_DELAY_FRAMES: Final = 2.0
BLINK_FROM: Final = 0.5  # a latent above this starts a blink, which then runs its course
# 0.3 s, closing faster than opening; the tracker sees people's lids down for 0.22 s.
LID_COURSE: Final = (0.5, 1.0, 1.0, 0.85, 0.6, 0.33, 0.12)
LID_HELD_AT: Final = 2  # the place in it where lids may stay, so that no blink is like the other
LID_HELD_CHANCE: Final = 0.5  # per frame
FIXATION_RAD: Final = 0.04  # eyes hold still until the wish to look elsewhere is larger
SACCADE_SHARE: Final = 0.75  # of the way that the eyes go in one frame
NATURAL_BLINK_HZ: Final = 0.6  # of what is shown; what a rate above 1 adds to
# Of the generator's wishes that come true: all of them are 44 a minute, people's 33 to 40.
NATURAL_BLINK_SHARE: Final = 0.92
LID_PAUSE_FRAMES: Final = 11  # from the start of a blink to the earliest next
MAX_LID_PHASE: Final = 1000
DRY_AFTER_FRAMES: Final = 60
DRY_CHANCE: Final = 0.04  # per frame from then on
# How a voice speaks (`melody.liveliness`) shows: what the liveliest adds to the head's motion and
# to accents, what one takes away that hardly moves, and how soon, per frame. Over recordings of all
# moods heads and brows move as far as without it.
LIVELY_HEAD: Final = (0.35, 0.15)
LIVELY_ACCENT: Final = (0.6, 0.2)
LIVELY_SHARE: Final = 1.0 - math.exp(-1.0 / (0.5 * FRAME_RATE_HZ))


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
            It begins at a half, so that the first wish is neither lost at the natural rate nor
            granted at any.
        accent: float64 [3], a movement of brows and head with a stress: frames since it began, a
            third of its length in frames, and its size; below 0 the brows go down.
        nod: float64 [3], a listener's nod: frames since it began, its size in rad, and whether the
            user spoke in the frame before.
        fixation: float64 [2], where the eyes want to be, rad relative to the camera.
        gaze: float64 [2], where they are.
        lips: float64 [6], lip shapes of the two frames before, `motion_space.SHAPES` each.
        lively: float64 [2], how lively the voice is as smoothed so far, [-1, 1]: of the movement,
            and of the mood, which an emotion that is asked for takes the place of.
    """

    push: np.ndarray = field(default_factory=lambda: np.zeros(6))
    deviation: np.ndarray = field(default_factory=lambda: np.zeros(6))
    drift: np.ndarray = field(default_factory=lambda: np.zeros(6))
    anchor: np.ndarray = field(default_factory=lambda: np.zeros(6))
    anchor_velocity: np.ndarray = field(default_factory=lambda: np.zeros(6))
    intensity: np.ndarray = field(default_factory=lambda: np.ones(4))
    lid_phase: int = LID_PAUSE_FRAMES
    lid_debt: float = 0.5
    nod: np.ndarray = field(default_factory=lambda: np.array([100.0, 0.0, 0.0]))
    accent: np.ndarray = field(default_factory=lambda: np.array([100.0, 1.0, 0.0]))
    fixation: np.ndarray = field(default_factory=lambda: np.zeros(2))
    gaze: np.ndarray = field(default_factory=lambda: np.zeros(2))
    lips: np.ndarray = field(default_factory=lambda: np.zeros(6))
    lively: np.ndarray = field(default_factory=lambda: np.zeros(2))

    @classmethod
    def settled(cls, controls: Controls) -> PoseState:
        """Return the state of a session that begins with these controls."""
        return cls(
            anchor=anchor_target(controls),
            intensity=intensity_of(controls),
            fixation=np.array([controls.gaze_yaw_rad, controls.gaze_pitch_rad]),
            gaze=np.array([controls.gaze_yaw_rad, controls.gaze_pitch_rad]),
        )


MOUTH_INTENSITY: Final = 2  # place in `PoseState.intensity`


def anchor_target(controls: Controls) -> np.ndarray:
    """Head pose [6] that the controls ask for."""
    pose = controls.head_pose
    if pose is None:
        yaw = HEAD_GAZE_SHARE * controls.gaze_yaw_rad
        pitch, roll = HEAD_GAZE_SHARE * controls.gaze_pitch_rad, 0.0
    else:
        yaw, pitch, roll = pose.yaw_rad, pose.pitch_rad, pose.roll_rad
    return np.array([yaw, pitch, roll, 0.0, 0.0, -math.log(controls.head_distance)])


def intensity_of(controls: Controls) -> np.ndarray:
    """Scales [4] of head motion, expression, mouth and blinks that the controls ask for."""
    head = 0.0 if controls.driving is Driving.EXPRESSION_ONLY else controls.head_motion
    face = 0.0 if controls.driving is Driving.POSE_ONLY else 1.0
    return np.array([head, face * controls.expression, face, controls.blink_rate])


def enlivened(lively: float, share: tuple[float, float]) -> float:
    """Factor for a liveliness of -1 to 1: what 1 adds, and -1 takes away, are `share`."""
    more, less = share
    return 1.0 + lively * (more if lively > 0.0 else less)


def lively_target(lively: float, controls: Controls) -> np.ndarray:
    """What `PoseState.lively` tends to, for a voice of this liveliness."""
    asked = min(1.0, sum(controls.emotion.values()))
    return np.array([lively, lively * (1.0 - asked)])


def step(
    state: PoseState,
    frame: np.ndarray,
    target: np.ndarray,
    intensity: np.ndarray,
    chance: float,
    stress: float = 1.0,
    lively: np.ndarray | None = None,
) -> PoseState:
    """Advance head and lids by one frame [D], in natural units.

    Args:
        state: After the frame before.
        frame: Latents [D] in natural units.
        target: Of the anchor, [6].
        intensity: As `intensity_of` gives it.
        chance: Uniform in [0, 1), what decides what is left to chance; 1 lets none of it happen.
        stress: How much the voice stresses the frame, see `stress.stresses`.
        lively: As `lively_target` gives it; None is as usual.
    """
    wish = frame[GAZE_SLICE]
    moves = math.hypot(*(wish - state.fixation)) > FIXATION_RAD
    fixation = wish if moves else state.fixation
    wants = frame[LATENT_INDEX["blink"]] > BLINK_FROM or _is_dry(state, chance)
    lid_phase, lid_debt = _lids(state, wants=wants, chance=chance)
    rate, dt = ANCHOR_RATE_HZ, 1.0 / FRAME_RATE_HZ
    shown = state.lively + LIVELY_SHARE * ((0.0 if lively is None else lively) - state.lively)
    stress *= enlivened(float(shown[0]), LIVELY_ACCENT)
    push = state.push + HEAD_AGILITY * (PUSH_SHARE * frame[HEAD_SLICE] - state.push)
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
        lid_phase=lid_phase,
        lid_debt=lid_debt,
        nod=state.nod,
        accent=_accent(state.accent, float(frame[LATENT_INDEX["jawOpen"]]), chance, stress),
        lips=state.lips,
        lively=shown,
    )


def next_nod(
    nod: np.ndarray, attention: Float32Array, frame: np.ndarray, chance: float
) -> np.ndarray:
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


def nod_now(nod: np.ndarray) -> float:
    age, size, _ = (float(v) for v in nod)
    if age >= 2 * NOD_FRAMES:
        return 0.0
    share = 1.0 if age < NOD_FRAMES else 0.6
    return share * size * math.sin(math.pi * (age % NOD_FRAMES) / NOD_FRAMES) ** 2


def _accent(accent: np.ndarray, jaw: float, chance: float, stress: float) -> np.ndarray:
    """The next frame of a brow's accent: it begins now and then on vowels that are stressed."""
    age, third, size = (float(v) for v in accent)
    if age < 3.0 * third:
        return np.array([age + 1.0, third, size])
    likely = ACCENT_CHANCE * stress
    if jaw < ACCENT_JAW or chance >= likely:
        return accent
    dice = [chance / likely * factor % 1.0 for factor in (1.0, 17.0, 289.0)]
    size = 0.25 + 0.5 * dice[1]
    return np.array([0.0, 3.5 + 3.5 * dice[0], size if dice[2] < 0.8 else -0.5 * size])


def accent_now(accent: np.ndarray) -> float:
    age, third, size = (float(v) for v in accent)
    inside = min(1.0, age / (3.0 * third))
    return size * math.sin(math.pi * inside) ** 2


def beat_now(accent: np.ndarray) -> float:
    """How far the head dips with an accent, rad."""
    age, third, size = (float(v) for v in accent)
    inside = min(1.0, max(0.0, age - BEAT_DELAY_FRAMES) / (2.0 * third))
    return BEAT_RAD * abs(size) * math.sin(math.pi * inside) ** 2


def _is_dry(state: PoseState, chance: float) -> bool:
    """Eyes that were open for long want a blink; in silence the generator forgets it."""
    return state.lid_phase > DRY_AFTER_FRAMES and chance < 1.0 and chance * 31.0 % 1.0 < DRY_CHANCE


def _lids(state: PoseState, *, wants: bool, chance: float) -> tuple[int, float]:
    """How far the lids are in a blink, and the blinks that are owed then.

    The generator's wish is a blink at a little above the natural rate. Below that rate wishes are
    passed over, so that the share of those that come true is right; above it the missing ones are
    added evenly. A wish lasts some frames: one that is passed over counts once, as the eyes are
    then where a blink would have left them.
    """
    rate = float(state.intensity[3])
    debt = state.lid_debt + max(0.0, rate - 1.0) * NATURAL_BLINK_HZ / FRAME_RATE_HZ
    stays = chance < 1.0 and chance * 53.0 % 1.0 < LID_HELD_CHANCE
    is_held = stays and state.lid_phase == LID_HELD_AT
    phase = state.lid_phase if is_held else min(state.lid_phase + 1, MAX_LID_PHASE)
    if state.lid_phase < LID_PAUSE_FRAMES:
        return phase, debt
    if wants:
        debt += NATURAL_BLINK_SHARE * min(1.0, rate)
    if debt >= 1.0 - 1e-9 and rate > 0.02:
        return 0, debt - 1.0
    return (len(LID_COURSE) if wants else phase), debt
