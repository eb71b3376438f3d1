"""Show and measure what sound and controls do to a face, from the sound to the finished picture.

Usage: python scripts/motion_gallery.py --output DIR [--portrait FILE] [--weights FILE]
       [--only sheets|table]
Writes contact sheets (PNG), and controls.json and controls.md: a table of what each control was
set to and what came out. Rendered faces are measured by the encoder's tracker, which knows nothing
of the generator. The voice is espeak-ng's, the portrait the demonstration's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from control_table import DEFINITIONS, TABLE
from motion_studio import (
    DISTANCES,
    GAZES_DEG,
    POSES_DEG,
    SENTENCE,
    USER,
    Studio,
    decode_portrait,
    frame_at,
    gaze_controls,
    pose_controls,
    say,
    say_for,
    silence,
)

from parlante.cli.sample import sample_portrait
from parlante.evaluation.controls import (
    Row,
    table_lines,
)
from parlante.evaluation.sheets import Cell, draw_sheet
from parlante.training.espeak import Voice
from parlante.training.visemes import Phone
from parlante.types import (
    EMOTIONS,
    FRAME_RATE_HZ,
    MOTION_INDEX,
    Controls,
    Driving,
    Float32Array,
    Uint8Array,
)

GERMAN: Final = Voice(language="de", rate_wpm=110)  # has all six vowels
MIXTURE: Final = {"happy": 0.5, "surprised": 0.5}


def middle_of(phone: Phone) -> int:
    """Give the frame at the middle of a phone."""
    return frame_at((phone.start_s + phone.end_s) / 2)


def strip(studio: Studio, motion: Float32Array, frames: Sequence[int], prefix: str) -> list[Cell]:
    """Make one row of whole pictures, labelled with their time."""
    pictures = studio.render(motion[list(frames)])
    return [
        Cell(f"{prefix} {frame / FRAME_RATE_HZ:.2f} s".strip(), picture)
        for frame, picture in zip(frames, pictures, strict=True)
    ]


def sheet_vowels(studio: Studio, path: Path) -> None:
    """Six vowels: the face and the mouth at the middle of each."""
    names = "aeiouy"
    sound = say(*(f"[[d'{name}:]]" for name in names), voice=GERMAN)
    vowels = [phone for phone in sound.phones if not phone.ipa.startswith("d")]
    motion = studio.move(sound).motion
    pictures = studio.render(motion[[middle_of(phone) for phone in vowels]])
    faces = [Cell(f"[{n}]", studio.face_of(p)) for n, p in zip(names, pictures, strict=True)]
    mouths = [Cell(f"[{n}]", studio.mouth_of(p)) for n, p in zip(names, pictures, strict=True)]
    draw_sheet("Vowels, at the middle of each", [faces, mouths], path, tile_px=220)


def sheet_closures(studio: Studio, path: Path) -> None:
    """Frames around the middle of p, b, m, f and v between two a."""
    names = "pbmfv"
    sound = say(*(f"[[a{name}'a:]]" for name in names), voice=GERMAN)
    consonants = [phone for phone in sound.phones if phone.ipa in names]
    motion = studio.move(sound).motion
    rows = []
    for name, phone in zip(names, consonants, strict=True):
        at = middle_of(phone)
        pictures = studio.render(motion[at - 4 : at + 4])
        rows.append(
            [
                Cell(f"[{name}] {40 * offset:+d} ms", studio.mouth_of(picture))
                for offset, picture in zip(range(-4, 4), pictures, strict=True)
            ]
        )
    draw_sheet("Closures: consecutive frames, 0 = middle of the consonant", rows, path, tile_px=170)


def sheet_emotions(studio: Studio, path: Path) -> None:
    """The same words in every emotion: in an open vowel, in a closure, and after the end."""
    sound = say(SENTENCE)
    times = {
        "vowel": middle_of(next(p for p in sound.phones if p.ipa.endswith("aɪ"))),
        "[m]": middle_of(next(p for p in sound.phones if p.ipa == "m")),
        "after": frame_at(sound.end_s + 0.6),
    }
    rows: list[list[Cell]] = []
    for name in EMOTIONS:
        rows.append([])
        for weight in (0.5, 1.0):
            motion = studio.move(sound, Controls(emotion={name: weight})).motion
            pictures = studio.render(motion[list(times.values())])
            for label, picture in zip(times, pictures, strict=True):
                rows[-1].append(Cell(f"{name} {weight:g}, {label}", studio.face_of(picture)))
    rows.append([])
    for emotion in (MIXTURE, {"sad": 0.5, "angry": 0.5}):
        motion = studio.move(sound, Controls(emotion=emotion)).motion
        mixture = "+".join(emotion)
        for label, picture in zip(times, studio.render(motion[list(times.values())]), strict=True):
            rows[-1].append(Cell(f"{mixture}, {label}", studio.face_of(picture)))
    title = "Emotions at weight 0.5 (left) and 1 (right), same words, same seed; mixtures of 0.5"
    draw_sheet(title, rows, path, tile_px=190)


def sheet_gaze(studio: Studio, path: Path) -> None:
    """Nine directions of gaze, after two seconds of silence."""
    cells = []
    for yaw, pitch in GAZES_DEG:
        motion = studio.move(silence(2.4), gaze_controls(yaw, pitch)).motion
        cells.append(
            Cell(f"yaw {yaw:+g}, pitch {pitch:+g}", studio.eyes_of(last_open(studio, motion)))
        )
    title = "Gaze, degrees: yaw + = image right, pitch + = down"
    draw_sheet(title, [cells[row : row + 3] for row in (0, 3, 6)], path, tile_px=280)


def last_open(studio: Studio, motion: Float32Array) -> Uint8Array:
    """Render the last frame in which the eyes are open."""
    is_open = motion[:, MOTION_INDEX["eyeBlinkLeft"]] < 0.1
    at = int(np.flatnonzero(is_open)[-1]) if is_open.any() else -1
    return studio.render(motion[at][None])[0]


def sheet_distance(studio: Studio, path: Path) -> None:
    """Three distances."""
    cells = []
    for distance in DISTANCES:
        motion = studio.move(silence(2.0), Controls(head_distance=distance, head_motion=0.0)).motion
        cells.append(Cell(f"distance {distance:g}", last_open(studio, motion)))
    draw_sheet("Head distance", [cells], path, tile_px=320)


def sheet_poses(studio: Studio, path: Path) -> None:
    """The head held in six poses."""
    cells = []
    for yaw, pitch, roll in POSES_DEG:
        motion = studio.move(silence(2.0), pose_controls(yaw, pitch, roll)).motion
        label = f"yaw {yaw:+g}, pitch {pitch:+g}, roll {roll:+g}"
        cells.append(Cell(label, last_open(studio, motion)))
    draw_sheet("Head pose held, degrees", [cells[:3], cells[3:]], path, tile_px=280)


def sheet_driving(studio: Studio, path: Path) -> None:
    """The same speech drives all, the expression, or the pose."""
    sound = say(SENTENCE)
    frames = [frame_at(t) for t in np.linspace(0.6, sound.end_s, 7)]
    rows = [
        strip(studio, studio.move(sound, Controls(driving=driving)).motion, frames, driving.value)
        for driving in Driving
    ]
    draw_sheet("Driving: the same speech and seed", rows, path, tile_px=200)


def sheet_idle(studio: Studio, path: Path) -> None:
    """Ten seconds of silence."""
    motion = studio.move(silence(10.0)).motion
    cells = strip(studio, motion, HALF_SECONDS, "")
    draw_sheet("Idle: silence", _wrap(cells, 5), path, tile_px=230)


def sheet_listening(studio: Studio, path: Path) -> None:
    """Ten seconds of listening to a user."""
    motion = studio.move(silence(10.0), user=say_for(10.0, USER)).motion
    cells = strip(studio, motion, HALF_SECONDS, "")
    draw_sheet("Listening: own silence, the user speaks", _wrap(cells, 5), path, tile_px=230)


def sheet_seeds(studio: Studio, path: Path) -> None:
    """Five seeds of the same sentence."""
    sound = say(SENTENCE)
    frames = [frame_at(t) for t in np.linspace(0.6, sound.end_s + 0.5, 8)]
    rows = [
        strip(studio, studio.move(sound, seed=seed).motion, frames, f"seed {seed},")
        for seed in range(5)
    ]
    draw_sheet("Five performances of the same sentence", rows, path, tile_px=180)


HALF_SECONDS: Final = [frame_at(0.25 + 0.5 * step) for step in range(20)]


def _wrap(cells: list[Cell], columns: int) -> list[list[Cell]]:
    return [cells[start : start + columns] for start in range(0, len(cells), columns)]


SHEETS: Final[dict[str, Callable[[Studio, Path], None]]] = {
    "vowels": sheet_vowels,
    "closures": sheet_closures,
    "emotions": sheet_emotions,
    "gaze": sheet_gaze,
    "distance": sheet_distance,
    "head_pose": sheet_poses,
    "driving": sheet_driving,
    "idle": sheet_idle,
    "listening": sheet_listening,
    "seeds": sheet_seeds,
}


def write_table(rows: list[Row], bundle_digest: str, folder: Path) -> None:
    """Write controls.json and controls.md."""
    report = {
        "bundle_digest": bundle_digest,
        "definitions": DEFINITIONS,
        "rows": [asdict(row) for row in rows],
    }
    (folder / "controls.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = ["# What controls do", "", *table_lines(rows), "", "## Definitions", ""]
    lines += [f"- {name}: {text}." for name, text in DEFINITIONS.items()]
    (folder / "controls.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Make the sheets and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--portrait", type=Path, metavar="FILE")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the motion model")
    parser.add_argument("--only", choices=("sheets", "table"))
    parser.add_argument("--sheet", action="append", choices=tuple(SHEETS), help="only these")
    arguments = parser.parse_args()
    data = arguments.portrait.read_bytes() if arguments.portrait else sample_portrait()
    portrait = decode_portrait(data, str(arguments.portrait))
    arguments.output.mkdir(parents=True, exist_ok=True)
    studio = Studio(portrait, arguments.weights)
    start_s = time.perf_counter()

    def tell(what: str) -> None:
        print(f"{time.perf_counter() - start_s:5.0f} s  {what}", file=sys.stderr)

    if arguments.only != "table":
        for name in arguments.sheet or SHEETS:
            tell(f"sheet {name}")
            SHEETS[name](studio, arguments.output / f"{name}.png")
    if arguments.only != "sheets":
        rows: list[Row] = []
        for measure in TABLE:
            tell((measure.__doc__ or measure.__name__).strip())
            rows += measure(studio)
            write_table(rows, studio.engine.bundle_digest, arguments.output)
        print("\n".join(table_lines(rows)))
    asyncio.run(studio.engine.aclose())


if __name__ == "__main__":
    main()
