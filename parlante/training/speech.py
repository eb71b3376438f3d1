"""What a synthesiser gives: sound, and who says what when."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parlante.training.visemes import Phone
from parlante.types import Int16Array


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """Synthesised speech: int16 [S] at `sample_rate_hz`, and its phonemes in order."""

    samples: Int16Array
    sample_rate_hz: int
    phones: list[Phone]


class EngineMissing(RuntimeError):
    """A speech engine or one of its voices is not installed."""


def find_program(name: str, packages: str) -> str:
    """Path of an installed program.

    Raises:
        EngineMissing: It is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise EngineMissing(
            f"the training voices need the program {name}; it is not on the path; "
            f"install it: apt-get install {packages}"
        )
    return path


def read_wave(path: Path) -> tuple[Int16Array, int]:
    """Mono 16-bit wav file -> int16 [S] and its rate."""
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16), file.getframerate()


def phones_from_ends(ends: Iterable[tuple[str, float]]) -> list[Phone]:
    """(IPA or "" for silence, end in seconds), in order without gaps -> phonemes."""
    phones: list[Phone] = []
    now_s = 0.0
    for ipa, end_s in ends:
        if ipa and end_s > now_s:
            phones.append(Phone(ipa, now_s, end_s))
        now_s = end_s
    return phones
