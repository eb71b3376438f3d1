"""How `scripts/check_languages.py` finds phonemes in time, and what it makes of lips."""

from __future__ import annotations

import gzip
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from parlante.models.viseme_names import VISEMES
from parlante.training.visemes import Phone
from parlante.types import MOTION_DIM, MOTION_INDEX

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("check_languages")


def test_only_prompts_of_plain_words_are_taken(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = [
        "; Core sounds",
        "vm-intro: Please leave your message after the tone.",
        "beep: [this is a simple beep tone of one second]",
        "press: Press 1 to leave your message after the tone.",
        "yes: Yes.",
    ]
    with gzip.open(tmp_path / "words.txt.gz", "wt") as file:
        file.write("\n".join(lines))
    monkeypatch.setattr(script, "WORDS", str(tmp_path / "words.txt.gz"))
    assert script.texts("en") == {"vm-intro": "Please leave your message after the tone."}
    monkeypatch.setattr(script, "WORDS", str(tmp_path / "none-{0}.gz"))
    with pytest.raises(SystemExit, match="asterisk-core-sounds-it-g722"):
        script.texts("it")


def test_phonemes_are_found_where_the_reader_hears_them(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[m] [a] a pause [m] [u], at times that an even rhythm would not give."""
    heard = ["sil"] * 20 + ["PP"] * 10 + ["AA"] * 40 + ["sil"] * 30 + ["PP"] * 8 + ["UU"] * 12
    names = np.full((len(heard), len(VISEMES)), 0.02, np.float32)
    for hop, name in enumerate(heard):
        names[hop, VISEMES.index(name)] = 0.7
    monkeypatch.setattr(script, "name_hops", lambda audio, reader: names)
    spoken = [Phone(ipa, 0.1 * n, 0.1 * n + 0.1) for n, ipa in enumerate("mamu")]
    prompt = script.align(np.zeros(len(heard) * 160, np.float32), spoken, None)
    assert [phone.ipa for phone in prompt.phones] == list("mamu")
    for phone, (begin_s, end_s) in zip(
        prompt.phones, [(0.2, 0.3), (0.3, 0.7), (1.0, 1.08), (1.08, 1.2)], strict=True
    ):
        assert phone.start_s == pytest.approx(begin_s, abs=0.011)
        assert phone.end_s == pytest.approx(end_s, abs=0.011)
    assert prompt.fit > np.log(0.5)


def test_lips_that_do_what_is_said_are_told_from_lips_that_do_not(script: ModuleType) -> None:
    phones = [Phone("m" if n % 2 else "ˈaː", 0.2 * n, 0.2 * n + 0.2) for n in range(100)]
    right = np.zeros((500, MOTION_DIM), np.float32)
    right[:, MOTION_INDEX["jawOpen"]] = np.tile([0.5] * 5 + [0.0] * 5, 50)
    found = script.judge(right, phones)
    assert found["bilabials"] == 50
    assert found["bilabials_shut"] == 1.0
    assert found["auc_aperture"] == 1.0
    assert found["aperture"] > 0.7
    wrong = script.judge(np.roll(right, 5, axis=0), phones)
    assert wrong["auc_aperture"] < 0.5
    assert wrong["aperture"] < 0.0


def test_mouths_that_stay_open_in_pauses_are_told(script: ModuleType) -> None:
    phones = [Phone("a", 0.0, 1.0), Phone("a", 3.0, 4.0)]
    values = np.zeros((100, MOTION_DIM), np.float32)
    jaw = MOTION_INDEX["jawOpen"]
    values[:25, jaw] = values[75:, jaw] = 0.6
    assert script.pauses_shut(values, phones) == 1.0
    values[40:50, jaw] = 0.6
    assert script.pauses_shut(values, phones) == pytest.approx(1.0 - 10 / 40, abs=0.03)


def test_a_room_adds_echoes_behind_the_voice(script: ModuleType) -> None:
    sound = np.zeros(32_000, np.float32)
    sound[1000:9000] = np.random.default_rng(0).normal(0.0, 0.1, 8000)
    heard = script.played_in(sound, 0.6, 0.0)
    after, later = (float((heard[n : n + 1600] ** 2).mean()) for n in (9600, 9600 + 4800))
    assert np.abs(heard[:1000]).max() < 1e-4
    # 60 dB in 0.6 s: 30 dB in 0.3 s.
    assert 10 * np.log10(after / later) == pytest.approx(30.0, abs=2.0)
    np.testing.assert_array_equal(script.played_in(sound, 0.6, 0.0), heard)
    assert np.abs(script.played_in(20 * sound, 0.6, 0.0)).max() <= 0.951


def test_noise_is_as_far_below_the_voice_as_is_said_and_never_clips(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    voice = (0.1 * np.sin(np.arange(16000) / 20)).astype(np.float32)
    noise = rng.standard_normal(3000).astype(np.float32)
    heard = script.with_noise(voice, noise, 10.0)
    left = heard - voice
    assert 10 * np.log10((voice**2).mean() / (left**2).mean()) == pytest.approx(10.0, abs=0.1)
    assert np.abs(script.with_noise(voice, noise, -30.0)).max() <= 0.951
