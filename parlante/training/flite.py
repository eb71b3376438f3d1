"""flite: speech of small voices built from recordings of people, with exact phone times.

The program comes from Debian (`apt-get install flite`), its voices compiled in; all are free to
use, also for commercial purposes.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parlante.training.phone_sets import to_ipa
from parlante.training.speech import Speech, find_program, phones_from_ends, read_wave

FLITE_VOICES: Final = ("kal16", "awb", "rms", "slt")


@dataclass(frozen=True, slots=True, kw_only=True)
class FliteVoice:
    """How to speak: voice, duration factor, pitch factor, and spread of pitch in Hz."""

    name: str
    stretch: float = 1.0
    pitch: float = 1.0
    pitch_spread_hz: float = 15.0


_DIPHONE_PITCH_HZ: Final = 105.0  # of kal16, which takes its pitch in Hz, not as a factor


class Flite:
    """The synthesiser.

    Raises:
        EngineMissing: flite is not installed.
    """

    def __init__(self) -> None:
        self._program = find_program("flite", "flite")

    def speak(self, text: str, voice: FliteVoice) -> Speech:
        """Synthesise English text.

        Raises:
            ValueError: flite has no such voice.
        """
        if voice.name not in FLITE_VOICES:
            raise ValueError(f"flite has the voices {FLITE_VOICES}; got {voice.name!r}")
        features = {
            "duration_stretch": voice.stretch,
            "f0_shift": voice.pitch,
            "int_f0_target_mean": _DIPHONE_PITCH_HZ * voice.pitch,
            "int_f0_target_stddev": voice.pitch_spread_hz,
        }
        if voice.name != "kal16":  # the others have their own pitch, which only shifts
            del features["int_f0_target_mean"], features["int_f0_target_stddev"]
        settings = [part for k, v in features.items() for part in ("--setf", f"{k}={v:.3f}")]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            command = [self._program, "-voice", voice.name, *settings, "-psdur", "-o", str(path)]
            done = subprocess.run(
                [*command, "-t", text], check=True, capture_output=True, encoding="utf-8"
            )
            samples, rate_hz = read_wave(path)
        ends = (mark.rsplit(":", 1) for mark in done.stdout.split())
        phones = phones_from_ends((to_ipa(name, "english"), float(end)) for name, end in ends)
        return Speech(samples, rate_hz, phones)
