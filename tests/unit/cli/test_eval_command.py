"""`parlante eval`: a video whose head motion is known, its report, and wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from parlante.cli.eval import DEFAULT_BLOCK_FRAMES
from parlante.models.motion_dit import BLOCK_FRAMES
from parlante.models.tracker_files import find_missing_files, tracker_dir
from tests.unit.cli.conftest import last_json

Run = Callable[..., tuple[int, str, str]]
needs_tracker = pytest.mark.skipif(
    bool(find_missing_files(tracker_dir())),
    reason="the face tracker's files are not installed (scripts/fetch_tracker.py)",
)

FPS, NUM_FRAMES = 30, 105
LOST = range(60, 63)
WORDS = "My mother bought a big map of the moon."


def write_video(path: Path) -> None:
    """A photo that tilts by +-6 degrees every 2 s and is gone for three frames, at 30 Hz."""
    import skimage.data

    from parlante.training.espeak import Espeak, Voice

    photo = np.ascontiguousarray(skimage.data.astronaut()[:256, 94:350])
    speech = Espeak().speak(WORDS, Voice(rate_wpm=150))
    samples = np.zeros(speech.sample_rate_hz * NUM_FRAMES // FPS, np.int16)
    room = min(len(samples), len(speech.samples))
    samples[:room] = speech.samples[:room]
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS, width=256, height=256)
        video.bit_rate = 4_000_000
        sound = container.add_stream("aac", rate=speech.sample_rate_hz, layout="mono")
        for index in range(NUM_FRAMES):
            angle = 6.0 * np.sin(np.pi * index / FPS)
            turn = cv2.getRotationMatrix2D((128, 117), -angle, 1.0)
            picture = cv2.warpAffine(photo, turn, (256, 256), borderMode=cv2.BORDER_REPLICATE)
            picture = np.zeros_like(photo) if index in LOST else picture
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        block.sample_rate, block.time_base = (
            speech.sample_rate_hz,
            Fraction(1, speech.sample_rate_hz),
        )
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("skimage")
    path = tmp_path_factory.mktemp("eval") / "tilt.mp4"
    write_video(path)
    return path


@needs_tracker
def test_eval_motion_measures_a_known_head_and_finds_phones(parlante: Run, video: Path) -> None:
    pytest.importorskip("pocketsphinx")
    code, out, _ = parlante("eval", "motion", video, "--text", WORDS, "--json")
    assert code == 0
    report = last_json(out)
    (seen,) = report["videos"]
    assert (seen["source_frames"], seen["source_frames_lost"]) == (NUM_FRAMES, len(LOST))
    assert seen["source_fps"] == pytest.approx(FPS, rel=0.01)
    assert seen["phones_from"] == "transcript"
    assert report["pooled"]["bilabials"] == 7
    assert report["pooled"]["roll_std_deg"] == pytest.approx(6.0 / np.sqrt(2), rel=0.15)
    assert seen["seams"] is None  # not at 25 Hz
    assert "P/B/M fully shut, share" in out


@needs_tracker
def test_eval_motion_writes_report_and_pictures(parlante: Run, video: Path, tmp_path: Path) -> None:
    phones = tmp_path / "phones.json"
    phones.write_text('[["M", 0.0, 0.1], ["AY", 0.1, 0.3], ["m", 0.3, 0.4]]')
    folder = tmp_path / "out"
    code, out, _ = parlante(
        *("eval", "motion", video, "--phones", phones, "--language", "it", "--output", folder)
    )
    assert code == 0
    report = json.loads((folder / "report.json").read_text())
    assert report["pooled"]["bilabials"] == 2
    assert str(folder / "report.md") in out
    names = {path.name for path in folder.iterdir()}
    pictures = {f"tilt_{kind}.png" for kind in ("lips", "sync", "head", "sheet")}
    assert names == {"report.json", "report.md", "overview.png", *pictures}
    page = (folder / "report.md").read_text()
    assert all(f"({picture})" in page for picture in pictures)


@needs_tracker
def test_eval_motion_goes_on_past_a_video_that_cannot_be_judged(
    parlante: Run, video: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    code, out, _ = parlante("eval", "motion", broken, video, "--language", "it", "--json")
    assert code == 0
    assert list(last_json(out)["refused"]) == ["broken.mp4"]
    assert "not judged: broken.mp4" in out


WRONG = [
    (("motion", "nowhere.mp4"), "FILE_NOT_FOUND"),
    (("motion", "empty"), "NO_VIDEOS"),
    (("motion", "text.mp4"), "VIDEO_UNREADABLE"),
    (("motion", "text.mp4", "--text", "a", "--text", "b"), "BAD_OPTION"),
    (("motion", "text.mp4", "--text", "nowhere.txt"), "FILE_NOT_FOUND"),
    (("motion", "text.mp4", "--block-frames", "0"), "INVALID_INPUT"),
    (("motion", "text.mp4", "--sync-model", "nowhere.npz"), "FILE_NOT_FOUND"),
    (("motion", "text.mp4", "--sync-model", "text.mp4"), "BAD_SYNC_MODEL"),
    (("motion", "text.mp4", "--output", "text.mp4"), "OUTPUT_FOLDER_MISSING"),
    (("fit-sync", "--synthetic", "--output", "nowhere/a.npz"), "OUTPUT_FOLDER_MISSING"),
    (("fit-sync", "--videos", "empty", "--output", "a.npz"), "NO_VIDEOS"),
    (("fit-head-sound", "--reference", "nowhere.npz", "--output", "a.npz"), "FILE_NOT_FOUND"),
    (("fit-head-sound", "--reference", "a", "--output", "b/a.npz"), "OUTPUT_FOLDER_MISSING"),
]


@needs_tracker
@pytest.mark.parametrize(("arguments", "reason"), WRONG)
def test_eval_refuses_wrong_input_in_one_line(
    parlante: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("this is no video")
    Path("empty").mkdir()
    code, out, err = parlante("eval", *arguments)
    assert (code, out) == (2, "")
    assert err.strip().splitlines()[-1].startswith("parlante: error: ")
    assert f"[{reason}]" in err


def test_seam_test_looks_at_the_blocks_of_our_model() -> None:
    assert DEFAULT_BLOCK_FRAMES == BLOCK_FRAMES


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--heads DIR"),
        (("--heads", ".", "--num-heads", "1"), "--num-heads"),
        (("--portraits", ".", "--weights", "nowhere.safetensors"), "nowhere.safetensors"),
    ],
)
def test_eval_encoders_names_wrong_options(
    parlante: Run, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    code, _, err = parlante("eval", "encoders", "--output", tmp_path / "out", *options)
    assert code != 0
    assert words in err
