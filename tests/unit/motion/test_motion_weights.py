"""What the packaged weights do: lips, silence, controls, smoothness."""

import math

import numpy as np
import pytest

from parlante.training.espeak import Espeak, Voice
from parlante.training.evaluate import animate, aperture, judge, width
from parlante.types import MOTION_INDEX, AudioChunk, Controls, ControlUpdate, MotionConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def _say(espeak: Espeak, text: str, **voice: object) -> tuple[np.ndarray, int]:
    speech = espeak.speak(text, Voice(**voice))
    pause = np.zeros(speech.sample_rate_hz // 2, np.int16)
    return np.concatenate([pause, speech.samples, pause]), speech.sample_rate_hz


async def _during(engine, espeak, text, ipa, **voice):
    """Motion frames in the middle of the phonemes that begin with `ipa`."""
    speech = espeak.speak(text, Voice(**voice))
    pause = np.zeros(speech.sample_rate_hz // 2, np.int16)
    samples = np.concatenate([pause, speech.samples, pause])
    values = await animate(engine, samples, MotionConfig(sample_rate_hz=speech.sample_rate_hz))
    frames = [
        int((0.5 + 0.5 * (phone.start_s + phone.end_s)) * 25 - 1)
        for phone in speech.phones
        if phone.ipa.strip("ˈˌː").startswith(ipa)
    ]
    assert frames
    return values[frames]


async def test_mouth_is_shut_in_silence(engine, feed, run):
    values = await run(engine, feed(np.zeros(16_000 * 8, np.int16), []), MotionConfig(seed=2))
    assert (aperture(values) < 0.02).mean() >= 0.98


async def test_mouth_is_shut_in_hiss(engine, feed, run):
    hiss = (np.random.default_rng(0).standard_normal(16_000 * 6) * 60).astype(np.int16)
    values = await run(engine, feed(hiss, []), MotionConfig())
    assert (aperture(values)[25:] < 0.03).mean() >= 0.95


async def test_silence_still_lives(engine, feed, run):
    values = await run(engine, feed(np.zeros(16_000 * 20, np.int16), []), MotionConfig(seed=1))
    blink = values[:, MOTION_INDEX["eyeBlinkLeft"]]
    assert ((blink[1:] > 0.8) & (blink[:-1] <= 0.8)).sum() >= 4
    assert np.degrees(values[:, :3]).std(axis=0).max() > 0.5


@pytest.mark.parametrize("seed", [0, 1, 2])
async def test_a_neutral_face_stays_neutral(engine, feed, run, seed):
    """A generator that follows its own past can fall into a mood that nobody asked for."""
    values = await run(engine, feed(np.zeros(16_000 * 20, np.int16), []), MotionConfig(seed=seed))
    for name in ("mouthSmileLeft", "mouthFrownLeft", "browDownLeft", "noseSneerLeft"):
        assert values[50:, MOTION_INDEX[name]].mean() < 0.25, name


async def test_a_mood_ends_when_it_is_no_longer_asked_for(engine, run):
    second = np.zeros(16_000, np.int16)

    async def happy_then_neutral():
        yield ControlUpdate(controls=Controls(emotion={"happy": 1.0}))
        for number in range(10):
            if number == 5:
                yield ControlUpdate(controls=Controls())
            yield AudioChunk(start_sample=16_000 * number, samples=second)

    values = await run(engine, happy_then_neutral(), MotionConfig(seed=1))
    smile = values[:, MOTION_INDEX["mouthSmileLeft"]]
    assert smile[75:120].mean() > 0.75
    assert smile[175:].mean() < 0.25


async def test_mouth_shuts_again_after_speech(engine, espeak):
    samples, rate_hz = _say(espeak, "Hello, how are you today?", variant="f3")
    samples = np.concatenate([samples, np.zeros(rate_hz, np.int16)])
    values = await animate(engine, samples, MotionConfig(sample_rate_hz=rate_hz))
    assert aperture(values).max() > 0.12
    assert aperture(values)[-20:].max() < 0.02


@pytest.mark.parametrize("variant", ["f2", "m3"])
async def test_vowels_shape_the_mouth(engine, espeak, variant):
    """F1 opens the jaw, F2 tells spread from round lips."""
    texts = {"ɑ": "[[kA:kA:kA:kA:]]", "i": "[[ki:ki:ki:ki:]]", "u": "[[ku:ku:ku:ku:]]"}
    made = {
        vowel: await _during(engine, espeak, text, vowel, variant=variant, rate_wpm=130)
        for vowel, text in texts.items()
    }
    opened = {vowel: float(aperture(values).mean()) for vowel, values in made.items()}
    wide = {vowel: float(width(values).mean()) for vowel, values in made.items()}
    assert opened["ɑ"] > 1.4 * max(opened["i"], opened["u"])
    assert wide["i"] > wide["ɑ"] > wide["u"] - 0.02
    assert wide["i"] > wide["u"] + 0.08


@pytest.mark.parametrize("variant", ["f4", "m1", "m7"])
async def test_lips_meet_for_bilabials_and_for_nothing_else(engine, espeak, variant):
    text = "[[tA:mA: dA:bA: kA:pA: lA:mA: nA:bA: sA:pA:]]"
    speech = espeak.speak(text, Voice(variant=variant, rate_wpm=100))
    config = MotionConfig(sample_rate_hz=speech.sample_rate_hz)
    opened = aperture(await animate(engine, speech.samples, config))
    for phone in speech.phones[1:]:
        during = opened[int(phone.start_s * 25) - 1 : int(phone.end_s * 25) + 1]
        if phone.ipa in ("m", "b", "p"):
            assert during.min() < 0.02, phone
        elif "ɑ" in phone.ipa:
            assert during.max() > 0.12, phone
        else:
            assert during.min() > 0.04, phone


async def test_gaze_follows_its_target(engine, espeak):
    samples, rate_hz = _say(espeak, "This is a test of the eyes and where they look.")
    looks = []
    for yaw in (-0.4, 0.4):
        config = MotionConfig(sample_rate_hz=rate_hz, controls=Controls(gaze_yaw_rad=yaw))
        values = await animate(engine, samples, config)
        eyes, head = values[:, MOTION_INDEX["gazeYaw"]], values[:, MOTION_INDEX["headYaw"]]
        looks.append(float(np.median(eyes + head)))
    assert looks == pytest.approx([-0.4, 0.4], abs=0.12)


@pytest.mark.parametrize(
    ("emotion", "channel"),
    [
        ("happy", "mouthSmileLeft"),
        ("angry", "browDownLeft"),
        ("sad", "mouthFrownLeft"),
        ("surprised", "browOuterUpLeft"),
        ("disgusted", "noseSneerLeft"),
        ("afraid", "browInnerUp"),
    ],
)
async def test_emotion_moves_its_face_in_degrees(engine, feed, run, emotion, channel):
    silence = np.zeros(16_000 * 2, np.int16)
    level = []
    for weight in (0.0, 0.5, 1.0):
        config = MotionConfig(controls=Controls(emotion={emotion: weight}))
        values = await run(engine, feed(silence, []), config)
        level.append(float(values[10:, MOTION_INDEX[channel]].mean()))
    assert level[0] < level[1] < level[2]
    assert level[2] > level[0] + 0.3


async def test_emotion_arrives_within_200_ms_and_without_a_jump(engine):
    async def source():
        yield AudioChunk(start_sample=0, samples=np.zeros(16_000, np.int16))
        yield ControlUpdate(controls=Controls(emotion={"happy": 1.0}))
        yield AudioChunk(start_sample=16_000, samples=np.zeros(16_000, np.int16))

    blocks = [block.values async for block in engine.stream(MotionConfig(), source())]
    smile = np.concatenate(blocks)[:, MOTION_INDEX["mouthSmileLeft"]]
    first = (16_000 - 1_248) // 1_280 * 2  # the first frame that was not made yet
    assert smile[first + 5] > 0.5 * smile[-10:].mean()
    assert np.abs(np.diff(smile)).max() < 0.3


async def test_distance_sets_the_size_of_the_head(engine, feed, run):
    config = MotionConfig(controls=Controls(head_distance=1.6))
    values = await run(engine, feed(np.zeros(32_000, np.int16), []), config)
    assert values[:, MOTION_INDEX["headLogScale"]].mean() == pytest.approx(-math.log(1.6), abs=0.05)


async def test_blocks_join_without_seams(engine, espeak):
    text = "The quick brown fox jumps over the lazy dog, and then he goes home to have some tea."
    samples, rate_hz = _say(espeak, text * 3, variant="f5")
    report = judge(await animate(engine, samples, MotionConfig(sample_rate_hz=rate_hz)))
    assert report["aperture_seam_ratio"] < 1.5
    assert report["head_seam_ratio"] < 1.6


async def test_motion_stays_bounded_over_time(engine, feed, run):
    """Errors must not add up when blocks feed on earlier blocks."""
    values = await run(engine, feed(np.zeros(16_000 * 40, np.int16), []), MotionConfig(seed=8))
    assert np.degrees(np.abs(values[-250:, :3])).max() < 15
    assert (aperture(values)[-250:] < 0.02).mean() > 0.95
    assert np.abs(values[-250:, MOTION_INDEX["gazeYaw"]]).max() < 0.5
