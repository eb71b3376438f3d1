"""Music is no voice: the mouth rests while nobody is heard to speak or sing."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from parlante.errors import FailedPrecondition
from parlante.models.audio_features import (
    HOPS_PER_FRAME,
    NUM_FEATURES,
    NormaliserState,
    mel_energies,
    normalise,
)
from parlante.models.motion_sampling import RESTING_MOUTH
from parlante.models.motion_space import LATENT_DIM, MOUTH_SLICE
from parlante.models.voice_net import (
    EARLIER_HOPS,
    VoiceNet,
    VoiceNetConfig,
    load_voice_net,
    save_voice_net,
)
from parlante.models.voices import NO_VOICE, SURE, VOICE, follow, rest_without_voice
from parlante.training.espeak import Espeak, Voice
from parlante.training.music import write_piece
from parlante.training.synthesizer import play_electronic
from parlante.types import FRAME_RATE_HZ, MOTION_INDEX, AudioChunk, MotionConfig

SMALL = VoiceNetConfig(narrow=6, width=8, hidden=5)


def test_a_moment_of_either_changes_nothing() -> None:
    assert follow(np.zeros(3, np.float32), SURE)[-1] > VOICE
    assert follow(np.zeros(FRAME_RATE_HZ, np.float32), SURE)[-1] < NO_VOICE
    assert follow(np.ones(1, np.float32), 0.0)[-1] < NO_VOICE
    assert follow(np.ones(3, np.float32), 0.0)[-1] > VOICE  # a word after music


def test_blocks_are_as_certain_as_the_whole() -> None:
    chances = np.random.default_rng(0).random(12).astype(np.float32)
    whole, before, parts = follow(chances, SURE), SURE, []
    for part in np.split(chances, 6):
        parts.append(follow(part, before))
        before = float(parts[-1][-1])
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_only_the_mouth_rests_and_only_without_a_voice() -> None:
    latents = np.random.default_rng(0).normal(size=(3, LATENT_DIM)).astype(np.float32)
    out = rest_without_voice(latents, np.array([0.0, 0.5 * (NO_VOICE + VOICE), 1.0], np.float32))
    np.testing.assert_allclose(out[0, MOUTH_SLICE], RESTING_MOUTH, atol=1e-6)
    np.testing.assert_allclose(
        out[1, MOUTH_SLICE], 0.5 * (RESTING_MOUTH + latents[1, MOUTH_SLICE]), atol=1e-6
    )
    np.testing.assert_allclose(out[2], latents[2], atol=1e-6)
    others = np.ones(LATENT_DIM, bool)
    others[MOUTH_SLICE] = False
    np.testing.assert_array_equal(out[:, others], latents[:, others])


def test_network_hears_the_same_block_by_block() -> None:
    torch.manual_seed(1)
    net = VoiceNet(SMALL).eval()
    features = torch.randn(1, EARLIER_HOPS + 8 * HOPS_PER_FRAME, NUM_FEATURES)
    start = torch.zeros(1, 1, SMALL.hidden)
    with torch.inference_mode():
        whole, _ = net(features, start)
        parts, memory = [], start
        for block in range(4):
            begin = 2 * HOPS_PER_FRAME * block
            part, memory = net(
                features[:, begin : begin + EARLIER_HOPS + 2 * HOPS_PER_FRAME], memory
            )
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-4)


def test_weights_are_read_as_they_were_written(tmp_path) -> None:
    torch.manual_seed(2)
    net, path = VoiceNet(SMALL), tmp_path / "voices.safetensors"
    save_voice_net(net.state_dict(), SMALL, path)
    read, digest = load_voice_net(path)
    assert read.config == SMALL
    assert len(digest) == 64
    for name, tensor in net.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor.half().float())


def test_weights_that_cannot_be_read_are_told(tmp_path) -> None:
    with pytest.raises(FailedPrecondition, match="missing"):
        load_voice_net(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(FailedPrecondition, match="cannot be read"):
        load_voice_net(tmp_path / "bad.safetensors")


@functools.cache
def music(seed: int) -> np.ndarray:
    """Five seconds that nobody sings to, int16 at 16 kHz."""
    rng = np.random.default_rng(seed)
    sound = play_electronic(write_piece(5.0, rng), rng)[: 5 * 16_000]
    return (sound * 20_000).astype(np.int16)


@functools.cache
def speech() -> np.ndarray:
    """A sentence, int16 at 16 kHz."""
    import soxr

    said = Espeak().speak("Nobody knows what the weather will be like tomorrow.", Voice())
    sound = soxr.resample(said.samples.astype(np.float32), said.sample_rate_hz, 16_000)
    return np.clip(sound, -32_768, 32_767).astype(np.int16)


def chances(sound: np.ndarray) -> np.ndarray:
    """How likely the packaged network hears a voice in each frame."""
    energies = mel_energies(sound.astype(np.float32) / 32_768.0)
    energies = energies[: len(energies) // HOPS_PER_FRAME * HOPS_PER_FRAME]
    features, _ = normalise(energies[None], NormaliserState.fresh(1))
    before = np.zeros((1, EARLIER_HOPS, NUM_FEATURES), np.float32)
    window = torch.from_numpy(np.concatenate([before, features], axis=1))
    net, _ = load_voice_net()
    with torch.inference_mode():
        logits, _ = net(window, torch.zeros(1, 1, net.config.hidden))
    return torch.sigmoid(logits)[0].numpy()


def test_packaged_network_tells_speech_from_music() -> None:
    assert np.mean(chances(speech()) > 0.5) > 0.9
    heard = [np.mean(chances(music(seed))[FRAME_RATE_HZ:] > 0.5) for seed in range(6)]
    assert np.mean(heard) < 0.25


def test_packaged_network_lets_silence_be() -> None:
    """What follows silence may be a voice, whose first sound is not to be lost."""
    quiet = np.random.default_rng(0).normal(0.0, 3.0, 3 * 16_000).astype(np.int16)
    assert np.mean(chances(quiet) > 0.5) > 0.9


async def test_mouth_rests_in_music_and_speaks_after_it(engine) -> None:
    sound = np.concatenate([music(1), music(2), speech()])

    async def source():
        for start in range(0, len(sound), 1600):
            yield AudioChunk(start_sample=start, samples=sound[start : start + 1600])

    blocks = [block async for block in engine.stream(MotionConfig(seed=1), source())]
    jaw = np.concatenate([block.values for block in blocks])[:, MOTION_INDEX["jawOpen"]]
    first, spoken = 2 * FRAME_RATE_HZ, 10 * FRAME_RATE_HZ
    assert np.mean(jaw[first:spoken] < 0.03) > 0.8
    assert np.mean(jaw[spoken:] > 0.1) > 0.3
