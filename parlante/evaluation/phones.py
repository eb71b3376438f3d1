"""Phones in time, and the kinds of phones that lips show."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from parlante.errors import InvalidInput

__all__ = ["BILABIALS", "MARKS", "OPEN_VOWELS", "ROUNDED", "SPREAD", "PhoneSpan", "load_phones"]

# ARPAbet in capitals, IPA in small letters: no symbol is in both with another meaning.
BILABIALS: Final = frozenset({"P", "B", "M", "p", "b", "m", "ɓ"})
OPEN_VOWELS: Final = frozenset(
    {"AA", "AE", "AH", "AO", "AY", "AW", "EH", *("a", "ɑ", "æ", "ɐ", "ʌ", "ɔ", "aɪ", "aʊ", "ɛ")}
)
ROUNDED: Final = frozenset(
    {"UW", "OW", "W", "UH", "OY", "SH", "CH", "JH", *("u", "o", "oʊ", "w", "ʊ", "y", "ʃ", "tʃ")}
)
SPREAD: Final = frozenset({"IY", "EY", "IH", "S", "Z", "AE", *("i", "e", "eɪ", "ɪ", "s", "z")})
_SILENCES: Final = frozenset({"", "SIL", "<SIL>", "SP", "SPN", "+SPN+", "+NSN+", "PAU", "_"})
# Of stress, tone, length and breath: they change no symbol.
MARKS: Final = str.maketrans("", "", "0123456789ˈˌːˑʰ")


@dataclass(frozen=True, slots=True)
class PhoneSpan:
    """One phone: ARPAbet or IPA symbol without stress, start and end in seconds."""

    symbol: str
    start_s: float
    end_s: float

    @property
    def is_silence(self) -> bool:
        """True for pauses and noises."""
        return self.symbol.upper() in _SILENCES


def load_phones(path: Path) -> list[PhoneSpan]:
    """Read a JSON list of [symbol, start_s, end_s], as any aligner can give it.

    Raises:
        InvalidInput: FILE_NOT_FOUND or BAD_PHONES.
    """
    if not path.is_file():
        raise InvalidInput(
            f"no phones at {path}; check the path", reason="FILE_NOT_FOUND", field="phones"
        )
    try:
        return [_phone(item) for item in json.loads(path.read_text("utf-8"))]
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"{path.name} must hold a JSON list of [symbol, start_s, end_s]; {error}",
            reason="BAD_PHONES",
            field="phones",
        ) from error


def _phone(item: Any) -> PhoneSpan:
    symbol, start_s, end_s = item
    if not (math.isfinite(start_s) and math.isfinite(end_s) and 0 <= start_s <= end_s):
        raise ValueError(f"got {item!r}")
    return PhoneSpan(str(symbol).translate(MARKS), float(start_s), float(end_s))
