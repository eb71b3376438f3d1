"""Phonemes with times -> mouth targets, by dominance coarticulation.

Each phoneme pulls the mouth towards its viseme with a dominance that rises before and falls after
it (Cohen and Massaro, 1993); the mouth is the dominance-weighted mean. Bilabials dominate so
strongly and briefly that the lips always meet; rounding reaches far into its neighbours.
Weights are in the calibration of the renderer: jawOpen 1 opens the lips by 0.5 IOD.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.models.motion_space import MOUTH
from parlante.models.viseme_mouths import TARGETS
from parlante.models.viseme_names import VISEMES, VOWELS
from parlante.types import FRAME_RATE_HZ, Float32Array

# What one looks at leads what one hears: the mouth is this far ahead of the phoneme boundaries,
# on top of the anticipation that the dominance functions bring.
LEAD_S: Final = 0.045
GRID_HZ: Final = 200
SHAPE_GAIN: Final = 1.25
UNKNOWN_VISEME: Final = 255  # label of frames whose phonemes nobody knows


@dataclass(frozen=True, slots=True)
class Phone:
    """One phoneme: IPA symbol, start and end in seconds, and how strongly it is spoken."""

    ipa: str
    start_s: float
    end_s: float
    emphasis: float = 1.0


# (strength, rise before and fall after in 1/s)
_DOMINANCE: Final[dict[str, tuple[float, float, float]]] = {
    "sil": (1.2, 22.0, 22.0),
    "PP": (9.0, 46.0, 44.0),
    "FF": (4.5, 30.0, 28.0),
    "CH": (2.2, 13.0, 16.0),
    "UU": (2.4, 11.0, 14.0),
    "OH": (1.9, 12.0, 15.0),
    "TH": (1.3, 20.0, 20.0),
    "SS": (1.3, 20.0, 20.0),
    "RR": (1.0, 15.0, 16.0),
    "AA": (1.5, 15.0, 16.0),
    "EH": (1.1, 16.0, 17.0),
    "IH": (1.2, 15.0, 16.0),
    "AX": (0.7, 18.0, 18.0),
    "DD": (0.7, 22.0, 22.0),
    "NN": (0.6, 22.0, 22.0),
    "KK": (0.35, 20.0, 20.0),
}

_SYMBOLS: Final[dict[str, str]] = {
    "PP": "p b m ɓ ph",
    "FF": "f v ɱ ʋ",
    "TH": "θ ð",
    "DD": "t d ɾ ʈ ɖ ɗ th",
    "NN": "n l ɲ ʎ ɫ ɭ ɳ ɬ",
    "KK": "k ɡ g x χ h ŋ ɣ ɦ q ʔ ʁ ħ ʕ ʀ ç kh",
    "CH": "tʃ dʒ ʃ ʒ ʂ ʐ tʂ dʐ ɕ tɕ ʑ dʑ",
    "SS": "s z ts dz j ʝ ʲ",
    "RR": "ɹ r ɚ ɝ ɻ ɽ",
    "AA": "a ɑ æ ɐ ʌ ɶ ɑɹ aɪ aʊ",
    "EH": "ɛ e ɘ ɜ",
    "AX": "ə ᵊ ɤ ɵ",
    "IH": "i ɪ ᵻ ɨ ɯ",
    "OH": "o ɔ ɒ œ ø",
    "UU": "u ʊ w y ʏ ʉ ɥ ʷ",
}
_BY_SYMBOL: Final = {s: v for v, symbols in _SYMBOLS.items() for s in symbols.split()}
_IGNORED: Final = str.maketrans("", "", "ˈˌːˑ.|‿̩̯̃̆ʰʱ̥̪̝̞'^~-_0123456789")


def visemes_of(ipa: str) -> list[str]:
    """Visemes that one phoneme passes through, e.g. aɪ -> AA, IH; [] for a mere mark."""
    text = ipa.translate(_IGNORED)
    found: list[str] = []
    while text:
        for length in (2, 1):
            viseme = _BY_SYMBOL.get(text[:length])
            # a diphthong is two vowels, an affricate is one gesture
            if viseme and not (length == 2 and viseme in VOWELS):
                found.append(viseme)
                text = text[length:]
                break
        else:
            text = text[1:]
    return [v for i, v in enumerate(found) if i == 0 or found[i - 1] != v]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one viseme."""

    viseme: str
    start_s: float
    end_s: float
    emphasis: float = 1.0


def segments_of(phones: list[Phone], total_s: float) -> tuple[list[Segment], list[int | None]]:
    """Cut speech into visemes without gaps: what is between phonemes is silence.

    Args:
        phones: In order, without overlap.
        total_s: Length of the sound.

    Returns:
        The segments, and for each the index of its phoneme, None in silence.
    """
    segments: list[Segment] = []
    owners: list[int | None] = []
    now = -0.5
    for owner, phone in enumerate(phones):
        if phone.ipa.startswith("("):  # espeak's notes about a change of language
            continue
        visemes = visemes_of(phone.ipa)
        if not visemes:
            continue
        if phone.start_s - now > 0.06:
            segments.append(Segment("sil", now, phone.start_s))
            owners.append(None)
        step = (phone.end_s - phone.start_s) / len(visemes)
        for index, viseme in enumerate(visemes):
            start = phone.start_s + index * step
            segments.append(Segment(viseme, start, start + step, phone.emphasis))
            owners.append(owner)
        now = phone.end_s
    segments.append(Segment("sil", now, total_s + 0.5))
    owners.append(None)
    return segments, owners


def mouth_targets(phones: list[Phone], num_frames: int, amplitude: float = 1.0) -> Float32Array:
    """Mouth weights per frame.

    Args:
        phones: In order, without overlap.
        num_frames: T.
        amplitude: How wide this speaker articulates; 1 is average.

    Returns:
        float32 [T, 9], order of `MOUTH`; frame f looks at f / 25 s + `LEAD_S`.
    """
    total_s = num_frames / FRAME_RATE_HZ + 0.2
    grid_s = np.arange(int(total_s * GRID_HZ)) / GRID_HZ
    numerator = np.zeros((len(grid_s), len(MOUTH)))
    denominator = np.full((len(grid_s), 1), 1e-3)
    for segment in segments_of(phones, total_s)[0]:
        viseme, start, end = segment.viseme, segment.start_s, segment.end_s
        strength, rise, fall = _DOMINANCE[viseme]
        low, high = np.searchsorted(grid_s, (start - 0.5, end + 0.5))
        time = grid_s[low:high]
        inset = 0.3 * (end - start) / 2
        before, after = start + inset - time, time - end + inset
        distance = np.maximum(0.0, np.maximum(before * rise, after * fall))
        dominance = strength * np.exp(-distance)
        target = TARGETS[VISEMES.index(viseme)].astype(np.float64)
        if viseme in VOWELS:
            target = target * np.where(
                np.arange(len(MOUTH)) == 0, amplitude * segment.emphasis, 1.0
            )
        numerator[low:high] += dominance[:, None] * target
        denominator[low:high, 0] += dominance
    curves = numerator / denominator
    return _sample(curves, num_frames)


def viseme_labels(phones: list[Phone], num_frames: int) -> np.ndarray:
    """Which viseme each frame shows.

    Returns:
        uint8 [T], index into `VISEMES`; where lips meet at any time of a frame, it is a closure.
    """
    now_s = np.arange(num_frames) / FRAME_RATE_HZ + LEAD_S
    labels = np.zeros(num_frames, np.uint8)
    segments, _ = segments_of(phones, num_frames / FRAME_RATE_HZ + 0.2)
    for segment in segments:
        inside = (now_s >= segment.start_s) & (now_s < segment.end_s)
        labels[inside] = VISEMES.index(segment.viseme)
    half_s = 0.35 / FRAME_RATE_HZ
    for segment in segments:
        if segment.viseme == "PP":
            near = (now_s >= segment.start_s - half_s) & (now_s < segment.end_s + half_s)
            labels[near] = VISEMES.index("PP")
    return labels


def _sample(curves: np.ndarray, num_frames: int) -> Float32Array:
    """Take frames from the fine grid; closures keep their peak, the rest is box-averaged."""
    half = int(0.015 * GRID_HZ)
    centre = np.round((np.arange(num_frames) / FRAME_RATE_HZ + LEAD_S) * GRID_HZ).astype(int)
    taps = np.clip(centre[:, None] + np.arange(-half, half + 1), 0, len(curves) - 1)
    frames = curves[taps].mean(axis=1)
    for name in ("mouthClose", "mouthPress", "mouthRollLower"):
        index = MOUTH.index(name)
        frames[:, index] = curves[taps, index].max(axis=1)
    close = MOUTH.index("mouthClose")
    # The mean of neighbours flattens lip shapes more than people's lips do.
    shapes = [MOUTH.index(name) for name in ("mouthFunnel", "mouthPucker", "mouthStretch")]
    frames[:, shapes] = np.clip(frames[:, shapes] * SHAPE_GAIN, 0.0, 1.0)
    # Lips that nearly meet do meet; a weak trace of a closure far from it does nothing.
    frames[:, close] = np.clip((frames[:, close] - 0.35) / 0.4, 0.0, 1.0)
    return np.asarray(frames, dtype=np.float32)
