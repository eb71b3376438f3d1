"""Music in which nobody sings: drawn pieces, played by FluidSynth with sampled instruments.

To learn what a voice is takes a great deal that is none. Tones that are put together from sines
sound like no record; sampled instruments with chords, a bass, drums and a tune do. A piece is
written as MIDI and played by the `fluidsynth` command with a General MIDI sound font (Debian:
`fluidsynth`, `fluid-soundfont-gm`).
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mido
import numpy as np

from parlante.training.speech import EngineMissing, find_program
from parlante.types import MODEL_SAMPLE_RATE_HZ, Float32Array

__all__ = ["DRUMS", "SOUND_FONT", "play", "write_piece"]

SOUND_FONT: Final = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
_TICKS: Final = 480  # of a beat
DRUMS: Final = 9  # the channel that General MIDI gives to drums
_SCALES: Final = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10))
_CHORDS: Final = (
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (5, 3, 0, 4),
    (0, 3, 0, 4),
    (1, 4, 0, 0),
    (0, 6, 5, 4),
)
# General MIDI programs, from 0. Choirs and voices (52 to 54, 85, 91) are left out.
_PADS: Final = (*range(16, 24), *range(40, 46), 48, 49, 50, 51, 88, 89, 90, 92, 93, 94, 95)
_COMPING: Final = (*range(0, 8), 11, *range(24, 32), 46, 62, 63, 104, 106, 107)
_BASSES: Final = tuple(range(32, 40))
_LEADS: Final = (
    *range(0, 16), 21, 22, 25, 26, 27, 28, 29, 30, 40, 41, 42, 46, *range(56, 80), 80, 81, 82, 83,
    84, 86, 87, 104, 105, 107, 108, 109, 110, 111, 114,
)  # fmt: skip
_KICK, _SNARE, _HAT, _CRASH = (35, 36), (38, 40, 37, 39), (42, 44, 46, 51, 70), 49
_VOLUME, _EXPRESSION = 7, 11


@dataclass(frozen=True, slots=True)
class _Harmony:
    """Key, scale, the degrees of a bar's chords in turn, and beats of a bar."""

    root: int
    scale: tuple[int, ...]
    degrees: tuple[int, ...]
    beats: int

    def pitch(self, degree: int, octave: int) -> int:
        """MIDI pitch of a degree of the scale, which may be any whole number."""
        turns, step = divmod(degree, len(self.scale))
        return self.root + self.scale[step] + 12 * (octave + turns)

    def degree_at(self, beat: float) -> int:
        """Degree on which the chord of a beat stands."""
        return self.degrees[int(beat // self.beats) % len(self.degrees)]


class _Track:
    """One instrument: events in beats, sorted when written."""

    def __init__(self, channel: int, program: int | None, volume: int) -> None:
        self._channel = channel
        self._events: list[tuple[float, int, mido.Message]] = []
        if program is not None:
            self._add(0.0, mido.Message("program_change", channel=channel, program=program))
        self.control(0.0, _VOLUME, volume)

    def note(self, beat: float, length: float, pitch: int, velocity: float) -> None:
        """Play a note; velocity in (0, 127]."""
        pitch = int(np.clip(pitch, 20, 108))
        loud = int(np.clip(velocity, 1, 127))
        on = mido.Message("note_on", channel=self._channel, note=pitch, velocity=loud)
        off = mido.Message("note_off", channel=self._channel, note=pitch, velocity=0)
        self._add(beat, on, 2)
        self._add(beat + length, off, 1)

    def control(self, beat: float, number: int, value: float) -> None:
        """Move a controller, value in [0, 127]."""
        value = int(np.clip(value, 0, 127))
        self._add(
            beat, mido.Message("control_change", channel=self._channel, control=number, value=value)
        )

    def bend(self, beat: float, semitones: float) -> None:
        """Bend the pitch, at most two semitones."""
        pitch = int(np.clip(semitones / 2.0 * 8191, -8191, 8191))
        self._add(beat, mido.Message("pitchwheel", channel=self._channel, pitch=pitch))

    def _add(self, beat: float, message: mido.Message, rank: int = 0) -> None:
        self._events.append((max(0.0, beat), rank, message))

    def to_midi(self) -> mido.MidiTrack:
        """The events with times between them."""
        track, now = mido.MidiTrack(), 0
        for beat, _, message in sorted(self._events, key=lambda event: event[:2]):
            tick = round(beat * _TICKS)
            track.append(message.copy(time=max(0, tick - now)))
            now = max(now, tick)
        return track


def write_piece(seconds: float, rng: np.random.Generator) -> mido.MidiFile:
    """Draw a piece of music.

    Args:
        seconds: Its length.
        rng: Source of randomness.

    Returns:
        One to five instruments, among them no voice.
    """
    tempo_bpm = float(rng.uniform(55, 165))
    num_beats = seconds * tempo_bpm / 60.0
    harmony = _Harmony(
        int(rng.integers(0, 12)),
        _SCALES[int(rng.integers(len(_SCALES)))],
        _CHORDS[int(rng.integers(len(_CHORDS)))],
        int(rng.choice((3, 4, 4, 4))),
    )
    shares = {_pad: 0.5, _comping: 0.55, _bass: 0.6, _drums: 0.55, _tune: 0.7}
    parts = [part for part, share in shares.items() if rng.random() < share] or [_tune]
    if rng.random() < 0.15:
        parts = [_tune]  # somebody practises alone: most like a voice
    file = mido.MidiFile(ticks_per_beat=_TICKS)
    beginning = mido.MidiTrack()
    beginning.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo_bpm)))
    file.tracks.append(beginning)
    for channel, part in enumerate(parts):
        file.tracks.append(part(channel, harmony, num_beats, rng).to_midi())
    return file


def play(piece: mido.MidiFile, sound_font: Path = SOUND_FONT) -> Float32Array:
    """Play a piece.

    Args:
        piece: Any MIDI file.
        sound_font: Of General MIDI.

    Returns:
        float32 [S] at 16 kHz, one channel, in [-1, 1].

    Raises:
        EngineMissing: The command or the sound font is not installed.
    """
    command = find_program("fluidsynth", "fluidsynth fluid-soundfont-gm")
    if not sound_font.is_file():
        raise EngineMissing(f"{sound_font} is not there: apt-get install fluid-soundfont-gm")
    with tempfile.TemporaryDirectory() as folder:
        midi, raw = Path(folder) / "piece.mid", Path(folder) / "piece.raw"
        piece.save(midi)
        subprocess.run(
            [
                command, "-niq", "-g", "0.6", "-r", str(MODEL_SAMPLE_RATE_HZ),
                "-T", "raw", "-O", "s16", "-F", str(raw), str(sound_font), str(midi),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        both = np.fromfile(raw, "<i2").reshape(-1, 2)
    return np.asarray(both.mean(axis=1) / 32768.0, np.float32)


def _pad(channel: int, harmony: _Harmony, num_beats: float, rng: np.random.Generator) -> _Track:
    """Held chords that swell."""
    track = _Track(channel, int(rng.choice(_PADS)), int(rng.uniform(50, 100)))
    hold = float(rng.choice((0.5, 1.0, 1.0, 2.0))) * harmony.beats
    for beat in np.arange(0.0, num_beats, hold):
        degree = harmony.degree_at(beat)
        for third in (0, 2, 4, 6)[: int(rng.integers(2, 5))]:
            track.note(beat, hold * 0.98, harmony.pitch(degree + third, 4), rng.uniform(45, 90))
        for step in np.linspace(0.0, 1.0, 6):
            swell = 80 + 40 * np.sin(np.pi * step) * rng.random()
            track.control(beat + step * hold, _EXPRESSION, swell)
    return track


def _comping(channel: int, harmony: _Harmony, num_beats: float, rng: np.random.Generator) -> _Track:
    """Broken or struck chords in a rhythm that comes back."""
    track = _Track(channel, int(rng.choice(_COMPING)), int(rng.uniform(60, 110)))
    step = float(rng.choice((0.25, 0.5, 0.5, 1.0)))
    rhythm = rng.random(round(harmony.beats / step)) < rng.uniform(0.4, 1.0)
    broken = rng.random() < 0.5
    for index, beat in enumerate(np.arange(0.0, num_beats, step)):
        if not rhythm[index % len(rhythm)]:
            continue
        degree, loud = harmony.degree_at(beat), rng.uniform(50, 100)
        thirds = ((0, 2, 4, 7)[index % 4],) if broken else (0, 2, 4)
        for third in thirds:
            track.note(beat, step * rng.uniform(0.5, 1.5), harmony.pitch(degree + third, 4), loud)
    return track


def _bass(channel: int, harmony: _Harmony, num_beats: float, rng: np.random.Generator) -> _Track:
    """Roots and fifths below."""
    track = _Track(channel, int(rng.choice(_BASSES)), int(rng.uniform(70, 115)))
    step = float(rng.choice((0.5, 1.0, 2.0)))
    for index, beat in enumerate(np.arange(0.0, num_beats, step)):
        degree = harmony.degree_at(beat) + (4 if index % 4 == 2 and rng.random() < 0.4 else 0)
        track.note(beat, step * 0.9, harmony.pitch(degree, 2), rng.uniform(70, 110))
    return track


def _drums(channel: int, harmony: _Harmony, num_beats: float, rng: np.random.Generator) -> _Track:
    """Kick, snare, hat."""
    track = _Track(DRUMS, None, int(rng.uniform(60, 120)))
    kick, snare, hat = (int(rng.choice(which)) for which in (_KICK, _SNARE, _HAT))
    extra = rng.random(16) < 0.2
    for index, beat in enumerate(np.arange(0.0, num_beats, 0.25)):
        place = index % (4 * harmony.beats)
        if place % 8 == 0 or extra[place % 16]:
            track.note(beat, 0.2, kick, rng.uniform(80, 120))
        if place % 8 == 4:
            track.note(beat, 0.2, snare, rng.uniform(70, 120))
        if place % 2 == 0 and rng.random() < 0.9:
            track.note(beat, 0.1, hat, rng.uniform(40, 90))
        if index % 64 == 0 and rng.random() < 0.3:
            track.note(beat, 1.0, _CRASH, rng.uniform(60, 100))
    return track


def _tune(channel: int, harmony: _Harmony, num_beats: float, rng: np.random.Generator) -> _Track:
    """A tune with vibrato, slides and rests, as a singer's would have them."""
    track = _Track(channel, int(rng.choice(_LEADS)), int(rng.uniform(75, 127)))
    octave, degree, beat = int(rng.choice((4, 5, 5, 6))), 0, float(rng.uniform(0.0, 4.0))
    vibrato, slides = rng.uniform(0.0, 0.5), rng.random() < 0.4
    lengths = (0.25, 0.5, 0.5, 1.0, 1.0, 2.0, 4.0)
    weights = rng.dirichlet(np.ones(len(lengths)))
    while beat < num_beats:
        length = float(rng.choice(lengths, p=weights))
        if rng.random() < 0.12:
            beat += length
            continue
        degree = int(np.clip(degree + rng.integers(-3, 4), -4, 9))
        pitch = harmony.pitch(degree + harmony.degree_at(beat) * int(rng.random() < 0.3), octave)
        track.note(beat, length * rng.uniform(0.7, 1.02), pitch, rng.uniform(60, 115))
        _shape(track, beat, length, vibrato, slides, rng)
        beat += length
    return track


def _shape(
    track: _Track,
    beat: float,
    length: float,
    vibrato: float,
    slides: bool,
    rng: np.random.Generator,
) -> None:
    """Slide into a note, let it tremble and swell."""
    start = -float(rng.uniform(0.3, 1.5)) if slides and rng.random() < 0.4 else 0.0
    rate = float(rng.uniform(2.0, 4.5))  # per beat
    steps = np.arange(0.0, length, 0.04)
    for step in steps:
        slide = start * max(0.0, 1.0 - step / 0.15)
        tremble = vibrato * min(1.0, step / 0.5) * np.sin(2 * np.pi * rate * step)
        track.bend(beat + step, slide + tremble)
    peak = rng.random()
    for step in steps[::5]:
        swell = 95 + 30 * np.sin(np.pi * min(1.0, step / length)) * peak
        track.control(beat + step, _EXPRESSION, swell)
