"""Kokoro's speakers: how they are read out of an archive, and who is drawn from them."""

import io
import tarfile

import numpy as np
import pytest

from parlante.training import kokoro
from parlante.training.speech import EngineMissing

NAMES = ["af_heart", "af_sky", "am_puck", "bf_emma", "ff_siwis", "zf_xiaoni", "zm_yunxi"]


def _archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_speakers_are_read_out_of_the_archive(tmp_path):
    styles = np.random.default_rng(0).normal(size=(2, 510, 256)).astype(np.float32)
    files = {f"kokoro/kokoro.js/voices/{name}.bin": style.tobytes()
             for name, style in zip(NAMES, styles, strict=False)}  # fmt: skip
    _archive(tmp_path / "kokoro.tar.gz", {**files, "kokoro/kokoro.js/src/voices.js": b"//"})
    target = tmp_path / "cache" / "speakers.npz"
    assert kokoro.extract_speakers(tmp_path / "kokoro.tar.gz", target) == 2
    with np.load(target) as stored:
        np.testing.assert_array_equal(stored["af_sky"], styles[1])
    assert [path.name for path in target.parent.iterdir()] == ["speakers.npz"]


def test_an_archive_without_speakers_is_refused(tmp_path):
    _archive(tmp_path / "other.tar.gz", {"other/readme": b"nothing"})
    with pytest.raises(ValueError, match="no speakers"):
        kokoro.extract_speakers(tmp_path / "other.tar.gz", tmp_path / "speakers.npz")
    assert not (tmp_path / "speakers.npz").exists()


def _draw(language, number=400):
    rng = np.random.default_rng(5)
    return np.stack([kokoro.draw_mixture(NAMES, language, rng) for _ in range(number)])


def test_people_are_one_to_three_speakers():
    mixtures = _draw("en-us")
    np.testing.assert_allclose(mixtures.sum(axis=1), 1.0, rtol=1e-5)
    numbers = np.bincount((mixtures > 0).sum(axis=1), minlength=4) / len(mixtures)
    assert numbers[0] == 0
    assert numbers[1] == pytest.approx(0.5, abs=0.1)
    assert numbers[3] == pytest.approx(0.15, abs=0.06)


@pytest.mark.parametrize(("language", "letter"), [("en-us", "a"), ("cmn-latn-pinyin", "z")])
def test_mostly_a_languages_own_speakers_speak_it(language, letter):
    natives = np.array([name[0] == letter for name in NAMES])
    of_natives = _draw(language)[:, natives].sum(axis=1)
    # 0.7 are natives, and some of the rest are by chance.
    assert 0.68 < (of_natives > 0.999).mean() < 0.92
    assert (of_natives < 0.5).any()


def test_languages_without_speakers_are_spoken_by_all():
    assert (_draw("ru").max(axis=0) > 0).all()
    assert (_draw("fr").sum(axis=1) > 0).all()  # one native only: mixtures of one


def test_missing_speakers_are_named_with_the_way_to_get_them(monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vocab.json").write_text('{"vocab": {}}')
    (tmp_path / "part.bin").write_bytes(b"")
    monkeypatch.setattr(kokoro, "package_files", lambda name: tmp_path)
    monkeypatch.setattr(kokoro, "open_network", lambda *_: None)
    monkeypatch.setattr(kokoro, "speakers_path", lambda: tmp_path / "none.npz")
    with pytest.raises(EngineMissing, match=r"scripts/fetch_voices\.py"):
        kokoro.Kokoro()
