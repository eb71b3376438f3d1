"""Judge motion weights by what is seen: voices on portraits, rendered, tracked, nothing stored.

Usage: python scripts/judge_motion.py --voices FOLDER --portraits FILE... [--weights FILE]
           [--output REPORT] [--language it]

Every recording of the folder is spoken by every portrait, each portrait with a seed of its own, as
`parlante talk` does it, and judged as `parlante eval motion` would judge the videos: the same
table, and with --output the same report. A .txt beside a recording is its transcript, a .json its
phones ([symbol, start_s, end_s]); without them English words are recognised, and other languages
have no phones. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from motion_studio import Sound, Studio, decode_portrait

from parlante.evaluation.motion import Judgement, judge
from parlante.evaluation.plots import write_report
from parlante.evaluation.report import make_report, table_lines
from parlante.evaluation.speech_source import SpeechSource, SpokenPhones, find_phones
from parlante.evaluation.sync import SyncModel, load_reference_model
from parlante.evaluation.tracking import measure_landmarks, tracked_curves
from parlante.media.audio_file import read_recording
from parlante.models.motion_dit import BLOCK_FRAMES
from parlante.types import FRAME_RATE_HZ, MODEL_SAMPLE_RATE_HZ, Float32Array

SUFFIXES: Final = (".wav", ".flac", ".ogg", ".mp3", ".opus")


def voices_in(folder: Path) -> list[Path]:
    """Give the recordings of a folder, in order."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SystemExit(f"{folder}: no recordings ({', '.join(SUFFIXES)})")
    return found


def phones_of(voice: Path, sound: Float32Array, language: str) -> SpokenPhones:
    """Find the phones of a recording: from a file, a transcript, or what is recognised."""
    beside = voice.with_suffix(".json")
    source = SpeechSource(phones=beside if beside.is_file() else None, language=language)
    return find_phones(voice, sound, source)


def perform(
    studio: Studio, voice: Path, pcm: Sound, seed: int, model: SyncModel, spoken: SpokenPhones
) -> Judgement:
    """Let a portrait speak a recording, look at it, and judge what is seen."""
    motion = studio.move(pcm, seed=seed).motion
    faces = studio.tracker.track(studio.draw(motion))
    rows = [measure_landmarks(face) for face in faces]
    curves = tracked_curves(np.arange(len(rows)) / FRAME_RATE_HZ, rows)
    sound = pcm.samples.astype(np.float32) / 32768.0
    return judge(voice, curves, sound, model, spoken=spoken, block_frames=BLOCK_FRAMES)


def judge_all(
    voices: list[Path], portraits: list[Path], weights: Path | None, language: str
) -> Iterator[Judgement]:
    """Judge every recording on every portrait."""
    model, begun_s = load_reference_model(), time.perf_counter()
    sounds = {path: Sound(read_recording(path).pcm16(MODEL_SAMPLE_RATE_HZ)) for path in voices}
    phones = {
        path: phones_of(path, sound.samples.astype(np.float32) / 32768.0, language)
        for path, sound in sounds.items()
    }
    for seed, portrait in enumerate(portraits):
        studio = Studio(decode_portrait(portrait.read_bytes(), portrait.name), weights)
        for voice in voices:
            name = voice.with_name(f"{voice.stem}-{portrait.stem}")
            yield perform(studio, name, sounds[voice], seed, model, phones[voice])
            now_s = time.perf_counter() - begun_s
            print(f"{now_s:5.0f} s  {name.name}", file=sys.stderr)
        asyncio.run(studio.engine.aclose())


def main() -> None:
    """Print the table, and write the report if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--voices", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--portraits", type=Path, required=True, nargs="+", metavar="FILE")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the motion model")
    parser.add_argument("--output", type=Path, metavar="REPORT")
    parser.add_argument("--language", default="en", help="of the recordings")
    arguments = parser.parse_args()
    judgements = list(
        judge_all(
            voices_in(arguments.voices),
            arguments.portraits,
            arguments.weights,
            arguments.language,
        )
    )
    report = make_report(judgements, load_reference_model(), block_frames=BLOCK_FRAMES, refused={})
    print("\n".join(table_lines(report)))
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        print(f"report: {write_report(judgements, report, arguments.output)}")
    print(json.dumps({"pooled": report["pooled"], "control": report["control"]}))


if __name__ == "__main__":
    main()
