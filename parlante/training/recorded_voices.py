"""Synthetic speakers whose sound comes from recordings of people, unlike espeak-ng's formants.

Formant synthesis teaches vowels well, but its P, B and M do not sound as people's do; these voices
do. Two voices are kept out of training, to judge on voices that the model never heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.training.festival import Festival, FestivalVoice
from parlante.training.flite import Flite, FliteVoice
from parlante.training.phrases import pick_phrase
from parlante.training.speech import Speech

_BATCH: Final = 9  # utterances that festival says at once: about one clip


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedVoice:
    """A voice of flite or festival, its language, and how often it is drawn."""

    engine: str
    name: str
    language: str
    weight: float = 1.0


TRAINING_VOICES: Final = (
    RecordedVoice(engine="flite", name="kal16", language="english", weight=1.5),
    RecordedVoice(engine="flite", name="awb", language="english", weight=2.0),
    RecordedVoice(engine="flite", name="slt", language="english", weight=2.0),
    RecordedVoice(engine="festival", name="ked_diphone", language="english", weight=2.0),
    RecordedVoice(engine="festival", name="cmu_us_slt_arctic_hts", language="english"),
    RecordedVoice(engine="festival", name="lp_diphone", language="italian", weight=1.5),
    RecordedVoice(engine="festival", name="czech_ph", language="czech", weight=0.7),
    RecordedVoice(engine="festival", name="czech_dita", language="czech", weight=1.5),
    RecordedVoice(engine="festival", name="czech_krb", language="czech", weight=0.7),
    RecordedVoice(engine="festival", name="suo_fi_lj_diphone", language="finnish", weight=1.2),
    RecordedVoice(engine="festival", name="hy_fi_mv_diphone", language="finnish", weight=0.7),
    RecordedVoice(engine="festival", name="upc_ca_ona_hts", language="catalan", weight=1.2),
    RecordedVoice(engine="festival", name="msu_ru_nsh_clunits", language="russian"),
    RecordedVoice(engine="festival", name="hindi_NSK_diphone", language="hindi", weight=0.6),
)
HELD_OUT_VOICES: Final = (
    RecordedVoice(engine="flite", name="rms", language="english"),
    RecordedVoice(engine="festival", name="pc_diphone", language="italian"),
)


class RecordedVoices:
    """Draws speakers from a roster.

    Raises:
        EngineMissing: flite or festival is not installed.
    """

    def __init__(self, roster: tuple[RecordedVoice, ...]) -> None:
        self._roster = roster
        self._flite = Flite()
        self._festival = Festival()

    def draw(self, rng: np.random.Generator) -> Iterator[Speech]:
        """Draw one speaker, who says one thing after another without end."""
        weights = np.array([voice.weight for voice in self._roster])
        voice = self._roster[rng.choice(len(weights), p=weights / weights.sum())]
        stretch = float(np.clip(np.exp(rng.normal(0.08, 0.18)), 0.75, 1.7))
        if voice.engine == "flite":
            return self._flite_speech(voice, stretch, rng)
        return self._festival_speech(voice, stretch, rng)

    def _flite_speech(
        self, voice: RecordedVoice, stretch: float, rng: np.random.Generator
    ) -> Iterator[Speech]:
        style = FliteVoice(
            name=voice.name,
            stretch=stretch,
            pitch=float(np.exp(rng.normal(0.1, 0.2))),
            pitch_spread_hz=float(rng.uniform(8, 30)),
        )
        while True:
            yield self._flite.speak(pick_phrase(voice.language, rng), style)

    def _festival_speech(
        self, voice: RecordedVoice, stretch: float, rng: np.random.Generator
    ) -> Iterator[Speech]:
        style = FestivalVoice(
            name=voice.name,
            stretch=stretch,
            pitch_hz=float(np.exp(rng.normal(4.75, 0.2))),
            pitch_spread_hz=float(rng.uniform(8, 30)),
        )
        while True:
            texts = [pick_phrase(voice.language, rng) for _ in range(_BATCH)]
            yield from self._festival.speak(texts, style)
