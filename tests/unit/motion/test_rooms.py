"""How a voice sounds in a room, and the run that teaches the reading of sound to hear it there."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from parlante.errors import InvalidInput
from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_weights import load_weights, save_weights
from parlante.training.augment import hear_twice
from parlante.training.rooms import batches, run
from parlante.training.rooms.batches import collect, draw_pairs
from parlante.training.rooms.config import RoomsConfig, read_rooms_config
from parlante.training.rooms.noises import add_noise, draw_noise, through_microphone
from parlante.training.rooms.responses import draw_response, in_room
from parlante.training.rooms.run import DEFAULT_CONFIG, differences, train_rooms
from parlante.training.takes import CLIP_SAMPLES, Take

TINY = RoomsConfig(
    spoken={"espeak": 3},
    num_rooms=2,
    num_steps=4,
    batch_size=4,
    num_frames=20,
    warmup_steps=1,
    checkpoint_steps=2,
)
SMALL = MotionDiTConfig(
    width=16, num_layers=1, num_heads=2, feed_forward=1, audio_width=16, past_frames=4
)


def spoken(seed: int) -> Take:
    """Half a minute of bursts with a pitch, and pauses."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(CLIP_SAMPLES) / 16_000
    speaks = np.repeat(rng.random(CLIP_SAMPLES // 3200) < 0.6, 3200)
    return Take((0.3 * np.sign(np.sin(900 * time_s)) * speaks).astype(np.float32), [], 1.0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache without takes, which are not espeak's but `spoken`."""
    monkeypatch.setattr(
        batches, "load_or_record", lambda _, count, seed, __: map(spoken, range(seed, seed + count))
    )
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def start(tmp_path):
    """Random weights of a small network."""
    torch.manual_seed(3)
    model = MotionDiT(SMALL)
    path = tmp_path / "start.safetensors"
    save_weights(model.state_dict(), SMALL, path)
    return path


def test_the_voice_itself_stays_first_and_echoes_die_away() -> None:
    for seed in range(12):
        response = draw_response(np.random.default_rng(seed))
        energy = response.astype(np.float64) ** 2
        assert response[0] == 1.0
        assert 10**-1.2 - 1e-3 < energy[1:].sum() < 10**0.5 + 1e-3  # -5 to 12 dB, the voice is 1
        half = len(energy) // 2
        assert energy[half:].sum() < 0.05 * energy[1:half].sum()


def test_a_room_delays_nothing_and_fills_the_pause_after_a_sound() -> None:
    sound = np.zeros(16_000, np.float32)
    sound[4000:6000] = 0.5
    heard = in_room(sound, draw_response(np.random.default_rng(1)))
    assert heard.shape == sound.shape
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard[:4000], 0.0, atol=1e-4)
    np.testing.assert_allclose(heard[4000:4030], 0.5, atol=1e-4)
    assert np.abs(heard[7000:]).max() > 1e-3


def test_noise_is_as_far_below_the_voice_while_it_speaks_and_goes_on_in_its_pauses() -> None:
    take = spoken(1).audio
    pause = np.convolve(take == 0.0, np.ones(3200), "same") > 3199
    for seed in range(12):
        rng = np.random.default_rng(seed)
        noise = draw_noise(len(take), [spoken(2).audio] if seed % 2 else [], rng)
        assert noise.dtype == np.float32
        assert np.isfinite(noise).all()
        assert noise.std() == pytest.approx(1.0, abs=1e-3)
        added = add_noise(take, noise, rng) - take
        below_db = 20 * np.log10(take[take != 0.0].std() / added.std())
        assert 3.5 < below_db < 34.5
        assert added[pause].std() > 0.1 * added.std()


def test_a_poor_microphone_clips_or_is_quiet_and_coarse_now_and_then() -> None:
    sound = np.linspace(-1.5, 1.5, 2001, dtype=np.float32)
    peaks, levels = [], []
    for seed in range(100):
        out = through_microphone(sound, np.random.default_rng(seed))
        assert out.dtype == np.float32
        peaks.append(float(np.mean(np.abs(out) == np.abs(out).max())))
        levels.append(float(np.abs(out).max()))
    assert 2 <= sum(share > 0.1 for share in peaks) <= 25
    assert 8 <= sum(level < 0.52 for level in levels) <= 45
    assert max(levels) <= 1.0


def test_who_is_spared_hears_what_the_teacher_hears() -> None:
    log_mel = np.random.default_rng(0).uniform(0, 8, (50, 40)).astype(np.float32)
    well, badly = hear_twice(log_mel, log_mel, np.random.default_rng(4), spare=True)
    np.testing.assert_array_equal(well, badly)
    apart = [
        np.abs(np.log(near + 1e-9) - np.log(far + 1e-9)).max()
        for near, far in (
            hear_twice(log_mel, log_mel, np.random.default_rng(seed), spare=False)
            for seed in range(6)
        )
    ]
    assert max(apart) > 1.0


def test_pairs_are_kept_and_follow_from_the_seed(cache, monkeypatch) -> None:
    heard = collect(TINY, cache)
    assert heard.shape[:2] == (3, 3)
    # In a room pauses are louder than close by.
    assert np.percentile(heard[:, 1:], 20) > np.percentile(heard[:, 0], 20)
    monkeypatch.setattr(batches, "load_or_record", None)  # all is in the cache
    np.testing.assert_array_equal(collect(TINY, cache), heard)
    one, two = (
        draw_pairs(heard, np.arange(3), TINY, 4, np.random.default_rng(9)) for _ in range(2)
    )
    assert one.well.shape == one.badly.shape
    assert len(one.look) == 4
    for name in ("well", "badly", "look"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    near = dataclasses.replace(TINY, room_share=0.0, spared_share=1.0)
    alike = draw_pairs(heard, np.arange(3), near, 4, np.random.default_rng(9))
    assert torch.equal(alike.well, alike.badly)


def test_a_run_changes_the_audio_encoder_alone_and_goes_on_where_it_stopped(
    cache, start, tmp_path, monkeypatch
) -> None:
    whole = train_rooms(TINY, start, tmp_path / "whole", cache)
    kept = run.save_checkpoint

    def break_off(state, path) -> None:
        kept(state, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "save_checkpoint", break_off)
    with pytest.raises(KeyboardInterrupt):
        train_rooms(TINY, start, tmp_path / "broken", cache)
    monkeypatch.setattr(run, "save_checkpoint", kept)
    again = train_rooms(TINY, start, tmp_path / "broken", cache)
    first, one, two = (load_weights(path)[0].state_dict() for path in (start, whole, again))
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
        moved = not torch.equal(tensor, first[name])
        assert not moved or name.startswith("audio_encoder."), name
    assert any(not torch.equal(one[name], first[name]) for name in one)


def test_a_pupil_comes_nearer_to_its_teacher(cache, start, tmp_path) -> None:
    config = dataclasses.replace(TINY, num_steps=60, learning_rate=5e-3, average_decay=0.9)
    path = train_rooms(config, start, tmp_path / "out", cache)
    teacher, pupil = load_weights(start)[0], load_weights(path)[0]
    heard = collect(config, cache)
    pairs = draw_pairs(heard, np.arange(3), config, 16, np.random.default_rng(100))
    with torch.no_grad():
        before, after = (float(differences(teacher, net, pairs)[0]) for net in (teacher, pupil))
    assert after < 0.9 * before


def test_the_packaged_config_is_one_and_bad_ones_are_refused(tmp_path) -> None:
    assert read_rooms_config(DEFAULT_CONFIG).num_rooms >= 1
    bad = tmp_path / "bad.json"
    for fields, name in (
        ({"room_share": 1.2}, "room_share"),
        ({"noisy_share": -0.1}, "noisy_share"),
        ({"close_share": 1.1}, "close_share"),
        ({"spoken": {"nobody": 3}}, "spoken"),
        ({"spoken": {"espeak": 1}}, "spoken"),
        ({"batch_size": 3}, "batch_size"),
        ({"num_frames": 0}, "num_frames"),
        ({"num_steps": 0}, "num_steps"),
    ):
        bad.write_text(json.dumps(fields))
        with pytest.raises(InvalidInput) as caught:
            read_rooms_config(bad)
        assert caught.value.field == name
