"""Where the phones of a video come from: a file, a transcript, or what is recognised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parlante.errors import InvalidInput
from parlante.evaluation.phones import PhoneSpan, load_phones
from parlante.types import Float32Array

__all__ = ["SpeechSource", "SpokenPhones", "find_phones"]

_NO_ENGLISH: Final = "phone events are skipped: phones are found in English only; give --phones"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechSource:
    """What is known of the speech in a video.

    Attributes:
        text: A transcript, "" for none.
        phones: A JSON file of phones; it wins over all else.
        language: IETF tag; only English can be aligned.
    """

    text: str = ""
    phones: Path | None = None
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenPhones:
    """Phones and how they were found.

    Attributes:
        phones: In order; empty where none could be found.
        origin: "file", "transcript", "recognised" or "none".
        words: What was aligned.
        note: What the reader of a report should know.
    """

    phones: list[PhoneSpan]
    origin: str
    words: str = ""
    note: str = ""


def find_phones(video: Path, sound: Float32Array, source: SpeechSource) -> SpokenPhones:
    """Find the phones of a video; a ``.txt`` beside it is its transcript.

    Args:
        video: Its path, for the transcript beside it.
        sound: float32 [S] at 16 kHz.
        source: What is known.

    Raises:
        InvalidInput: The file of phones or the given transcript cannot be used.
    """
    if source.phones is not None:
        return SpokenPhones(phones=load_phones(source.phones), origin="file")
    if not source.language.lower().startswith("en"):
        return SpokenPhones(phones=[], origin="none", note=_NO_ENGLISH)
    # On demand: with a file of phones, or in another language, it need not be installed.
    from parlante.evaluation.aligner import align, recognise

    beside = video.with_suffix(".txt")
    text = source.text or (beside.read_text("utf-8") if beside.is_file() else "")
    if text.strip():
        aligned = align(sound, text)
        skipped = ", ".join(aligned.skipped)
        note = f"left out, as nobody knows how to say them: {skipped}" if skipped else ""
        words = " ".join(aligned.words)
        return SpokenPhones(phones=aligned.phones, origin="transcript", words=words, note=note)
    words = recognise(sound)
    try:
        phones = align(sound, words).phones
    except InvalidInput:
        note = "phone events are skipped: no English words were recognised; give --text"
        return SpokenPhones(phones=[], origin="none", words=words, note=note)
    note = "recognised, not transcribed: about one P, B or M in five is wrong"
    return SpokenPhones(phones=phones, origin="recognised", words=words, note=note)
