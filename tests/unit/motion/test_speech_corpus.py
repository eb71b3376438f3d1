"""Synthetic speech, its mouth targets and performances, and a tiny training run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import parlante.training
from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_space import LATENT_DIM, MOUTH
from parlante.models.motion_weights import load_matching, load_weights
from parlante.models.viseme_names import VISEMES
from parlante.training import corpus, takes
from parlante.training.augment import augment
from parlante.training.behaviour import draw_behaviour, draw_controls
from parlante.training.checkpoint import load_checkpoint
from parlante.training.corpus import CorpusConfig
from parlante.training.espeak import Espeak, Voice
from parlante.training.losses import naming_loss
from parlante.training.motion import main, read_config
from parlante.training.no_speech import accompaniment, no_speech
from parlante.training.precision import multiplies_bfloat16, runs_in_bfloat16
from parlante.training.speakers import open_speakers
from parlante.training.takes import CLIP_FRAMES, load_or_record, record
from parlante.training.visemes import UNKNOWN_VISEME, Phone, mouth_targets, visemes_of

CLOSE, JAW = MOUTH.index("mouthClose"), MOUTH.index("jawOpen")
PUCKER, STRETCH = MOUTH.index("mouthPucker"), MOUTH.index("mouthStretch")
ROLL = MOUTH.index("mouthRollLower")


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def _phones(text: str, each_s: float = 0.12) -> list[Phone]:
    symbols = text.split()
    return [Phone(s, 0.4 + i * each_s, 0.4 + (i + 1) * each_s) for i, s in enumerate(symbols)]


@pytest.mark.parametrize(
    ("ipa", "visemes"),
    [
        ("ˈaɪ", ["AA", "IH"]),
        ("tʃ", ["CH"]),
        ("uː", ["UU"]),
        ("oʊ", ["OH", "UU"]),
        ("ˌ", []),
        ("ʲ", ["SS"]),
    ],
)
def test_visemes_of_reads_ipa(ipa, visemes):
    assert visemes_of(ipa) == visemes


@pytest.mark.parametrize("consonant", ["p", "b", "m"])
def test_bilabials_shut_the_lips_between_open_vowels(consonant):
    targets = mouth_targets(_phones(f"ɑ {consonant} ɑ"), 40)
    assert targets[:, CLOSE].max() == 1.0
    frame = int(targets[:, CLOSE].argmax())
    assert 0.48 <= frame / 25 <= 0.64  # within the consonant, or just ahead of it
    assert targets[frame + 4 :, JAW].max() > 0.35


def test_mouth_moves_ahead_of_the_sound():
    phones = [Phone("ɑ", 0.8, 1.1)]
    jaw = mouth_targets(phones, 50)[:, JAW]
    centre_s = float((jaw * np.arange(50)).sum() / jaw.sum()) / 25
    assert 0.02 < 0.95 - centre_s < 0.08


def test_vowels_differ_in_shape():
    spread, rounded, wide = (mouth_targets(_phones(f"{v} {v}"), 30)[13] for v in ("i", "u", "ɑ"))
    assert rounded[PUCKER] > 0.6
    assert spread[STRETCH] > 0.45
    assert wide[JAW] > 2.5 * max(spread[JAW], rounded[JAW])


def test_mouths_widen_as_they_open_and_narrow_for_rounding():
    targets = mouth_targets(_phones("ɑ t ɛ t ə d u d ɑ n o l æ"), 60)
    spoken = targets[10:50]
    assert np.corrcoef(spoken[:, JAW], spoken[:, STRETCH] - spoken[:, PUCKER])[0, 1] > 0.1


@pytest.mark.parametrize("asked", [True, False])
def test_bfloat16_is_as_asked_and_else_as_the_processor_has_it(asked):
    assert runs_in_bfloat16(asked) is asked
    assert runs_in_bfloat16(None) is multiplies_bfloat16()


def test_labiodentals_tuck_the_lower_lip():
    assert mouth_targets(_phones("ɑ f ɑ"), 30)[:, ROLL].max() > 0.4


def test_silence_has_a_shut_mouth():
    assert not mouth_targets([], 20).any()


@pytest.mark.parametrize("language", ["en-us", "it", "ru", "cmn-latn-pinyin"])
def test_espeak_gives_sound_with_times_in_order(espeak, language):
    speech = espeak.speak("mama 5", Voice(language=language, variant="f2"))
    assert np.abs(speech.samples).max() > 1000
    starts = [phone.start_s for phone in speech.phones]
    assert starts == sorted(starts)
    assert speech.phones[-1].end_s <= len(speech.samples) / speech.sample_rate_hz
    assert any("m" in phone.ipa for phone in speech.phones)


def test_espeak_refuses_an_unknown_voice(espeak):
    with pytest.raises(ValueError, match="no voice"):
        espeak.speak("hello", Voice(language="xx-nowhere"))


@pytest.fixture(scope="module")
def small_corpus(tmp_path_factory) -> corpus.Corpus:
    cache = tmp_path_factory.mktemp("takes")
    return corpus.make(CorpusConfig(num_clips=3, num_performances=1, seed=77), cache)


def test_corpus_follows_from_its_seed():
    script = (
        "import hashlib, tempfile\n"
        "from pathlib import Path\n"
        "from parlante.training import corpus\n"
        "config = corpus.CorpusConfig(num_clips=2, num_performances=1, seed=77)\n"
        "with tempfile.TemporaryDirectory() as cache:\n"
        "    made = corpus.make(config, Path(cache))\n"
        "print(hashlib.sha256(made.log_mel.tobytes() + made.latents.tobytes()).hexdigest())\n"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout
        for _ in range(2)
    )
    assert len(first) > 60
    assert first == second


def test_corpus_has_a_well_scaled_latent_space(small_corpus):
    assert small_corpus.latents.shape == (3, 1, CLIP_FRAMES, LATENT_DIM)
    latents = small_corpus.latents.astype(np.float32)
    assert np.isfinite(latents).all()
    assert np.abs(latents).max() < 20
    assert 0.4 < latents[..., :15].std() < 2.0


def test_corpus_mouths_open_like_real_ones(small_corpus):
    """Real speakers: aperture 0.10 of the eyes' distance on average, 0.20-0.25 at the top."""
    latents = small_corpus.latents[:, 0].astype(np.float32)
    aperture = (
        0.5 * 0.14 * latents[..., 6 + JAW] * (1 - np.clip(0.3 * latents[..., 6 + CLOSE], 0, 1))
    )
    speaking = aperture[small_corpus.activity > 0.5]
    assert 0.06 < speaking.mean() < 0.14
    assert 0.15 < np.percentile(speaking, 95) < 0.30


def test_performances_have_the_statistics_of_people():
    rng = np.random.default_rng(4)
    heads, blinks, frames = [], 0, 0
    for _ in range(12):
        activity = np.ones(1000, np.float32)
        loudness = np.convolve(rng.standard_normal(1000), np.ones(5), "same").astype(np.float32)
        behaviour = draw_behaviour(activity, loudness, draw_controls(1000, rng), rng)
        heads.append(np.degrees(behaviour.head[:, :3]))
        blink = behaviour.eyes[:, 0]
        blinks += int(((blink[1:] > 0.9) & (blink[:-1] <= 0.9)).sum())
        frames += 1000
    head = np.concatenate(heads)
    speed = np.mean([np.linalg.norm(np.diff(h, axis=0), axis=1).mean() * 25 for h in heads])
    assert np.all((head.std(axis=0) > 2.5) & (head.std(axis=0) < 6.5))
    assert 12 < speed < 32
    assert 18 < blinks * 60 * 25 / frames < 45
    assert 0.05 < np.corrcoef(head[:, 0], head[:, 2])[0, 1] < 0.5


def test_augment_changes_sound_but_keeps_it_finite(small_corpus):
    mel = small_corpus.log_mel[:, :400].astype(np.float32)
    first, second = (augment(mel, np.random.default_rng(seed)) for seed in (1, 2))
    assert first.shape == mel.shape
    assert np.isfinite(first).all()
    assert (first >= 0).all()
    assert not np.allclose(first, second)


_CONFIGS = Path(parlante.training.__file__).parent / "configs"
_MODEL = {
    "width": 16,
    "num_layers": 1,
    "num_heads": 2,
    "feed_forward": 2,
    "audio_width": 8,
    "past_frames": 8,
}


def _write_config(path, num_steps):
    config = {
        "corpora": [{"num_clips": 2, "num_performances": 1, "seed": 5}],
        "model": _MODEL,
        "num_steps": num_steps,
        "batch_size": 4,
        "num_frames": 16,
        "reading_steps": 1,
        "warmup_steps": 2,
        "foresight_batches": 2,
        "checkpoint_steps": 2,
    }
    path.write_text(json.dumps(config))


def _train(tmp_path, name, num_steps):
    config = tmp_path / f"{name}.json"
    _write_config(config, num_steps)
    cache = tmp_path / "corpus"
    main(["--config", str(config), "--out", str(tmp_path / name), "--corpus-cache", str(cache)])
    return tmp_path / name


def test_training_learns_writes_weights_and_goes_on_where_it_stopped(tmp_path):
    out = _train(tmp_path, "run", 2)
    first = load_checkpoint(out / "checkpoint.pt")
    _train(tmp_path, "run", 4)
    second = load_checkpoint(out / "checkpoint.pt")
    assert (first.step, second.step) == (2, 4)
    model, _ = load_weights(out / "motion.safetensors")
    assert model.config.width == 16
    assert any(not np.array_equal(first.model[name], second.model[name]) for name in first.model)


def test_training_starts_from_weights_that_fit(tmp_path):
    out = _train(tmp_path, "first", 2)
    begun = MotionDiT(MotionDiTConfig(**_MODEL))
    load_matching(begun, out / "motion.safetensors")
    stored, _ = load_weights(out / "motion.safetensors")
    for name, tensor in stored.state_dict().items():
        assert torch.equal(begun.state_dict()[name], tensor)


def test_training_starts_anew_where_shapes_differ(tmp_path):
    out = _train(tmp_path, "first", 2)
    wider = MotionDiT(MotionDiTConfig(**(_MODEL | {"audio_width": 12})))
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    load_matching(wider, out / "motion.safetensors")
    after = wider.state_dict()
    assert torch.equal(after["audio_in.weight"], before["audio_in.weight"])
    assert not torch.equal(after["latent_in.weight"], before["latent_in.weight"])


def test_naming_loss_passes_over_frames_that_nobody_labelled():
    scores = torch.randn(1, 6, len(VISEMES), generator=torch.Generator().manual_seed(0))
    truth = torch.randint(0, len(VISEMES), (1, 6), generator=torch.Generator().manual_seed(1))
    some = truth.clone()
    some[0, 3:] = UNKNOWN_VISEME
    torch.testing.assert_close(naming_loss(scores, some), naming_loss(scores[:, :3], truth[:, :3]))
    assert float(naming_loss(scores, torch.full_like(truth, UNKNOWN_VISEME))) == 0.0


def test_an_interrupted_recording_goes_on_where_it_stopped(tmp_path):
    first = list(load_or_record("espeak", 1, 5, tmp_path))
    (path,) = tmp_path.glob("takes-*/*.npz")
    before = path.stat().st_mtime_ns
    again = list(load_or_record("espeak", 2, 5, tmp_path))
    assert path.stat().st_mtime_ns == before
    assert len(again) == 2
    np.testing.assert_array_equal(first[0].audio, again[0].audio)
    assert first[0].phones == again[0].phones


def test_music_accompanies_a_clip_from_begin_to_end(monkeypatch):
    monkeypatch.setattr(takes, "accompaniment", lambda num, rng: np.ones(num, np.float32))
    alone, accompanied = (
        record(open_speakers("espeak"), np.random.default_rng(7), accompanied=share)
        for share in (0.0, 1.0)
    )
    assert alone.phones
    for part in (slice(0, 8000), slice(-8000, None)):
        assert abs(alone.audio[part].mean()) < 0.002
        assert accompanied.audio[part].mean() > 0.002


@pytest.mark.parametrize("seed", range(4))
def test_music_is_there_all_the_time(seed):
    music = accompaniment(4 * 16_000, np.random.default_rng(seed))
    assert float(music.std()) == pytest.approx(1.0, abs=0.01)
    assert (np.square(music).reshape(4, -1).mean(1) > 0.05).all()


@pytest.mark.parametrize("seed", range(6))
def test_sounds_that_are_no_speech_are_heard_and_bounded(seed):
    sound = no_speech(16_000, np.random.default_rng(seed))
    assert sound.shape == (16_000,)
    assert 1e-3 < float(np.sqrt((sound**2).mean())) < 0.3


def test_listeners_nod_after_what_the_user_says():
    """The answer is in the pitch of the head, and comes when the user pauses."""
    heard = np.zeros((800, 2), np.float32)
    for start in range(40, 760, 120):
        heard[start : start + 70] = (1.0, 0.6)
    nodding, still = [], []
    for seed in range(12):
        for listening, found in ((heard, nodding), (np.zeros_like(heard), still)):
            rng = np.random.default_rng(seed)
            controls = draw_controls(800, rng, listening)
            silence = np.zeros(800, np.float32)
            pitch = draw_behaviour(silence, silence, controls, rng).head[:, 1]
            after = np.concatenate([pitch[s + 70 : s + 110] for s in range(40, 640, 120)])
            found.append(np.abs(np.diff(after, n=1)).mean())
    assert np.mean(nodding) > 1.3 * np.mean(still)


def test_naming_loss_punishes_a_missed_closure_most():
    def loss(viseme):
        scores = torch.zeros(1, 8, len(VISEMES))
        truth = torch.full((1, 8), VISEMES.index("AA"))
        truth[0, 3] = VISEMES.index(viseme)
        scores[..., VISEMES.index("AA")] = 4.0
        return float(naming_loss(scores, truth))

    assert loss("PP") > loss("KK") > loss("AA")


@pytest.mark.parametrize(
    "path", sorted(_CONFIGS.glob("motion_nano*.json")), ids=lambda path: path.stem
)
def test_packaged_config_reads(path):
    config = read_config(path)
    assert config.num_frames % 2 == 0
    assert config.model.width % config.model.num_heads == 0
    assert config.reading_steps < config.num_steps
