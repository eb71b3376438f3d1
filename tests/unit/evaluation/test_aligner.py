"""Phones of synthetic speech, whose true times are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr

from parlante.errors import InvalidInput
from parlante.evaluation.speech_source import SpeechSource, find_phones
from parlante.types import Float32Array

pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")

from parlante.evaluation.aligner import _to_arpabet, align
from parlante.training.espeak import Espeak, Voice
from parlante.training.visemes import Phone

TEXT = "My brother bought five big apples. Maybe we should do that more often, Pamela."


def speak(text: str) -> tuple[Float32Array, list[Phone]]:
    speech = Espeak().speak(text, Voice(rate_wpm=150))
    samples = soxr.resample(speech.samples / 32768.0, speech.sample_rate_hz, 16_000)
    return samples.astype(np.float32), speech.phones


@pytest.fixture(scope="module")
def said() -> tuple[Float32Array, list[Phone]]:
    return speak(TEXT)


def test_phones_are_found_where_they_are_spoken(
    said: tuple[Float32Array, list[Phone]],
) -> None:
    sound, truth = said
    found = [p.start_s for p in align(sound, TEXT).phones if p.symbol in ("P", "B", "M")]
    wanted = [p.start_s for p in truth if p.ipa in ("p", "b", "m")]
    assert len(found) == len(wanted) == 10
    errors = np.abs(np.array(found) - np.array(wanted))
    assert np.median(errors) < 0.03
    assert errors.max() < 0.15


def test_words_that_no_dictionary_has_are_spelled() -> None:
    text = "Please call Pamelloo."
    aligned = align(speak(text)[0], text)
    assert aligned.words == ["please", "call", "pamelloo"]
    assert [p.symbol for p in aligned.phones if not p.is_silence][-2:] == ["L", "UW"]
    assert aligned.skipped == []


def test_ipa_becomes_arpabet_longest_first() -> None:
    assert [_to_arpabet(ipa) for ipa in ("tʃ", "ˈaɪ", "ɑːɹ", "əl", "!")] == [
        ["CH"],
        ["AY"],
        ["AA", "R"],
        ["AH", "L"],
        [],
    ]


def test_a_transcript_of_something_else_is_refused() -> None:
    with pytest.raises(InvalidInput) as refusal:
        align(np.zeros(8000, np.float32), TEXT)
    assert refusal.value.reason == "TRANSCRIPT_MISMATCH"
    with pytest.raises(InvalidInput) as refusal:
        align(np.zeros(8000, np.float32), "... !")
    assert refusal.value.reason == "TRANSCRIPT_EMPTY"


def test_a_transcript_beside_the_video_is_found(
    said: tuple[Float32Array, list[Phone]], tmp_path: Path
) -> None:
    (tmp_path / "clip.txt").write_text(TEXT)
    spoken = find_phones(tmp_path / "clip.mp4", said[0], SpeechSource())
    assert (spoken.origin, spoken.words.split()[:2]) == ("transcript", ["my", "brother"])


@pytest.mark.slow
def test_without_a_transcript_words_are_recognised(
    said: tuple[Float32Array, list[Phone]], tmp_path: Path
) -> None:
    spoken = find_phones(tmp_path / "clip.mp4", said[0], SpeechSource())
    assert spoken.origin == "recognised"
    assert spoken.phones
    assert "recognised" in spoken.note
