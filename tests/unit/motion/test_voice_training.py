"""What voices are learnt against, and the run that learns them."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from parlante.errors import InvalidInput
from parlante.models.voice_net import VoiceNetConfig, load_voice_net
from parlante.training import music, sung_speech
from parlante.training.speech import EngineMissing, Speech
from parlante.training.synthesizer import play_electronic
from parlante.training.visemes import Phone
from parlante.training.voices import run
from parlante.training.voices.batches import QUIET_WEIGHT, draw_voices
from parlante.training.voices.config import VoicesConfig, read_voices_config
from parlante.training.voices.run import DEFAULT_CONFIG, train_voices
from parlante.training.voices.sounds import Clips, Sounds

TINY = VoicesConfig(
    model=VoiceNetConfig(narrow=6, width=8, hidden=5),
    spoken={"espeak": 2},
    num_sampled=0,
    num_electronic=2,
    num_other=1,
    num_steps=4,
    batch_size=3,
    num_frames=60,
    warmup_steps=1,
    checkpoint_steps=2,
)
CHOIRS = {52, 53, 54, 85, 91}


def test_pieces_follow_from_the_seed_and_have_no_choirs() -> None:
    programs = set()
    for seed in range(40):
        piece = music.write_piece(4.0, np.random.default_rng(seed))
        programs |= {m.program for t in piece.tracks for m in t if m.type == "program_change"}
        again = music.write_piece(4.0, np.random.default_rng(seed))
        assert [list(track) for track in piece.tracks] == [list(track) for track in again.tracks]
    assert len(programs) > 20
    assert not programs & CHOIRS


def test_electronic_music_sounds_for_as_long_as_the_piece() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sound = play_electronic(music.write_piece(4.0, rng), rng)
        assert 2.0 < len(sound) / 16_000 < 13.0
        assert np.abs(sound).max() == pytest.approx(0.5, abs=1e-3)
        assert np.isfinite(sound).all()


def test_missing_player_is_told(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineMissing, match="fluidsynth"):
        music.play(music.write_piece(1.0, np.random.default_rng(0)))


def test_sung_speech_holds_vowels_on_a_melody() -> None:
    pytest.importorskip("pyworld", reason="the extra voices is not installed")
    time_s = np.arange(16_000) / 16_000
    samples = (9000 * np.sign(np.sin(2 * np.pi * 120 * time_s))).astype(np.int16)
    phones = [Phone("m", 0.1, 0.2), Phone("a", 0.2, 0.5), Phone("n", 0.5, 0.6)]
    song = sung_speech.sing(Speech(samples, 16_000, phones), np.random.default_rng(1))
    assert len(song.samples) > 1.2 * len(samples)
    assert [phone.ipa for phone in song.phones] == ["m", "a", "n"]
    assert song.phones[1].end_s - song.phones[1].start_s > 0.35
    assert all(a.end_s <= b.start_s + 1e-6 for a, b in itertools.pairwise(song.phones))


def _clips(level: float, voice: int) -> Clips:
    return Clips(np.full((2, 3200, 40), level, np.float16), np.full((2, 800), voice, np.uint8))


def test_batches_want_voices_and_let_quiet_pass() -> None:
    sounds = Sounds(spoken=(_clips(5.0, 1),), sung=(), music=_clips(4.0, 0), other=_clips(0.0, 0))
    batch = draw_voices(sounds, 64, 60, np.random.default_rng(3))
    assert batch.features.shape == (64, 4 + 240, 42)
    assert np.isfinite(batch.features).all()
    late = batch.weight[:, 10:]
    assert set(np.unique(late)) <= {np.float32(QUIET_WEIGHT), np.float32(1.0)}
    assert (batch.wanted[:, 10:][late < 1.0] == 1.0).all()  # quiet is no music
    loud = batch.wanted[:, 10:][late == 1.0]
    assert 0.2 < loud.mean() < 0.9  # music is none, voices are


def test_run_that_was_cut_off_ends_as_one_that_was_not(tmp_path, monkeypatch) -> None:
    cache = tmp_path / "cache"
    whole = train_voices(TINY, tmp_path / "whole", cache)
    draw = run.draw_voices

    def cut(*args):
        if (tmp_path / "cut" / "checkpoint.pt").exists():
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(run, "draw_voices", cut)
    with pytest.raises(KeyboardInterrupt):
        train_voices(TINY, tmp_path / "cut", cache)
    monkeypatch.setattr(run, "draw_voices", draw)
    resumed = train_voices(TINY, tmp_path / "cut", cache)
    ended, expected = (load_voice_net(path)[0].state_dict() for path in (resumed, whole))
    assert all(torch.equal(ended[name], tensor) for name, tensor in expected.items())


def test_other_size_in_the_folder_is_refused(tmp_path) -> None:
    train_voices(dataclasses.replace(TINY, num_steps=1), tmp_path / "run", tmp_path / "cache")
    wider = dataclasses.replace(TINY, model=VoiceNetConfig(narrow=6, width=8, hidden=7))
    with pytest.raises(InvalidInput, match="another model"):
        train_voices(wider, tmp_path / "run", tmp_path / "cache")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"spoken": {}}, "spoken must be"),
        ({"spoken": {"nobody": 1}}, "spoken must be"),
        ({"sung": {"sung": 0}}, "sung must be"),
        ({"num_steps": 0}, "num_steps must be"),
        ({"num_frames": 5}, "num_frames must be"),
        ({"size": 1}, "no config"),
    ],
)
def test_bad_configs_are_refused(tmp_path, change, told) -> None:
    path = tmp_path / "config.json"
    fields = {"spoken": {"espeak": 2}}
    path.write_text(json.dumps(fields), "utf-8")
    read_voices_config(path)
    path.write_text(json.dumps(fields | change), "utf-8")
    with pytest.raises(InvalidInput, match=told):
        read_voices_config(path)


def test_packaged_config_is_of_the_packaged_weights() -> None:
    assert read_voices_config(DEFAULT_CONFIG).model == load_voice_net()[0].config
