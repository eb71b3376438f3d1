"""The motion model with a pretrained speech encoder: training, weights, streams, checkpoints."""

import json

import numpy as np
import pytest
import torch

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models.audio_features import DEFAULT_LOOK, look_ahead_samples
from parlante.models.motion_dit import BLOCK_FRAMES, MotionDiT, MotionDiTConfig
from parlante.models.motion_weights import load_weights, save_weights
from parlante.models.speech_encoder import SpeechEncoder, SpeechEncoderConfig
from parlante.training import corpus
from parlante.training.corpus import CorpusConfig
from parlante.training.motion import main, read_config
from parlante.training.takes import CLIP_FRAMES
from parlante.types import AudioChunk, MotionConfig
from services.motion.engine import MotionEngine

transformers = pytest.importorskip("transformers")

_TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_MODEL = {
    "width": 16,
    "num_layers": 1,
    "num_heads": 2,
    "feed_forward": 2,
    "audio_width": 8,
    "past_frames": 8,
}
_CORPUS = {"num_clips": 2, "num_performances": 1, "seed": 5}


def _save(path, seed):
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model("wav2vec2", **_TINY)
    transformers.utils.logging.disable_progress_bar()
    transformers.AutoModel.from_config(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Wav2Vec2."""
    return _save(tmp_path_factory.mktemp("wav2vec2"), 3)


@pytest.fixture(scope="module")
def encoder(folder):
    return SpeechEncoder.load(SpeechEncoderConfig(path=str(folder), context_ms=400))


@pytest.fixture(scope="module")
def weights(encoder, tmp_path_factory):
    """Weights whose every part, also those that start at zero, does something."""
    torch.manual_seed(7)
    model = MotionDiT(MotionDiTConfig(**_MODEL), encoder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("weights") / "motion.safetensors"
    save_weights(model.state_dict(), model.config, path, encoder.config)
    return path


@pytest.fixture
async def heard_engine(weights):
    engine = MotionEngine.load(weights)
    yield engine
    await engine.aclose()


def test_the_encoders_weights_stay_in_their_own_folder(encoder, weights):
    model, _ = load_weights(weights)
    assert model.speech_encoder.config == encoder.config
    assert not any("network" in name for name in model.state_dict())
    own = MotionDiT(MotionDiTConfig(**_MODEL))
    rest = {n for n in own.state_dict() if not n.startswith("audio_encoder.")}
    assert rest == {n for n in model.state_dict() if not n.startswith("audio_encoder.")}


@pytest.mark.parametrize("cuts", [[1], [640, 641, 3000], list(range(100, 12_000, 100))])
@pytest.mark.parametrize("budget_ms", [120, 160, 320])
async def test_how_sound_is_cut_does_not_matter(heard_engine, babble, feed, run, cuts, budget_ms):
    samples = babble(0.8)
    config = MotionConfig(delay_budget_ms=budget_ms)
    whole = await run(heard_engine, feed(samples, []), config)
    assert whole.shape[0] == 20
    np.testing.assert_array_equal(await run(heard_engine, feed(samples, cuts), config), whole)


async def test_a_voice_moves_the_face(heard_engine, babble, feed, run):
    spoken = await run(heard_engine, feed(babble(1.2), []), MotionConfig())
    silent = await run(heard_engine, feed(np.zeros(19_200, np.int16), []), MotionConfig())
    assert np.abs(spoken - silent).max() > 1e-3


@pytest.mark.parametrize("look", [0, DEFAULT_LOOK, 3])
async def test_a_stream_hears_what_training_hears(weights, encoder, babble, feed, run, look):
    """In every block, also the first, and whatever the look-ahead."""
    samples = babble(0.8)
    model, _ = load_weights(weights)
    heard = []
    read = model.read_audio
    model.read_audio = lambda features, look: (
        heard.append(features[0].numpy()) or read(features, look)
    )
    engine = MotionEngine(model, "heard", MotionEngine.load(weights)._sampler)
    budget_ms = 82 + look_ahead_samples(look) // 16  # the block, its look-ahead, the resampler
    await run(engine, feed(samples, []), MotionConfig(delay_budget_ms=budget_ms))
    await engine.aclose()
    clip = encoder.read_clip(
        samples.astype(np.float32) / 32768.0,
        20,
        block_frames=BLOCK_FRAMES,
        look_ahead_samples=look_ahead_samples(look),
    )
    np.testing.assert_allclose(np.concatenate(heard), clip, atol=1e-5)


async def _blocks(engine, config, samples, begin):
    async def source():
        for start in range(begin, len(samples), 500):
            yield AudioChunk(start_sample=start, samples=samples[start : start + 500])

    return [block async for block in engine.stream(config, source())]


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("budget_ms", [120, 320])
async def test_resumed_stream_goes_on_to_the_bit(heard_engine, babble, rate_hz, budget_ms):
    samples = babble(1.2, rate_hz)
    fields = {"sample_rate_hz": rate_hz, "delay_budget_ms": budget_ms}
    whole = await _blocks(heard_engine, MotionConfig(emit_checkpoints=True, **fields), samples, 0)
    for index in (0, 6):
        kept = whole[index]
        resumed = MotionConfig(resume_state=kept.checkpoint, **fields)
        rest = await _blocks(heard_engine, resumed, samples, kept.checkpoint_sample)
        np.testing.assert_array_equal(
            np.concatenate([b.values for b in rest]),
            np.concatenate([b.values for b in whole[index + 1 :]]),
        )


async def test_the_longest_context_fits_into_a_checkpoint(folder, weights):
    config = SpeechEncoderConfig(path=str(folder), context_ms=1400)
    model = MotionDiT(MotionDiTConfig(**_MODEL), SpeechEncoder.load(config))
    engine = MotionEngine(model.eval(), "longest", MotionEngine.load(weights)._sampler)
    noise = np.random.default_rng(0).integers(-32_768, 32_767, 96_000, np.int16)
    fields = {"delay_budget_ms": 400, "sample_rate_hz": 48_000}
    whole = await _blocks(engine, MotionConfig(emit_checkpoints=True, **fields), noise, 0)
    MotionConfig(resume_state=whole[-1].checkpoint, **fields)
    await engine.aclose()


async def test_a_checkpoint_without_its_sound_is_refused(heard_engine, babble, monkeypatch):
    from services.motion import session

    blocks = await _blocks(heard_engine, MotionConfig(emit_checkpoints=True), babble(0.6), 0)
    kept = MotionConfig(resume_state=blocks[2].checkpoint)
    right = session.num_sound
    monkeypatch.setattr(session, "num_sound", lambda look, model: right(look, model) + 1)
    with pytest.raises(InvalidInput) as caught:
        await _blocks(heard_engine, kept, babble(0.6), blocks[2].checkpoint_sample)
    assert caught.value.reason == "BAD_RESUME_STATE"


async def test_the_encoder_may_lie_elsewhere(weights, folder, tmp_path, babble, feed, run):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    results = []
    for engine in (MotionEngine.load(weights, speech_encoder=tmp_path), MotionEngine.load(weights)):
        results.append(await run(engine, feed(babble(0.4), []), MotionConfig()))
        await engine.aclose()
    np.testing.assert_array_equal(*results)


def test_a_missing_folder_is_named(weights, tmp_path):
    with pytest.raises(InvalidInput, match="nowhere") as caught:
        MotionEngine.load(weights, speech_encoder=tmp_path / "nowhere")
    assert caught.value.reason == "SPEECH_ENCODER_NOT_FOUND"


def test_another_encoder_is_refused(weights, tmp_path):
    with pytest.raises(FailedPrecondition, match="trained with") as caught:
        MotionEngine.load(weights, speech_encoder=_save(tmp_path, 4))
    assert caught.value.reason == "SPEECH_ENCODER_DIFFERS"


def test_an_encoder_for_weights_without_one_is_refused(folder, tmp_path):
    config, path = MotionDiTConfig(**_MODEL), tmp_path / "own.safetensors"
    save_weights(MotionDiT(config).state_dict(), config, path)
    with pytest.raises(FailedPrecondition, match="without a speech encoder"):
        MotionEngine.load(path, speech_encoder=folder)


def _config(path, folder, **speech):
    fields = {
        "corpora": [_CORPUS],
        "model": _MODEL,
        "speech_encoder": {"path": str(folder), "context_ms": 400, **speech},
        "num_steps": 2,
        "foresight_batches": 2,
        "batch_size": 4,
        "num_frames": 16,
        "reading_steps": 1,
        "warmup_steps": 2,
        "checkpoint_steps": 2,
        "bfloat16": False,
    }
    path.write_text(json.dumps(fields))
    return path


async def test_training_writes_weights_that_drive_a_stream(folder, tmp_path, babble, feed, run):
    config, out = _config(tmp_path / "run.json", folder, look=2), tmp_path / "run"
    arguments = ["--config", str(config), "--out", str(out)]
    main([*arguments, "--corpus-cache", str(tmp_path / "corpus")])
    engine = MotionEngine.load(out / "motion.safetensors")
    values = await run(engine, feed(babble(0.6), []), MotionConfig())
    await engine.aclose()
    assert values.shape[0] == 15
    assert np.isfinite(values).all()
    model, _ = load_weights(out / "motion.safetensors")
    assert model.speech_encoder.config.look == 2
    assert len(list((tmp_path / "corpus").glob("speech-*/*.npy"))) == _CORPUS["num_clips"]


def test_clips_are_heard_once_and_joined_with_what_was_heard(encoder, tmp_path, monkeypatch):
    configs = [CorpusConfig(**_CORPUS), CorpusConfig(**(_CORPUS | {"num_clips": 1, "seed": 6}))]
    parts = [corpus.load_or_make(config, tmp_path, encoder) for config in configs]
    monkeypatch.setattr(SpeechEncoder, "read_clip", None)  # not asked again
    again = corpus.load_or_make(configs[0], tmp_path, encoder)
    assert again.speech == parts[0].speech
    joined = corpus.join(parts)
    for index, path in enumerate(joined.speech):
        features = np.load(path)
        assert features.shape == (CLIP_FRAMES, 16)
        (source,) = (part for part in parts if path in part.speech)
        same = source.log_mel[source.speech.index(path)]
        np.testing.assert_array_equal(joined.log_mel[index], same)


def test_an_encoder_that_is_to_learn_is_refused(folder, tmp_path):
    with pytest.raises(InvalidInput, match="frozen"):
        read_config(_config(tmp_path / "run.json", folder, frozen=False))
