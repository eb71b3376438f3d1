"""Files of phones, and where phones come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.evaluation.phones import PhoneSpan, load_phones
from parlante.evaluation.speech_source import SpeechSource, find_phones

SILENCE = np.zeros(16_000, np.float32)


def test_phones_lose_stress_and_keep_times(tmp_path: Path) -> None:
    path = tmp_path / "phones.json"
    path.write_text(json.dumps([["AH0", 0, 0.1], ["ˈaɪ", 0.1, 0.3], ["SIL", 0.3, 0.5]]))
    phones = load_phones(path)
    assert phones[:2] == [PhoneSpan("AH", 0.0, 0.1), PhoneSpan("aɪ", 0.1, 0.3)]
    assert [phone.is_silence for phone in phones] == [False, False, True]


@pytest.mark.parametrize(
    "text", ["no json", "[1]", '[["M", 1]]', '[["M", 2, 1]]', '[["M", "a", 1]]', "{}x"]
)
def test_what_is_no_list_of_phones_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "phones.json"
    path.write_text(text)
    with pytest.raises(InvalidInput) as refusal:
        load_phones(path)
    assert refusal.value.reason == "BAD_PHONES"


def test_given_phones_win_in_any_language(tmp_path: Path) -> None:
    path = tmp_path / "phones.json"
    path.write_text('[["m", 0.1, 0.2]]')
    source = SpeechSource(text="hello", phones=path, language="zh")
    spoken = find_phones(tmp_path / "a.mp4", SILENCE, source)
    assert (spoken.origin, [p.symbol for p in spoken.phones]) == ("file", ["m"])


def test_other_languages_have_no_phones_and_say_why(tmp_path: Path) -> None:
    spoken = find_phones(tmp_path / "a.mp4", SILENCE, SpeechSource(language="zh"))
    assert (spoken.origin, spoken.phones) == ("none", [])
    assert "English" in spoken.note
