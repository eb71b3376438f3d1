"""espeak-ng through its C library: speech together with exact phoneme times.

The library and its voices come as a Python package (espeakng-loader); nothing is installed on the
system. The library keeps global state, so there is one `Espeak` per process; what it says repeats
to the bit only from process to process, when everything is said in the same order.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from parlante.training.speech import Speech
from parlante.training.visemes import Phone
from parlante.types import Int16Array

_AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
_INIT_PHONEME_EVENTS_IPA: Final = 1 | 2
_EVENT_END: Final = 0
_EVENT_PHONEME: Final = 7
_CHARS_UTF8: Final = 1
_SSML_OFF_PHONEMES_ON: Final = 0x100
_RATE, _PITCH, _RANGE = 1, 3, 4
_TIED_IPA: Final = 0x02 | 0x80 | ord("^") << 8


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How to speak: language, timbre variant, words per minute, pitch and its range [0, 99]."""

    language: str = "en-us"
    variant: str = ""
    rate_wpm: int = 165
    pitch: int = 50
    pitch_range: int = 50


class Espeak:
    """The synthesiser."""

    def __init__(self) -> None:
        import espeakng_loader  # what trains on a corpus that is there does without it

        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        self._c_library = ctypes.CDLL(None)
        self._data = Path(espeakng_loader.get_data_path())
        data = str(self._data.parent)
        self.sample_rate_hz: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), _INIT_PHONEME_EVENTS_IPA
        )
        if self.sample_rate_hz <= 0:
            raise RuntimeError(f"espeak-ng did not start with the voices in {data}")
        self._chunks: list[Int16Array] = []
        self._marks: list[tuple[int, str]] = []
        self._callback = _Callback(self._collect)  # kept: the library holds only a raw pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def variants(self) -> list[str]:
        """Names of the timbre variants that the library takes, sorted."""
        folder = self._data / "voices" / "!v"
        names = sorted(path.name for path in folder.iterdir())
        return [n for n in names if self._library.espeak_SetVoiceByName(f"en+{n}".encode()) == 0]

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if count > 0 and samples:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events and events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                text = bytes(event.id.string).split(b"\0")[0].decode("utf8", "replace")
                self._marks.append((event.sample, text))
            index += 1
        return 0

    def phonemize(self, text: str, language: str) -> str:
        """Write text in IPA with stress marks, ties (^) within a phoneme, and its punctuation.

        Raises:
            ValueError: espeak-ng has no such voice.
        """
        if self._library.espeak_SetVoiceByName(language.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {language!r}")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        pieces = re.split(r"([,.;:!?]+\s*)", text)
        return "".join(
            piece if index % 2 else self._ipa(piece) for index, piece in enumerate(pieces)
        )

    def _ipa(self, clause: str) -> str:
        rest = ctypes.c_char_p(clause.encode())
        pointer = ctypes.pointer(rest)
        parts: list[str] = []
        while pointer.contents.value:
            ipa = self._library.espeak_TextToPhonemes(pointer, _CHARS_UTF8, _TIED_IPA)
            parts.append(ipa.decode() if ipa else "")
        lead = " " if clause[:1].isspace() else ""
        # (en) marks a change of language, which is not to be spoken
        return lead + re.sub(r"\([a-z-]+\)", "", " ".join(parts))

    def speak(self, text: str, voice: Voice) -> Speech:
        """Synthesise `text`, which may hold espeak phonemes in [[...]].

        Raises:
            ValueError: espeak-ng has no such voice.
        """
        self._chunks.clear()
        self._marks.clear()
        self._c_library.srand(1)  # its breath noise comes from rand()
        name = voice.language + (f"+{voice.variant}" if voice.variant else "")
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {name!r}")
        for parameter, value in (
            (_RATE, voice.rate_wpm),
            (_PITCH, voice.pitch),
            (_RANGE, voice.pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self._library.espeak_Synth(
            data,
            ctypes.c_size_t(len(data) + 1),
            0,
            1,
            0,
            _CHARS_UTF8 | _SSML_OFF_PHONEMES_ON,
            None,
            None,
        )
        self._library.espeak_Synchronize()
        samples = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        return Speech(samples, self.sample_rate_hz, self._phones(len(samples)))

    def _phones(self, num_samples: int) -> list[Phone]:
        rate = self.sample_rate_hz
        ends = [sample for sample, _ in self._marks[1:]] + [num_samples]
        return [
            Phone(text, start / rate, end / rate)
            for (start, text), end in zip(self._marks, ends, strict=True)
            if text and end > start
        ]
