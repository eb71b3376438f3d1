"""Voices of flite and festival: phone names, times, phrases and the rosters."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from parlante.models.viseme_names import VISEMES
from parlante.training.corpus import Corpus, CorpusConfig, join, make
from parlante.training.festival import FESTIVAL_VOICES, Festival, FestivalVoice
from parlante.training.flite import FLITE_VOICES, Flite, FliteVoice
from parlante.training.phone_sets import to_ipa
from parlante.training.phrases import pick_phrase
from parlante.training.recorded_voices import HELD_OUT_VOICES, TRAINING_VOICES
from parlante.training.speakers import open_speakers
from parlante.training.speech import EngineMissing, Speech, find_program, phones_from_ends
from parlante.training.visemes import Phone, viseme_labels, visemes_of

needs_flite = pytest.mark.skipif(
    shutil.which("flite") is None, reason="flite is not installed: apt-get install flite"
)
needs_festival = pytest.mark.skipif(
    shutil.which("festival") is None, reason="festival is not installed: see FESTIVAL_PACKAGES"
)


@pytest.mark.parametrize(
    ("name", "phone_set", "viseme"),
    [
        ("em", "english", "PP"),
        ("uw", "english", "UU"),
        ("hh", "english", "KK"),
        ("a1", "italian", "AA"),
        ("tS", "italian", "CH"),
        ("dz~", "czech", "CH"),
        ("u:", "czech", "UU"),
        ("p:", "finnish", "PP"),
        ("mm", "russian", "PP"),
        ("vv", "russian", "FF"),
        ("bh", "hindi", "PP"),
        ("rr", "catalan", "RR"),
    ],
)
def test_phone_names_lead_to_their_viseme(name, phone_set, viseme):
    assert viseme in visemes_of(to_ipa(name, phone_set))


def test_pauses_are_no_phones():
    phones = phones_from_ends([("", 0.2), ("p", 0.3), ("", 0.5), ("ɑ", 0.6)])
    assert phones == [Phone("p", 0.2, 0.3), Phone("ɑ", 0.5, 0.6)]


def test_a_missing_engine_names_its_packages():
    with pytest.raises(EngineMissing, match="apt-get install some-package"):
        find_program("no-such-program-here", "some-package")


def test_held_out_voices_are_not_trained_on():
    assert not {v.name for v in TRAINING_VOICES} & {v.name for v in HELD_OUT_VOICES}


def test_rosters_name_voices_that_the_engines_know():
    for voice in TRAINING_VOICES + HELD_OUT_VOICES:
        assert voice.name in (FLITE_VOICES if voice.engine == "flite" else FESTIVAL_VOICES)


@pytest.mark.parametrize("language", sorted({v.language for v in TRAINING_VOICES}))
def test_phrases_vary(language):
    rng = np.random.default_rng(0)
    phrases = {pick_phrase(language, rng) for _ in range(40)}
    assert len(phrases) > 8
    assert all(len(phrase) > 3 for phrase in phrases)


def test_speakers_of_an_unknown_kind_are_refused():
    with pytest.raises(ValueError, match="espeak"):
        open_speakers("parrots")


def test_labels_mark_a_short_closure():
    phones = [Phone("ɑ", 0.2, 0.40), Phone("p", 0.40, 0.43), Phone("ɑ", 0.43, 0.7)]
    labels = viseme_labels(phones, 25)
    assert VISEMES.index("PP") in labels
    assert (labels == VISEMES.index("PP")).sum() <= 3
    assert labels[0] == VISEMES.index("sil")


def test_joined_corpora_keep_every_clip():
    def corpus(values):
        column = np.array(values, np.float16)
        return Corpus(column, column, column, column, column)

    joined = join([corpus([1, 2, 3, 4]), corpus([5, 6])])
    assert sorted(joined.log_mel) == [1, 2, 3, 4, 5, 6]
    assert list(joined.visemes[-2:]) != [5, 6]  # both kinds are among those held out


def _closure_is_quiet(speech: Speech) -> bool:
    """Whether the middle of every /p/ is at least 12 dB below the speech around it."""
    sound = speech.samples.astype(np.float64)
    rate = speech.sample_rate_hz
    loud = np.sqrt((sound**2).mean())
    middles = [
        sound[int((p.start_s + 0.3 * (p.end_s - p.start_s)) * rate) :][: int(0.015 * rate)]
        for p in speech.phones[1:-1]
        if p.ipa == "p"
    ]
    assert middles
    return all(np.sqrt((m**2).mean()) < 0.25 * loud for m in middles)


@needs_flite
@pytest.mark.parametrize("name", FLITE_VOICES)
def test_flite_times_fit_the_sound(name):
    speech = Flite().speak("A happy paper puppet", FliteVoice(name=name, stretch=1.2, pitch=1.2))
    assert speech.phones[-1].end_s <= len(speech.samples) / speech.sample_rate_hz + 0.02
    assert _closure_is_quiet(speech)


@needs_flite
def test_flite_speaks_slower_when_stretched():
    quick, slow = (
        Flite().speak("mama", FliteVoice(name="slt", stretch=s)).phones[-1].end_s
        for s in (0.8, 1.6)
    )
    assert slow > 1.5 * quick


@needs_flite
def test_flite_refuses_an_unknown_voice():
    with pytest.raises(ValueError, match="kal16"):
        Flite().speak("hello", FliteVoice(name="nobody"))


@needs_festival
@pytest.mark.parametrize(
    ("name", "text"),
    [("kal_diphone", "A happy paper puppet"), ("lp_diphone", "Il papa ripete la mappa")],
)
def test_festival_times_fit_the_sound(name, text):
    _skip_without(name)
    both = Festival().speak([text, text], FestivalVoice(name=name))
    assert len(both) == 2
    assert _closure_is_quiet(both[0])


def _skip_without(name):
    if not list(Path("/usr/share/festival/voices").glob(f"*/{name}")):
        pytest.skip(f"festival has no voice {name}: see FESTIVAL_PACKAGES")


@needs_festival
def test_festival_refuses_an_unknown_voice():
    with pytest.raises(ValueError, match="ked_diphone"):
        Festival().speak(["hello"], FestivalVoice(name="nobody"))


@needs_flite
@needs_festival
def test_recorded_voices_make_a_corpus(tmp_path):
    for voice in TRAINING_VOICES:
        if voice.engine == "festival":
            _skip_without(voice.name)
    config = CorpusConfig(speakers="recorded", num_clips=1, num_performances=1, seed=4)
    corpus = make(config, tmp_path)
    assert np.isfinite(corpus.latents.astype(np.float32)).all()
    assert (corpus.visemes == VISEMES.index("PP")).mean() > 0.02
