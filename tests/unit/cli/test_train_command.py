"""`parlante train`: which training it runs, with what; the training itself is replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parlante.models.motion_weights import DEFAULT_WEIGHTS
from parlante.training.device import Hardware

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ran_on() -> list[Hardware]:
    """What speech would be trained on."""
    return []


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, ran_on: list[Hardware]) -> list[tuple[Any, ...]]:
    """Note what would be trained instead of training it."""
    made: list[tuple[Any, ...]] = []

    def on_videos(folder: Path, out: Path, config: Any, **options: Any) -> Path:
        options["tell"]("2 of 3 videos usable")
        made.append(("videos", folder, config, options["start"]))
        assert isinstance(options["hardware"], Hardware)
        return out / "motion.safetensors"

    def on_speech(
        config: Any,
        out: Path,
        start: Path | None,
        corpus_cache: Path,
        aligner: Path | None,
        hardware: Hardware,
    ) -> Path:
        ran_on.append(hardware)
        made.append(("speech", config, start, aligner))
        return out / "motion.safetensors"

    monkeypatch.setattr("parlante.training.videos.run.train_on_videos", on_videos)
    monkeypatch.setattr("parlante.training.motion.train_on_speech", on_speech)
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"num_steps": 3}))
    return path


def test_train_on_speech_starts_from_nothing(
    parlante: Run, calls: list[tuple[Any, ...]], config: Path, tmp_path: Path
) -> None:
    code, out, _ = parlante("train", "motion", "--config", config, "--out", tmp_path / "out")
    assert code == 0
    assert out.strip() == f"weights in {tmp_path / 'out' / 'motion.safetensors'}"
    ((kind, read, start, aligner),) = calls
    assert (kind, read.num_steps, start, aligner) == ("speech", 3, None, None)


def test_train_on_speech_takes_an_aligner(
    parlante: Run, calls: list[tuple[Any, ...]], config: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "reader.safetensors"
    command = ("train", "motion", "--config", config, "--out", tmp_path / "out")
    code, _, err = parlante(*command, "--align-with", weights)
    assert code != 0
    assert "FILE_NOT_FOUND" in err
    weights.write_bytes(b"")
    assert parlante(*command, "--align-with", weights)[0] == 0
    assert calls[-1][3] == weights


def test_train_takes_what_it_runs_on(
    parlante: Run,
    calls: list[tuple[Any, ...]],
    ran_on: list[Hardware],
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    command = ("train", "motion", "--config", config, "--out", tmp_path / "out")
    assert parlante(*command)[0] == 0
    assert parlante(*command, "--device", "cpu", "--num-workers", 3, "--fuse", "kernels")[0] == 0
    assert ran_on == [Hardware(), Hardware(num_workers=3, fuse="kernels")]
    code, _, err = parlante(*command, "--device", "cuda:1")
    assert code != 0
    assert "NO_SUCH_DEVICE" in err
    assert len(calls) == 2


def test_train_on_videos_starts_from_the_packaged_weights(
    parlante: Run, calls: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    code, out, _ = parlante("train", "motion", "--videos", tmp_path, "--out", tmp_path / "out")
    assert code == 0
    assert out.startswith("2 of 3 videos usable\n")
    ((kind, folder, read, start),) = calls
    assert (kind, folder, start) == ("videos", tmp_path, DEFAULT_WEIGHTS)
    assert 0 < read.video_share < 1


def test_train_on_videos_takes_a_config_and_no_start(
    parlante: Run, calls: list[tuple[Any, ...]], config: Path, tmp_path: Path
) -> None:
    options = ("--videos", tmp_path, "--config", config, "--start", "none")
    assert parlante("train", "motion", *options, "--out", tmp_path / "out")[0] == 0
    ((_, _, read, start),) = calls
    assert (read.training.num_steps, start) == (3, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--config"),
        (("--config", "nowhere.json"), "nowhere.json"),
        (("--videos", ".", "--config", "nowhere.json"), "nowhere.json"),
        (("--videos", ".", "--start", "nowhere.safetensors"), "no weights at"),
        (("--videos", ".", "--num-threads", "0"), "--num-threads"),
    ],
)
def test_train_names_wrong_options(
    parlante: Run, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    code, _, err = parlante("train", "motion", "--out", tmp_path / "out", *options)
    assert code == 2
    assert words in err


def test_train_needs_a_folder_of_videos(parlante: Run, tmp_path: Path) -> None:
    code, _, err = parlante("train", "motion", "--videos", tmp_path, "--out", tmp_path / "out")
    assert code == 2
    assert "holds no videos" in err


def test_a_missing_package_names_the_extra_for_training() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from parlante.cli.main import main\n"
        "sys.exit(main(['train', 'motion', '--config', 'x', '--out', 'y']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "pip install 'parlante[embedded,train]'" in done.stderr


def test_train_face_says_how_many_processes_make_pairs(
    parlante: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[int] = []

    def on_pictures(config: Any, out: Path, *, prepare_processes: int, **given: Any) -> Path:
        made.append(prepare_processes)
        return out / "face.safetensors"

    monkeypatch.setattr("parlante.training.face.run.train_on_pictures", on_pictures)
    command = ("train", "face", "--synth", tmp_path, "--out", tmp_path)
    assert parlante(*command)[0] == 0
    assert parlante(*command, "--prepare-processes", "3")[0] == 0
    assert made == [1, 3]
    code, _, err = parlante(*command, "--prepare-processes", "0")
    assert code == 2
    assert "--prepare-processes takes at least 1" in err


def test_train_encoders_takes_the_packaged_config(
    parlante: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[tuple[Any, ...]] = []

    def on_heads(
        config: Any,
        out: Path,
        *,
        assets: Path,
        hardware: Hardware,
        draw_processes: int,
        tell: Callable[[str], None],
    ) -> Path:
        made.append((config.frames_per_head, assets, draw_processes))
        tell("30000 pictures of 3000 heads")
        return out / "encoders.safetensors"

    monkeypatch.setattr("parlante.training.encoders.run.train_on_heads", on_heads)
    monkeypatch.delenv("PARLANTE_HEADS", raising=False)
    code, _, err = parlante("train", "encoders", "--out", tmp_path)
    assert code == 2
    assert "--heads" in err
    monkeypatch.setenv("PARLANTE_HEADS", "somewhere")
    code, out, _ = parlante("train", "encoders", "--out", tmp_path, "--draw-processes", "3")
    assert code == 0
    assert out.splitlines()[-1] == f"weights in {tmp_path / 'encoders.safetensors'}"
    assert made == [(10, Path("somewhere"), 3)]
    code, _, err = parlante("train", "encoders", "--out", tmp_path, "--draw-processes", "0")
    assert code == 2
    assert "--draw-processes" in err
