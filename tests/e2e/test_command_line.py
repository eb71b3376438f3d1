"""The installed commands with the real models: one process and one process per stage agree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parlante.models.tracker_files import find_missing_files, tracker_dir

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(find_missing_files(tracker_dir())),
        reason="the face tracker's files are not installed (scripts/fetch_tracker.py)",
    ),
]

PARLANTE = (sys.executable, "-m", "parlante.cli.main")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a portrait, a voice, and room for the store of this test."""
    import soundfile

    from parlante.cli.sample import sample_portrait, sample_speech

    folder = tmp_path_factory.mktemp("media")
    (folder / "face.png").write_bytes(sample_portrait())
    speech = sample_speech("Mamma mia, what a view!")
    soundfile.write(folder / "voice.wav", speech.samples, speech.sample_rate_hz)
    return folder


@pytest.fixture(scope="module")
def environment(media: Path) -> dict[str, str]:
    return os.environ | {"PARLANTE_STORE_DIR": str(media / "store"), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[str]:
    """Run `parlante serve` with one process per stage; give the gateway's address."""
    process = subprocess.Popen(
        [*PARLANTE, "serve", "--stage", "all", "--wiring", "grpc", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("parlante: ready at "), line
    yield line.split()[3]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=40) == 0
    process.stdout.close()


def talk(media: Path, environment: dict[str, str], name: str, *options: str) -> dict[str, Any]:
    output = media / f"{name}.mp4"
    done = subprocess.run(
        [
            *PARLANTE,
            *("talk", "--portrait", str(media / "face.png"), "--audio", str(media / "voice.wav")),
            *("--output", str(output), "--json", *options),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_talk_makes_the_same_video_in_one_process_and_in_four(
    media: Path, environment: dict[str, str], server: str
) -> None:
    alone = talk(media, environment, "alone", "--seed", "4")
    served = talk(media, environment, "served", "--seed", "4", "--server", server)
    other = talk(media, environment, "other", "--seed", "5", "--server", server)
    assert alone["frames"] == served["frames"] == other["frames"] > 25
    assert (alone["width_px"], alone["height_px"]) == (512, 512)
    video = (media / "alone.mp4").read_bytes()
    assert video == (media / "served.mp4").read_bytes()
    assert video != (media / "other.mp4").read_bytes()


def test_avatars_of_the_server_are_those_that_talked(
    environment: dict[str, str], server: str
) -> None:
    done = subprocess.run(
        [*PARLANTE, "avatars", "list", "--json", "--server", server],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    (avatar,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (avatar["source_width_px"], avatar["source_height_px"]) == (512, 512)


def test_a_face_that_was_made_follows_its_voice(media: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("pocketsphinx")
    talk(media, environment, "judged")
    done = subprocess.run(
        [
            *PARLANTE,
            *("eval", "motion", str(media / "judged.mp4"), "--text", "Mamma mia, what a view!"),
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=environment,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["videos"][0]["source_frames_lost"] == 0
    assert report["pooled"]["bilabials"] == 3
    assert report["pooled"]["sync_aperture"] > 0.2  # wrong sound gives 0.0
