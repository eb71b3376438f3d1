"""Synthetic speakers: who speaks in a clip, and how.

`Speakers.draw` gives one speaker as an endless iterator of utterances; a clip takes what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from parlante.training.espeak import Espeak, Voice
from parlante.training.neural_voices import NeuralVoices
from parlante.training.recorded_voices import HELD_OUT_VOICES, TRAINING_VOICES, RecordedVoices
from parlante.training.run_config import bad_config
from parlante.training.speech import Speech
from parlante.training.sung_speech import sing
from parlante.training.texts import pick_language, pick_text


class Speakers(Protocol):
    """A population of speakers."""

    def draw(self, rng: np.random.Generator) -> Iterator[Speech]:
        """Draw one speaker, who says one thing after another without end."""
        ...


class EspeakSpeakers:
    """Formant synthesis: any language, voice, rate and pitch."""

    def __init__(self) -> None:
        self._espeak = Espeak()
        self._variants = [v for v in self._espeak.variants() if "obo" not in v]  # no robots

    def draw(self, rng: np.random.Generator) -> Iterator[Speech]:
        """Draw one speaker, who says one thing after another without end."""
        language = pick_language(rng)
        variant = "" if rng.random() < 0.1 else str(rng.choice(self._variants))
        voice = Voice(
            language=language,
            variant=variant,
            rate_wpm=int(rng.uniform(110, 230)),
            pitch=int(rng.uniform(15, 90)),
            pitch_range=int(rng.uniform(20, 99)),
        )
        return self._talk(voice, rng)

    def _talk(self, voice: Voice, rng: np.random.Generator) -> Iterator[Speech]:
        while True:
            text = pick_text(voice.language, rng)
            if voice.language == "ja-romaji":
                yield self._espeak.speak(indonesian(text), replace(voice, language="id"))
            else:
                yield self._espeak.speak(text, voice)


def indonesian(romaji: str) -> str:
    """Spell romanised Japanese for the voice whose letters sound most like it."""
    return romaji.replace("sh", "sy").replace("ch", "c").replace("ou", "oo")


class MadeToSing:
    """Speakers of other populations, with throats of other sizes, who sing what they would say."""

    def __init__(self) -> None:
        voices = NeuralVoices({"hibari": 3.0, "piper": 2.0})
        self._others = (RecordedVoices(TRAINING_VOICES), EspeakSpeakers(), voices)

    def draw(self, rng: np.random.Generator) -> Iterator[Speech]:
        """Draw one speaker, who sings one thing after another without end."""
        speaker = self._others[int(rng.integers(len(self._others)))]
        size = float(np.exp(rng.normal(0.0, 0.08)))
        for speech in speaker.draw(rng):
            yield sing(speech, rng, size=size)


_POPULATIONS: Final[dict[str, Callable[[], Speakers]]] = {
    "espeak": EspeakSpeakers,
    "recorded": lambda: RecordedVoices(TRAINING_VOICES),
    "neural": lambda: NeuralVoices({"kokoro": 1.0}),
    "light_neural": lambda: NeuralVoices({"hibari": 3.0, "piper": 2.0}),
    "sung": lambda: NeuralVoices({"song": 1.0}),
    "vocoded": MadeToSing,
    "held_out": lambda: RecordedVoices(HELD_OUT_VOICES),
}
POPULATIONS: Final = tuple(_POPULATIONS)


def check_populations(name: str, clips: Mapping[str, int]) -> None:
    """Refuse a field of a config that has clips by population, if one cannot be made.

    Raises:
        InvalidInput: A population is unknown, or has less than one clip.
    """
    for population, count in clips.items():
        if population not in _POPULATIONS:
            raise bad_config(name, f"of {POPULATIONS}", population)
        if count < 1:
            raise bad_config(name, "clips by population, at least 1 of each", count)


def open_speakers(population: str) -> Speakers:
    """Start the engines of a population.

    Args:
        population: "espeak"; "recorded", voices of flite and festival; "neural" and "light_neural",
            those of `neural_voices`; "sung", one of them that sings; "vocoded", speakers who
            are made to sing; or "held_out", two recorded ones that training never hears.

    Raises:
        ValueError: There is no such population.
        EngineMissing: flite, festival or the extra `voices` is not installed.
    """
    if population not in _POPULATIONS:
        raise ValueError(f"speakers must be one of {POPULATIONS}; got {population!r}")
    return _POPULATIONS[population]()
