"""Which phone is spoken when: English, by the acoustic model in pocketsphinx's wheel.

With a transcript, its words are aligned with the sound; without one, words are recognised first
and then aligned like a transcript. Recognising phones without words (pocketsphinx's `allphone`)
was measured on eight real recordings, against the alignment of their transcripts: of the P, B and
M that it gave 53 % were right and it missed 29 %; of those by recognised words 82 % were right and
18 % were missed (2026-11). Those transcripts were put together from what the recogniser wrote and
corrected by guess, not by a listener, which flatters the words. What the
dictionary lacks is spelled by espeak-ng.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pocketsphinx

from parlante.errors import InvalidInput
from parlante.evaluation.clip import SOUND_RATE_HZ
from parlante.evaluation.phones import PhoneSpan
from parlante.types import Float32Array

__all__ = ["Aligned", "align", "recognise"]

_HOP_S: Final = 0.01
_PEAK: Final = 0.9
_BEAMS: Final = (1e-48, 1e-100, 1e-200)  # wider ones are slower and forgive more
# What the dictionary's phones are in the IPA of espeak's American English.
_ARPABET: Final = {
    **{"aɪɚ": "AY ER", "aɪə": "AY AH", "ɔːɹ": "AO R", "oːɹ": "AO R", "ɑːɹ": "AA R", "ɛɹ": "EH R"},
    **{"ɪɹ": "IH R", "ʊɹ": "UH R", "iə": "IY AH", "əl": "AH L", "n̩": "AH N", "tʃ": "CH"},
    **{"dʒ": "JH", "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "ɔɪ": "OY", "ɜː": "ER"},
    **{"iː": "IY", "uː": "UW", "ɑː": "AA", "ɔː": "AO", "æ": "AE", "ʌ": "AH", "ə": "AH"},
    **{"ɚ": "ER", "ɐ": "AH", "ɛ": "EH", "ɪ": "IH", "i": "IY", "ᵻ": "IH", "ʊ": "UH", "u": "UW"},
    **{"ɔ": "AO", "ɑ": "AA", "a": "AA", "o": "OW", "e": "EY", "p": "P", "b": "B", "t": "T"},
    **{"d": "D", "k": "K", "ɡ": "G", "f": "F", "v": "V", "θ": "TH", "ð": "DH", "s": "S"},
    **{"z": "Z", "ʃ": "SH", "ʒ": "ZH", "h": "HH", "m": "M", "n": "N", "ŋ": "NG", "l": "L"},
    **{"ɹ": "R", "r": "R", "j": "Y", "w": "W", "ɾ": "T", "x": "K", "ʔ": "T"},
}
_LONGEST_FIRST: Final = sorted(_ARPABET, key=len, reverse=True)


@dataclass(frozen=True, slots=True)
class Aligned:
    """Phones in order, the words that were aligned, and those that could not be pronounced."""

    phones: list[PhoneSpan]
    words: list[str]
    skipped: list[str]


def recognise(sound: Float32Array) -> str:
    """Write down English speech, with as many mistakes as a small model of 2015 makes.

    Args:
        sound: float32 [S] at 16 kHz.
    """
    decoder = pocketsphinx.Decoder(loglevel="FATAL", cmn="batch")
    _decode(decoder, _pcm(sound))
    hypothesis = decoder.hyp()
    return str(hypothesis.hypstr) if hypothesis else ""


def align(sound: Float32Array, text: str) -> Aligned:
    """Find when each phone of English words is spoken.

    Args:
        sound: float32 [S] at 16 kHz.
        text: What is said, in order; punctuation and case do not matter.

    Raises:
        InvalidInput: TRANSCRIPT_EMPTY or TRANSCRIPT_MISMATCH.
    """
    pcm = _pcm(sound)
    for beam in _BEAMS:
        # Best paths through the lattice may give a phone fewer frames than it has states
        # (https://github.com/cmusphinx/pocketsphinx/pull/500); the search's own do not.
        decoder = pocketsphinx.Decoder(
            loglevel="FATAL",
            cmn="batch",
            bestpath=False,
            lm=None,
            beam=beam,
            wbeam=beam,
            pbeam=beam,
        )
        words, skipped = _known_words(decoder, text)
        if not words:
            raise InvalidInput(
                "the transcript holds no English word; give what is said in the video",
                reason="TRANSCRIPT_EMPTY",
                field="text",
            )
        decoder.set_align_text(" ".join(words))
        _decode(decoder, pcm)
        if decoder.hyp() is not None:
            return Aligned(list(_phones(decoder, pcm)), words, skipped)
    raise InvalidInput(
        f"the {len(words)} words of the transcript do not fit the sound; give all that is "
        "said, in order, and nothing else",
        reason="TRANSCRIPT_MISMATCH",
        field="text",
    )


def _phones(decoder: Any, pcm: bytes) -> Iterator[PhoneSpan]:
    """Align phones within the words that the first pass found."""
    segments = [(s.word, s.start_frame * _HOP_S, (s.end_frame + 1) * _HOP_S) for s in decoder.seg()]
    try:
        decoder.set_alignment()
        _decode(decoder, pcm)
    except RuntimeError:  # some words are too short for their phones: share each word out evenly
        for word, start_s, end_s in segments:
            symbols = (decoder.lookup_word(word) or "SIL").split()
            step_s = (end_s - start_s) / len(symbols)
            for index, symbol in enumerate(symbols):
                at_s = start_s + index * step_s
                yield PhoneSpan(symbol, at_s, at_s + step_s)
        return
    for word in decoder.get_alignment():
        for phone in word:
            start_s = phone.start * _HOP_S
            yield PhoneSpan(str(phone.name), start_s, start_s + phone.duration * _HOP_S)


def _decode(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, no_search=False, full_utt=True)
    decoder.end_utt()


def _pcm(sound: Float32Array) -> bytes:
    """Give 16-bit samples as loud as they go: the model was trained on speech at full scale."""
    gain = _PEAK / max(float(np.abs(sound).max(initial=0.0)), 1e-4)
    # A tail of silence: the last phone must have somewhere to end.
    padded = np.concatenate([sound * gain, np.zeros(SOUND_RATE_HZ // 10, np.float32)])
    # Digital silence has no logarithm.
    noise = np.random.default_rng(0).normal(0.0, 2.0, len(padded))
    return bytes(np.round(padded * 32767.0 + noise).clip(-32768, 32767).astype("<i2").tobytes())


def _known_words(decoder: Any, text: str) -> tuple[list[str], list[str]]:
    """Words that the decoder can say, after adding what it lacks; and those nobody could."""
    words: list[str] = []
    skipped: list[str] = []
    plain = text.lower().replace("\u2019", "'")
    for word in re.findall(r"[a-z0-9][a-z0-9']*", plain):
        if decoder.lookup_word(word) is None:
            symbols = _spell(word)
            if not symbols:
                skipped.append(word)
                continue
            decoder.add_word(word, " ".join(symbols), update=True)
        words.append(word)
    return words, skipped


def _spell(word: str) -> list[str]:
    """ARPAbet of a word that is in no dictionary, by the rules of espeak-ng."""
    from parlante.training.espeak import Espeak, Voice

    phones = Espeak().speak(word, Voice()).phones
    return [symbol for phone in phones for symbol in _to_arpabet(phone.ipa)]


def _to_arpabet(ipa: str) -> list[str]:
    rest = ipa.translate(str.maketrans("", "", "ˈˌ"))
    symbols: list[str] = []
    while rest:
        match = next((known for known in _LONGEST_FIRST if rest.startswith(known)), None)
        if match is None:
            rest = rest[1:]
            continue
        symbols += _ARPABET[match].split()
        rest = rest[len(match) :]
    return symbols
