"""What `scripts/judge_motion.py` takes in, and that its portraits really speak."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from parlante.evaluation.phones import PhoneSpan
from parlante.evaluation.speech_source import SpokenPhones
from parlante.evaluation.sync import load_reference_model
from parlante.evaluation.tracking import MEASURES
from parlante.types import MOTION_DIM

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("judge_motion")


def test_a_folder_without_recordings_is_named(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(SystemExit, match="no recordings"):
        script.voices_in(tmp_path)
    (tmp_path / "b.WAV").touch()
    (tmp_path / "a.flac").touch()
    assert [path.name for path in script.voices_in(tmp_path)] == ["a.flac", "b.WAV"]


def test_phones_beside_a_recording_are_taken(script: ModuleType, tmp_path: Path) -> None:
    voice, sound = tmp_path / "a.wav", np.zeros(16_000, np.float32)
    assert script.phones_of(voice, sound, "it").origin == "none"
    voice.with_suffix(".json").write_text(json.dumps([["p", 0.1, 0.2]]))
    spoken = script.phones_of(voice, sound, "it")
    assert (spoken.origin, spoken.phones[0].symbol) == ("file", "p")


def test_what_is_seen_is_judged(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Lips that open on [a] and shut on [p], as a tracker would see them."""
    seeds = []
    apertures = np.tile([0.2] * 5 + [0.0] * 5, 10)

    def move(sound: object, *, seed: int) -> SimpleNamespace:
        seeds.append(seed)
        return SimpleNamespace(motion=np.zeros((100, MOTION_DIM), np.float32))

    studio = SimpleNamespace(
        move=move,
        draw=lambda motion: iter(motion),
        tracker=SimpleNamespace(track=lambda pictures: [None for _ in pictures]),
    )
    rows = iter([dict.fromkeys(MEASURES, 0.5) | {"aperture": a} for a in apertures])
    monkeypatch.setattr(script, "measure_landmarks", lambda face: next(rows))
    phones = [
        PhoneSpan("p" if index % 2 else "a", 0.2 * index + 0.06, 0.2 * index + 0.18)
        for index in range(20)
    ]
    spoken = SpokenPhones(phones=phones, origin="file")
    noise = np.random.default_rng(0).normal(0, 3000, 64_000).astype(np.int16)
    judgement = script.perform(
        studio, tmp_path / "a on b", script.Sound(noise), 7, load_reference_model(), spoken
    )
    assert seeds == [7]
    assert judgement.name == "a on b"
    assert judgement.aligned.bilabials == 10
    assert judgement.aligned.shut_share == 1.0
    assert judgement.aligned.auc_aperture == 1.0
    # There is no video to take pictures from, and a report all the same.
    report = script.make_report([judgement], load_reference_model(), block_frames=2, refused={})
    page = script.write_report([judgement], report, tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {"report.json", "overview.png", "a on b_lips.png", "a on b_head.png"}
    assert "a on b_sheet.png" not in written
    assert "a on b" in page.read_text()
