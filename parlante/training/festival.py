"""festival: speech of diphone, unit and HMM voices from recordings of people, in many languages.

The program and its voices come from Debian (see `FESTIVAL_PACKAGES`); the licences are of the BSD,
LGPL and GPL kinds. One process says all texts of a batch, as starting one costs more than speaking.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parlante.training.phone_sets import to_ipa
from parlante.training.speech import (
    EngineMissing,
    Speech,
    find_program,
    phones_from_ends,
    read_wave,
)

FESTIVAL_PACKAGES: Final = (
    "festival festlex-cmu festlex-poslex festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts "
    "festlex-ifd festvox-italp16k festvox-itapc16k festival-czech festvox-czech-ph "
    "festvox-czech-dita festvox-czech-krb festvox-czech-machac festvox-ru festvox-suopuhe-lj "
    "festvox-suopuhe-mv festival-ca festvox-ca-ona-hts festival-hi festvox-hi-nsk"
)
_VOICES: Final[dict[str, tuple[str, str]]] = {  # name -> phone set, text encoding
    "kal_diphone": ("english", "latin-1"),
    "ked_diphone": ("english", "latin-1"),
    "cmu_us_slt_arctic_hts": ("english", "latin-1"),
    "lp_diphone": ("italian", "latin-1"),
    "pc_diphone": ("italian", "latin-1"),
    "czech_ph": ("czech", "iso-8859-2"),
    "czech_dita": ("czech", "iso-8859-2"),
    "czech_krb": ("czech", "iso-8859-2"),
    "czech_machac": ("czech", "iso-8859-2"),
    "suo_fi_lj_diphone": ("finnish", "latin-1"),
    "hy_fi_mv_diphone": ("finnish", "latin-1"),
    "upc_ca_ona_hts": ("catalan", "latin-1"),
    "msu_ru_nsh_clunits": ("russian", "utf-8"),
    "hindi_NSK_diphone": ("hindi", "utf-8"),
}
FESTIVAL_VOICES: Final = tuple(_VOICES)

_SET_UP: Final = """
(voice_{name})
(Parameter.set 'Duration_Stretch {stretch:.3f})
(set! int_lr_params '((target_f0_mean {pitch_hz:.1f}) (target_f0_std {spread_hz:.1f})
                      (model_f0_mean 170) (model_f0_std 34)))
(define (say text index)
  (unwind-protect
    (let ((spoken (utt.synth (eval (list 'Utterance 'Text text)))))
      (utt.save.wave spoken (format nil "{folder}/%d.wav" index) 'riff)
      (format t "@utterance %d\\n" index)
      (mapcar (lambda (phone) (format t "%s %f\\n" (item.name phone) (item.feat phone "end")))
              (utt.relation.items spoken 'Segment)))
    (format t "@failed %d\\n" index)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FestivalVoice:
    """How to speak: voice, duration factor, mean pitch and its spread in Hz.

    The English diphone voices take the pitch; the others have their own.
    """

    name: str
    stretch: float = 1.0
    pitch_hz: float = 110.0
    pitch_spread_hz: float = 14.0


class Festival:
    """The synthesiser.

    Raises:
        EngineMissing: festival is not installed.
    """

    def __init__(self) -> None:
        self._program = find_program("festival", FESTIVAL_PACKAGES)

    def speak(self, texts: Sequence[str], voice: FestivalVoice) -> list[Speech]:
        """Synthesise texts in the language of the voice; what it cannot read is left out.

        Raises:
            ValueError: There is no such voice.
            EngineMissing: The voice is not installed.
        """
        if voice.name not in _VOICES:
            raise ValueError(f"festival voices are {FESTIVAL_VOICES}; got {voice.name!r}")
        phone_set, encoding = _VOICES[voice.name]
        with tempfile.TemporaryDirectory() as folder:
            set_up = _SET_UP.format(
                name=voice.name,
                stretch=voice.stretch,
                pitch_hz=voice.pitch_hz,
                spread_hz=voice.pitch_spread_hz,
                folder=folder,
            )
            lines = [f'(say "{_quote(text)}" {i})' for i, text in enumerate(texts)]
            script = Path(folder) / "say.scm"
            script.write_bytes("\n".join([set_up, *lines, ""]).encode(encoding, "ignore"))
            done = subprocess.run([self._program, "-b", script], check=False, capture_output=True)
            output = done.stdout.decode(encoding, "replace")
            if "@" not in output:
                raise EngineMissing(
                    f"festival could not speak with {voice.name}: "
                    f"{done.stderr.decode(encoding, 'replace').strip()[:200]}; "
                    f"install the voices: apt-get install {FESTIVAL_PACKAGES}"
                )
            return [
                _speech(Path(folder) / f"{index}.wav", marks, phone_set)
                for index, marks in _utterances(output)
            ]


def _quote(text: str) -> str:
    return text.replace("\\", " ").replace('"', " ")


def _utterances(output: str) -> list[tuple[int, list[tuple[str, float]]]]:
    """What the script printed -> (index, [(phone, end)]) of each utterance that worked."""
    found = []
    for part in output.split("@utterance ")[1:]:
        lines = part.split("@failed")[0].splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines[1:] if " " in line]
        found.append((int(lines[0]), [(name, float(end)) for name, end in pairs]))
    return found


def _speech(path: Path, marks: list[tuple[str, float]], phone_set: str) -> Speech:
    samples, rate_hz = read_wave(path)
    return Speech(
        samples, rate_hz, phones_from_ends((to_ipa(name, phone_set), end) for name, end in marks)
    )
