"""Say how lips follow real voices in five languages, in the motion's channels.

Usage: python scripts/check_languages.py [--weights MOTION.safetensors] [--seconds 150] [--seeds 2]
    [--languages en ru] [--room 0.5 3] [--noise 10] [--crowd 15]

The voices are four people's, who recorded the prompts of a telephone exchange in English, Spanish,
French, Italian and Russian (CC-BY-SA 3.0; no training hears them). They come with their words:
`apt-get install asterisk-core-sounds-{en,es,fr,it,ru}-g722`. espeak-ng says which phonemes the
words have, and the packaged weights' reader when they are spoken, which favours it a little; all
weights are judged by the same times. Rows: P, B and M that shut and how many would by chance
(shifted in time), the rankings of `parlante eval motion`, and correlation with the mouth that the
phonemes ask for, with its lag (+ = late); and the share of frames in pauses, from 0.24 s after
speech on, in which the mouth is shut. With `--room` the voices are heard in a room whose echoes die
away by 60 dB in so many seconds, so many dB below the voice itself: a microphone a metre away in an
office has `0.5 3`, one in a hall `1.2 0`. With `--noise` there is white noise so many dB below the
voice, with `--crowd` the other four people talk. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from motion_lips import lips_of, span_of

from parlante.evaluation.lips import CONTROL_SHIFTS_FRAMES, PhoneTally, shut_below, tally_phones
from parlante.evaluation.sync import peak_of
from parlante.evaluation.tracking import FloatArray, correlation
from parlante.media.audio_file import Recording, read_recording
from parlante.models.motion_dit import MotionDiT
from parlante.models.motion_weights import DEFAULT_WEIGHTS, load_weights
from parlante.models.viseme_names import VISEMES
from parlante.training.espeak import Espeak, Voice
from parlante.training.evaluate import animate, aperture, asked_of, width
from parlante.training.realign import EMISSION_SHARE, FLOOR, HOP_S, name_hops
from parlante.training.rooms.responses import in_room
from parlante.training.visemes import Phone, visemes_of
from parlante.types import (
    BURST_DELAY_BUDGET_MS,
    FRAME_RATE_HZ,
    MODEL_SAMPLE_RATE_HZ,
    Float32Array,
    MotionConfig,
)
from services.motion.engine import MotionEngine

SOUNDS = Path("/usr/share/asterisk/sounds")
WORDS = "/usr/share/doc/asterisk-core-sounds-{0}/core-sounds-{0}.txt.gz"
LANGUAGES: Final = {
    "en": ("en_US_f_Allison", "en-us"),
    "es": ("es_MX_f_Allison", "es-419"),
    "fr": ("fr_CA_f_June", "fr"),
    "it": ("it_IT_m_Carlo", "it"),
    "ru": ("ru_RU_f_IvrvoiceRU", "ru"),
}
TEXT_CHARACTERS = (25, 160)
SPOKEN_S = (1.5, 12.0)
PAUSE_S = 0.6
WORST_SHARE = 0.15  # of the prompts, by fit: their words are not what is said
PAUSE_COST = 1.0  # log probability of a pause between two phonemes
RHYTHM_COST = 0.02  # of phonemes that are far from where an even rhythm would have them
RHYTHM_S = 0.6
MAX_LAG_FRAMES = 5
PAUSE_AFTER_S, PAUSE_BEFORE_S = 0.24, 0.12  # nearer to a phoneme the mouth may be open
FIRST_ECHO_S = 0.006


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """float32 [S] at 16 kHz, its phonemes, and how well the two agree (mean log probability)."""

    audio: Float32Array
    phones: list[Phone]
    fit: float


def texts(code: str) -> dict[str, str]:
    """Give the words of each prompt that is plain speech of middling length."""
    path = Path(WORDS.format(code))
    if not path.exists():
        raise SystemExit(f"no {path}: apt-get install asterisk-core-sounds-{code}-g722")
    found = {}
    with gzip.open(path, "rt", errors="replace") as lines:
        for line in lines:
            name, _, text = line.partition(":")
            is_plain = not re.search(r"[\[\]0-9#*;]", line.replace(name, "", 1))
            if is_plain and TEXT_CHARACTERS[0] <= len(text.strip()) <= TEXT_CHARACTERS[1]:
                found[name.strip()] = text.strip()
    return found


def prompts(code: str, seconds: float, reader: MotionDiT) -> list[Prompt]:
    """Give prompts of a language in a random order that is always the same."""
    folder, voice = LANGUAGES[code]
    words, espeak = texts(code), Espeak()
    found: list[Prompt] = []
    for name in np.random.default_rng(5).permutation(sorted(words)):
        path = SOUNDS / folder / f"{name}.g722"
        if not path.exists():
            continue
        pcm = read_recording(path).pcm16(MODEL_SAMPLE_RATE_HZ)
        if SPOKEN_S[0] <= len(pcm) / MODEL_SAMPLE_RATE_HZ <= SPOKEN_S[1]:
            audio = pcm.astype(np.float32) / np.float32(32768.0)
            spoken = espeak.speak(words[name], Voice(language=voice)).phones
            found.append(align(audio, spoken, reader))
        if sum(len(prompt.audio) for prompt in found) > seconds * MODEL_SAMPLE_RATE_HZ:
            break
    limit = np.quantile([prompt.fit for prompt in found], WORST_SHARE)
    return [prompt for prompt in found if prompt.fit >= limit]


def align(audio: Float32Array, spoken: list[Phone], reader: MotionDiT) -> Prompt:
    """Find when known phonemes are spoken, with pauses anywhere between them."""
    names = name_hops(audio, reader)
    stretch = len(audio) / MODEL_SAMPLE_RATE_HZ / spoken[-1].end_s
    owners, states, due_s = [-1], [VISEMES.index("sil")], [0.0]
    for number, phone in enumerate(spoken):
        for viseme in visemes_of(phone.ipa):
            owners += [number, -1]
            states += [VISEMES.index(viseme), VISEMES.index("sil")]
            due_s += [phone.start_s * stretch] * 2
    path = _best_path(names, np.array(states), np.array(owners) < 0, np.array(due_s))
    spans: dict[int, tuple[float, float]] = {}
    for hop, state in enumerate(path):
        owner = owners[state]
        if owner >= 0:
            spans[owner] = (spans.get(owner, (hop * HOP_S, 0.0))[0], (hop + 1) * HOP_S)
    phones = [Phone(spoken[number].ipa, *span) for number, span in sorted(spans.items())]
    said = np.take_along_axis(names, np.array(states)[path][:, None], axis=1)
    return Prompt(audio, phones, float(np.log(np.maximum(said, 1e-3)).mean()))


def _best_path(
    names: Float32Array, states: np.ndarray, is_pause: np.ndarray, due_s: FloatArray
) -> np.ndarray:
    """State at each hop: phonemes in order, the pauses between them may be left out."""
    scores = np.log(np.maximum(names, FLOOR)) * EMISSION_SHARE
    best = np.full(len(states), -np.inf)
    best[:2] = 0.0
    back = np.zeros((len(scores), len(states)), int)
    for hop, score in enumerate(scores):
        rhythm = -0.5 * RHYTHM_COST * ((hop * HOP_S - due_s) / RHYTHM_S) ** 2
        one = np.concatenate([[-np.inf], best[:-1]]) - np.where(is_pause, PAUSE_COST, 0.0)
        two = np.where(is_pause, -np.inf, np.concatenate([[-np.inf] * 2, best[:-2]]))
        ways = np.stack([best, one + rhythm, two + rhythm])
        back[hop] = ways.argmax(axis=0)
        best = ways.max(axis=0) + score[states]
    at = len(states) - 1 - int(best[-2] > best[-1])
    path = np.zeros(len(scores), int)
    for hop in range(len(scores) - 1, -1, -1):
        path[hop] = at
        at -= back[hop][at]
    return path


def joined(found: list[Prompt]) -> tuple[Float32Array, list[Phone]]:
    """Put prompts one after the other, with pauses."""
    parts, phones, now_s = [np.zeros(8000, np.float32)], [], 0.5
    for prompt in found:
        phones += [Phone(p.ipa, p.start_s + now_s, p.end_s + now_s) for p in prompt.phones]
        parts += [prompt.audio, np.zeros(int(PAUSE_S * MODEL_SAMPLE_RATE_HZ), np.float32)]
        now_s = sum(map(len, parts)) / MODEL_SAMPLE_RATE_HZ
    return np.concatenate(parts), phones


def played_in(audio: Float32Array, decay_s: float, direct_db: float) -> Float32Array:
    """Play sound in a plain room, the same at every call."""
    num_samples = int(1.1 * decay_s * MODEL_SAMPLE_RATE_HZ)
    time_s = np.arange(num_samples) / MODEL_SAMPLE_RATE_HZ
    echoes = np.random.default_rng(0).standard_normal(num_samples) * 10 ** (-3.0 * time_s / decay_s)
    echoes[time_s < FIRST_ECHO_S] = 0.0
    echoes *= 10 ** (-direct_db / 20) / np.sqrt(float((echoes**2).sum()))
    echoes[0] = 1.0
    heard = in_room(audio, echoes.astype(np.float32))
    return heard * np.float32(min(1.0, 0.95 / float(np.abs(heard).max())))


def with_noise(audio: Float32Array, noise: Float32Array, below_db: float) -> Float32Array:
    """Add noise, repeated or cut, so many dB below the voice with its pauses; without clipping."""
    noise = np.resize(noise, len(audio))
    power = float((audio.astype(np.float64) ** 2).mean() / (noise.astype(np.float64) ** 2).mean())
    heard = audio + noise * np.float32(np.sqrt(power) * 10 ** (-below_db / 20))
    return np.asarray(heard * min(1.0, 0.95 / float(np.abs(heard).max())), np.float32)


def crowd(without: str, num_samples: int, reader: MotionDiT) -> Float32Array:
    """The people of all other languages at once, equally loud."""
    voices = [
        joined(prompts(code, num_samples / MODEL_SAMPLE_RATE_HZ, reader))[0]
        for code in LANGUAGES
        if code != without
    ]
    return sum(
        (np.resize(voice / voice.std(), num_samples) for voice in voices),
        np.zeros(num_samples, np.float32),
    )


def pauses_shut(values: Float32Array, phones: list[Phone]) -> float | None:
    """Share of frames in pauses in which the mouth of motion [T, 60] is shut; None without any."""
    paused = np.ones(len(values), bool)
    for phone in phones:
        begin_s, end_s = phone.start_s - PAUSE_BEFORE_S, phone.end_s + PAUSE_AFTER_S
        paused[max(0, int(begin_s * FRAME_RATE_HZ)) : int(end_s * FRAME_RATE_HZ) + 1] = False
    if not paused.any():
        return None
    lips = lips_of(values)
    return float((lips.aperture[paused] < shut_below(lips.aperture)).mean())


def judge(values: Float32Array, phones: list[Phone]) -> dict[str, float | None]:
    """Compare motion [T, 60] with what is said."""
    spans, lips = [span_of(phone) for phone in phones], lips_of(values)
    tally = tally_phones(lips, spans)
    control = sum((tally_phones(lips, spans, s) for s in CONTROL_SHIFTS_FRAMES), PhoneTally())
    asked = asked_of(phones, len(values))
    opened, wanted = aperture(values), aperture(asked)
    lags = range(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1)
    curve = [correlation(np.roll(opened, -lag), wanted) or 0.0 for lag in lags]
    lag_frames, _ = peak_of(np.array(curve))
    return {
        "bilabials": float(tally.bilabials),
        "bilabials_shut": tally.shut_share,
        "by_chance": control.shut_share,
        "auc_aperture": tally.auc_aperture,
        "auc_width": tally.auc_width,
        "aperture": correlation(opened, wanted),
        "width": correlation(width(values), width(asked)),
        "pauses_shut": pauses_shut(values, phones),
        "lag_ms": None if lag_frames is None else lag_frames * 1000.0 / FRAME_RATE_HZ,
    }


def judge_language(
    engine: MotionEngine, audio: Float32Array, phones: list[Phone], num_seeds: int
) -> Iterator[dict[str, float | None]]:
    """Judge one language, once for each seed."""
    recording = Recording(samples=audio, sample_rate_hz=MODEL_SAMPLE_RATE_HZ)
    samples = recording.pcm16(MODEL_SAMPLE_RATE_HZ)
    for seed in range(num_seeds):
        config = MotionConfig(
            sample_rate_hz=MODEL_SAMPLE_RATE_HZ, seed=seed, delay_budget_ms=BURST_DELAY_BUDGET_MS
        )
        yield judge(asyncio.run(animate(engine, samples, config)), phones)


def main() -> None:
    """Print a row per language."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--seconds", type=float, default=150.0, help="of each language")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=list(LANGUAGES))
    parser.add_argument("--room", nargs=2, type=float, metavar=("DECAY_S", "DIRECT_DB"))
    parser.add_argument("--noise", type=float, metavar="BELOW_DB")
    parser.add_argument("--crowd", type=float, metavar="BELOW_DB")
    args = parser.parse_args()
    torch.set_num_threads(1)
    reader, _ = load_weights(DEFAULT_WEIGHTS)
    engine = MotionEngine.load(args.weights)
    table: dict[str, dict[str, float]] = {}
    for code in args.languages:
        audio, phones = joined(prompts(code, args.seconds, reader))
        if args.room is not None:
            audio = played_in(audio, *args.room)
        if args.noise is not None:
            noise = np.random.default_rng(1).standard_normal(len(audio)).astype(np.float32)
            audio = with_noise(audio, noise, args.noise)
        if args.crowd is not None:
            audio = with_noise(audio, crowd(code, len(audio), reader), args.crowd)
        rows = list(judge_language(engine, audio, phones, args.seeds))
        table[code] = {
            name: round(float(np.mean([row[name] or 0.0 for row in rows])), 3) for name in rows[0]
        }
        print(code, "  ".join(f"{name} {value:g}" for name, value in table[code].items()))
    print(json.dumps(table))


if __name__ == "__main__":
    main()
