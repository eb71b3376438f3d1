"""Lip shapes that are seen coming, and shown as slow as people's."""

import numpy as np
import pytest
import soxr
import torch

from parlante.models.audio_features import NUM_FEATURES, NormaliserState, normalise
from parlante.models.lip_foresight import foresee
from parlante.models.motion_channels import STEADY_FRAMES, to_channels
from parlante.models.motion_dit import NUM_READ, MotionDiT, MotionDiTConfig
from parlante.models.motion_sampling import sounds_of
from parlante.models.motion_space import LATENT_DIM, LATENT_INDEX, LATENT_SCALE, MOUTH, SHAPES
from parlante.models.motion_weights import load_weights
from parlante.models.pose_state import PoseState
from parlante.models.viseme_mouths import read_twice
from parlante.models.viseme_names import VISEMES
from parlante.training.batches import Batch
from parlante.training.corpus import log_mel
from parlante.training.espeak import Espeak, Voice
from parlante.training.foresight import fit_foresight
from parlante.types import MOTION_INDEX, Controls

PLACES = [LATENT_INDEX[name] for name in SHAPES]
TINY = MotionDiTConfig(
    width=16, num_layers=1, num_heads=2, feed_forward=2, audio_width=8, past_frames=8
)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return MotionDiT(TINY).eval()


def _code(model, silence):
    """A speech code of two frames that is so sure that nobody speaks."""
    torch.manual_seed(1)
    code = torch.randn(1, 2, TINY.audio_width + NUM_READ)
    code[..., -len(VISEMES) :] = (1.0 - silence) / (len(VISEMES) - 1)
    code[..., -len(VISEMES) + VISEMES.index("sil")] = silence
    return code


def test_shapes_are_those_that_the_code_announces_and_all_else_is_left(model):
    model.shape_map.copy_(torch.randn(model.shape_map.shape, generator=torch.manual_seed(2)))
    latents = np.random.default_rng(0).normal(size=(2, LATENT_DIM)).astype(np.float32)
    code = _code(model, silence=0.1)

    seen = foresee(latents, code, model)

    assert seen[:, PLACES] == pytest.approx(model.shapes_ahead(code)[0].numpy(), abs=1e-6)
    others = np.setdiff1d(np.arange(LATENT_DIM), PLACES)
    assert np.array_equal(seen[:, others], latents[:, others])


def test_lips_that_wait_have_no_shape(model):
    model.shape_map.fill_(1.0)
    seen = foresee(np.ones((2, LATENT_DIM), np.float32), _code(model, silence=0.66), model)
    assert not seen[:, PLACES].any()


def _shapes_read(code, model):
    """Lip shapes that are read off a code of sound now, [..., 3]."""
    reading = read_twice(model.mouth_of(code), model.names_of(code)) * sounds_of(code, model)
    return reading[..., [MOUTH.index(name) for name in SHAPES]]


def _sound(num_frames, seed):
    """Features of crops, each held for all of its frames."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 1, NUM_FEATURES, generator=generator).expand(-1, num_frames, -1)


class _Held(MotionDiT):
    """Hears a crop as one code for all frames, so that what comes is what is."""

    def read_audio(self, features, look):
        code = torch.tanh(features[:, :1, : self.config.audio_width]).expand(-1, 12, -1)
        return self._read(code)


def test_map_of_a_sound_that_is_held_gives_its_own_shapes():
    torch.manual_seed(3)
    model = _Held(TINY).eval()
    batches = [
        Batch(_sound(12, seed), *(torch.zeros(4) for _ in range(3)), torch.zeros(4, dtype=int))
        for seed in range(40)
    ]

    model.shape_map.copy_(fit_foresight(model, batches))

    with torch.no_grad():
        speech, _, _ = model.read_audio(_sound(12, 99), None)
        wanted = _shapes_read(speech, model)
    assert wanted.std() > 0.05
    assert float((model.shapes_ahead(speech) - wanted).abs().max()) < 0.25 * float(wanted.std())


def test_packaged_map_announces_the_shapes_of_the_next_frames():
    pytest.importorskip("espeakng_loader")
    model, _ = load_weights()
    text = "You know, we should really do two or three of those things before you go home. "
    speech = Espeak().speak(3 * text, Voice())
    sound = soxr.resample(speech.samples / 32768.0, speech.sample_rate_hz, 16_000)
    features, _ = normalise(log_mel(sound)[None].astype(np.float32), NormaliserState.fresh(1))
    with torch.no_grad():
        code, _, _ = model.read_audio(torch.from_numpy(features), torch.tensor([1]))
        shapes = _shapes_read(code, model)[0].numpy()
        announced = model.shapes_ahead(code)[0].numpy()
    for column in range(len(SHAPES)):
        alike = [
            np.corrcoef(announced[2:-2, column], shapes[2 + lag : len(shapes) - 2 + lag, column])
            for lag in (-1, 0, 1)
        ]
        before, _, after = (float(matrix[0, 1]) for matrix in alike)
        assert after > max(0.7, before + 0.08)


def _flickering(num_frames):
    """Lips that are spread and rounded by turns, two frames each."""
    latents = np.zeros((num_frames, LATENT_DIM), np.float32)
    spread = np.arange(num_frames) // 2 % 2 == 0
    for name, on in (("mouthStretch", spread), ("mouthPucker", ~spread)):
        latents[:, LATENT_INDEX[name]] = 0.35 * on / LATENT_SCALE[LATENT_INDEX[name]]
    return latents


def test_lips_change_shape_over_some_frames():
    latents = np.zeros((9, LATENT_DIM), np.float32)
    latents[3:, LATENT_INDEX["mouthPucker"]] = 0.3 / LATENT_SCALE[LATENT_INDEX["mouthPucker"]]
    values, _ = to_channels(latents, Controls(), PoseState())
    pucker = values[:, MOTION_INDEX["mouthPucker"]]
    assert not pucker[:3].any()
    assert (np.diff(pucker[2 : 3 + STEADY_FRAMES]) > 0.1)[:STEADY_FRAMES].all()
    assert np.ptp(pucker[2 + STEADY_FRAMES :]) < 1e-6


def test_shapes_go_on_over_the_border_of_blocks():
    latents = _flickering(12)
    whole, _ = to_channels(latents, Controls(), PoseState())
    state, parts = PoseState(), []
    for begin in range(0, 12, 2):
        part, state = to_channels(latents[begin : begin + 2], Controls(), state)
        parts.append(part)
    assert np.array_equal(np.concatenate(parts), whole)


def test_a_shape_that_fades_does_not_part_lips_that_meet():
    latents = np.zeros((6, LATENT_DIM), np.float32)
    latents[:4, LATENT_INDEX["mouthFunnel"]] = 0.3 / LATENT_SCALE[LATENT_INDEX["mouthFunnel"]]
    latents[4:, LATENT_INDEX["mouthClose"]] = 1.0 / LATENT_SCALE[LATENT_INDEX["mouthClose"]]
    values, _ = to_channels(latents, Controls(), PoseState())
    funnel = values[:, MOTION_INDEX["mouthFunnel"]]
    assert funnel[3] > 0.3
    assert funnel[4] == 0.0
