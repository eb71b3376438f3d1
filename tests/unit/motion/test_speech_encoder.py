"""The adapter of pretrained speech encoders, on tiny random ones."""

import json
import sys

import numpy as np
import pytest
import torch

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models.speech_encoder import (
    MIN_LOOK_AHEAD_SAMPLES,
    SpeechEncoder,
    SpeechEncoderConfig,
    SpeechProjection,
)

transformers = pytest.importorskip("transformers")

_TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
BLOCK, LOOK_AHEAD = 2, 1248


def _save(kind, path):
    """Make a random encoder as `transformers` saves it."""
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(kind, **_TINY)
    transformers.utils.logging.disable_progress_bar()
    transformers.AutoModel.from_config(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=["wav2vec2", "hubert", "wavlm"])
def each_folder(request, tmp_path_factory):
    """One encoder of each kind."""
    return _save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One encoder, where the kind does not matter."""
    return _save("hubert", tmp_path_factory.mktemp("hubert"))


def _load(folder, **fields):
    return SpeechEncoder.load(SpeechEncoderConfig(path=str(folder), context_ms=400, **fields))


def _sound(seconds=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(16_000 * seconds))).astype(np.float32)


def test_a_frame_is_the_mean_of_the_two_vectors_that_lie_on_it(each_folder):
    encoder = _load(each_folder)
    window = torch.from_numpy(_sound())[None]
    frames = encoder(window, 5)
    normed = (window - window.mean()) / torch.sqrt(window.var(correction=0) + 1e-7)
    network = transformers.AutoModel.from_pretrained(each_folder, local_files_only=True).eval()
    with torch.no_grad():
        vectors = network(normed, output_hidden_states=True).hidden_states[-1]
    first = 400 * 16 // 320  # the vector that begins where the context ends
    wanted = torch.stack(
        [vectors[:, first + 2 * i : first + 2 * i + 2].mean(1) for i in range(5)], 1
    )
    torch.testing.assert_close(frames, wanted, atol=1e-5, rtol=1e-4)


def test_a_stream_gives_what_a_clip_gives(each_folder):
    encoder = _load(each_folder)
    audio = _sound(0.9)
    whole = encoder.read_clip(
        audio, 21, block_frames=BLOCK, look_ahead_samples=LOOK_AHEAD, batch_size=3
    )
    padded = np.concatenate([audio, np.zeros(4000, np.float32)])
    past, live = encoder.silent_past(), []
    for start in range(0, 22 * 640, BLOCK * 640):
        sound = padded[start : start + BLOCK * 640 + LOOK_AHEAD]
        block, past = encoder.read_block(past, sound, BLOCK)
        live.append(block[0].numpy())
    assert whole.shape == (21, encoder.width)
    np.testing.assert_allclose(np.concatenate(live)[:21], whole, atol=1e-5)


def test_a_block_hears_no_further_than_its_look_ahead(folder):
    encoder = _load(folder)
    audio = _sound(0.8)
    options = {"block_frames": BLOCK, "look_ahead_samples": MIN_LOOK_AHEAD_SAMPLES}
    before = encoder.read_clip(audio, 10, **options)
    changed = audio.copy()
    changed[4 * 640 + MIN_LOOK_AHEAD_SAMPLES :] = 0.0
    after = encoder.read_clip(changed, 10, **options)
    np.testing.assert_allclose(after[:4], before[:4], atol=1e-6)
    assert np.abs(after[4:] - before[4:]).max() > 1e-3


def test_a_lower_layer_is_that_layer(folder):
    window = torch.from_numpy(_sound())[None]
    lower = _load(folder, layer=1)
    network = _load(folder).network
    with torch.no_grad():
        normed = (window - window.mean()) / torch.sqrt(window.var(correction=0) + 1e-7)
        vectors = network(normed, output_hidden_states=True).hidden_states[1]
    assert len(lower.network.encoder.layers) == 1
    torch.testing.assert_close(lower(window, 1)[0, 0], vectors[0, 20:22].mean(0))


def test_sound_is_left_alone_where_the_encoder_wants_it_so(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert _load(folder).normalises
    assert not _load(tmp_path).normalises


def test_projection_learns_and_a_frozen_encoder_does_not(folder):
    encoder = _load(folder).train()
    projection = SpeechProjection(encoder.width, 12)
    code = projection(encoder(torch.from_numpy(_sound())[None], 4))
    assert code.shape == (1, 4, 12)
    code.square().mean().backward()
    assert all(parameter.grad is not None for parameter in projection.parameters())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert not encoder.network.training


def test_an_encoder_that_is_not_frozen_learns(folder):
    encoder = _load(folder, frozen=False)
    encoder(torch.from_numpy(_sound())[None], 4).square().mean().backward()
    assert any(parameter.grad is not None for parameter in encoder.parameters())


def test_config_travels_in_the_metadata(folder):
    config = _load(folder, layer=2).config
    assert len(config.digest) == 64
    assert SpeechEncoderConfig.from_metadata(config.to_metadata()) == config
    assert SpeechEncoderConfig.from_metadata({"space": "x"}) is None


def test_another_encoder_than_the_weights_know_is_refused(folder):
    with pytest.raises(FailedPrecondition, match="trained with"):
        _load(folder, digest="0" * 64)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="nothing is downloaded") as caught:
        _load(tmp_path / "nowhere")
    assert caught.value.reason == "SPEECH_ENCODER_NOT_FOUND"


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InvalidInput, match="bert"):
        _load(tmp_path)


def test_weights_that_are_not_whole_are_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights = {name: w for name, w in weights.items() if "layers.1.final" not in name}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match="lacks 2 of its weights"):
        _load(tmp_path)


@pytest.mark.parametrize("fields", [{"context_ms": 410}, {"context_ms": 40}, {"layer": -1}])
def test_config_refuses_what_cannot_be(fields):
    with pytest.raises(InvalidInput):
        SpeechEncoderConfig(path="x", **fields)


def test_a_layer_that_is_not_there_is_refused(folder):
    with pytest.raises(InvalidInput, match="at most 3"):
        _load(folder, layer=4)


def test_a_missing_package_is_named_with_its_cure(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(FailedPrecondition, match=r"parlante\[speech-encoder\]") as caught:
        _load(folder)
    assert caught.value.reason == "SPEECH_ENCODER_PACKAGE_MISSING"
