"""Head, brows, lids and gaze of synthetic speakers, as stochastic processes.

Only summary statistics of real people enter here (spreads, spectra, rates and correlations of
head angles, blink rates, brow movement); no recording does. Signs are those of `parlante.types`.
Axis letters: T frames (25 Hz).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.models.listening import LISTENING_DIM
from parlante.models.motion_space import FACE, HEAD
from parlante.types import EMOTIONS, FRAME_RATE_HZ, MAX_GAZE_RAD, Float32Array

# Share of the variance and centre frequency of the parts of head rotation. Real speakers have
# most of it below 1 Hz and almost nothing above 4 Hz.
_BANDS: Final = ((0.12, 0.53), (0.38, 0.28), (0.75, 0.15), (1.3, 0.035), (2.4, 0.004))
_ROTATION_STD_RAD: Final = np.radians([5.2, 4.1, 4.1])
_YAW_ROLL_CORRELATION: Final = 0.25
_IDLE_SHARE: Final = 0.35  # of the faster parts of head motion that silence leaves

_BLINK: Final = np.array([0.45, 1.0, 1.0, 0.72, 0.38, 0.12])  # 0.24 s, closing twice as fast
_MEAN_BLINK_GAP_S: Final = 2.6
_MEAN_FIXATION_S: Final = 1.1

_EMOTION_FACE: Final[dict[str, dict[str, float]]] = {
    "neutral": {},
    "happy": {"mouthSmile": 0.55, "cheekSquint": 0.45, "eyeSquint": 0.15, "browOuterUp": 0.10},
    "angry": {"browDown": 0.70, "eyeSquint": 0.25, "noseSneer": 0.20, "mouthFrown": 0.15},
    "sad": {"browInnerUp": 0.65, "mouthFrown": 0.50, "eyeSquint": 0.10},
    "surprised": {"browInnerUp": 0.60, "browOuterUp": 0.70, "eyeWide": 0.55},
    "disgusted": {"noseSneer": 0.65, "browDown": 0.35, "mouthFrown": 0.25, "eyeSquint": 0.25},
    "afraid": {"browInnerUp": 0.70, "browOuterUp": 0.25, "eyeWide": 0.45},
}
_EMOTION_MOUTH: Final[dict[str, dict[str, float]]] = {
    "angry": {"mouthPress": 0.18},
    "surprised": {"jawOpen": 0.10},
    "disgusted": {"mouthUpperUp": 0.25},
    "afraid": {"mouthStretch": 0.35},
}
# How much wider or narrower a mood articulates.
_EMOTION_ARTICULATION: Final = {"angry": 0.15, "happy": 0.10, "sad": -0.15, "surprised": 0.10}


@dataclass(frozen=True, slots=True, eq=False)
class Behaviour:
    """All but the mouth.

    Attributes:
        head: float32 [T, 6], deviation from the anchor, rad, IOD, log.
        face: float32 [T, 9], weights in the order of `FACE`.
        sides: float32 [T, 2], asymmetry of smile and brows.
        eyes: float32 [T, 3], blink and gaze relative to the camera, rad.
    """

    head: Float32Array
    face: Float32Array
    sides: Float32Array
    eyes: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class ControlTrack:
    """Controls over time, and what is heard of the user.

    Attributes:
        gaze: float32 [T, 2], rad.
        log_distance: float32 [T].
        emotion: float32 [T, 7], weights.
        listening: float32 [T, 2], as `listening.listen` gives it.
    """

    gaze: Float32Array
    log_distance: Float32Array
    emotion: Float32Array
    listening: Float32Array

    def conditions(self) -> Float32Array:
        """As `motion_space.condition`, float32 [T, CONDITION_DIM]."""
        head = [self.gaze / 0.3, self.log_distance[:, None] / 0.4]
        return np.concatenate([*head, self.emotion, self.listening], axis=1).astype(np.float32)


def emotion_face(emotion: Float32Array) -> Float32Array:
    """Offsets [T, 9] on the face channels for emotion weights [T, 7]."""
    table = np.array([[_EMOTION_FACE[e].get(name, 0.0) for name in FACE] for e in EMOTIONS])
    return np.asarray(emotion @ table, dtype=np.float32)


def emotion_mouth(
    mouth: Float32Array, emotion: Float32Array, names: tuple[str, ...]
) -> Float32Array:
    """Mouth targets [T, 9] as a mood articulates them; closures stay closed."""
    table = np.array(
        [[_EMOTION_MOUTH.get(e, {}).get(name, 0.0) for name in names] for e in EMOTIONS]
    )
    gain = 1.0 + emotion @ np.array([_EMOTION_ARTICULATION.get(e, 0.0) for e in EMOTIONS])
    out = mouth.copy()
    out[:, 0] *= gain
    openness = 1.0 - mouth[:, names.index("mouthClose")]
    out += (emotion @ table) * openness[:, None]
    return np.clip(out, 0.0, 1.0).astype(np.float32)


def draw_controls(
    num_frames: int, rng: np.random.Generator, listening: Float32Array | None = None
) -> ControlTrack:
    """Draw a schedule of controls: often at rest, else steps every few seconds.

    Args:
        num_frames: T.
        rng: Source of randomness.
        listening: float32 [T, 2], what is heard of the user; None is nothing.
    """
    gaze = np.zeros((num_frames, 2))
    distance = np.zeros(num_frames)
    emotion = np.zeros((num_frames, len(EMOTIONS)))
    if rng.random() < 0.5:
        for start, end in _spells(num_frames, 4.0, rng):
            if rng.random() < 0.75:
                gaze[start:end] = rng.uniform(-MAX_GAZE_RAD, MAX_GAZE_RAD, 2) * (1.0, 0.7)
    if rng.random() < 0.3:
        for start, end in _spells(num_frames, 6.0, rng):
            distance[start:end] = rng.uniform(-0.69, 0.69)
    if rng.random() < 0.6:
        for start, end in _spells(num_frames, 6.0, rng):
            emotion[start:end] = _draw_emotion(rng)
    return ControlTrack(
        gaze.astype(np.float32),
        _glide(distance[:, None], 0.10)[:, 0],
        _glide(emotion, 0.10),
        np.zeros((num_frames, LISTENING_DIM), np.float32) if listening is None else listening,
    )


def _draw_emotion(rng: np.random.Generator) -> np.ndarray:
    weights = np.zeros(len(EMOTIONS))
    kind = rng.random()
    if kind < 0.25:
        weights[0] = rng.integers(0, 2)
    elif kind < 0.7:
        weights[rng.integers(1, len(EMOTIONS))] = rng.uniform(0.2, 1.0)
    else:
        chosen = rng.choice(np.arange(1, len(EMOTIONS)), 2, replace=False)
        weights[chosen] = rng.dirichlet((1.0, 1.0)) * rng.uniform(0.4, 1.0)
    return weights


def _spells(num_frames: int, mean_s: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Cut T frames into spells of random length, mean_s long on average."""
    spells = []
    start = 0
    while start < num_frames:
        end = start + max(8, int(rng.gamma(2.5, mean_s / 2.5) * FRAME_RATE_HZ))
        spells.append((start, min(end, num_frames)))
        start = end
    return spells


def _glide(track: np.ndarray, time_s: float) -> Float32Array:
    """First-order glide towards a stepped track [T, D], the same that a live session applies."""
    share = 1.0 - np.exp(-1.0 / (time_s * FRAME_RATE_HZ))
    out = np.empty_like(track, dtype=np.float64)
    value = track[0].astype(np.float64)
    for index, target in enumerate(track):
        value = value + share * (target - value)
        out[index] = value
    return out.astype(np.float32)


def draw_behaviour(
    activity: Float32Array, loudness: Float32Array, controls: ControlTrack, rng: np.random.Generator
) -> Behaviour:
    """Draw one performance.

    Args:
        activity: float32 [T] in [0, 1], 1 = speaking.
        loudness: float32 [T], smooth, about zero mean and unit variance while speaking.
        controls: What the client asks for.
        rng: Source of randomness.
    """
    num_frames = len(activity)
    beats = _beats(activity, loudness, rng)
    smooth_activity = _glide(activity[:, None].astype(np.float64), 0.4)[:, 0]
    attention = controls.listening[:, 0] * (1.0 - smooth_activity)
    head = _head(num_frames, smooth_activity, beats, rng)
    answers = _answers(controls.listening, activity, rng)
    head[:, 1] += _nods(num_frames, answers, rng)
    gaze, shifts = _gaze(controls.gaze, smooth_activity, attention, rng)
    blink = _blinks(num_frames, activity, shifts, answers, rng)
    face, sides = _face(smooth_activity, beats, rng)
    _attend(face, attention, answers, rng)
    face = np.clip(face + emotion_face(controls.emotion), 0.0, 1.0)
    eyes = np.concatenate([blink[:, None], gaze], axis=1)
    return Behaviour(*(a.astype(np.float32) for a in (head, face, sides, eyes)))


def _beats(activity: np.ndarray, loudness: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Frames of emphasis: loudness peaks at least 0.4 s apart."""
    inner = loudness[1:-1]
    peaks = (
        (inner > loudness[:-2]) & (inner >= loudness[2:]) & (inner > 0.5) & (activity[1:-1] > 0.5)
    )
    beats: list[int] = []
    for frame in np.flatnonzero(peaks) + 1:
        if not beats or frame - beats[-1] >= 10:
            beats.append(int(frame))
    return [b for b in beats if rng.random() < 0.8]


def _answers(listening: np.ndarray, activity: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Frames at which a listener answers with a nod: ends of what the user says, and stresses."""
    heard, loudness = listening.T
    ends = (heard[:-1] >= 0.5) & (heard[1:] < 0.5)
    stresses = np.zeros(len(heard) - 1, bool)
    inner = loudness[1:-1]
    stresses[1:] = (inner > loudness[:-2]) & (inner >= loudness[2:]) & (inner > 0.7)
    answers: list[int] = []
    for frame in np.flatnonzero(ends | stresses) + 1:
        likely = 0.65 if ends[frame - 1] else 0.12
        free = not answers or frame - answers[-1] > 35
        if free and activity[frame] < 0.5 and rng.random() < likely:
            answers.append(int(frame))
    return answers


def _nods(num_frames: int, answers: list[int], rng: np.random.Generator) -> np.ndarray:
    """Pitch of nods, rad [T]: one to three, each down and up, dying away."""
    track = np.zeros(num_frames)
    for answer in answers:
        size = np.radians(rng.uniform(2.5, 5.0))
        period = rng.uniform(9.0, 13.0)
        start = answer + rng.uniform(2.0, 7.0)
        for index in range(int(rng.choice((1, 2, 2, 3)))):
            centre = start + (index + 0.5) * period
            track += size * 0.7**index * _bump(num_frames, centre, 0.24 * period)
    return track


def _attend(
    face: np.ndarray, attention: np.ndarray, answers: list[int], rng: np.random.Generator
) -> None:
    """Add what a listener's face does: a trace of a smile, brows that rise now and then."""
    index = {name: i for i, name in enumerate(FACE)}
    warmth = rng.uniform(0.0, 0.22)
    face[:, index["mouthSmile"]] += warmth * _glide(attention[:, None], 0.6)[:, 0]
    for answer in answers:
        if rng.random() < 0.35:
            raised = rng.uniform(0.15, 0.45) * _bump(len(face), answer + 6, rng.uniform(5, 9))
            face[:, index["browInnerUp"]] += raised
            face[:, index["browOuterUp"]] += 0.8 * raised


def _band(num_frames: int, centre_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Three unit-variance smooth noises [T, 3] with their power around and below centre_hz."""
    padded = num_frames + 400
    frequency = np.fft.rfftfreq(padded, 1.0 / FRAME_RATE_HZ)
    shape = np.exp(-0.5 * (np.log2(np.maximum(frequency, 1e-3) / centre_hz) / 0.6) ** 2)
    spectrum = np.fft.rfft(rng.standard_normal((padded, 3)), axis=0) * np.sqrt(shape)[:, None]
    noise = np.fft.irfft(spectrum, padded, axis=0)[200 : 200 + num_frames]
    expected = np.sqrt(shape.sum() * 2.0 / padded)
    return np.asarray(noise / expected)


def _bump(num_frames: int, centre: float, width_frames: float) -> np.ndarray:
    return np.asarray(np.exp(-0.5 * ((np.arange(num_frames) - centre) / width_frames) ** 2))


def _head(
    num_frames: int, activity: np.ndarray, beats: list[int], rng: np.random.Generator
) -> np.ndarray:
    liveliness = rng.uniform(0.7, 1.25)
    rotation = np.zeros((num_frames, 3))
    for centre_hz, share in _BANDS:
        calm = 0.6 if centre_hz < 0.2 else _IDLE_SHARE
        level = calm + (1.0 - calm) * activity
        rotation += np.sqrt(share) * level[:, None] * _band(num_frames, centre_hz, rng)
    rho = _YAW_ROLL_CORRELATION
    rotation[:, 2] = rho * rotation[:, 0] + np.sqrt(1 - rho**2) * rotation[:, 2]
    rotation *= liveliness * _ROTATION_STD_RAD
    for beat in beats:
        # A nod goes down with the stress and comes back; some stresses turn or tilt instead.
        size = np.radians(rng.uniform(0.6, 2.6)) * liveliness
        kind = rng.choice(3, p=(0.6, 0.2, 0.2))
        width = rng.uniform(4.0, 7.0)
        push = _bump(num_frames, beat + 1, width) - 0.4 * _bump(num_frames, beat - 6, width)
        axis, sign = (1, 1.0) if kind == 0 else ((0, 2)[kind - 1], rng.choice((-1.0, 1.0)))
        rotation[:, axis] += sign * size * push
    # Stresses nod down more than up; the head's mean pose is the anchor's all the same.
    rotation -= rotation.mean(axis=0)
    yaw, pitch, roll = rotation.T
    sway = _band(num_frames, 0.15, rng) * (0.03, 0.02, 0.010)
    shift = np.stack([0.8 * yaw + 1.1 * roll, 0.9 * pitch, 0.12 * pitch], axis=1) + sway
    head = np.concatenate([rotation, shift], axis=1)
    assert head.shape[1] == len(HEAD)
    return head


def _gaze(
    target: np.ndarray, activity: np.ndarray, attention: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, list[int]]:
    """Fixations around the target [T, 2], and the frames of larger shifts."""
    num_frames = len(target)
    offset = np.zeros((num_frames, 2))
    shifts: list[int] = []
    away = False
    for start, end in _spells(num_frames, _MEAN_FIXATION_S, rng):
        idle = 1.0 - activity[start]
        wander = (0.18 + 0.12 * idle) * (1.0 - 0.8 * attention[start])
        if not away and rng.random() < wander:
            away = True
            point = rng.uniform(-1, 1, 2) * (0.24, 0.14)
            shifts.append(start)
        else:
            if away:
                shifts.append(start)
            away = False
            point = rng.standard_normal(2) * (0.022, 0.014)
        offset[start:end] = point
    # The eyes answer a new target after 40-120 ms.
    delay = int(rng.integers(1, 4))
    followed = np.concatenate([np.repeat(target[:1], delay, axis=0), target[:-delay]])
    raw = followed + offset
    # A saccade takes one to two frames.
    mixed = raw.copy()
    mixed[1:] = 0.72 * raw[1:] + 0.28 * raw[:-1]
    return mixed, shifts


def _blinks(
    num_frames: int,
    activity: np.ndarray,
    shifts: list[int],
    answers: list[int],
    rng: np.random.Generator,
) -> np.ndarray:
    track = np.zeros(num_frames)
    starts: list[float] = []
    now = rng.exponential(_MEAN_BLINK_GAP_S)
    while now * FRAME_RATE_HZ < num_frames:
        starts.append(now * FRAME_RATE_HZ)
        now += 0.45 + rng.gamma(1.6, (_MEAN_BLINK_GAP_S - 0.45) / 1.6)
    starts += [float(s) for s in shifts if rng.random() < 0.35]
    starts += [float(a) for a in answers if rng.random() < 0.3]
    ends_of_speech = np.flatnonzero((activity[:-1] > 0.5) & (activity[1:] <= 0.5))
    starts += [float(e) + rng.uniform(0, 6) for e in ends_of_speech if rng.random() < 0.4]
    last = -100.0
    for start in sorted(starts):
        if start - last < 10:
            continue
        last = start
        first = round(start)
        length = min(len(_BLINK), num_frames - first)
        if length > 0 and first >= 0:
            track[first : first + length] = _BLINK[:length]
    return track


def _face(
    activity: np.ndarray, beats: list[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    num_frames = len(activity)
    face = np.zeros((num_frames, len(FACE)))
    index = {name: i for i, name in enumerate(FACE)}
    slow = np.maximum(0.0, _band(num_frames, 0.25, rng))
    face[:, index["browInnerUp"]] = 0.07 * slow[:, 0] * (0.4 + 0.6 * activity)
    face[:, index["mouthSmile"]] = 0.16 * slow[:, 1]
    face[:, index["browDown"]] = 0.05 * slow[:, 2] * activity
    for beat in beats:
        if rng.random() < 0.5:
            raised = rng.uniform(0.15, 0.5) * _bump(num_frames, beat, rng.uniform(3.5, 7.0))
            face[:, index["browInnerUp"]] += raised
            face[:, index["browOuterUp"]] += raised * rng.uniform(0.6, 1.1)
            face[:, index["eyeWide"]] += 0.25 * raised
        elif rng.random() < 0.15:
            lowered = rng.uniform(0.1, 0.3) * _bump(num_frames, beat, rng.uniform(4.0, 8.0))
            face[:, index["browDown"]] += lowered
    sides = _band(num_frames, 0.2, rng)[:, :2] * (0.012, 0.018)
    return face, sides
