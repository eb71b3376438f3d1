"""Put phonemes where they are heard: times that a synthesiser only guesses are made exact.

Neural voices predict durations before they make sound, and the sound does not keep to them: windows
of 1.6 s lay 32 to 42 ms (standard deviation) off what a reader trained on all voices heard, against
19 to 23 ms in espeak-ng and recorded voices (2026-11). Here a trained network names visemes every
10 ms, and the most likely path through the known phonemes is taken, near the times given.

Axis letters: N hops, S segments, V visemes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from parlante.models.audio_features import (
    HOP_SAMPLES,
    HOPS_PER_FRAME,
    LOOK_AHEAD_HOPS,
    LOOK_AHEAD_SAMPLES,
    NUM_FEATURES,
    WINDOW_SAMPLES,
    NormaliserState,
    mel_energies,
    normalise,
)
from parlante.models.layers.causal_conv import CONTEXT_HOPS
from parlante.models.motion_dit import MotionDiT
from parlante.models.viseme_names import VISEMES
from parlante.training.visemes import LEAD_S, Phone, Segment, segments_of
from parlante.types import Float32Array

HOP_S: Final = HOP_SAMPLES / 16_000
TOLERANCE_S: Final = 0.045  # standard deviation of a boundary from where it was said to be
REACH_S: Final = 0.15
EMISSION_SHARE: Final = 0.35  # of the log probabilities: neighbouring hops hear the same sound
FLOOR: Final = 0.02  # probability below which the reader is not believed
_LOOK: Final = len(LOOK_AHEAD_HOPS) - 1
_FIRST_SAMPLE: Final = (
    HOP_SAMPLES + LOOK_AHEAD_SAMPLES + LOOK_AHEAD_HOPS[_LOOK] * HOP_SAMPLES - WINDOW_SAMPLES
)


def realign(audio: Float32Array, phones: list[Phone], model: MotionDiT) -> list[Phone]:
    """Move phoneme boundaries to where the model hears them.

    Args:
        audio: float32 [S] at 16 kHz.
        phones: In order, with times that are nearly right.
        model: With an audio encoder of its own that can name visemes.

    Returns:
        The same phonemes, in order and without overlap.
    """
    if not phones:
        return []
    names = name_hops(audio, model)
    segments, owners = segments_of(phones, len(names) * HOP_S)
    scores = np.log(np.maximum(names, np.float32(FLOOR))) * np.float32(EMISSION_SHARE)
    starts_s = _boundaries(scores, segments)
    moved = list(phones)
    ends_s = [*starts_s[1:], segments[-1].end_s]
    spans: dict[int, tuple[float, float]] = {}
    for owner, start_s, end_s in zip(owners, starts_s, ends_s, strict=True):
        if owner is not None:
            first = spans.get(owner, (start_s, end_s))[0]
            spans[owner] = (first, end_s)
    for owner, (start_s, end_s) in spans.items():
        old = phones[owner]
        moved[owner] = Phone(old.ipa, start_s, end_s, old.emphasis)
    return [phone for index, phone in enumerate(moved) if index in spans]


@torch.inference_mode()
def name_hops(audio: Float32Array, model: MotionDiT) -> Float32Array:
    """Probability of each viseme at each hop of the sound, float32 [N, V].

    The network reads every fourth hop; it is asked four times, a hop later each time.
    """
    num_frames = len(audio) // (HOP_SAMPLES * HOPS_PER_FRAME)
    tail = np.zeros(WINDOW_SAMPLES + 64 * HOP_SAMPLES, np.float32)
    # Hop k of the clip shows the sound whose mouth is LEAD_S earlier.
    first = _FIRST_SAMPLE - round(LEAD_S * 16_000)
    energies = mel_energies(np.concatenate([audio[first:], tail]))
    features, _ = normalise(energies[None], NormaliserState.fresh(1))
    need = HOPS_PER_FRAME * num_frames
    context = np.zeros((1, CONTEXT_HOPS, NUM_FEATURES), np.float32)
    padded = np.concatenate([context, features[:, : need + HOPS_PER_FRAME]], axis=1)
    views = [padded[:, shift : shift + CONTEXT_HOPS + need] for shift in range(HOPS_PER_FRAME)]
    look = torch.full((HOPS_PER_FRAME,), _LOOK)
    _, _, scores = model.read_audio(torch.from_numpy(np.concatenate(views)), look)
    names = scores.softmax(dim=-1).numpy()
    return np.asarray(names.transpose(1, 0, 2).reshape(need, len(VISEMES)), np.float32)


def _boundaries(scores: Float32Array, segments: list[Segment]) -> list[float]:
    """Start of each segment in seconds, on the best path through all of them.

    Args:
        scores: Log probabilities [N, V].
        segments: S of them.
    """
    num_hops, num_segments = len(scores), len(segments)
    visemes = np.array([VISEMES.index(segment.viseme) for segment in segments])
    given_s = np.array([segment.start_s for segment in segments])
    best = np.full(num_segments, -np.inf)
    # Before the clip's first hop all that began earlier is over.
    best[max(0, int(np.searchsorted(given_s, 0.0, side="right")) - 1)] = 0.0
    entered = np.zeros((num_hops, num_segments), bool)
    for hop in range(num_hops):
        off_s = hop * HOP_S - given_s
        penalty = np.where(np.abs(off_s) < REACH_S, -0.5 * (off_s / TOLERANCE_S) ** 2, -np.inf)
        enter = np.concatenate([[-np.inf], best[:-1]]) + penalty
        entered[hop] = enter > best
        best = np.maximum(enter, best) + scores[hop][visemes]
    at = int(np.argmax(best))
    starts_s = [segment.start_s for segment in segments]
    for hop in range(num_hops - 1, -1, -1):
        if entered[hop, at]:
            starts_s[at] = hop * HOP_S
            at -= 1
    return [float(v) for v in np.maximum.accumulate(starts_s)]
